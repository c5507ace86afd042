/* Samplers: the trajectories of diffusers' schedulers, with a stand-in for the UNet.
 *
 * schedulers/CASE/scheduler_config.json, and one steps-NN.safetensors per number of steps. The stand-in is told in
 * the recording's `about`, on the scaled input: model(x, t) = 0.3*x + 0.1*sin(t/100).
 * Nothing recorded is fed back: x starts from our own noise and goes its own way, so errors add up as in a picture,
 * and a sampler that draws noise once too often or too rarely is lost from the next step on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/sampling/sampler.h"
#include "tensor/rng.h"
#include "tests/golden.h"

enum { KEPT_DRAWS = 10 }; /* recordings keep "ten at most" */

/* One recording and what ours makes of it. */
struct trajectory {
    struct golden *g;
    const char *path;
    struct safetensors io;
    struct sampler sampler;
    double slope, height, period; /* the model's numbers */
    int64_t n;                    /* values per sample */
    int draws;
    int64_t alpha_count;
    double *noise, *add_noise;                                   /* [n] */
    double *scaled_inputs, *prev_samples, *pred_x0, *step_noise; /* [steps, n] */
    double *sigmas;                                              /* [steps + 1] */
    double *alphas;                                              /* [alpha_count] */
    void *memory;                                                /* where all of them lie */
};

static const char *meta(const struct trajectory *t, const char *key, struct error *e)
{
    const char *text = safetensors_meta(&t->io, key);
    if (text == NULL)
        fail(e, ERR_FORMAT, "%s: no \"%s\" in its metadata", t->path, key);
    return text;
}

/* {"eta": 0.7}, or {}. Another argument would change the steps. */
static status read_eta(const struct trajectory *t, double *eta, struct error *e)
{
    const struct json *arguments;
    const char *text = meta(t, "step_arguments", e);
    if (text == NULL)
        return e->code;
    TRY(json_parse(t->path, text, strlen(text), &arguments, e));
    const struct json *value = json_get(arguments, "eta");
    *eta = json_double(value, 0);
    if (arguments->count != (value != NULL ? 1 : 0))
        fail(e, ERR_FORMAT, "%s: step_arguments %s: only eta is known", t->path, text);
    json_free(arguments);
    return e->code;
}

static status read_model(struct trajectory *t, struct error *e)
{
    const char *about = meta(t, "about", e), *model = about != NULL ? strstr(about, "model(x, t) = ") : NULL;
    if (model == NULL ||
        sscanf(model, "model(x, t) = %lf*x + %lf*sin(t/%lf)", &t->slope, &t->height, &t->period) != 3)
        return fail(e, ERR_FORMAT, "%s: its about has no model(x, t) = A*x + B*sin(t/C)", t->path);
    return OK;
}

static status make_sampler(struct trajectory *t, const char *folder, struct error *e)
{
    char path[4096];
    struct scheduler_config config;
    int steps;
    double eta = 0;
    if (sscanf(strrchr(t->path, '/') + 1, "steps-%d", &steps) != 1)
        return fail(e, ERR_FORMAT, "%s: its name does not say how many steps: steps-NN.safetensors", t->path);
    TRY(read_eta(t, &eta, e));
    TRY(path_join(path, sizeof path, folder, "scheduler_config.json", e));
    TRY(scheduler_config_read(path, &config, e));
    status s = sampler_init(&t->sampler, &config, NULL, steps, eta, e);
    scheduler_config_free(&config);
    return s;
}

