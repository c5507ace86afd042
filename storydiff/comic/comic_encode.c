/* From a planned comic to what the sampler is asked: which passes, which texts. */
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/comic.h"
#include "tensor/finite.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Whether a pass must be drawn: for one of its panels, or because a panel that is drawn looks at its character. */
static bool is_needed(const struct comic *c, const struct story_pass *pass)
{
    for (int i = 0; i < pass->panel_count; i++)
        if (c->wanted[pass->panels[i]])
            return true;
    if (pass->kind != STORY_WRITE || c->settings.csa == CSA_OFF)
        return false;
    for (int i = 0; i < c->plan.pass_count; i++) {
        const struct story_pass *reader = &c->plan.passes[i];
        bool drawn = reader->kind == STORY_READ && c->wanted[reader->panels[0]];
        for (int j = 0; drawn && j < reader->character_count; j++)
            if (reader->characters[j] == pass->characters[0])
                return true;
    }
    return false;
}

/* Rows of the text: the panels' prompts, then every different negative prompt once. */
static status encode_texts(const struct comic *c, const struct context *ctx, const char *const *pass_negatives,
                           struct comic_request *r, struct error *e)
{
    int panels = c->story.panel_count, count = panels;
    const char **texts = calloc((size_t)(panels + c->plan.pass_count), sizeof *texts);
    if (texts == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the prompts");
    for (int i = 0; i < panels; i++)
        texts[i] = c->prompts[i];
    for (int i = 0; i < r->lockstep.pass_count; i++) {
        int row = panels;
        while (row < count && !same_text(texts[row], pass_negatives[i]))
            row++;
        texts[row] = pass_negatives[i];
        count = row == count ? count + 1 : count;
        r->negatives[i] = row;
    }
    status s = conditioning_encode(ctx, c->model, texts, count, comic_reading(c), &r->text, e);
    free(texts);
    if (s == OK && !(all_finite(r->text.states, r->text.count * r->text.tokens * r->text.width) &&
                     all_finite(r->text.pooled, r->text.count * r->text.pooled_width)))
        s = model_fail_not_finite(c->model, "the text encoders", e);
    return s;
}

static status choose_passes(const struct comic *c, const struct context *ctx, struct comic_request *r,
                            struct error *e)
{
    size_t most = (size_t)c->plan.pass_count;
    const char **negatives = calloc(most, sizeof *negatives); /* of each chosen pass */
    r->passes = calloc(most, sizeof *r->passes);
    r->negatives = calloc(most, sizeof *r->negatives);
    if (r->passes == NULL || r->negatives == NULL || negatives == NULL) {
        free(negatives);
        return fail(e, ERR_MEMORY, "not enough memory for the passes");
    }
    for (int i = 0; i < c->plan.pass_count; i++)
        if (is_needed(c, &c->plan.passes[i])) {
            negatives[r->lockstep.pass_count] = c->negatives[i];
            r->passes[r->lockstep.pass_count++] = c->plan.passes[i];
        }
    status s = encode_texts(c, ctx, negatives, r, e);
    free(negatives);
    return s;
}

status comic_encode(const struct comic *c, const struct context *ctx, struct comic_request *r, struct error *e)
{
    const struct settings *o = &c->settings;
    *r = (struct comic_request){
        .freeu = {.s1 = 0.6f, .s2 = 0.4f, .b1 = 1.1f, .b2 = 1.2f}, /* the reference's demo */
        .lockstep =
            {
                .model = c->model,
                .sampler = &c->sampler,
                .text = &r->text,
                .panels = c->story.panel_count,
                .characters = c->plan.cast_count,
                .height = o->height,
                .width = o->width,
                .guidance_scale = o->guidance_scale,
                .seed = o->seed,
            .seeds = c->seeds,
                .noise = o->noise,
                .csa = csa_defaults(o->csa),
                .freeu = o->freeu ? &r->freeu : NULL,
                .guidance_from = c->guidance_from,
                .guidance_to = c->guidance_to,
                .precision = o->precision,
                .cache_interval = (int)o->cache_interval,
            },
    };
    r->lockstep.csa.start = (int)o->csa_start;
    r->lockstep.csa.sa32 = o->sa32;
    r->lockstep.csa.sa64 = o->sa64;
    r->lockstep.csa.id_length = o->id_length > 0 ? (int)o->id_length : 1;
    conditioning_time_ids(o->height, o->width, r->lockstep.time_ids);
    status s = choose_passes(c, ctx, r, e);
    r->lockstep.passes = r->passes;
    r->lockstep.negatives = r->negatives;
    if (s != OK)
        comic_request_free(r);
    return s;
}

void comic_request_free(struct comic_request *r)
{
    conditioning_free(&r->text);
    free(r->passes);
    free(r->negatives);
    *r = (struct comic_request){0};
}
