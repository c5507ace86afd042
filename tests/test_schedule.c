/* Scheduler configs and noise schedules: defaults, what is refused, and the places of the steps. What samplers do
 * with them is for test_sampler.c, that whole trajectories are the reference's for the golden runner to see. */
#include "sdxl/checkpoint/infer.h"
#include "sdxl/sampling/sampler.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "sdxl/sampling/schedule.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "tests/made_sampler.h"

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
    const char *unipc = "{\"_class_name\": \"UniPCMultistepScheduler\", \"steps_offset\": 1, " SD "}";
    refuses(unipc, NULL, 10, 0, "UniPCMultistepScheduler");
    refuses("{\"_class_name\": \"PNDMScheduler\", \"skip_prk_steps\": false}", NULL, 10, 0, "skip_prk_steps");
    refuses("{}", NULL, 10, 0, "_class_name");
    struct sampler s = make(unipc, "ddim", 10, 0);
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
        assert_int_equal(s.steps, strcmp(name, "pndm") == 0 ? 8 : 7);
        sampler_free(&s);
    }
    assert_int_equal(count, 13);
    refuses("{}", "plms", 10, 0, "dpmpp_2m_karras");
}

/* What a single file samples with, which has no scheduler in it. */
static void the_inferred_config_is_the_published_one(void **state)
{
    (void)state;
    struct scheduler_config ours, published;
    struct tensor_file nothing = {0};
    struct text json = {0};
    infer_scheduler(&nothing, CHECKPOINT_SDXL, &json);
    assert_int_equal(scheduler_config_parse("inferred", json.data, json.length, &ours, NULL), OK);
    text_free(&json);
    const char *euler = "tests/golden/schedulers/euler/scheduler_config.json";
    assert_int_equal(scheduler_config_read(euler, &published, NULL), OK);
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

/* Nichol & Dhariwal 2021, eq. 17; betas are cut at 0.999. The first timestep is the noisiest training step whose
 * log(alpha / sigma) is not below the limit, and with linspace spacing exactly that one. */
static void clipped_lambdas_bound_the_first_sigma(void **state)
{
    (void)state;
    for (double least = -5.1; least < -1; least += 1) {
        char config[128];
        double product = 1;
        int first = -1;
        for (int t = 0; t < 1000; t++) {
            double ratio = pow(cos(((t + 1) / 1000. + 0.008) / 1.008 * M_PI / 2), 2) /
                           pow(cos((t / 1000. + 0.008) / 1.008 * M_PI / 2), 2);
            product *= fmax(ratio, 1 - 0.999);
            if (0.5 * log(product / (1 - product)) >= least)
                first = t;
        }
        snprintf(config, sizeof config, "{\"beta_schedule\": \"squaredcos_cap_v2\", \"lambda_min_clipped\": %g,"
                 " \"timestep_spacing\": \"linspace\"}", least);
        struct sampler s = make(config, "dpmpp_2m", 10, 0);
        assert_true(first > 0 && first < 999);
        assert_float_equal(s.timesteps[0], first, 0);
        assert_true(-log(s.sigmas[0]) >= least);
        sampler_free(&s);
    }
}

/* One more would begin beyond the last training step, or find none for itself. */
static void as_many_steps_as_there_are_are_taken(void **state)
{
    (void)state;
    static const struct {
        const char *config, *name, *says;
        int most, first; /* timestep */
    } cases[] = {
        {"{\"timestep_spacing\": \"leading\"}", "ddim", "1000", 1000, 999},
        {"{\"timestep_spacing\": \"leading\"}", "dpmpp_2m", "at most 999", 999, 999},
        {"{\"original_inference_steps\": 1000}", "lcm", "", 1000, 999},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sampler s = make(cases[i].config, cases[i].name, cases[i].most, 0);
        assert_int_equal(s.steps, cases[i].most);
        assert_float_equal(s.timesteps[0], cases[i].first, 0);
        sampler_free(&s);
        refuses(cases[i].config, cases[i].name, cases[i].most + 1, 0, cases[i].says);
    }
    refuses("{\"steps_offset\": 1, \"timestep_spacing\": \"leading\"}", "ddim", 1000, 0, "begin at timestep 1000");
    refuses("{\"original_inference_steps\": 1001}", "lcm", 4, 0, "1001");
}

/* Lin et al. 2024: without signal, epsilon says nothing of the picture; what it would be divided by is 0. */
static void a_first_step_without_signal_needs_another_prediction(void **state)
{
    (void)state;
#define NO_SIGNAL "\"rescale_betas_zero_snr\": true, \"timestep_spacing\": "
    refuses("{" NO_SIGNAL "\"trailing\", \"prediction_type\": \"epsilon\"}", "ddim", 10, 0, "leaves no signal");
    struct sampler v = make("{" NO_SIGNAL "\"trailing\", \"prediction_type\": \"v_prediction\"}", "ddim", 10, 0);
    struct sampler later = make("{" NO_SIGNAL "\"leading\", \"prediction_type\": \"epsilon\"}", "ddim", 10, 0);
    assert_float_equal(v.timesteps[0], 999, 0);
    assert_float_equal(later.timesteps[0], 900, 0);
    sampler_free(&v);
    sampler_free(&later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_absent_key_takes_the_default_of_its_class),
        cmocka_unit_test(a_chosen_sampler_keeps_the_values_and_replaces_the_class),
        cmocka_unit_test(a_class_without_a_sampler_can_be_replaced_but_not_used),
        cmocka_unit_test(every_name_makes_the_sampler_it_names),
        cmocka_unit_test(the_inferred_config_is_the_published_one),
        cmocka_unit_test(unknown_values_and_wrong_kinds_are_refused),
        cmocka_unit_test(features_that_would_change_the_picture_are_refused),
        cmocka_unit_test(step_counts_out_of_range_are_refused),
        cmocka_unit_test(pythons_minus_infinity_is_understood),
        cmocka_unit_test(trailing_steps_round_like_numpy),
        cmocka_unit_test(betas_given_one_by_one_are_used),
        cmocka_unit_test(the_cosine_schedule_follows_its_curve),
        cmocka_unit_test(clipped_lambdas_bound_the_first_sigma),
        cmocka_unit_test(as_many_steps_as_there_are_are_taken),
        cmocka_unit_test(a_first_step_without_signal_needs_another_prediction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
