/* Lockstep sampling: all panels of a story advance together, one step at a time.
 *
 *   for each step:  for each half (unconditional, conditional):  for each pass (the write passes first):
 *       predict the noise of its panels; in the last half: guide, and step their latents
 *
 * Two things may be left out, of all panels alike. Outside of the guidance interval (Kynkaanniemi et al. 2024) there
 * is only the conditional half. And with a cache_interval of N the inner blocks of the UNet run in every Nth step;
 * between, the outermost ones go on with what was kept of each panel and half (unet.h). Consistent self-attention is
 * in the inner blocks: its bank is written and read in those steps alone.
 *
 * Same numbers as panel after panel, since a panel depends on others only through the bank of the same step and half;
 * but that bank is all that ever exists, however long the story. Beside it only latents and the keys of the text grow
 * with the panels, the latter up to a limit. And the state between two steps is small: the latents, what the sampler
 * remembers, and the number of the step. Random generators are not saved: they are replayed from the seed. */
#ifndef STORYDIFF_LOCKSTEP_H
#define STORYDIFF_LOCKSTEP_H

#include "sdxl/conditioning.h"
#include "sdxl/sampling/sampler.h"
#include "storydiff/csa/csa.h"

/* Where the noise of the panels comes from. */
enum noise_mode {
    NOISE_REFERENCE, /* every pass has a generator of its own with the same seed */
    NOISE_SHARED,    /* the first panel's noise for all panels */
    NOISE_OWN,       /* one draw over all panels */
};
extern const char *const noise_mode_names[]; /* "reference", .., NULL */

/* Everything that defines a story's latents. Referenced, not copied: must outlive the lockstep. */
struct lockstep_request {
    const struct model *model;
    const struct sampler *sampler;
    const struct conditioning *text; /* row p: the prompt of panel p; further rows: negative prompts */
    int panels;                      /* of the whole story, also those that no pass draws */
    const struct story_pass *passes; /* [pass_count]; a read pass comes after the write passes of its characters */
    const int *negatives;            /* [pass_count] row of the text with the pass's negative prompt */
    int pass_count;
    int characters; /* of the whole story: passes number them from 0 */
    int64_t height, width; /* pixels */
    float time_ids[6];
    double guidance_scale; /* <= 1: no guidance, and the unconditional half is not computed; nor is it with a UNet
                              that is told the guidance (time_cond_proj_dim) */
    double guidance_from, guidance_to; /* which steps are guided: lockstep_in_interval */
    enum precision precision;          /* of the UNet */
    int cache_interval;                /* the inner blocks run in steps 0, N, 2N ..; 0 or 1: in all */
    uint64_t seed;         /* of gates and subsets, and of the noise of panels without a seed of their own */
    const uint64_t *seeds; /* [panels] of each panel's noise, or NULL: all have `seed` */
    enum noise_mode noise;
    struct csa_settings csa;
    const struct freeu *freeu; /* NULL: off */
};

struct lockstep {
    const struct lockstep_request *request;
    int step;         /* steps done */
    int64_t h, w, c;  /* of a latent */
    float *latents;   /* [panels, h, w, c] */
    float *history;   /* [panels, lockstep_history, h, w, c]: what the sampler remembers */
    float *predicted; /* the same: the finished latents as predicted by the last step, for previews */
    struct csa csa;   /* zeroed with CSA_OFF */
    /* private */
    float *noise_pred;  /* [pass][half][panel of the pass][h, w, c] */
    float *text_keys;   /* [kept prompts, size of one]: unet_text_keys, filled by the first step */
    const float **keys; /* [panels of the pass under way]: where theirs are, or NULL */
    int64_t first_kept, kept_prompts; /* rows of the conditioning */
    bool text_ready;
    uint64_t *seeds; /* [seed_count] every seed that a drawn panel has, once */
    int seed_count;
    float *deep;      /* [pass][half][panel of the pass][h, w, unet_deep_channels], or NULL */
    int deep_step[2]; /* by half: the step that filled them; -1: none */
    struct torch_rng *generators; /* [seed_count, groups]: a group of panels shares a draw */
    float *noise;                 /* as latents */
    float *scratch;               /* random numbers, channels first */
    struct arena fixed, work;
};

/* Called before and after each call of the UNet; members may be NULL. `half` goes from lockstep_first_half to the
 * last one of lockstep_halves. */
struct lockstep_watch {
    void (*begins)(void *self, int step, int half, int pass);
    void (*done)(void *self, int step, int half, int pass);
    void *self;
};

/* 2 with classifier-free guidance, else 1: guidance <= 1, or a UNet that is told the guidance. */
int lockstep_halves(const struct lockstep_request *r);

/* Whether step i is in a guidance interval: from <= i / steps < to; all are if both are 0. */
bool lockstep_in_interval(double from, double to, int step, int steps);

/* The first half that is computed in a step: 0, or 1 outside of the guidance interval; lockstep_halves in a step that
 * changes nothing (sampler_stands_still): none is. */
int lockstep_first_half(const struct lockstep_request *r, int step);

/* Whether the state after the steps done is all that the next ones need: kept features are not saved, so a run goes on
 * from before a step that computes them. Always without a cache_interval, and after the last step. */
bool lockstep_is_complete(const struct lockstep *l);

/* Memory and arithmetic of a request, from dry runs: one half of a step for the memory, all steps for the arithmetic.
 */
struct lockstep_cost {
    size_t memory;          /* bytes: latents, bank and activations, without the mapped weights */
    size_t bank;            /* of these, what consistent self-attention keeps */
    size_t deep;            /* of these, features kept from step to step */
    struct profile profile; /* of all steps: flops and bytes per kind of op, the seconds are zero */
};
status lockstep_measure(const struct lockstep_request *request, int threads, const struct observer *observer,
                        struct lockstep_cost *cost, struct error *e);

/* Allocates, seeds, draws the initial noise: step 0. All memory of the sampling is taken here. The caller closes it.
 */
status lockstep_open(struct lockstep *l, const struct lockstep_request *request, int threads,
                     const struct observer *observer, struct error *e);
void lockstep_close(struct lockstep *l); /* fine on a zeroed struct */

/* Latents that the sampler remembers per panel (sampler_history), at least one. */
int lockstep_history(const struct lockstep_request *r);

/* Values in latents. */
int64_t lockstep_latents_size(const struct lockstep *l);

/* *latents: a copy of them, which the caller frees. All other memory is given back, as by lockstep_close. */
status lockstep_take_latents(struct lockstep *l, float **latents, struct error *e);

/* One step of all passes. ctx: threads and observer as given to lockstep_open, profile as wished; its arena is not
 * used. watch may be NULL. Returns nothing: whoever calls it asks lockstep_check afterwards. */
void lockstep_step(struct lockstep *l, const struct context *ctx, const struct lockstep_watch *watch);

/* Fails if a step took more working memory than lockstep_open had measured (arena.h): then the latents are worth
 * nothing. */
status lockstep_check(const struct lockstep *l, struct error *e);

/* Goes on from the state after `step` steps: copies latents and history, replays the generators. */
void lockstep_go_on(struct lockstep *l, int step, const float *latents, const float *history);

/* The state between two steps. `recipe` is the text that describes the run (recipe.h); loading does not judge it.
 * Load fails if the file is not such a state, has other shapes, or was made with other text states; then `l` is
 * unchanged. */
status lockstep_save(const struct lockstep *l, const char *path, const char *recipe, struct error *e);
status lockstep_load(struct lockstep *l, const char *path, struct error *e);

#endif
