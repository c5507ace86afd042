/* --dry-run: what would be drawn, what it takes. */
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/comic.h"
#include "storydiff/comic/estimate.h"
#include "storydiff/comic/memory.h"
#include "storydiff/comic/render.h"

static void describe_role(const struct comic *c, int panel, struct text *out)
{
    const struct story_place *place = &c->plan.places[panel];
    const struct story_pass *pass = &c->plan.passes[place->pass];
    if (pass->kind == STORY_WRITE)
        text_append(out, "id panel %d of %d", place->index + 1, c->plan.id_length);
    else
        text_append(out, "story panel");
    text_append(out, "; characters:");
    for (int i = 0; i < pass->character_count; i++) {
        const char *key = c->story.characters[c->plan.cast[pass->characters[i]]].key;
        text_append(out, " %s", key[0] ? key : "the general prompt's");
    }
    if (pass->character_count == 0)
        text_append(out, " none");
}

/* "; weights: (the park:1.2)", and how many breaks; nothing where a prompt says no more than its words. */
static void describe_weights(const struct comic *c, const char *prompt, struct text *out)
{
    struct prompt_pairs pairs;
    int breaks = 0, weighted = 0;
    if (comic_reading(c).weights == WEIGHTS_OFF || prompt_parse(prompt, &pairs, NULL) != OK)
        return;
    for (size_t i = 0; i < pairs.count; i++) {
        const struct prompt_pair *p = &pairs.items[i];
        if (p->weight == -1 && strcmp(p->text, "BREAK") == 0)
            breaks++;
        else if (p->weight != 1)
            text_append(out, "%s (%s:%.3g)", weighted++ == 0 ? "; weights:" : "", p->text, p->weight);
    }
    if (breaks > 0)
        text_append(out, "; %d break%s", breaks, breaks == 1 ? "" : "s");
    prompt_pairs_free(&pairs);
}

static void describe_panel(const struct comic *c, int panel, const struct comic_tokens *tokens, struct text *out)
{
    text_append(out, "panel %d%s: ", panel + 1, c->wanted[panel] ? "" : " (not drawn)");
    describe_role(c, panel, out);
    text_append(out, "; %zu tokens", tokens->total);
    if (tokens->cut > 0)
        text_append(out, ", %zu of them cut", tokens->cut);
    describe_weights(c, c->prompts[panel], out);
    text_append(out, "\n  prompt:  %s\n  caption: %s\n", c->prompts[panel], c->story.panels[panel].caption);
}

static void append_duration(struct text *out, double seconds)
{
    if (seconds < 100)
        text_append(out, "%.1f s", seconds);
    else if (seconds < 7200)
        text_append(out, "%.0f min", seconds / 60);
    else
        text_append(out, "%.1f h", seconds / 3600);
}

static int wanted_count(const struct comic *c)
{
    int count = 0;
    for (int i = 0; i < c->story.panel_count; i++)
        count += c->wanted[i];
    return count;
}

void comic_report_free(struct comic_report *report)
{
    free(report->tokens);
    *report = (struct comic_report){0};
}

static status measure(const struct comic *c, const struct comic_request *request, const struct context *ctx,
                      struct comic_report *report, struct error *e)
{
    const struct settings *o = &c->settings;
    struct lockstep_cost cost;
    struct profile decode = {0};
    int64_t factor = vae_factor(&c->model->vae.config);
    double panels = wanted_count(c);
    for (int i = 0; i < c->story.panel_count; i++)
        TRY(conditioning_count_tokens(c->model, c->prompts[i], comic_reading(c), &report->tokens[i].total,
                                      &report->tokens[i].cut, e));
    TRY(lockstep_measure(&request->lockstep, ctx->threads, NULL, &cost, e));
    report->memory = cost.memory;
    report->bank = cost.bank;
    report->deep = cost.deep;
    report->memory_decode = render_measure(c->model, o->height / factor, o->width / factor, ctx->threads, &decode);
    report->weights = memory_of_weights(c->model);
    for (int op = 0; op < OP_COUNT; op++) {
        cost.profile.rows[op].flops += panels * decode.rows[op].flops;
        report->flops += cost.profile.rows[op].flops;
    }
    return estimate_seconds(&request->lockstep, &cost.profile, ctx->threads, &report->seconds, e);
}

status comic_measure(const struct comic *c, const struct comic_request *request, const struct context *ctx,
                     struct comic_report *report, struct error *e)
{
    *report = (struct comic_report){.tokens = calloc((size_t)c->story.panel_count, sizeof *report->tokens)};
    status s = report->tokens != NULL ? measure(c, request, ctx, report, e)
                                      : fail(e, ERR_MEMORY, "not enough memory to describe the story");
    if (s != OK)
        comic_report_free(report);
    return s;
}

status comic_describe(const struct comic *c, const struct comic_report *report, int threads, struct text *out,
                      struct error *e)
{
    const struct settings *o = &c->settings;
    for (int i = 0; i < c->story.panel_count; i++)
        describe_panel(c, i, &report->tokens[i], out);
    text_append(out, "negative prompt: %s\n",
                c->negatives[0] && c->settings.guidance_scale > 1 ? c->negatives[0] : "(none)");
    for (int i = 0; i < c->loras.count; i++)
        text_append(out, "LoRA %s, weight %g\n", c->loras.items[i].name, c->loras.items[i].weight);
    text_append(out, "model %s, %lld x %lld px, %d steps of %s, guidance %g, seed %llu, csa %s\n", c->model_name,
                (long long)o->width, (long long)o->height, c->sampler.steps, sampler_name(&c->sampler),
                o->guidance_scale, (unsigned long long)o->seed, csa_mode_names[o->csa]);
    if (o->precision != PRECISION_FLOAT32 || o->cache_interval > 1 || c->guidance_from > 0 || c->guidance_to < 1)
        text_append(out, "precision %s, cache interval %lld, guidance interval %g-%g\n", precision_names[o->precision],
                    (long long)(o->cache_interval > 1 ? o->cache_interval : 1), c->guidance_from, c->guidance_to);
    text_append(out, "memory: %.1f MB to sample, then %.1f MB to decode, besides %.1f MB of mapped weights\n",
                (double)report->memory / 1e6, (double)report->memory_decode / 1e6, (double)report->weights / 1e6);
    if (report->bank > 0)
        text_append(out, "the bank has %.1f MB of it: K and V of all tokens of the id panels, float32, of one half of "
                         "one step\n", (double)report->bank / 1e6);
    if (report->deep > 0)
        text_append(out, "kept features have %.1f MB of it: one tensor for each panel and half\n",
                    (double)report->deep / 1e6);
    text_append(out, "arithmetic: %.3g TFLOP; estimated time on %d thread%s: ", report->flops / 1e12, threads,
                threads == 1 ? "" : "s");
    append_duration(out, report->seconds);
    text_append(out, "\n");
    return out->failed ? fail(e, ERR_MEMORY, "not enough memory to describe the story") : OK;
}
