/* Schedules and samplers: against diffusers 0.25's recorded trajectories, and against what mathematics says of them.
 *
 * The recorded cases are whatever lies under tests/golden/schedulers: CASE/scheduler_config.json and
 * CASE/steps-NN.safetensors, made with model(x, t) = 0.3 x + 0.1 sin(t / 100) on the scaled input. */
/* Before cmocka.h, whose macro `fail` would hide ours. */
#include "sdxl/sampler.h"
#include "sdxl/schedule.h"
#include "tensor/file.h"
#include "tensor/json.h"
#include "tensor/rng.h"
#include "tensor/safetensors.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN "tests/golden/schedulers"

/* Relative to the largest magnitude of the tensor. A trajectory goes through a few float32 roundings of 6e-8 a step;
 * the worst so far is 2.3e-6, where x0 is a small difference of larger numbers. */
static const double step_limit = 1e-5;

static double worst_difference(const float *got, const float *want, int64_t n)
{
    double largest = 1e-30, worst = 0;
    for (int64_t k = 0; k < n; k++) {
        double difference = fabs((double)got[k] - want[k]);
        largest = fmax(largest, fabs((double)want[k]));
        worst = difference > worst || isnan(difference) ? difference : worst;
    }
    return worst / largest;
}

static void check_close(const char *what, const char *file, int step, const float *got, const float *want, int64_t n,
                        double limit)
{
    double difference = worst_difference(got, want, n);
    if (!(difference <= limit))
        fail_msg("%s: %s of step %d differs by %.3g of its largest value, allowed is %.3g", file, what, step,
                 difference, limit);
}

/* A recording, opened. Tensors that a file leaves out are NULL. */
struct recording {
    const char *path;
    struct safetensors file;
    const float *noise, *scaled_inputs, *prev_samples, *pred_x0, *step_noise, *alphas_cumprod, *sigmas, *add_noise;
    const double *timesteps, *init_noise_sigma;
    int64_t n, noises; /* values per sample, recorded draws */
    int steps;
    double eta;
    uint64_t seed;
};

static const void *tensor_data(const struct safetensors *file, const char *name, enum dtype dtype, int64_t *count)
{
    const struct tensor *t = safetensors_find(file, name);
    if (t == NULL)
        return NULL;
    assert_int_equal(t->dtype, dtype);
    if (count != NULL)
        *count = tensor_count(t);
    return t->data;
}

static void open_recording(const char *path, struct recording *r)
{
    struct error e = {0};
    *r = (struct recording){.path = path};
    if (safetensors_open(path, &r->file, &e) != OK)
        fail_msg("%s", e.message);
    int64_t steps = 0, draws = 0;
    r->noise = tensor_data(&r->file, "noise", DTYPE_F32, &r->n);
    r->scaled_inputs = tensor_data(&r->file, "scaled_inputs", DTYPE_F32, NULL);
    r->prev_samples = tensor_data(&r->file, "prev_samples", DTYPE_F32, NULL);
    r->pred_x0 = tensor_data(&r->file, "pred_original_samples", DTYPE_F32, NULL);
    r->step_noise = tensor_data(&r->file, "step_noise", DTYPE_F32, &draws);
    r->alphas_cumprod = tensor_data(&r->file, "alphas_cumprod", DTYPE_F32, NULL);
    r->sigmas = tensor_data(&r->file, "sigmas", DTYPE_F32, NULL);
    r->add_noise = tensor_data(&r->file, "add_noise", DTYPE_F32, NULL);
    r->timesteps = tensor_data(&r->file, "timesteps", DTYPE_F64, &steps);
    r->init_noise_sigma = tensor_data(&r->file, "init_noise_sigma", DTYPE_F64, NULL);
    assert_non_null(r->noise);
    assert_non_null(r->prev_samples);
    assert_non_null(r->timesteps);
    assert_non_null(r->init_noise_sigma);
    r->steps = (int)steps;
    r->noises = draws / r->n;
    r->seed = strtoull(safetensors_meta(&r->file, "generator_seed"), NULL, 10);
    const char *arguments = safetensors_meta(&r->file, "step_arguments");
    const struct json *json = NULL;
    assert_int_equal(json_parse(path, arguments, strlen(arguments), &json, NULL), OK);
    r->eta = json_double(json_get(json, "eta"), 0);
    assert_int_equal(json->count, json_get(json, "eta") != NULL ? 1 : 0);
    json_free(json);
}

