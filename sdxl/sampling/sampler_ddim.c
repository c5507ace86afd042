/* DDIM: denoising diffusion implicit models (Song, Meng & Ermon 2021, arXiv 2010.02502), equations 12 and 16.
 *
 *   x0      predicted from x_t
 *   x_prev  = sqrt(a_prev) x0 + sqrt(1 - a_prev - std^2) epsilon + std noise
 *   std     = eta sqrt((1 - a_prev) / (1 - a_t)) sqrt(1 - a_t / a_prev)              a = alphas_cumprod
 *
 * The surprise: a_prev is not the a of the next timestep in the list but of t - num_train_timesteps / steps, whatever
 * the spacing; below 0 it is 1, or alphas_cumprod[0] if the config has set_alpha_to_one false. */
#include <math.h>

#include "sdxl/sampling/sampler_methods.h"
#include "sdxl/sampling/schedule.h"

status ddim_plan(struct sampler *s, const char *source, struct error *e)
{
    s->init_noise_sigma = 1;
    s->steps = schedule_timesteps(&s->settings, s->steps, s->timesteps);
    for (int i = 0; i < s->steps; i++)
        s->timesteps[i] = rint(s->timesteps[i]);
    int last = s->settings.num_train_timesteps - 1;
    if (s->timesteps[0] > last)
        return fail(e, ERR_ARGUMENT,
                    "%s: %d steps with \"steps_offset\" %d begin at timestep %g, but %d is the last: take fewer",
                    source, s->steps, s->settings.steps_offset, s->timesteps[0], last);
    return alphas_check_first(s, source, e);
}

status alphas_check_first(const struct sampler *s, const char *source, struct error *e)
{
    if (s->settings.prediction_type != PREDICTION_EPSILON || s->alphas_cumprod[(int64_t)s->timesteps[0]] > 0)
        return OK;
    return fail(e, ERR_FORMAT,
                "%s: \"rescale_betas_zero_snr\" leaves no signal in the first timestep, so a model of "
                "\"prediction_type\" \"epsilon\" cannot start there", source);
}

struct noise_level alphas_noise_level(const struct sampler *s, int i)
{
    float a = s->alphas_cumprod[(int64_t)s->timesteps[i]];
    return (struct noise_level){sqrtf(a), sqrtf(1.0f - a)};
}

static float alpha_before(const struct sampler *s, int i)
{
    int64_t t = (int64_t)s->timesteps[i] - s->settings.num_train_timesteps / s->steps;
    if (t >= 0)
        return s->alphas_cumprod[t];
    return s->settings.set_alpha_to_one ? 1.0f : s->alphas_cumprod[0];
}

static float predict_epsilon(enum prediction_type type, struct noise_level at, float x, float out)
{
    if (type == PREDICTION_EPSILON)
        return out;
    return type == PREDICTION_V ? at.signal * out + at.noise * x : (x - at.signal * out) / at.noise;
}

void ddim_step(const struct sampler *s, int i, const struct step *p)
{
    const struct scheduler_settings *c = &s->settings;
    struct noise_level at = alphas_noise_level(s, i);
    float a = s->alphas_cumprod[(int64_t)s->timesteps[i]], a_prev = alpha_before(s, i);
    float variance = (1.0f - a_prev) / (1.0f - a) * (1.0f - a / a_prev);
    float std = (float)s->eta * sqrtf(variance);
    float signal = sqrtf(a_prev), direction = sqrtf(fmaxf(1.0f - a_prev - std * std, 0));

    for (int64_t k = 0; k < p->n; k++) {
        float x = p->x[k], out = p->model_output[k];
        float x0 = predict_x0(c->prediction_type, at, x, out);
        float epsilon = predict_epsilon(c->prediction_type, at, x, out);
        x0 = clip_x0(c, x0);
        p->x[k] = signal * x0 + direction * epsilon;
        if (s->eta > 0)
            p->x[k] += std * p->noise[k];
        if (p->pred_x0 != NULL)
            p->pred_x0[k] = x0;
    }
}
