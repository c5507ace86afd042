/* PNDM: pseudo numerical methods on manifolds (Liu et al. 2022, arXiv 2202.09778), the fourth-order linear multistep
 * form alone: what SD 1.5's scheduler_config.json names, with "skip_prk_steps".
 *
 *   x_prev = sqrt(a_prev / a_t) x - (a_prev - a_t) e / (a_t sqrt(1 - a_prev) + sqrt(a_t (1 - a_t) a_prev))    eq. 11
 *   e      = Adams-Bashforth of the last epsilons: (3, -1)/2, (23, -16, 5)/12, (55, -59, 37, -9)/24           eq. 12
 *
 * The first line is DDIM's step, with e for epsilon. The surprise: there is one call of the model more than steps. The
 * first step is taken twice: to the second timestep, where the model is asked again, and then again from the first x
 * with the mean of both answers (Heun's method), of which the second is forgotten. So the second timestep occurs
 * twice, and the multistep formula begins with the epsilon of the first. */
#include "sdxl/sampling/sampler_methods.h"
#include "sdxl/sampling/schedule.h"

enum { KEPT = 3, FIRST_X = KEPT }; /* history: a ring of three answers of the model, then the first x */

status pndm_plan(struct sampler *s, const char *source, struct error *e)
{
    s->init_noise_sigma = 1;
    if (!s->settings.skip_prk_steps)
        return fail(e, ERR_FORMAT,
                    "%s: \"skip_prk_steps\" is false: the Runge-Kutta warm-up of PNDM is not implemented; choose "
                    "another sampler", source);
    if (s->settings.prediction_type == PREDICTION_SAMPLE)
        return fail(e, ERR_FORMAT, "%s: \"prediction_type\" is \"sample\", which PNDM has no formula for", source);
    int count = schedule_timesteps(&s->settings, s->steps, s->timesteps);
    for (int i = 0; i < count; i++)
        s->timesteps[i] = rint(s->timesteps[i]);
    int last = s->settings.num_train_timesteps - 1;
    if (s->timesteps[0] > last)
        return fail(e, ERR_ARGUMENT,
                    "%s: %d steps with \"steps_offset\" %d begin at timestep %g, but %d is the last: take fewer",
                    source, s->steps, s->settings.steps_offset, s->timesteps[0], last);
    s->stride = s->settings.num_train_timesteps / s->steps;
    s->steps = count;
    if (count > 1) { /* the second one twice */
        for (int i = count; i > 1; i--)
            s->timesteps[i] = s->timesteps[i - 1];
        s->steps = count + 1;
    }
    return alphas_check_first(s, source, e);
}

/* Of the model's answers that are kept (all but that of call 1), number i - 1 - back, counted from 0. */
static float kept(const float *history, int i, int back, int64_t n, int64_t k)
{
    return history[(i - 1 - back) % KEPT * n + k];
}

/* What stands for the model's answer at call i: the newest one and those kept. */
static float combine(int i, float out, const float *history, int64_t n, int64_t k)
{
    switch (i) {
    case 0: return out;
    case 1: return (out + history[k]) / 2;
    case 2: return (3 * out - kept(history, i, 1, n, k)) / 2;
    case 3: return (23 * out - 16 * kept(history, i, 1, n, k) + 5 * kept(history, i, 2, n, k)) / 12;
    default: break;
    }
    return (1.0f / 24) * (55 * out - 59 * kept(history, i, 1, n, k) + 37 * kept(history, i, 2, n, k) -
                          9 * kept(history, i, 3, n, k));
}

void pndm_step(const struct sampler *s, int i, const struct step *p)
{
    int call = i - s->first;
    int64_t to = (int64_t)s->timesteps[i], from = to + s->stride; /* call 1 ends where it asked */
    if (call != 1) {
        from = to;
        to = from - s->stride;
    }
    float a = s->alphas_cumprod[from];
    float a_prev = to >= 0 ? s->alphas_cumprod[to] : s->settings.set_alpha_to_one ? 1.0f : s->alphas_cumprod[0];
    struct noise_level at = {sqrtf(a), sqrtf(1.0f - a)};
    float keep = sqrtf(a_prev / a);
    float change = (a_prev - a) / (a * sqrtf(1.0f - a_prev) + sqrtf(a * (1.0f - a) * a_prev));
    float *first_x = p->history + FIRST_X * p->n;

    for (int64_t k = 0; k < p->n; k++) {
        float x = call == 1 ? first_x[k] : p->x[k], answer = p->model_output[k];
        float out = combine(call, answer, p->history, p->n, k);
        if (p->pred_x0 != NULL)
            p->pred_x0[k] = predict_x0(s->settings.prediction_type, at, x, out);
        if (call == 0)
            first_x[k] = x;
        if (call != 1)
            p->history[(call > 0 ? call - 1 : 0) % KEPT * p->n + k] = answer;
        if (s->settings.prediction_type == PREDICTION_V) /* of the whole: the formula needs an epsilon */
            out = at.signal * out + at.noise * x;
        p->x[k] = keep * x - change * out;
    }
}