static status make_room(struct trajectory *t, struct error *e)
{
    static const char *const needed[] = {"noise", "timesteps", "init_noise_sigma", "prev_samples"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (safetensors_find(&t->io, needed[i]) == NULL)
            return fail(e, ERR_FORMAT, "%s: no tensor \"%s\"", t->path, needed[i]);
    const struct tensor *alphas = safetensors_find(&t->io, "alphas_cumprod");
    int64_t steps = t->sampler.steps;
    t->n = tensor_count(safetensors_find(&t->io, "noise"));
    t->alpha_count = alphas != NULL ? tensor_count(alphas) : 0;
    double *next = calloc((size_t)((2 + 4 * steps) * t->n + steps + 1 + t->alpha_count), sizeof *next);
    if (next == NULL)
        return fail(e, ERR_MEMORY, "%s: not enough memory for its trajectory", t->path);
    t->memory = next;
    t->noise = next, next += t->n;
    t->add_noise = next, next += t->n;
    t->scaled_inputs = next, next += steps * t->n;
    t->prev_samples = next, next += steps * t->n;
    t->pred_x0 = next, next += steps * t->n;
    t->step_noise = next, next += steps * t->n;
    t->sigmas = next, next += steps + 1;
    t->alphas = next;
    return OK;
}

static void keep(double *to, const float *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        to[k] = from[k];
}

static status run(struct trajectory *t, struct error *e)
{
    const struct sampler *s = &t->sampler;
    const char *seed = meta(t, "generator_seed", e);
    int64_t n = t->n;
    if (seed == NULL)
        return e->code;
    float *x = malloc((size_t)(9 * n + 1) * sizeof *x);
    if (x == NULL)
        return fail(e, ERR_MEMORY, "%s: not enough memory for its trajectory", t->path);
    float *input = x + n, *output = x + 2 * n, *noise = x + 3 * n, *x0 = x + 4 * n, *history = x + 5 * n;
    struct torch_rng rng;
    torch_seed(&rng, strtoull(seed, NULL, 10));
    torch_randn(&rng, x, n);
    keep(t->noise, x, n);
    for (int64_t k = 0; k < n; k++)
        x[k] *= (float)s->init_noise_sigma;
    for (int i = 0; i < s->steps; i++) {
        sampler_scale_input(s, i, x, input, n);
        for (int64_t k = 0; k < n; k++)
            output[k] = (float)t->slope * input[k] + (float)t->height * (float)sin(s->timesteps[i] / t->period);
        bool draws_noise = sampler_draws_noise(s, i);
        if (draws_noise) {
            torch_randn(&rng, noise, n);
            keep(t->step_noise + t->draws++ * n, noise, n);
        }
        sampler_step(s, i, output, draws_noise ? noise : NULL, x, sampler_history(s) > 0 ? history : NULL, x0, n);
        keep(t->scaled_inputs + i * n, input, n);
        keep(t->prev_samples + i * n, x, n);
        keep(t->pred_x0 + i * n, x0, n);
    }
    if (s->sigmas != NULL)
        keep(t->sigmas, s->sigmas, s->steps + 1);
    free(x);
    return OK;
}

/* "add_noise(full(0.5), noise, timesteps[0])" */
static status run_add_noise(struct trajectory *t, struct error *e)
{
    double value;
    int step;
    if (safetensors_find(&t->io, "add_noise") == NULL)
        return OK;
    const char *call = meta(t, "add_noise", e);
    if (call == NULL || sscanf(call, "add_noise(full(%lf), noise, timesteps[%d])", &value, &step) != 2 || step < 0 ||
        step >= t->sampler.steps)
        return fail(e, ERR_FORMAT, "%s: it does not say add_noise(full(X), noise, timesteps[I])", t->path);
    for (int64_t k = 0; k < t->n; k++) {
        float noisy = (float)t->noise[k];
        sampler_add_noise(&t->sampler, step, (float[]){(float)value}, &noisy, &noisy, 1);
        t->add_noise[k] = noisy;
    }
    return OK;
}

/* "alphas_cumprod at 0 1 2 100 500" */
static status pick_alphas(struct trajectory *t, struct error *e)
{
    const char *at = t->alpha_count > 0 ? meta(t, "alphas_cumprod", e) : NULL;
    at = at != NULL ? strpbrk(at, "0123456789") : NULL;
    for (int64_t i = 0; i < t->alpha_count; i++) {
        char *end = NULL;
        long step = at != NULL ? strtol(at, &end, 10) : -1;
        if (end == at || step < 0 || step >= t->sampler.settings.num_train_timesteps)
            return fail(e, ERR_FORMAT, "%s: the description of alphas_cumprod does not list its %lld training steps",
                        t->path, (long long)t->alpha_count);
        t->alphas[i] = t->sampler.alphas_cumprod[step];
        at = end;
    }
    return OK;
}

static void compare(const struct trajectory *t)
{
    const struct sampler *s = &t->sampler;
    int64_t steps = s->steps, all = steps * t->n, kept = (t->draws < KEPT_DRAWS ? t->draws : KEPT_DRAWS) * t->n;
    const struct {
        const char *name;
        const double *values;
        int64_t count;
        enum measure measure;
        double limit;
    } ours[] = {
        {"timesteps", s->timesteps, steps, OF_STEP, LIMIT_STEP},
        {"init_noise_sigma", &s->init_noise_sigma, 1, OF_STEP, LIMIT_STEP},
        {"sigmas", t->sigmas, s->sigmas != NULL ? steps + 1 : 0, OF_STEP, LIMIT_STEP},
        {"alphas_cumprod", t->alphas, t->alpha_count, OF_LARGEST, LIMIT_STEP}, /* zero SNR leaves few digits near 0 */
        {"noise", t->noise, t->n, ABSOLUTE, LIMIT_RANDN},
        {"scaled_inputs", t->scaled_inputs, all, OF_STEP, LIMIT_STEP},
        {"prev_samples", t->prev_samples, all, OF_STEP, LIMIT_STEP},
        {"pred_original_samples", t->pred_x0, all, OF_STEP, LIMIT_STEP},
        {"step_noise", t->step_noise, kept, ABSOLUTE, LIMIT_RANDN},
        {"add_noise", t->add_noise, t->n, OF_LARGEST, LIMIT_STEP},
    };
    enum { KNOWN = sizeof ours / sizeof *ours };
    for (size_t i = 0; i < t->io.count; i++) {
        const struct named_tensor *item = &t->io.items[i];
        size_t k = 0;
        while (k < KNOWN && strcmp(ours[k].name, item->name) != 0)
            k++;
        if (k < KNOWN)
            golden_compare_doubles(t->g, t->path, item->name, &item->tensor, ours[k].values, ours[k].count,
                                   ours[k].measure, ours[k].limit);
        else
            golden_check(t->g, t->path, item->name, false, "no tensor of this name is known");
    }
    if (t->draws > 0 && safetensors_find(&t->io, "step_noise") == NULL)
        golden_check(t->g, t->path, "step_noise", false, "ours draws noise in its steps, the reference drew none");
}

static status check(struct trajectory *t, const char *folder, struct error *e)
{
    TRY(safetensors_open(t->path, &t->io, e));
    TRY(read_model(t, e));
    TRY(make_sampler(t, folder, e));
    TRY(make_room(t, e));
    TRY(run(t, e));
    TRY(run_add_noise(t, e));
    TRY(pick_alphas(t, e));
    compare(t);
    return OK;
}

static void steps_file(struct golden *g, const char *folder, const char *path)
{
    struct trajectory t = {.g = g, .path = path};
    struct error e = {0};
    if (check(&t, folder, &e) != OK)
        golden_error(g, path, &e);
    free(t.memory);
    sampler_free(&t.sampler);
    safetensors_close(&t.io);
}

void golden_schedulers(struct golden *g, const char *folder)
{
    golden_files(g, folder, "steps-", ".safetensors", steps_file);
}
