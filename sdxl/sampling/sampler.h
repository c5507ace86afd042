/* Samplers: from noise to a latent, one short formula per step.
 *
 *   struct sampler s = {0};
 *   TRY(sampler_init(&s, &config, "euler", 30, 0, e));
 *   x = noise * s.init_noise_sigma
 *   for i = 0 .. s.steps-1:
 *       sampler_scale_input(&s, i, x, input, n)
 *       output = unet(input, s.timesteps[i])
 *       if sampler_draws_noise(&s, i): noise = randn(n)
 *       sampler_step(&s, i, output, noise, x, history, NULL, n)
 *   sampler_free(&s)
 *
 * No step changes a sampler; all that a trajectory consists of is x, history and i. So many panels can
 * advance in lockstep through one sampler, and saving x, history and i between two steps saves everything.
 * The surprise: Euler draws noise at every step and adds none of it. It only has to be drawn, since what comes later
 * from the same generator depends on it.
 *
 * The numbers are diffusers 0.25's. */
#ifndef SDXL_SAMPLER_H
#define SDXL_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "sdxl/sampling/scheduler_config.h"
#include "tensor/status.h"

enum sampler_kind {
    SAMPLER_DDIM,            /* Song et al. 2021a; eta 1 is DDPM (Ho et al. 2020) */
    SAMPLER_EULER,           /* Karras et al. 2022, algorithm 2 without churn */
    SAMPLER_EULER_ANCESTRAL, /* the same, with a part of the noise made anew at each step (k-diffusion) */
    SAMPLER_DPMPP_2M,        /* Lu et al. 2022b, DPM-Solver++(2M) */
    SAMPLER_DPMPP_2M_SDE,    /* the same, SDE-DPM-Solver++(2M) */
    SAMPLER_LCM,             /* Luo et al. 2023, for latent consistency models */
    SAMPLER_PNDM,            /* Liu et al. 2022, linear multistep of fourth order: SD 1.5's own */
    SAMPLER_KINDS            /* their number */
};

struct sampler {
    enum sampler_kind kind;
    const char *name;                   /* sampler_name */
    struct scheduler_settings settings; /* without trained_betas */
    int steps;               /* calls of the model; with PNDM one more than were asked for */
    int first;               /* the i of a trajectory's first step: 0, or set it later for image to image */
    double eta;              /* DDIM: 0 none .. 1 all of the noise of DDPM */
    int stride;              /* PNDM: training steps from one timestep to the next */
    double init_noise_sigma; /* the first x is noise times this */
    double *timesteps;       /* [steps], in sampling order; Karras' are fractional with Euler */
    float *sigmas;           /* [steps + 1], or NULL: DDIM, LCM, PNDM go by alphas_cumprod alone */
    float *alphas_cumprod;   /* [settings.num_train_timesteps] */
};

/* The names that sampler_init takes, in order, for lists to choose from: "ddim", "ddim_trailing", "euler", ...; NULL
 * after the last. */
const char *sampler_name_at(int index);

/* The name this sampler would be asked for by. */
const char *sampler_name(const struct sampler *s);

/* Makes a sampler of `steps` steps (1 .. num_train_timesteps; LCM at most original_inference_steps; DPM-Solver with
 * trailing spacing and clipped lambdas may make fewer than asked for).
 * name: NULL is the sampler that the config names; also in the web UIs' spelling ("DPM++ 2M Karras"). Otherwise the
 * config's values stand, its class does not; a
 * "_karras" name turns Karras sigmas on, a "_trailing" one places the steps so, a plain one leaves both as the config
 * has them.
 * eta: for DDIM, 0 .. 1; 0 for the others.
 * The config may be freed afterwards; the caller frees the sampler. On failure *s is zeroed. */
status sampler_init(struct sampler *s, const struct scheduler_config *config, const char *name, int steps, double eta,
                    struct error *e);
void sampler_free(struct sampler *s); /* fine on a zeroed struct, and twice */

/* Whether this is how models distilled to a few steps without guidance are sampled: LCM (Luo et al. 2023), and Euler
 * with trailing spacing (Lightning: Lin et al. 2024; Hyper-SD: Ren et al. 2024; ancestral, Turbo: Sauer et al. 2023).
 * Fails as sampler_init does. */
status sampler_takes_few_steps(const struct scheduler_config *config, const char *name, bool *few, struct error *e);

/* Other timesteps, and as many steps as there are of them: strictly falling, below num_train_timesteps. For LCM alone
 * (diffusers' `timesteps`); distilled models may ask for their own. On failure *s is unchanged. */
status sampler_set_timesteps(struct sampler *s, const int *timesteps, int count, struct error *e);

/* scaled = the UNet's input for x at step i: for Euler x / sqrt(sigma^2 + 1), for the others x itself. All: [n];
 * scaled may be x. */
void sampler_scale_input(const struct sampler *s, int i, const float *x, float *scaled, int64_t n);

/* Whether n normal numbers are to be drawn between the model's output and step i, even if the step ignores them. */
bool sampler_draws_noise(const struct sampler *s, int i);

/* Whether step i leaves x as it is, bit for bit, whatever the model says: it need not be asked. (DPM-Solver++ with
 * Karras sigmas ends with a step of length 0.) */
bool sampler_stands_still(const struct sampler *s, int i);

/* How many arrays of [n] sampler_step keeps in `history`, one after the other: 1 for the two DPM-Solver++, 4 for PNDM,
 * else 0. */
int sampler_history(const struct sampler *s);

/* One step, from s->timesteps[i] to the next. All: [n], n counts every value of the batch.
 *   model_output  what the model says of the scaled input, after guidance, in the config's prediction_type
 *   noise         if sampler_draws_noise, else it may be NULL (Euler never reads it)
 *   x             in: x_t, out: x at the next timestep
 *   history       [sampler_history, n]: what earlier steps left (DPM-Solver++: the predicted x0), read and replaced;
 *                 need not be initialised before the first step; NULL where none is kept
 *   pred_x0       out: the finished latent as predicted from here, for previews (LCM: its denoised one); or NULL */
void sampler_step(const struct sampler *s, int i, const float *model_output, const float *noise, float *x,
                  float *history, float *pred_x0, int64_t n);

/* out = x0 with as much noise as step i begins with: the start of image to image (with s->first = i). All: [n]; out
 * may be x0 or noise. */
void sampler_add_noise(const struct sampler *s, int i, const float *x0, const float *noise, float *out, int64_t n);

#endif
