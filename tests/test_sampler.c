/* Samplers: what mathematics says of them. That their numbers are the reference's is for the golden runner to see. */
#include "sdxl/sampling/sampler.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "tensor/rng.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include <string.h>

#include "tests/check.h"
#include "tests/made_sampler.h"

enum { HISTORY = 4 }; /* the most that a sampler remembers of one value */

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

/* The product of 1 - beta up to training step t of 1000, for the betas of SD; of no step at all it is 1. */
static double alpha_bar(int t)
{
    double product = 1;
    for (int i = 0; i <= t; i++) {
        double root = sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999;
        product *= 1 - root * root;
    }
    return product;
}

/* Song et al. 2021, eq. 12 with sigma 0: x' = sqrt(a') x0 + sqrt(1 - a') epsilon, where a' belongs to 1000 / steps
 * training steps earlier, step 0 included; before it a' is 1, or that of step 0. */
static void ddim_goes_back_as_many_training_steps_as_its_formula_says(void **state)
{
    (void)state;
    for (int offset = 0; offset < 2; offset++)
        for (int to_one = 0; to_one < 2; to_one++) {
            char config[256];
            snprintf(config, sizeof config, "{" SD ", \"clip_sample\": false, \"timestep_spacing\": \"leading\","
                     " \"steps_offset\": %d, \"set_alpha_to_one\": %s}", offset, to_one ? "true" : "false");
            struct sampler s = make(config, "ddim", 50, 0);
            for (int i = 0; i < 50; i++) {
                int t = 20 * (49 - i) + offset, before = t - 20;
                double a = alpha_bar(t), b = alpha_bar(before < 0 ? to_one ? -1 : 0 : before), x = 0.7, epsilon = -0.3;
                double x0 = (x - sqrt(1 - a) * epsilon) / sqrt(a);
                float found = (float)x, output = (float)epsilon;
                sampler_step(&s, i, &output, NULL, &found, NULL, NULL, 1);
                assert_float_equal(found, sqrt(b) * x0 + sqrt(1 - b) * epsilon, 2e-5 * fabs(x0));
            }
            sampler_free(&s);
        }
}

/* Song et al. 2023, with sigma_data 1/2: f(x, t) = c_skip x + c_out x0. LCM scales t by 10, which leaves nothing of
 * the first term; here t is scaled so that the terms are alike. */
