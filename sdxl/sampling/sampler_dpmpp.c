/* DPM-Solver++(2M) and SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095: algorithm 2, and for the SDE
 * section 5).
 *
 *   alpha = 1 / sqrt(sigma^2 + 1),  sigma_t = sigma alpha,  lambda = log(alpha / sigma_t)          half the log SNR
 *   h = lambda_next - lambda
 *   D0 = x0 now,   D1 = (x0 now - x0 before) h / h_before          the change of x0, if it goes on as it did
 *   ODE  x_next = sigma_next/sigma_t x + alpha_next (1 - e^-h) (D0 + D1/2)
 *   SDE  x_next = sigma_next/sigma_t e^-h x + alpha_next (1 - e^-2h) (D0 + D1/2) + sigma_next sqrt(1 - e^-2h) noise
 * D1 is left out at the first step; at the last if there are fewer than 15 (lower_order_final), with euler_at_final,
 * or if it ends at sigma 0; and by solver_order 1 (which makes the ODE form DDIM). solver_type "heun" weighs D1 by
 * its exact integral instead of 1/2.
 *
 * The surprise: in this version of the reference the last sigma is not 0 but that of the first training step, 0.029
 * for SDXL; with Karras sigmas the last one is repeated, so that the last step, of length 0, changes nothing. */
#include <math.h>
#include <stdlib.h>

#include "sdxl/sampling/sampler_methods.h"
#include "sdxl/sampling/schedule.h"

/* How many of the last, noisiest training steps lambda_min_clipped takes away. */
static int64_t count_clipped(const struct sampler *s)
{
    int64_t count = s->settings.num_train_timesteps, first = count;
    while (first > 0) {
        float a = s->alphas_cumprod[first - 1];
        if (logf(sqrtf(a)) - logf(sqrtf(1.0f - a)) >= (float)s->settings.lambda_min_clipped)
            break;
        first--;
    }
    return count - first;
}

/* Leading and linspace spacing make one more than is needed, at the low end, where the last step would end. */
static void place_timesteps(struct sampler *s, int64_t range)
{
    const struct scheduler_settings *c = &s->settings;
    switch (c->timestep_spacing) {
    case SPACING_LEADING:
        schedule_leading(range, s->steps + 1, c->steps_offset, s->timesteps);
        break;
    case SPACING_LINSPACE:
        schedule_linspace(range, s->steps + 1, s->timesteps);
        break;
    case SPACING_TRAILING:
        s->steps = schedule_trailing(range, (double)c->num_train_timesteps / s->steps, s->steps, s->timesteps);
        break;
    }
}

