/* LCM: latent consistency models (Luo et al. 2023, arXiv 2310.04378); multistep sampling as in Song et al. 2023,
 * algorithm 1.
 *
 *   denoised = c_out(t) x0 + c_skip(t) x            the consistency function: at t = 0 it is x itself, as it must be
 *   c_skip = sd^2 / (s^2 + sd^2),  c_out = s / sqrt(s^2 + sd^2),   s = timestep_scaling t,  sd = 0.5
 *   x_next = sqrt(a_next) denoised + sqrt(1 - a_next) noise, at the last step denoised alone
 *
 * The surprise: the timesteps come from the original_inference_steps (50) that the model was distilled from, of which
 * the asked for number is picked; the config's timestep_spacing has no say. */
#include <math.h>

#include "sdxl/sampling/sampler_methods.h"

status lcm_plan(struct sampler *s, const char *source, struct error *e)
{
    s->init_noise_sigma = 1;
    int original = s->settings.original_inference_steps, training = s->settings.num_train_timesteps;
    if (original > training)
        return fail(e, ERR_FORMAT, "%s: \"original_inference_steps\" %d are more than \"num_train_timesteps\" %d",
                    source, original, training);
    if (s->steps > original)
        return fail(e, ERR_ARGUMENT,
                    "%s: %d steps are too many for lcm: it takes at most \"original_inference_steps\", %d", source,
                    s->steps, original);
    int stride = training / original;
    double skip = (double)original / s->steps;
    for (int i = 0; i < s->steps; i++)
        s->timesteps[i] = (original - floor(i * skip)) * stride - 1;
    return alphas_check_first(s, source, e);
}

void lcm_step(const struct sampler *s, int i, const struct step *p)
{
    const struct scheduler_settings *c = &s->settings;
    const float sigma_data_squared = 0.25f;
    float scaled = (float)s->timesteps[i] * (float)c->timestep_scaling;
    float c_skip = sigma_data_squared / (scaled * scaled + sigma_data_squared);
    float c_out = scaled / sqrtf(scaled * scaled + sigma_data_squared);
    bool last = i == s->steps - 1;
    struct noise_level at = alphas_noise_level(s, i), next = {1, 0};
    if (!last)
        next = alphas_noise_level(s, i + 1);

    for (int64_t k = 0; k < p->n; k++) {
        float x = p->x[k], x0 = predict_x0(c->prediction_type, at, x, p->model_output[k]);
        float denoised = c_out * clip_x0(c, x0) + c_skip * x;
        p->x[k] = next.signal * denoised;
        if (!last)
            p->x[k] += next.noise * p->noise[k];
        if (p->pred_x0 != NULL)
            p->pred_x0[k] = denoised;
    }
}
