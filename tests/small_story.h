/* A story for the small recorded model: two characters with two id panels each, and three later panels that look at
 * the first character, at both, and at none. Text states are random: the UNet does not mind. Include it after
 * check.h. */
#ifndef TESTS_SMALL_STORY_H
#define TESTS_SMALL_STORY_H

#include "storydiff/csa/lockstep.h"

enum { STORY_PANELS = 7, STORY_PASSES = 5, STORY_TEXTS = STORY_PANELS + 1, STORY_TOKENS = 5 };

struct small_story {
    struct model model;
    struct sampler sampler;
    struct conditioning text;
    struct story_pass passes[STORY_PASSES];
    int negatives[STORY_PASSES];
    struct lockstep_request request; /* points to the others: a story stays where it was opened */
};

static inline void small_story_open(struct small_story *s, const char *sampler, int steps)
{
    static const int panels[STORY_PANELS] = {0, 1, 2, 3, 4, 5, 6}, characters[] = {0, 1};
    struct error e = {0};
    *s = (struct small_story){0};
    if (model_open(&s->model, "tests/golden/pipeline", &e) != OK ||
        sampler_init(&s->sampler, &s->model.scheduler, sampler, steps, 0, &e) != OK)
        fail_msg("%s", e.message);

    const struct unet_config *u = &s->model.unet.config;
    int64_t width = u->cross_attention_dim,
            pooled = u->projection_class_embeddings_input_dim - 6 * u->addition_time_embed_dim;
    s->text = (struct conditioning){some_floats(100, STORY_TEXTS * STORY_TOKENS * width),
                                    some_floats(101, STORY_TEXTS * pooled),
                                    STORY_TEXTS,
                                    STORY_TOKENS,
                                    width,
                                    pooled};
    memcpy(s->passes,
           (struct story_pass[STORY_PASSES]){
               {STORY_WRITE, panels, characters, 2, 1},
               {STORY_WRITE, panels + 2, characters + 1, 2, 1},
               {STORY_READ, panels + 4, characters, 1, 1},
               {STORY_READ, panels + 5, characters, 1, 2},
               {STORY_READ, panels + 6, characters, 1, 0},
           },
           sizeof s->passes);
    for (int i = 0; i < STORY_PASSES; i++)
        s->negatives[i] = STORY_PANELS;
    s->request = (struct lockstep_request){
        .model = &s->model,
        .sampler = &s->sampler,
        .text = &s->text,
        .panels = STORY_PANELS,
        .passes = s->passes,
        .negatives = s->negatives,
        .pass_count = STORY_PASSES,
        .characters = 2,
        .height = 64,
        .width = 32,
        .guidance_scale = 5,
        .seed = 3407,
        .noise = NOISE_REFERENCE,
        .csa = csa_defaults(CSA_SAMPLED),
    };
    s->request.csa.id_length = 2;
    conditioning_time_ids(s->request.height, s->request.width, s->request.time_ids);
}

static inline void small_story_close(struct small_story *s)
{
    model_close(&s->model);
    sampler_free(&s->sampler);
    conditioning_free(&s->text);
}

static inline void lockstep_open_well(struct lockstep *l, const struct lockstep_request *r, int threads)
{
    struct error e = {0};
    if (lockstep_open(l, r, threads, NULL, &e) != OK)
        fail_msg("%s", e.message);
}

/* Up to `step` steps done, by `threads` threads. */
static inline void lockstep_advance(struct lockstep *l, int threads, int step)
{
    struct context ctx = {.threads = threads};
    while (l->step < step)
        lockstep_step(l, &ctx, NULL);
}

static inline int64_t latent_floats(const struct lockstep *l)
{
    return l->h * l->w * l->c;
}

/* The latents of all panels after all steps; the caller frees. */
static inline float *final_latents(const struct lockstep_request *r, int threads)
{
    struct lockstep l;
    lockstep_open_well(&l, r, threads);
    lockstep_advance(&l, threads, r->sampler->steps);
    size_t bytes = (size_t)(r->panels * latent_floats(&l)) * sizeof(float);
    float *latents = room((int64_t)bytes, 1);
    memcpy(latents, l.latents, bytes);
    check_finite("latents", latents, r->panels * latent_floats(&l));
    lockstep_close(&l);
    return latents;
}

#endif