static void check_schedule(const struct sampler *s, const struct recording *r)
{
    enum { RECORDED_ALPHAS = 8 };
    static const int recorded_alphas[RECORDED_ALPHAS] = {0, 1, 2, 100, 500, 981, 998, 999};
    assert_int_equal(s->steps, r->steps);
    for (int i = 0; i < r->steps; i++)
        assert_float_equal(s->timesteps[i], r->timesteps[i], r->timesteps[i] * 1e-6);
    assert_float_equal(s->init_noise_sigma, *r->init_noise_sigma, *r->init_noise_sigma * 1e-6);
    assert_int_equal(s->sigmas != NULL, r->sigmas != NULL);
    for (int i = 0; r->sigmas != NULL && i <= r->steps; i++)
        check_close("sigma", r->path, i, &s->sigmas[i], &r->sigmas[i], 1, 1e-6);
    float alphas[RECORDED_ALPHAS];
    for (int k = 0; k < RECORDED_ALPHAS; k++)
        alphas[k] = s->alphas_cumprod[recorded_alphas[k]];
    if (r->alphas_cumprod != NULL)
        check_close("alphas_cumprod", r->path, 0, alphas, r->alphas_cumprod, RECORDED_ALPHAS, 1e-6);
}

static void model(float *out, const float *input, double t, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        out[k] = 0.3f * input[k] + 0.1f * (float)sin(t / 100);
}

/* The whole trajectory from our own random numbers, and every step of it. */
static void check_trajectory(const struct sampler *s, const struct recording *r)
{
    int64_t n = r->n, draws = 0;
    float *x = malloc(sizeof(float) * (size_t)n * 6);
    float *input = x + n, *output = x + 2 * n, *noise = x + 3 * n, *history = x + 4 * n, *x0 = x + 5 * n;
    struct torch_rng rng;
    torch_seed(&rng, r->seed);
    torch_randn(&rng, x, n);
    check_close("noise", r->path, 0, x, r->noise, n, step_limit);
    for (int64_t k = 0; k < n; k++)
        x[k] *= (float)s->init_noise_sigma;

    for (int i = 0; i < s->steps; i++) {
        sampler_scale_input(s, i, x, input, n);
        if (r->scaled_inputs != NULL)
            check_close("scaled_inputs", r->path, i, input, r->scaled_inputs + i * n, n, step_limit);
        model(output, input, s->timesteps[i], n);
        bool draws_noise = sampler_draws_noise(s, i);
        if (draws_noise) {
            torch_randn(&rng, noise, n);
            if (draws < r->noises)
                check_close("step_noise", r->path, i, noise, r->step_noise + draws * n, n, step_limit);
            draws++;
        }
        sampler_step(s, i, output, draws_noise ? noise : NULL, x, sampler_keeps_history(s) ? history : NULL, x0, n);
        check_close("prev_samples", r->path, i, x, r->prev_samples + i * n, n, step_limit);
        if (r->pred_x0 != NULL)
            check_close("pred_original_samples", r->path, i, x0, r->pred_x0 + i * n, n, step_limit);
    }
    assert_int_equal(r->noises, draws < 10 ? draws : 10);
    free(x);
}

static void check_add_noise(const struct sampler *s, const struct recording *r)
{
    if (r->add_noise == NULL)
        return;
    float *x = malloc(sizeof(float) * (size_t)r->n);
    for (int64_t k = 0; k < r->n; k++)
        x[k] = 0.5f;
    sampler_add_noise(s, 0, x, r->noise, x, r->n);
    check_close("add_noise", r->path, 0, x, r->add_noise, r->n, step_limit);
    free(x);
}

static int visit_recordings(void (*visit)(const struct scheduler_config *, const struct recording *))
{
    DIR *cases = opendir(GOLDEN);
    assert_non_null(cases);
    int count = 0;
    for (struct dirent *c; (c = readdir(cases)) != NULL;) {
        char path[1024];
        snprintf(path, sizeof path, GOLDEN "/%s/scheduler_config.json", c->d_name);
        if (!file_exists(path))
            continue;
        struct scheduler_config config;
        assert_int_equal(scheduler_config_read(path, &config, NULL), OK);
        snprintf(path, sizeof path, GOLDEN "/%s", c->d_name);
        DIR *recordings = opendir(path);
        for (struct dirent *f; (f = readdir(recordings)) != NULL;) {
            if (strncmp(f->d_name, "steps-", 6) != 0)
                continue;
            snprintf(path, sizeof path, GOLDEN "/%s/%s", c->d_name, f->d_name);
            struct recording r;
            open_recording(path, &r);
            visit(&config, &r);
            safetensors_close(&r.file);
            count++;
        }
        closedir(recordings);
        scheduler_config_free(&config);
    }
    closedir(cases);
    return count;
}