static void lcm_keeps_some_of_x_near_the_end(void **state)
{
    (void)state;
    struct sampler s = make("{" SD ", \"timestep_scaling\": 0.002, \"prediction_type\": \"sample\"}", "lcm", 4, 0);
    for (int i = 0; i < 4; i++) {
        double t = 0.002 * s.timesteps[i], skip = 0.25 / (t * t + 0.25), out = t / sqrt(t * t + 0.25);
        float x = 0.7f, x0 = -0.4f, noise = 0, seen;
        sampler_step(&s, i, &x0, &noise, &x, NULL, &seen, 1);
        assert_float_equal(seen, skip * 0.7 - out * 0.4, 1e-6);
        double signal = i < 3 ? sqrt(alpha_bar((int)s.timesteps[i + 1])) : 1;
        assert_float_equal(x, signal * (skip * 0.7 - out * 0.4), 1e-5);
    }
    sampler_free(&s);
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
    float x = (float)deviation(level_at(&s, 0)), history[HISTORY] = {0};
    for (int i = 0; i < s.steps; i++) {
        float output = ideal_output(&s, level_at(&s, i), x);
        sampler_step(&s, i, &output, NULL, &x, history, NULL, 1);
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

/* PNDM's first step is Heun's, of second order, and what it leaves behind is of that order. */
static void pndm_converges_faster_than_ddim(void **state)
{
    (void)state;
    const char *epsilon = "{" SD ", \"set_alpha_to_one\": true, \"timestep_spacing\": \"trailing\"}";
    const char *v = "{" SD ", \"set_alpha_to_one\": true, \"timestep_spacing\": \"trailing\","
                    " \"prediction_type\": \"v_prediction\"}";
    assert_true(flow_error(epsilon, "pndm", 250) < 0.002);
    assert_true(flow_error(v, "pndm", 250) < 0.01); /* the reference combines v, which is no derivative */
    assert_true(flow_error(epsilon, "pndm", 40) < flow_error(epsilon, "ddim", 40) / 4);
}

/* One call more than steps, the second timestep twice: 8 steps of the golden case are 876 751 751 626 ... 1. */
static void pndm_asks_twice_at_the_second_timestep(void **state)
{
    (void)state;
    struct sampler s = make("{" SD ", \"steps_offset\": 1}", "pndm", 8, 0), one = make("{" SD "}", "pndm", 1, 0);
    assert_int_equal(s.steps, 9);
    for (int i = 0; i < 9; i++)
        assert_int_equal((int)s.timesteps[i], 876 - 125 * (i > 1 ? i - 1 : i));
    assert_int_equal(one.steps, 1);
    sampler_free(&s);
    sampler_free(&one);
}

static void timesteps_of_ones_own_must_fall(void **state)
{
    (void)state;
    struct error e = {0};
    struct sampler s = make("{" SD "}", "lcm", 4, 0), ddim = make("{" SD "}", "ddim", 4, 0);
    assert_int_equal(sampler_set_timesteps(&s, (int[]){999, 759, 499, 259, 0}, 5, &e), OK);
    assert_int_equal(s.steps, 5);
    assert_int_equal((int)s.timesteps[3], 259);
    static const int bad[][2] = {{999, 999}, {500, 501}, {1000, 3}, {3, -1}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sampler_set_timesteps(&s, bad[i], 2, &e), ERR_ARGUMENT);
        assert_int_equal(s.steps, 5);
    }
    assert_int_equal(sampler_set_timesteps(&s, bad[0], 0, &e), ERR_ARGUMENT);
    assert_int_equal(sampler_set_timesteps(&ddim, (int[]){999}, 1, &e), ERR_ARGUMENT);
    sampler_free(&s);
    sampler_free(&ddim);
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
        float x = 0.7f, history[HISTORY] = {100}, x0 = 0, output = 0.4f, noise = 3;
        sampler_step(&s, 19, &output, &noise, &x, history, &x0, 1);
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
                float x = 1, history[HISTORY] = {0}, noise = 0.5f;
                for (int i = 0; i < s.steps; i++) {
                    float output = 0.1f * x;
                    sampler_step(&s, i, &output, &noise, &x, history, NULL, 1);
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
        float x = 1, history[HISTORY], noise = 0.5f, saved_x = 0, saved_history[HISTORY];
        for (int i = 0; i < HISTORY; i++)
            history[i] = NAN;
        for (int i = 0; i < s.steps; i++) {
            if (i == 4) {
                saved_x = x;
                memcpy(saved_history, history, sizeof history);
            }
            float output = 0.3f * x;
            sampler_step(&s, i, &output, &noise, &x, history, NULL, 1);
        }
        for (int i = 4; i < s.steps; i++) {
            float output = 0.3f * saved_x;
            sampler_step(&again, i, &output, &noise, &saved_x, saved_history, NULL, 1);
        }
        assert_memory_equal(&saved_x, &x, sizeof x);
        again.first = 4;
        float late = 1, untouched[HISTORY] = {NAN, NAN, NAN, NAN}, output = 0.3f;
        sampler_step(&again, 4, &output, &noise, &late, untouched, NULL, 1);
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

/* Where a step is said to stand still, no output of the model moves x; every other step does move it (but PNDM's from
 * timestep 0, which this config has, to itself). */
static void a_step_of_no_length_changes_nothing_and_no_other_does(void **state)
{
    (void)state;
    enum { N = 64, STEPS = 9 };
    for (int k = 0; sampler_name_at(k) != NULL; k++) {
        struct sampler s = make("{" SD "}", sampler_name_at(k), STEPS, 0);
        bool karras = strncmp(sampler_name_at(k), "dpmpp", 5) == 0 && strstr(sampler_name_at(k), "karras") != NULL;
        float *history = room(N * 4, sizeof *history), *x = some_floats(7, N), *before = room(N, sizeof *before);
        for (int i = 0; i < s.steps; i++) {
            float *output = some_floats(20 + i, N), *noise = some_floats(50 + i, N);
            memcpy(before, x, N * sizeof *x);
            sampler_step(&s, i, output, noise, x, history, NULL, N);
            bool same = memcmp(before, x, N * sizeof *x) == 0, still = sampler_stands_still(&s, i);
            assert_int_equal(still, karras && i == s.steps - 1);
            bool pndm_at_0 = s.kind == SAMPLER_PNDM && s.timesteps[i] == 0;
            if (same != (still || pndm_at_0))
                fail_msg("%s, step %d of %d", sampler_name_at(k), i + 1, s.steps);
            free(output);
            free(noise);
        }
        free(history);
        free(x);
        free(before);
        sampler_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_are_clipped_where_the_config_says_so),
        cmocka_unit_test(ddim_goes_back_as_many_training_steps_as_its_formula_says),
        cmocka_unit_test(lcm_keeps_some_of_x_near_the_end),
        cmocka_unit_test(samplers_solve_the_flow_of_gaussian_data),
        cmocka_unit_test(second_order_solvers_converge_faster),
        cmocka_unit_test(pndm_converges_faster_than_ddim),
        cmocka_unit_test(pndm_asks_twice_at_the_second_timestep),
        cmocka_unit_test(timesteps_of_ones_own_must_fall),
        cmocka_unit_test(stochastic_samplers_keep_the_deviation),
        cmocka_unit_test(a_final_sigma_of_zero_ends_at_the_prediction),
        cmocka_unit_test(no_step_count_makes_infinities),
        cmocka_unit_test(a_trajectory_is_x_history_and_index),
        cmocka_unit_test(noise_is_drawn_when_the_reference_draws_it),
        cmocka_unit_test(a_step_of_no_length_changes_nothing_and_no_other_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
