/* Euler's method on the probability flow ODE (Karras et al. 2022, arXiv 2206.00364: algorithm 2 with S_churn = 0), in
 * the variance exploding form x = x0 + sigma epsilon; and its ancestral variant.
 *
 *   d = (x - x0) / sigma                 dx/dsigma, eq. 1
 *   x_next = x + d (sigma_next - sigma)
 * Ancestral: goes down to sigma_down and back up with new noise, so that the sum is sigma_next:
 *   sigma_up^2 = sigma_next^2 (sigma^2 - sigma_next^2) / sigma^2,   sigma_down^2 = sigma_next^2 - sigma_up^2
 *   x_next = x + d (sigma_down - sigma) + sigma_up noise
 *
 * The surprise: the first x is noise times sigma_max when the steps begin at the last training step, but times
 * sqrt(sigma_max^2 + 1) with leading spacing: as if the image, of variance 1, were in it. */
#include <math.h>
#include <stdlib.h>

#include "sdxl/sampling/sampler_methods.h"
#include "sdxl/sampling/schedule.h"

/* Replaces evenly spaced timesteps by Karras' sigmas between the same ends, and the timesteps these belong to. */
static void use_karras_sigmas(struct sampler *s, const float *log_sigmas, double *sigmas)
{
    schedule_karras(sigmas[0], sigmas[s->steps - 1], s->steps, sigmas);
    int64_t count = s->settings.num_train_timesteps;
    for (int i = 0; i < s->steps; i++)
        s->timesteps[i] = schedule_timestep_at(log_sigmas, count, log(fmax(sigmas[i], 1e-10)));
}

status euler_plan(struct sampler *s, const char *source, struct error *e)
{
    (void)source;
    int64_t count = s->settings.num_train_timesteps;
    s->steps = schedule_timesteps(&s->settings, s->steps, s->timesteps);
    float *training = malloc((size_t)count * sizeof *training);
    double *sigmas = malloc((size_t)s->steps * sizeof *sigmas);
    if (training == NULL || sigmas == NULL) {
        free(training);
        free(sigmas);
        return fail(e, ERR_MEMORY, "not enough memory for a schedule of %d steps", s->steps);
    }
    schedule_sigmas(s->alphas_cumprod, count, training);
    s->sigmas[s->steps] = s->settings.final_sigmas_type == FINAL_SIGMA_MIN ? training[0] : 0;
    for (int i = 0; i < s->steps; i++)
        sigmas[i] = schedule_sigma_at(training, count, (float)s->timesteps[i]);
    if (s->settings.use_karras_sigmas) {
        for (int64_t t = 0; t < count; t++)
            training[t] = logf(training[t]);
        use_karras_sigmas(s, training, sigmas);
    }
    for (int i = 0; i < s->steps; i++) {
        s->timesteps[i] = (float)s->timesteps[i];
        s->sigmas[i] = (float)sigmas[i];
    }
    float sigma_max = s->sigmas[0];
    bool leading = s->settings.timestep_spacing == SPACING_LEADING;
    s->init_noise_sigma = leading ? sqrtf(sigma_max * sigma_max + 1) : sigma_max;
    free(training);
    free(sigmas);
    return OK;
}

struct noise_level euler_noise_level(const struct sampler *s, int i)
{
    return (struct noise_level){1, s->sigmas[i]};
}

static float euler_x0(enum prediction_type type, float sigma, float x, float out)
{
    if (type == PREDICTION_V) /* c_skip x + c_out out of Karras et al. 2022, table 1, for sigma_data = 1 */
        return out * (-sigma / sqrtf(sigma * sigma + 1)) + x / (sigma * sigma + 1);
    return predict_x0(type, (struct noise_level){1, sigma}, x, out);
}

/* From sigma to sigma_down, then sigma_up of new noise. */
static void descend(const struct sampler *s, float sigma, float sigma_down, float sigma_up, const struct step *p)
{
    float dt = sigma_down - sigma;
    for (int64_t k = 0; k < p->n; k++) {
        float x = p->x[k], x0 = euler_x0(s->settings.prediction_type, sigma, x, p->model_output[k]);
        float d = (x - x0) / sigma;
        p->x[k] = x + d * dt;
        if (sigma_up > 0)
            p->x[k] += p->noise[k] * sigma_up;
        if (p->pred_x0 != NULL)
            p->pred_x0[k] = x0;
    }
}

void euler_step(const struct sampler *s, int i, const struct step *p)
{
    descend(s, s->sigmas[i], s->sigmas[i + 1], 0, p);
}

void euler_ancestral_step(const struct sampler *s, int i, const struct step *p)
{
    float from = s->sigmas[i], to = s->sigmas[i + 1];
    float up = sqrtf(to * to * (from * from - to * to) / (from * from));
    float down = sqrtf(to * to - up * up);
    descend(s, from, down, up, p);
}
