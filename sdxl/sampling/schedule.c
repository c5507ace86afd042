/* Arithmetic is float32 where the reference's is, in its order. A product stands in a statement of its own where a
 * fused multiply-add could move a value across a rounding boundary and so pick another timestep. */
#include "sdxl/sampling/schedule.h"

#include <math.h>

/* torch.linspace: counted from both ends, so that both are exact. */
static float linspace_f32(float start, float end, int64_t count, int64_t i)
{
    float step = (end - start) / (float)(count - 1);
    return i < count / 2 ? start + step * (float)i : end - step * (float)(count - 1 - i);
}

/* Nichol & Dhariwal 2021, eq. 17. */
static double cosine_alpha_bar(double t)
{
    double c = cos((t + 0.008) / 1.008 * 3.14159265358979323846 / 2);
    return c * c;
}

static void fill_betas(const struct scheduler_settings *s, float *betas)
{
    int64_t count = s->num_train_timesteps;
    if (s->trained_betas != NULL) {
        for (const struct json *v = s->trained_betas->child; v != NULL; v = v->next)
            *betas++ = (float)v->number;
        return;
    }
    for (int64_t i = 0; i < count; i++)
        switch (s->beta_schedule) {
        case BETA_LINEAR:
            betas[i] = linspace_f32((float)s->beta_start, (float)s->beta_end, count, i);
            break;
        case BETA_SCALED_LINEAR: { /* linear in the square root: Rombach et al. 2022 */
            float root = linspace_f32((float)sqrt(s->beta_start), (float)sqrt(s->beta_end), count, i);
            betas[i] = root * root;
            break;
        }
        case BETA_SQUAREDCOS_CAP_V2: {
            double now = (double)i / (double)count, next = (double)(i + 1) / (double)count;
            betas[i] = (float)fmin(1 - cosine_alpha_bar(next) / cosine_alpha_bar(now), 0.999);
            break;
        }
        }
}

/* torch.cumprod multiplies in double and rounds each result. In place is fine. */
static void cumulate(const float *betas, int64_t count, float *alphas_cumprod)
{
    double product = 1;
    for (int64_t i = 0; i < count; i++) {
        product *= 1.0f - betas[i];
        alphas_cumprod[i] = (float)product;
    }
}

/* Lin et al. 2023, algorithm 1: shifts and scales sqrt(a) so that the last is 0 and the first stays. The result
 * passes through betas and their product again, as in the reference, for the same roundings. */
static void rescale_zero_terminal_snr(float *alphas_cumprod, int64_t count)
{
    float first = sqrtf(alphas_cumprod[0]), last = sqrtf(alphas_cumprod[count - 1]);
    float scale = first / (first - last), before = 1;
    for (int64_t i = 0; i < count; i++) {
        float root = (sqrtf(alphas_cumprod[i]) - last) * scale, now = root * root;
        alphas_cumprod[i] = 1.0f - now / before; /* beta */
        before = now;
    }
    cumulate(alphas_cumprod, count, alphas_cumprod);
}

status schedule_alphas_cumprod(const struct scheduler_settings *settings, const char *source, float *alphas_cumprod,
                               struct error *e)
{
    int64_t count = settings->num_train_timesteps;
    fill_betas(settings, alphas_cumprod);
    for (int64_t i = 0; i < count; i++)
        if (!(1.0f - alphas_cumprod[i] > 0 && 1.0f - alphas_cumprod[i] < 1))
            return fail(e, ERR_FORMAT, "%s: the betas must lie between 0 and 1, but the one of step %lld is %g",
                        source, (long long)i, (double)alphas_cumprod[i]);
    cumulate(alphas_cumprod, count, alphas_cumprod);
    if (!(alphas_cumprod[count - 1] > 0))
        return fail(e, ERR_FORMAT, "%s: the betas are so large that no signal is left before the last step", source);
    if (settings->rescale_betas_zero_snr)
        rescale_zero_terminal_snr(alphas_cumprod, count);
    return OK;
}

void schedule_sigmas(const float *alphas_cumprod, int64_t count, float *sigmas)
{
    for (int64_t i = 0; i < count; i++)
        sigmas[i] = sqrtf((1.0f - alphas_cumprod[i]) / alphas_cumprod[i]);
}

double schedule_sigma_at(const float *sigmas, int64_t count, double t)
{
    if (t <= 0)
        return sigmas[0];
    if (t >= (double)(count - 1))
        return sigmas[count - 1];
    int64_t low = (int64_t)t;
    return sigmas[low] + ((double)sigmas[low + 1] - sigmas[low]) * (t - (double)low);
}

double schedule_timestep_at(const float *log_sigmas, int64_t count, double log_sigma)
{
    float wanted = (float)log_sigma;
    int64_t low = 0, high = count - 1; /* the last low, before count - 1, that is not above the wanted one */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (wanted < log_sigmas[middle])
            high = middle;
        else
            low = middle;
    }
    float w = (log_sigmas[low] - wanted) / (log_sigmas[low] - log_sigmas[low + 1]);
    w = fminf(fmaxf(w, 0), 1);
    return (1.0f - w) * (double)low + w * (double)(low + 1);
}

void schedule_karras(double sigma_max, double sigma_min, int steps, double *sigmas)
{
    const double rho = 7;
    double first = pow(sigma_max, 1 / rho), last = pow(sigma_min, 1 / rho);
    for (int i = 0; i < steps; i++) {
        double ramp = steps > 1 ? (double)i / (steps - 1) : 0;
        sigmas[i] = pow(first + ramp * (last - first), rho);
    }
}

void schedule_leading(int64_t range, int points, int offset, double *timesteps)
{
    int64_t stride = range / points;
    for (int i = 0; i < points; i++)
        timesteps[i] = (double)((points - 1 - i) * stride + offset);
}

void schedule_linspace(int64_t range, int points, double *timesteps)
{
    double stride = points > 1 ? (double)(range - 1) / (points - 1) : 0;
    for (int i = 0; i < points; i++)
        timesteps[i] = (points - 1 - i) * stride;
    if (points > 1)
        timesteps[0] = (double)(range - 1);
}

/* numpy.arange takes the difference of its first two values for the stride, and what that lost decides where a value
 * at a half, such as the 937.5 of 48 steps of 1000, is rounded to. At some counts (61 of 1000) arange returns one
 * value too many, from which the reference makes a last timestep of -1; it is not made here. */
int schedule_trailing(int64_t range, double stride, int points, double *timesteps)
{
    double start = (double)range, second = start - stride, travel = second - start;
    for (int i = 0; i < points; i++) {
        double travelled = i * travel;
        double t = rint(start + travelled);
        if (t < 1)
            return i;
        timesteps[i] = t - 1;
    }
    return points;
}

int schedule_timesteps(const struct scheduler_settings *settings, int steps, double *timesteps)
{
    int64_t range = settings->num_train_timesteps;
    switch (settings->timestep_spacing) {
    case SPACING_LEADING:
        schedule_leading(range, steps, settings->steps_offset, timesteps);
        return steps;
    case SPACING_LINSPACE:
        schedule_linspace(range, steps, timesteps);
        return steps;
    case SPACING_TRAILING:
        break;
    }
    return schedule_trailing(range, (double)range / steps, steps, timesteps);
}
