/* --dry-run: what would be drawn, what it takes. */
#include <stdio.h>
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

static status describe_panel(const struct comic *c, int panel, struct text *out, struct error *e)
{
    size_t total, cut;
    TRY(conditioning_count_tokens(c->model, c->prompts[panel], comic_reading(c), &total, &cut, e));
    text_append(out, "panel %d%s: ", panel + 1, c->wanted[panel] ? "" : " (not drawn)");
    describe_role(c, panel, out);
    text_append(out, "; %zu tokens", total);
    if (cut > 0)
        text_append(out, ", %zu of them cut", cut);
    text_append(out, "\n  prompt:  %s\n  caption: %s\n", c->prompts[panel], c->story.panels[panel].caption);
    return OK;
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

status comic_describe(const struct comic *c, const struct comic_request *request, const struct context *ctx,
                      struct text *out, struct error *e)
{
    const struct settings *o = &c->settings;
    struct lockstep_cost cost;
    struct profile decode = {0};
    int64_t factor = vae_factor(&c->model->vae.config);
    double seconds;
    for (int i = 0; i < c->story.panel_count; i++)
        TRY(describe_panel(c, i, out, e));
    text_append(out, "negative prompt: %s\n", c->negatives[0] ? c->negatives[0] : "(none)");
    text_append(out, "model %s, %lld x %lld px, %d steps of %s, guidance %g, seed %llu, csa %s\n", c->model_name,
                (long long)o->width, (long long)o->height, c->sampler.steps, sampler_name(&c->sampler),
                o->guidance_scale, (unsigned long long)o->seed, csa_mode_names[o->csa]);

    TRY(lockstep_measure(&request->lockstep, ctx->threads, NULL, &cost, e));
    size_t decoder = render_measure(c->model, o->height / factor, o->width / factor, ctx->threads, &decode);
    double flops = 0, panels = wanted_count(c);
    for (int op = 0; op < OP_COUNT; op++) {
        cost.profile.rows[op].flops += panels * decode.rows[op].flops;
        flops += cost.profile.rows[op].flops;
    }
    TRY(estimate_seconds(&request->lockstep, &cost.profile, ctx->threads, &seconds, e));
    text_append(out, "memory: %.1f MB to sample, then %.1f MB to decode, besides %.1f MB of mapped weights\n",
                (double)cost.memory / 1e6, (double)decoder / 1e6, (double)memory_of_weights(c->model) / 1e6);
    if (cost.bank > 0)
        text_append(out, "the bank has %.1f MB of it: K and V of all tokens of the id panels, float32, of one half of "
                         "one step\n", (double)cost.bank / 1e6);
    text_append(out, "arithmetic: %.3g TFLOP; estimated time on %d thread%s: ", flops / 1e12, ctx->threads,
                ctx->threads == 1 ? "" : "s");
    append_duration(out, seconds);
    text_append(out, "\n");
    return out->failed ? fail(e, ERR_MEMORY, "not enough memory to describe the story") : OK;
}