static void replay(const struct scheduler_config *config, const struct recording *r)
{
    struct error e = {0};
    struct sampler s;
    if (sampler_init(&s, config, NULL, r->steps, r->eta, &e) != OK)
        fail_msg("%s: %s", r->path, e.message);
    check_schedule(&s, r);
    check_trajectory(&s, r);
    check_add_noise(&s, r);
    sampler_free(&s);
}

static void every_recorded_trajectory_is_reproduced(void **state)
{
    (void)state;
    assert_true(visit_recordings(replay) > 0);
}

/* From here on: configs written for the purpose. */

static void write_config(char path[64], const char *text)
{
    strcpy(path, "/tmp/test_schedule-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static status read_config(const char *text, struct scheduler_config *config, struct error *e)
{
    char path[64];
    write_config(path, text);
    status result = scheduler_config_read(path, config, e);
    unlink(path);
    return result;
}

static struct sampler make(const char *text, const char *name, int steps, double eta)
{
    struct error e = {0};
    struct scheduler_config config;
    struct sampler s = {0};
    if (read_config(text, &config, &e) != OK || sampler_init(&s, &config, name, steps, eta, &e) != OK)
        fail_msg("%s: %s", text, e.message);
    scheduler_config_free(&config);
    return s;
}

/* The message must say `part`. */
static void refuses(const char *text, const char *name, int steps, double eta, const char *part)
{
    struct error e = {0};
    struct scheduler_config config;
    struct sampler s = {0};
    status result = read_config(text, &config, &e);
    if (result == OK)
        result = sampler_init(&s, &config, name, steps, eta, &e);
    if (result == OK)
        fail_msg("%s, %s, %d steps: was accepted", text, name != NULL ? name : "no name", steps);
    if (strstr(e.message, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.message, part);
    assert_null(s.timesteps);
    scheduler_config_free(&config);
}

#define SD "\"beta_schedule\": \"scaled_linear\", \"beta_start\": 0.00085, \"beta_end\": 0.012"

static void an_absent_key_takes_the_default_of_its_class(void **state)
{
    (void)state;
    struct sampler ddim = make("{\"_class_name\": \"DDIMScheduler\"}", NULL, 10, 0);
    assert_int_equal(ddim.settings.timestep_spacing, SPACING_LEADING);
    assert_true(ddim.settings.clip_sample && ddim.settings.set_alpha_to_one);
    assert_float_equal(ddim.settings.beta_end, 0.02, 0);
    assert_float_equal(ddim.timesteps[0], 900, 0);
    struct sampler euler = make("{\"_class_name\": \"EulerDiscreteScheduler\"}", NULL, 10, 0);
    assert_int_equal(euler.settings.timestep_spacing, SPACING_LINSPACE);
    assert_float_equal(euler.timesteps[0], 999, 0);
    struct sampler dpm = make("{\"_class_name\": \"DPMSolverMultistepScheduler\"}", NULL, 10, 0);
    assert_int_equal(dpm.kind, SAMPLER_DPMPP_2M);
    assert_int_equal(dpm.settings.solver_order, 2);
    assert_true(dpm.settings.lower_order_final);
    struct sampler lcm = make("{\"_class_name\": \"LCMScheduler\"}", NULL, 4, 0);
    assert_int_equal(lcm.settings.beta_schedule, BETA_SCALED_LINEAR);
    assert_int_equal(lcm.settings.original_inference_steps, 50);
    assert_false(lcm.settings.clip_sample);
    sampler_free(&ddim);
    sampler_free(&euler);
    sampler_free(&dpm);
    sampler_free(&lcm);
}

static void a_chosen_sampler_keeps_the_values_and_replaces_the_class(void **state)
{
    (void)state;
    const char *ddim = "{\"_class_name\": \"DDIMScheduler\", \"beta_end\": 0.015,"
                       " \"prediction_type\": \"v_prediction\", \"use_karras_sigmas\": null}";
    struct sampler s = make(ddim, "euler", 10, 0);
    assert_int_equal(s.kind, SAMPLER_EULER);
    assert_float_equal(s.settings.beta_end, 0.015, 0);
    assert_int_equal(s.settings.prediction_type, PREDICTION_V);
    assert_int_equal(s.settings.timestep_spacing, SPACING_LINSPACE);
    assert_string_equal(sampler_name(&s), "euler");
    sampler_free(&s);
    s = make(ddim, "dpmpp_2m_sde_karras", 10, 0);
    assert_int_equal(s.kind, SAMPLER_DPMPP_2M_SDE);
    assert_true(s.settings.use_karras_sigmas);
    assert_string_equal(sampler_name(&s), "dpmpp_2m_sde_karras");
    sampler_free(&s);
}

static void a_class_without_a_sampler_can_be_replaced_but_not_used(void **state)
{
    (void)state;
    const char *pndm = "{\"_class_name\": \"PNDMScheduler\", \"steps_offset\": 1, " SD "}";
    refuses(pndm, NULL, 10, 0, "PNDMScheduler");
    refuses("{}", NULL, 10, 0, "_class_name");
    struct sampler s = make(pndm, "ddim", 10, 0);
    assert_float_equal(s.timesteps[9], 1, 0);
    sampler_free(&s);
}

static void every_name_makes_the_sampler_it_names(void **state)
{
    (void)state;
    int count = 0;
    for (const char *name; (name = sampler_name_at(count)) != NULL; count++) {
        struct sampler s = make("{" SD "}", name, 7, 0);
        assert_string_equal(sampler_name(&s), name);
        assert_int_equal(s.steps, 7);
        sampler_free(&s);
    }
    assert_int_equal(count, 9);
    refuses("{}", "plms", 10, 0, "dpmpp_2m_karras");
}

static void the_default_config_is_the_published_one(void **state)
{
    (void)state;
    struct scheduler_config ours, published;
    assert_int_equal(scheduler_config_default(&ours, NULL), OK);
    assert_int_equal(scheduler_config_read(GOLDEN "/euler/scheduler_config.json", &published, NULL), OK);
    for (int k = 0; sampler_name_at(k) != NULL; k++) {
        struct sampler a, b;
        assert_int_equal(sampler_init(&a, &ours, sampler_name_at(k), 20, 0, NULL), OK);
        assert_int_equal(sampler_init(&b, &published, sampler_name_at(k), 20, 0, NULL), OK);
        assert_memory_equal(&a.settings, &b.settings, sizeof a.settings);
        sampler_free(&a);
        sampler_free(&b);
    }
    scheduler_config_free(&ours);
    scheduler_config_free(&published);
}

static void unknown_values_and_wrong_kinds_are_refused(void **state)
{
    (void)state;
    refuses("[]", "ddim", 10, 0, "JSON object");
    refuses("{\"beta_schedule\": \"sigmoid\"}", "ddim", 10, 0, "squaredcos_cap_v2");
    refuses("{\"prediction_type\": \"flow\"}", "euler", 10, 0, "v_prediction");
    refuses("{\"timestep_spacing\": 3}", "euler", 10, 0, "trailing");
    refuses("{\"num_train_timesteps\": 1}", "ddim", 1, 0, "from 2 to 100000");
    refuses("{\"num_train_timesteps\": 1e9}", "ddim", 1, 0, "from 2 to 100000");
    refuses("{\"num_train_timesteps\": 1000.5}", "ddim", 1, 0, "an integer");
    refuses("{\"steps_offset\": \"1\"}", "ddim", 1, 0, "steps_offset");
    refuses("{\"steps_offset\": -1}", "ddim", 1, 0, "steps_offset");
    refuses("{\"clip_sample\": 1}", "ddim", 1, 0, "true, false");
    refuses("{\"beta_end\": \"0.02\"}", "ddim", 1, 0, "a number");
    refuses("{\"beta_start\": 0}", "ddim", 1, 0, "betas must lie between 0 and 1");
    refuses("{\"beta_start\": 1, \"beta_end\": 1}", "ddim", 1, 0, "betas must lie between 0 and 1");
    refuses("{\"beta_start\": 0.9, \"beta_end\": 0.9}", "ddim", 1, 0, "no signal");
    refuses("{\"trained_betas\": 7}", "ddim", 1, 0, "an array");
    refuses("{\"trained_betas\": [0.1, 0.2]}", "ddim", 1, 0, "2 values");
    refuses("{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, true]}", "ddim", 1, 0, "an array of numbers");
    refuses("{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, 1.5]}", "ddim", 1, 0, "step 1");
    refuses("{\"lambda_min_clipped\": 100}", "dpmpp_2m", 1, 0, "leaves no timestep");
}

static void features_that_would_change_the_picture_are_refused(void **state)
{
    (void)state;
    refuses("{\"thresholding\": true}", "ddim", 10, 0, "thresholding");
    refuses("{\"thresholding\": true}", "dpmpp_2m", 10, 0, "thresholding");
    refuses("{\"use_lu_lambdas\": true}", "dpmpp_2m", 10, 0, "use_lu_lambdas");
    refuses("{\"solver_order\": 3}", "dpmpp_2m", 10, 0, "from 1 to 2");
    refuses("{\"algorithm_type\": \"dpmsolver\"}", "dpmpp_2m", 10, 0, "dpmsolver++");
    refuses("{\"variance_type\": \"learned_range\"}", "dpmpp_2m", 10, 0, "variance_type");
    refuses("{\"interpolation_type\": \"log_linear\"}", "euler", 10, 0, "log_linear");
    refuses("{\"timestep_type\": \"continuous\"}", "euler", 10, 0, "continuous");
    refuses("{\"rescale_betas_zero_snr\": true}", "euler", 10, 0, "rescale_betas_zero_snr");
    const char *not_of_ddim = "{\"thresholding\": false, \"use_lu_lambdas\": true, \"solver_order\": 3}";
    struct sampler s = make(not_of_ddim, "ddim", 10, 0);
    sampler_free(&s);
}

static void step_counts_out_of_range_are_refused(void **state)
{
    (void)state;
    refuses("{}", "ddim", 0, 0, "from 1 to");
    refuses("{}", "ddim", 1001, 0, "1000");
    refuses("{\"steps_offset\": 1}", "ddim", 1000, 0, "steps_offset");
    refuses("{}", "lcm", 51, 0, "original_inference_steps");
    refuses("{\"original_inference_steps\": 2000}", "lcm", 4, 0, "num_train_timesteps");
    refuses("{\"timestep_spacing\": \"leading\"}", "dpmpp_2m", 1000, 0, "999");
    refuses("{}", "ddim", 10, 1.5, "eta");
    refuses("{}", "ddim", 10, NAN, "eta");
    refuses("{}", "euler", 10, 0.5, "only the sampler ddim");
    refuses("{\"rescale_betas_zero_snr\": true, \"timestep_spacing\": \"trailing\"}", "ddim", 10, 0, "epsilon");
}

static void pythons_minus_infinity_is_understood(void **state)
{
    (void)state;
    const char *python = "{\"lambda_min_clipped\": -Infinity, \"note\": \"-Infinity \\\" -Infinity\"}";
    struct sampler s = make(python, "dpmpp_2m", 5, 0);
    assert_true(isinf(s.settings.lambda_min_clipped));
    sampler_free(&s);
    refuses("{\"lambda_min_clipped\": Infinity}", "dpmpp_2m", 5, 0, "1:24");
}

/* 1000 - 3 * (1000 / 48) is 937.5 on paper, and so 937 after rounding to even and subtracting 1. numpy's stride, the
 * difference of 1000 and 979.1666.., makes it 937.4999999999999. */
static void trailing_steps_round_like_numpy(void **state)
{
    (void)state;
    double t[61];
    assert_int_equal(schedule_trailing(1000, 1000.0 / 48, 48, t), 48);
    assert_float_equal(t[0], 999, 0);
    assert_float_equal(t[3], 936, 0);
    assert_float_equal(t[47], 20, 0);
    assert_int_equal(schedule_trailing(1000, 1000.0 / 61, 61, t), 61);
    assert_float_equal(t[60], 15, 0);
    assert_int_equal(schedule_trailing(10, 5.0, 4, t), 2);
}

static void betas_given_one_by_one_are_used(void **state)
{
    (void)state;
    struct sampler s = make("{\"num_train_timesteps\": 3, \"trained_betas\": [0.5, 0.25, 0.5]}", "ddim", 3, 0);
    assert_float_equal(s.alphas_cumprod[0], 0.5, 0);
    assert_float_equal(s.alphas_cumprod[1], 0.375, 0);
    assert_float_equal(s.alphas_cumprod[2], 0.1875, 0);
    sampler_free(&s);
}

static void the_cosine_schedule_follows_its_curve(void **state)
{
    (void)state;
    struct sampler s = make("{\"beta_schedule\": \"squaredcos_cap_v2\"}", "ddim", 10, 0);
    double scale = cos(0.008 / 1.008 * acos(-1) / 2);
    for (int t = 0; t < 990; t += 30) {
        double c = cos(((t + 1) / 1000.0 + 0.008) / 1.008 * acos(-1) / 2) / scale;
        assert_float_equal(s.alphas_cumprod[t], c * c, 1e-5);
    }
    sampler_free(&s);
}

static void clipped_lambdas_bound_the_first_sigma(void **state)
{
    (void)state;
    const char *cosine = "{\"beta_schedule\": \"squaredcos_cap_v2\", \"lambda_min_clipped\": -5.1}";
    struct sampler s = make(cosine, "dpmpp_2m", 10, 0);
    assert_true(-log(s.sigmas[0]) >= -5.1 && -log(s.sigmas[0]) < -4.9);
    assert_true(s.timesteps[0] < 999);
    sampler_free(&s);
}

static void predictions_are_clipped_where_the_config_says_so(void **state)
{
    (void)state;
    static const char *const names[] = {"ddim", "lcm"};
    for (int k = 0; k < 2; k++) {
        struct sampler s = make("{\"clip_sample\": true, \"clip_sample_range\": 2, \"timestep_scaling\": 1e6,"
                                " \"prediction_type\": \"sample\"}", names[k], 4, 0);
        float x[3] = {0, 0, 0}, x0[3], noise[3] = {0, 0, 0};
        sampler_step(&s, 0, (float[]){-5, 1.5f, 5}, noise, x, NULL, x0, 3);
        assert_float_equal(x0[0], -2, 1e-6);
        assert_float_equal(x0[1], 1.5, 1e-6);
        assert_float_equal(x0[2], 2, 1e-6);
        sampler_free(&s);
    }
}

/* If the data were Gaussian numbers of deviation d, x = alpha x0 + sigma epsilon would have the deviation
 * D = sqrt(alpha^2 d^2 + sigma^2), the best guess of x0 would be alpha d^2 x / D^2, and the exact flow from one noise
 * level to another would multiply x by the ratio of their D: see Karras et al. 2022, appendix B. */
static const double data_deviation = 1.5;

struct level {
    double alpha, sigma;
};

static struct level level_at(const struct sampler *s, int i)
{
    float alpha, sigma;
    sampler_add_noise(s, i, (float[]){1}, (float[]){0}, &alpha, 1);
    sampler_add_noise(s, i, (float[]){0}, (float[]){1}, &sigma, 1);
    return (struct level){alpha, sigma};
}

static double deviation(struct level at)
{
    return hypot(at.alpha * data_deviation, at.sigma);
}

/* What an ideal model answers, in the sampler's prediction_type. */
static float ideal_output(const struct sampler *s, struct level at, double x)
{
    double x0 = at.alpha * x * pow(data_deviation / deviation(at), 2), epsilon = (x - at.alpha * x0) / at.sigma;
    double norm = hypot(at.alpha, at.sigma);
    switch (s->settings.prediction_type) {
    case PREDICTION_EPSILON:
        return (float)epsilon;
    case PREDICTION_SAMPLE:
        return (float)x0;
    case PREDICTION_V:
        break;
    }
    return (float)((at.alpha * epsilon - at.sigma * x0) / norm);
}

/* Runs an ideal model; returns how far the last x is from the exact solution, relative. */
static double flow_error(const char *config, const char *name, int steps)
{
    struct sampler s = make(config, name, steps, 0);
    float x = (float)deviation(level_at(&s, 0)), history = 0;
    for (int i = 0; i < s.steps; i++) {
        float output = ideal_output(&s, level_at(&s, i), x);
        sampler_step(&s, i, &output, NULL, &x, &history, NULL, 1);
    }
    struct level end = {1, 0};
    if (s.kind == SAMPLER_DPMPP_2M)
        end = (struct level){1 / hypot(1, s.sigmas[s.steps]), s.sigmas[s.steps] / hypot(1, s.sigmas[s.steps])};
    sampler_free(&s);
    return fabs(x / deviation(end) - 1);
}

static void samplers_solve_the_flow_of_gaussian_data(void **state)
{
    (void)state;
    static const char *const types[] = {"epsilon", "v_prediction", "sample"};
    static const char *const names[] = {"ddim", "euler", "euler_karras", "dpmpp_2m", "dpmpp_2m_karras"};
    for (int n = 0; n < 5; n++)
        for (int k = 0; k < 3; k++) {
            char config[256];
            snprintf(config, sizeof config, "{" SD ", \"clip_sample\": false, \"timestep_spacing\": \"trailing\","
                     " \"prediction_type\": \"%s\"}", types[k]);
            double error = flow_error(config, names[n], 250);
            if (!(error < 0.01))
                fail_msg("%s with %s ends %g away", names[n], types[k], error);
        }
}

/* Twice the steps: a method of first order halves its error, one of second order quarters it. */
static void second_order_solvers_converge_faster(void **state)
{
    (void)state;
    const char *midpoint = "{" SD ", \"timestep_spacing\": \"trailing\"}";
    const char *heun = "{" SD ", \"timestep_spacing\": \"trailing\", \"solver_type\": \"heun\"}";
    const char *first = "{" SD ", \"timestep_spacing\": \"trailing\", \"solver_order\": 1}";
    double ratio = flow_error(first, "dpmpp_2m_karras", 20) / flow_error(first, "dpmpp_2m_karras", 40);
    assert_true(ratio > 1.7 && ratio < 2.4);
    assert_true(flow_error(midpoint, "dpmpp_2m_karras", 20) / flow_error(midpoint, "dpmpp_2m_karras", 40) > 3);
    assert_true(flow_error(heun, "dpmpp_2m_karras", 20) / flow_error(heun, "dpmpp_2m_karras", 40) > 3);
    assert_true(flow_error(heun, "dpmpp_2m_karras", 20) < flow_error(first, "dpmpp_2m_karras", 20) / 4);
}

/* Noise of the right size: with Gaussian data the deviation must come out right, as the mean of squares over many
 * numbers shows. 20000 of them leave 0.5 % to chance; 4 of those are allowed, and 1 % for the steps. */
static void stochastic_samplers_keep_the_deviation(void **state)
{
    (void)state;
    static const struct {
        const char *name, *extra;
        double eta;
    } cases[] = {{"ddim", "", 1}, {"ddim", "", 0.5}, {"euler_a", "", 0}, {"dpmpp_2m_sde", "", 0},
                 {"dpmpp_2m_sde_karras", ", \"solver_type\": \"heun\"", 0}};
    enum { N = 20000 };
    float *x = malloc(sizeof(float) * N * 4), *output = x + N, *noise = x + 2 * N, *history = x + 3 * N;
    for (int c = 0; c < 5; c++) {
        char config[256];
        snprintf(config, sizeof config, "{" SD ", \"clip_sample\": false, \"timestep_spacing\": \"trailing\"%s}",
                 cases[c].extra);
        struct sampler s = make(config, cases[c].name, 100, cases[c].eta);
        struct torch_rng rng;
        torch_seed(&rng, 7);
        torch_randn(&rng, x, N);
        for (int k = 0; k < N; k++)
            x[k] *= (float)deviation(level_at(&s, 0));
        for (int i = 0; i < s.steps; i++) {
            struct level at = level_at(&s, i);
            assert_true(sampler_draws_noise(&s, i));
            torch_randn(&rng, noise, N);
            for (int k = 0; k < N; k++)
                output[k] = ideal_output(&s, at, x[k]);
            sampler_step(&s, i, output, noise, x, history, NULL, N);
        }
        double squares = 0;
        for (int k = 0; k < N; k++)
            squares += (double)x[k] * x[k];
        double got = sqrt(squares / N);
        if (!(fabs(got / data_deviation - 1) < 0.03))
            fail_msg("%s, eta %g: deviation %g, not %g", cases[c].name, cases[c].eta, got, data_deviation);
        sampler_free(&s);
    }
    free(x);
}

static void a_final_sigma_of_zero_ends_at_the_prediction(void **state)
{
    (void)state;
    static const char *const names[] = {"dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "dpmpp_2m_sde_karras"};
    for (int k = 0; k < 4; k++) {
        struct sampler s = make("{" SD ", \"final_sigmas_type\": \"zero\"}", names[k], 20, 0);
        float x = 0.7f, history = 100, x0 = 0, output = 0.4f, noise = 3;
        sampler_step(&s, 19, &output, &noise, &x, &history, &x0, 1);
        assert_float_equal(x, x0, 1e-6);
        sampler_free(&s);
    }
}

/* Also where steps are so many that some share a timestep, and at Karras' last step of length 0. */
static void no_step_count_makes_infinities(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 14, 15, 16, 48, 61, 333, 998, 1000};
    static const char *const solvers[] = {"midpoint", "heun"};
    for (int k = 0; sampler_name_at(k) != NULL; k++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (int h = 0; h < 2; h++) {
                const char *name = sampler_name_at(k);
                if (strcmp(name, "lcm") == 0 && counts[c] > 50)
                    continue;
                char config[256];
                snprintf(config, sizeof config, "{" SD ", \"timestep_spacing\": \"linspace\","
                         " \"solver_type\": \"%s\"}", solvers[h]);
                struct sampler s = make(config, name, counts[c], strcmp(name, "ddim") == 0);
                float x = 1, history = 0, noise = 0.5f;
                for (int i = 0; i < s.steps; i++) {
                    float output = 0.1f * x;
                    sampler_step(&s, i, &output, &noise, &x, &history, NULL, 1);
                    if (!isfinite(x))
                        fail_msg("%s, %d steps, %s: step %d gives %g", name, counts[c], solvers[h], i, x);
                }
                sampler_free(&s);
            }
}

/* A run that was killed goes on from x, history and i; a started-late one (image to image) must not read history. */
static void a_trajectory_is_x_history_and_index(void **state)
{
    (void)state;
    for (int k = 0; sampler_name_at(k) != NULL; k++) {
        struct sampler s = make("{" SD "}", sampler_name_at(k), 8, 0);
        struct sampler again = make("{" SD "}", sampler_name_at(k), 8, 0);
        float x = 1, history = NAN, noise = 0.5f, saved_x = 0, saved_history = 0;
        for (int i = 0; i < 8; i++) {
            if (i == 4) {
                saved_x = x;
                saved_history = history;
            }
            float output = 0.3f * x;
            sampler_step(&s, i, &output, &noise, &x, &history, NULL, 1);
        }
        for (int i = 4; i < 8; i++) {
            float output = 0.3f * saved_x;
            sampler_step(&again, i, &output, &noise, &saved_x, &saved_history, NULL, 1);
        }
        assert_memory_equal(&saved_x, &x, sizeof x);
        again.first = 4;
        float late = 1, untouched = NAN, output = 0.3f;
        sampler_step(&again, 4, &output, &noise, &late, &untouched, NULL, 1);
        assert_true(isfinite(late));
        sampler_free(&s);
        sampler_free(&again);
    }
}

static void noise_is_drawn_when_the_reference_draws_it(void **state)
{
    (void)state;
    struct sampler ddim = make("{}", "ddim", 4, 0), eta = make("{}", "ddim", 4, 0.3), lcm = make("{}", "lcm", 4, 0);
    struct sampler euler = make("{}", "euler", 4, 0), dpm = make("{}", "dpmpp_2m", 4, 0);
    for (int i = 0; i < 4; i++) {
        assert_false(sampler_draws_noise(&ddim, i));
        assert_true(sampler_draws_noise(&eta, i));
        assert_true(sampler_draws_noise(&euler, i));
        assert_false(sampler_draws_noise(&dpm, i));
        assert_int_equal(sampler_draws_noise(&lcm, i), i < 3);
    }
    sampler_free(&ddim);
    sampler_free(&eta);
    sampler_free(&lcm);
    sampler_free(&euler);
    sampler_free(&dpm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_trajectory_is_reproduced),
        cmocka_unit_test(an_absent_key_takes_the_default_of_its_class),
        cmocka_unit_test(a_chosen_sampler_keeps_the_values_and_replaces_the_class),
        cmocka_unit_test(a_class_without_a_sampler_can_be_replaced_but_not_used),
        cmocka_unit_test(every_name_makes_the_sampler_it_names),
        cmocka_unit_test(the_default_config_is_the_published_one),
        cmocka_unit_test(unknown_values_and_wrong_kinds_are_refused),
        cmocka_unit_test(features_that_would_change_the_picture_are_refused),
        cmocka_unit_test(step_counts_out_of_range_are_refused),
        cmocka_unit_test(pythons_minus_infinity_is_understood),
        cmocka_unit_test(trailing_steps_round_like_numpy),
        cmocka_unit_test(betas_given_one_by_one_are_used),
        cmocka_unit_test(the_cosine_schedule_follows_its_curve),
        cmocka_unit_test(clipped_lambdas_bound_the_first_sigma),
        cmocka_unit_test(predictions_are_clipped_where_the_config_says_so),
        cmocka_unit_test(samplers_solve_the_flow_of_gaussian_data),
        cmocka_unit_test(second_order_solvers_converge_faster),
        cmocka_unit_test(stochastic_samplers_keep_the_deviation),
        cmocka_unit_test(a_final_sigma_of_zero_ends_at_the_prediction),
        cmocka_unit_test(no_step_count_makes_infinities),
        cmocka_unit_test(a_trajectory_is_x_history_and_index),
        cmocka_unit_test(noise_is_drawn_when_the_reference_draws_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