/* Between the sigmas of the last and first training step, whatever the spacing. `training` becomes its logarithm. */
static status use_karras_sigmas(struct sampler *s, float *training, struct error *e)
{
    int64_t count = s->settings.num_train_timesteps;
    double *sigmas = malloc((size_t)s->steps * sizeof *sigmas);
    if (sigmas == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for a schedule of %d steps", s->steps);
    schedule_karras(training[count - 1], training[0], s->steps, sigmas);
    for (int64_t t = 0; t < count; t++)
        training[t] = logf(training[t]);
    for (int i = 0; i < s->steps; i++) {
        s->timesteps[i] = schedule_timestep_at(training, count, log(sigmas[i]));
        s->sigmas[i] = (float)sigmas[i];
    }
    s->sigmas[s->steps] = s->sigmas[s->steps - 1];
    free(sigmas);
    return OK;
}

static status place_sigmas(struct sampler *s, float *training, struct error *e)
{
    int64_t count = s->settings.num_train_timesteps;
    schedule_sigmas(s->alphas_cumprod, count, training);
    if (s->settings.use_karras_sigmas) {
        TRY(use_karras_sigmas(s, training, e));
    } else {
        for (int i = 0; i < s->steps; i++)
            s->sigmas[i] = (float)schedule_sigma_at(training, count, rint(s->timesteps[i]));
        s->sigmas[s->steps] = training[0];
    }
    for (int i = 0; i < s->steps; i++)
        s->timesteps[i] = rint(s->timesteps[i]);
    if (s->settings.final_sigmas_type == FINAL_SIGMA_ZERO)
        s->sigmas[s->steps] = 0;
    return OK;
}

status dpmpp_plan(struct sampler *s, const char *source, struct error *e)
{
    s->init_noise_sigma = 1;
    int64_t count = s->settings.num_train_timesteps, range = count - count_clipped(s);
    if (range < 1)
        return fail(e, ERR_FORMAT, "%s: \"lambda_min_clipped\" %g leaves no timestep", source,
                    s->settings.lambda_min_clipped);
    if (s->settings.timestep_spacing == SPACING_LEADING && range / (s->steps + 1) < 1)
        return fail(e, ERR_ARGUMENT,
                    "%s: %d steps are too many for DPM-Solver with leading spacing: it takes at most %lld", source,
                    s->steps, (long long)(range - 1));
    place_timesteps(s, range);
    float *training = malloc((size_t)count * sizeof *training);
    if (training == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for a schedule of %d steps", s->steps);
    status result = place_sigmas(s, training, e);
    free(training);
    return result;
}

static struct noise_level level_of(float sigma)
{
    float alpha = 1.0f / sqrtf(sigma * sigma + 1);
    return (struct noise_level){alpha, sigma * alpha};
}

struct noise_level dpmpp_noise_level(const struct sampler *s, int i)
{
    return level_of(s->sigmas[i]);
}

static float lambda_of(struct noise_level at)
{
    return logf(at.signal) - logf(at.noise);
}

static int order_of(const struct sampler *s, int i)
{
    const struct scheduler_settings *c = &s->settings;
    bool plain_end = c->euler_at_final || c->final_sigmas_type == FINAL_SIGMA_ZERO
                     || (c->lower_order_final && s->steps < 15);
    return i == s->first || (i == s->steps - 1 && plain_end) ? 1 : c->solver_order;
}

/* x_next = w.x x + w.d0 D0 + w.d1 D1 + w.noise noise */
struct weights {
    float x, d0, d1, noise;
};

static struct weights weights_of(const struct sampler *s, struct noise_level at, struct noise_level next, float h)
{
    bool heun = s->settings.solver_type == SOLVER_HEUN;
    struct weights w = {.x = next.noise / at.noise};
    if (s->kind == SAMPLER_DPMPP_2M) {
        float decay = expf(-h) - 1.0f;
        w.d0 = -(next.signal * decay);
        w.d1 = heun ? next.signal * (decay / h + 1.0f) : 0.5f * w.d0;
        return w;
    }
    float gain = 1.0f - expf(-2.0f * h);
    w.x *= expf(-h);
    w.d0 = next.signal * gain;
    w.d1 = heun ? next.signal * (gain / (-2.0f * h) + 1.0f) : 0.5f * w.d0;
    w.noise = next.noise * sqrtf(gain);
    return w;
}

void dpmpp_step(const struct sampler *s, int i, const struct step *p)
{
    struct noise_level at = level_of(s->sigmas[i]), next = level_of(s->sigmas[i + 1]);
    float h = lambda_of(next) - lambda_of(at);
    float h_before = i > s->first ? lambda_of(at) - lambda_of(level_of(s->sigmas[i - 1])) : 0;
    /* Steps of length 0 occur: Karras' last, and where several share a timestep. In the formulas they are 0 / 0. */
    struct weights w = {.x = 1};
    if (h > 0)
        w = weights_of(s, at, next, h);
    bool second_order = order_of(s, i) == 2 && h > 0 && h_before > 0;
    float trend = second_order ? 1.0f / (h_before / h) : 0;

    for (int64_t k = 0; k < p->n; k++) {
        float x0 = predict_x0(s->settings.prediction_type, at, p->x[k], p->model_output[k]);
        float x = w.x * p->x[k] + w.d0 * x0;
        if (second_order)
            x += w.d1 * (trend * (x0 - p->history[k]));
        if (w.noise > 0)
            x += w.noise * p->noise[k];
        p->x[k] = x;
        p->history[k] = x0;
        if (p->pred_x0 != NULL)
            p->pred_x0[k] = x0;
    }
}
