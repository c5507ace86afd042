/* What sampler.c knows of each sampler, private to the sampler_*.c: a plan (timesteps and sigmas) and a step.
 *
 * In all of them x = signal * x0 + noise * epsilon, with signal and noise fixed by the step; predicting x0 is
 * solving this for x0 with what the model says:
 *   epsilon       out = epsilon                        x0 = (x - noise out) / signal
 *   v_prediction  out = signal epsilon - noise x0      x0 = signal x - noise out      Salimans & Ho 2022, appendix D
 *   sample        out = x0
 * (v_prediction for signal^2 + noise^2 = 1 only: Euler has its own). */
#ifndef SDXL_SAMPLER_METHODS_H
#define SDXL_SAMPLER_METHODS_H

#include <math.h>

#include "sdxl/sampling/sampler.h"

struct noise_level {
    float signal, noise;
};

static inline float predict_x0(enum prediction_type type, struct noise_level at, float x, float out)
{
    if (type == PREDICTION_SAMPLE)
        return out;
    return type == PREDICTION_EPSILON ? (x - at.noise * out) / at.signal : at.signal * x - at.noise * out;
}

/* DDIM and LCM only. The epsilon of the unclipped x0 stays as it is. */
static inline float clip_x0(const struct scheduler_settings *settings, float x0)
{
    float range = (float)settings->clip_sample_range;
    return settings->clip_sample && fabsf(x0) > range ? copysignf(range, x0) : x0;
}

/* The arguments of sampler_step. */
struct step {
    const float *model_output, *noise;
    float *x, *history, *pred_x0;
    int64_t n;
};

/* Plans fill s->timesteps (room for steps + 1), s->sigmas (where used; zeroed), s->init_noise_sigma, and may change
 * s->steps. Given: settings, steps, eta, alphas_cumprod. `source` names the config in messages. */
status ddim_plan(struct sampler *s, const char *source, struct error *e);
status euler_plan(struct sampler *s, const char *source, struct error *e);
status dpmpp_plan(struct sampler *s, const char *source, struct error *e);
status lcm_plan(struct sampler *s, const char *source, struct error *e);
status pndm_plan(struct sampler *s, const char *source, struct error *e);

/* DDIM, LCM and PNDM: fails if there is no signal in the first timestep and the model predicts epsilon, as then
 * predicting x0 would be a division by zero. */
status alphas_check_first(const struct sampler *s, const char *source, struct error *e);

/* How much noise step i begins with. */
struct noise_level alphas_noise_level(const struct sampler *s, int i); /* DDIM, LCM, PNDM */
struct noise_level euler_noise_level(const struct sampler *s, int i);
struct noise_level dpmpp_noise_level(const struct sampler *s, int i);

void ddim_step(const struct sampler *s, int i, const struct step *p);
void euler_step(const struct sampler *s, int i, const struct step *p);
void euler_ancestral_step(const struct sampler *s, int i, const struct step *p);
void dpmpp_step(const struct sampler *s, int i, const struct step *p); /* both */
void lcm_step(const struct sampler *s, int i, const struct step *p);
void pndm_step(const struct sampler *s, int i, const struct step *p);

#endif
