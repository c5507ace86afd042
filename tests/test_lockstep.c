/* Lockstep sampling of a small story: what may not change the result, to the bit, and what is known beforehand. */
#include "storydiff/csa/lockstep.h"
#include "tests/check.h"
#include "tests/small_story.h"

enum { STEPS = 3 };

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "euler_a", STEPS);
    float *one = final_latents(&s.request, 1), *two = final_latents(&s.request, 2),
          *seven = final_latents(&s.request, 7);
    int64_t count = STORY_PANELS * (s.request.height / 8) * (s.request.width / 8) * 4;
    check_same("2 threads", two, one, count);
    check_same("7 threads", seven, one, count);
    free(one);
    free(two);
    free(seven);
    small_story_close(&s);
}

static void the_seed_decides(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", 1);
    struct lockstep a, b;
    lockstep_open_well(&a, &s.request, 1);
    s.request.seed++;
    lockstep_open_well(&b, &s.request, 1);
    assert_memory_not_equal(a.latents, b.latents, (size_t)latent_floats(&a) * sizeof(float));
    lockstep_close(&a);
    lockstep_close(&b);
    small_story_close(&s);
}

/* ---------------------------------------------------------------------------------------------- passes and noise */

/* A pass alone: write passes alone, read passes after those of the characters they look at. The panels of the passes
 * that are left out stay as they were drawn. */
static void check_alone(const struct small_story *s, const float *together, const int *chosen, int count)
{
    struct story_pass passes[STORY_PASSES];
    struct lockstep_request r = s->request;
    for (int i = 0; i < count; i++)
        passes[i] = s->passes[chosen[i]];
    r.passes = passes; /* their negative prompts are all the same one */
    r.pass_count = count;
    float *alone = final_latents(&r, 1);
    int64_t size = (r.height / 8) * (r.width / 8) * 4;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < passes[i].panel_count; j++)
            check_same("a panel", alone + passes[i].panels[j] * size, together + passes[i].panels[j] * size, size);
    free(alone);
}

static void check_each_pass_alone(const struct small_story *s)
{
    float *together = final_latents(&s->request, 1);
    check_alone(s, together, (const int[]){0}, 1);
    check_alone(s, together, (const int[]){1}, 1);
    check_alone(s, together, (const int[]){0, 2}, 2);
    check_alone(s, together, (const int[]){0, 1, 3}, 3);
    check_alone(s, together, (const int[]){4}, 1);
    free(together);
}

static void a_pass_does_not_notice_the_others(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "dpmpp_2m", STEPS); /* remembers something of every panel */
    s.request.height = 32;
    check_each_pass_alone(&s);
    small_story_close(&s);
    small_story_open(&s, "euler_a", STEPS);
    s.request.height = 32;
    check_each_pass_alone(&s);
    s.request.csa = csa_defaults(CSA_MASKED);
    s.request.csa.id_length = 2;
    s.request.csa.start = 2; /* step 1 sees all tokens, step 2 some */
    check_each_pass_alone(&s);
    s.request.csa.mode = CSA_OFF;
    check_each_pass_alone(&s);
    small_story_close(&s);
}

static void readers_look_at_their_characters(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", STEPS);
    float *with = final_latents(&s.request, 1);
    s.request.csa.mode = CSA_OFF;
    float *without = final_latents(&s.request, 1);
    int64_t size = (s.request.height / 8) * (s.request.width / 8) * 4;
    for (int panel = 0; panel < 6; panel++)
        assert_memory_not_equal(with + panel * size, without + panel * size, (size_t)size * sizeof(float));
    check_same("the panel of nobody", with + 6 * size, without + 6 * size, size);
    free(with);
    free(without);
    small_story_close(&s);
}

/* torch.randn of a pass's panels together, from the seed: channels first. */
static void the_reference_noise_begins_anew_in_every_pass(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    small_story_open(&s, "ddim", STEPS);
    lockstep_open_well(&l, &s.request, 1);
    int64_t size = latent_floats(&l), pixels = l.h * l.w;
    float *pair = some_floats(s.request.seed, 2 * size), *single = some_floats(s.request.seed, size);
    for (int panel = 0; panel < STORY_PANELS; panel++)
        for (int64_t i = 0; i < size; i++) {
            int64_t at = i % l.c * pixels + i / l.c;
            assert_true(l.latents[panel * size + i] == (panel < 4 ? pair[panel % 2 * size + at] : single[at]));
        }
    free(pair);
    free(single);
    lockstep_close(&l);
    small_story_close(&s);
}

static void shared_noise_is_the_same_in_all_panels(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    small_story_open(&s, "euler_a", STEPS);
    s.request.noise = NOISE_SHARED;
    lockstep_open_well(&l, &s.request, 1);
    for (int panel = 1; panel < STORY_PANELS; panel++)
        check_same("a panel", l.latents + panel * latent_floats(&l), l.latents, latent_floats(&l));
    lockstep_close(&l);
    small_story_close(&s);
}

static void own_noise_is_another_in_every_panel(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    small_story_open(&s, "euler_a", STEPS);
    s.request.noise = NOISE_OWN;
    lockstep_open_well(&l, &s.request, 1);
    size_t bytes = (size_t)latent_floats(&l) * sizeof(float);
    for (int a = 0; a < STORY_PANELS; a++)
        for (int b = 0; b < a; b++)
            assert_memory_not_equal(l.latents + a * latent_floats(&l), l.latents + b * latent_floats(&l), bytes);
    lockstep_close(&l);
    small_story_close(&s);
}

/* ------------------------------------------------------------------------------------------------------- the rest */

/* Guidance 1 is the conditional half alone; it is computed without the other one. */
static void without_guidance_the_negative_prompt_is_not_looked_at(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", STEPS);
    s.request.guidance_scale = 1;
    float *before = final_latents(&s.request, 1);
    int64_t states = STORY_TOKENS * s.text.width, size = (s.request.height / 8) * (s.request.width / 8) * 4;
    for (int64_t i = 0; i < states; i++)
        s.text.states[STORY_PANELS * states + i] = NAN;
    float *after = final_latents(&s.request, 1);
    check_same("latents", after, before, STORY_PANELS * size);
    free(before);
    free(after);
    small_story_close(&s);
}

struct calls {
    struct {
        int step, half, pass;
    } seen[2 * STEPS * STORY_PASSES];
    int begun, done;
};

static void pass_begins(void *self, int step, int half, int pass)
{
    struct calls *c = self;
    assert_int_equal(c->begun, c->done);
    c->seen[c->begun].step = step;
    c->seen[c->begun].half = half;
    c->seen[c->begun++].pass = pass;
}

static void pass_done(void *self, int step, int half, int pass)
{
    struct calls *c = self;
    assert_int_equal(c->seen[c->done].step, step);
    assert_int_equal(c->seen[c->done].half, half);
    assert_int_equal(c->seen[c->done++].pass, pass);
}

static void watchers_are_told_of_every_half_of_every_pass(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    struct calls calls = {0};
    small_story_open(&s, "ddim", STEPS);
    lockstep_open_well(&l, &s.request, 1);
    for (int i = 0; i < STEPS; i++)
        lockstep_step(&l, &(struct context){.threads = 1}, &(struct lockstep_watch){pass_begins, pass_done, &calls});
    assert_int_equal(calls.done, 2 * STEPS * STORY_PASSES);
    for (int i = 0; i < calls.done; i++) {
        assert_int_equal(calls.seen[i].step, i / (2 * STORY_PASSES));
        assert_int_equal(calls.seen[i].half, i / STORY_PASSES % 2);
        assert_int_equal(calls.seen[i].pass, i % STORY_PASSES);
    }
    lockstep_close(&l);
    small_story_close(&s);
}

static void the_cost_is_known_before_the_run(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    struct lockstep_cost cost;
    struct profile profile = {0};
    struct error e = {0};
    small_story_open(&s, "ddim", STEPS);
    assert_int_equal(lockstep_measure(&s.request, 2, NULL, &cost, &e), OK);
    lockstep_open_well(&l, &s.request, 2);
    assert_int_equal(cost.memory, l.fixed.capacity + l.work.capacity + l.csa.memory.capacity);
    for (int i = 0; i < STEPS; i++)
        lockstep_step(&l, &(struct context){.threads = 2, .profile = &profile}, NULL);
    assert_int_equal(l.work.peak, l.work.capacity);
    for (int op = 0; op < OP_COUNT; op++) {
        assert_int_equal(cost.profile.rows[op].calls, profile.rows[op].calls);
        assert_true(cost.profile.rows[op].flops == profile.rows[op].flops);
        assert_true(cost.profile.rows[op].bytes == profile.rows[op].bytes);
        assert_true(cost.profile.rows[op].seconds == 0);
    }
    lockstep_close(&l);
    small_story_close(&s);
}

/* ------------------------------------------------------------------------------------------- what may be left out */

/* Outside of the interval a step is one without guidance. */
static void guidance_is_given_in_its_interval_alone(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l, plain;
    struct calls calls = {0};
    small_story_open(&s, "ddim", STEPS);
    struct lockstep_request unguided = s.request;
    unguided.guidance_scale = 1;
    s.request.guidance_from = 0.3; /* step 1 of 0, 1, 2 */
    s.request.guidance_to = 0.6;
    lockstep_open_well(&l, &s.request, 1);
    lockstep_open_well(&plain, &unguided, 1);
    int64_t all = STORY_PANELS * latent_floats(&l);
    for (int step = 0; step < STEPS; step++) {
        assert_int_equal(lockstep_first_half(&s.request, step), step == 1 ? 0 : 1);
        lockstep_go_on(&plain, step, l.latents, l.history);
        lockstep_step(&l, &(struct context){.threads = 1}, &(struct lockstep_watch){pass_begins, pass_done, &calls});
        lockstep_step(&plain, &(struct context){.threads = 1}, NULL);
        if (step != 1)
            check_same("an unguided step", l.latents, plain.latents, all);
        else
            assert_memory_not_equal(l.latents, plain.latents, (size_t)all * sizeof(float));
    }
    assert_int_equal(calls.done, 4 * STORY_PASSES);
    lockstep_close(&l);
    lockstep_close(&plain);
    s.request.guidance_from = 0; /* all steps */
    s.request.guidance_to = 1;
    float *whole = final_latents(&s.request, 1);
    s.request.guidance_to = 0;
    float *unset = final_latents(&s.request, 1);
    check_same("the whole interval", whole, unset, all);
    free(whole);
    free(unset);
    small_story_close(&s);
}

/* Steps that compute the inner blocks are those of a run that keeps nothing. */
static void kept_features_are_used_between_the_steps_that_compute_them(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l, plain;
    enum { MANY = 7 };
    small_story_open(&s, "euler_a", MANY);
    struct lockstep_request every = s.request;
    s.request.cache_interval = 3;
    lockstep_open_well(&l, &s.request, 2);
    lockstep_open_well(&plain, &every, 2);
    int64_t all = STORY_PANELS * latent_floats(&l);
    for (int step = 0; step < MANY; step++) {
        lockstep_go_on(&plain, step, l.latents, l.history);
        assert_int_equal(lockstep_is_complete(&l), step % 3 == 0);
        struct profile cost = {0}, whole = {0};
        lockstep_step(&l, &(struct context){.threads = 2, .profile = &cost}, NULL);
        lockstep_step(&plain, &(struct context){.threads = 2, .profile = &whole}, NULL);
        if (step == 0)
            continue; /* the text, too */
        if (step % 3 == 0) {
            check_same("a step that computes", l.latents, plain.latents, all);
            assert_true(cost.rows[OP_LINEAR].flops == whole.rows[OP_LINEAR].flops);
        } else {
            assert_memory_not_equal(l.latents, plain.latents, (size_t)all * sizeof(float));
            assert_true(cost.rows[OP_CONV].flops < 0.7 * whole.rows[OP_CONV].flops);
            assert_int_equal(cost.rows[OP_ATTENTION].calls, 0);
        }
    }
    lockstep_close(&l);
    lockstep_close(&plain);
    small_story_close(&s);
}

/* From a state that is complete a run goes on to the bit; threads do not matter. Together with a guidance interval that
 * begins between two such steps. */
static void kept_features_are_made_again_when_a_run_goes_on(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep first, second;
    enum { MANY = 7 };
    small_story_open(&s, "dpmpp_2m", MANY);
    s.request.cache_interval = 3;
    s.request.guidance_from = 0.55; /* from step 4 on */
    s.request.guidance_to = 1;
    float *unbroken = final_latents(&s.request, 1), *threads = final_latents(&s.request, 3);
    lockstep_open_well(&first, &s.request, 1);
    int64_t all = STORY_PANELS * latent_floats(&first);
    lockstep_advance(&first, 1, 3);
    assert_true(lockstep_is_complete(&first));
    lockstep_open_well(&second, &s.request, 1);
    lockstep_go_on(&second, 3, first.latents, first.history);
    lockstep_advance(&second, 1, MANY);
    check_same("gone on", second.latents, unbroken, all);
    check_same("3 threads", threads, unbroken, all);
    free(unbroken);
    free(threads);
    lockstep_close(&first);
    lockstep_close(&second);
    small_story_close(&s);
}

/* Other bits, but nearly the same picture; and what is left out is known before. */
static void the_cost_of_every_lever_is_known_before_the_run(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", STEPS);
    s.request.csa.mode = CSA_OFF;
    float *exact = final_latents(&s.request, 1);
    s.request.precision = PRECISION_INT8;
    float *rounded = final_latents(&s.request, 1);
    double off = 0, size = 0;
    int64_t all = STORY_PANELS * (s.request.height / 8) * (s.request.width / 8) * 4;
    for (int64_t i = 0; i < all; i++) {
        off += (rounded[i] - exact[i]) * (rounded[i] - exact[i]);
        size += exact[i] * exact[i];
    }
    /* The bar of one forward pass, 1 %, in both halves: guidance, g c - (g - 1) u, makes 2 g - 1 times that of it. */
    double limit = 0.01 * (2 * s.request.guidance_scale - 1);
    assert_true(off > 0 && sqrt(off / size) < limit);
    free(exact);
    free(rounded);
    s.request.cache_interval = 2;
    s.request.guidance_to = 0.5;
    struct lockstep l;
    struct lockstep_cost cost;
    struct profile profile = {0};
    struct error e = {0};
    assert_int_equal(lockstep_measure(&s.request, 2, NULL, &cost, &e), OK);
    lockstep_open_well(&l, &s.request, 2);
    assert_int_equal(cost.memory, l.fixed.capacity + l.work.capacity + l.csa.memory.capacity);
    assert_true(cost.deep > 0 && cost.deep < l.fixed.capacity);
    for (int i = 0; i < STEPS; i++)
        lockstep_step(&l, &(struct context){.threads = 2, .profile = &profile}, NULL);
    for (int op = 0; op < OP_COUNT; op++) {
        assert_int_equal(cost.profile.rows[op].calls, profile.rows[op].calls);
        assert_true(cost.profile.rows[op].flops == profile.rows[op].flops);
    }
    lockstep_close(&l);
    small_story_close(&s);
}

static void sizes_that_do_not_divide_are_refused(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{64, 40}, {36, 64}, {0, 64}, {64, 0}, {-64, 64}, {16, 64}, {33, 33}};
    struct small_story s;
    small_story_open(&s, "ddim", STEPS);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct lockstep l;
        struct lockstep_cost cost;
        struct error e = {0};
        s.request.height = sizes[i][0];
        s.request.width = sizes[i][1];
        assert_int_equal(lockstep_open(&l, &s.request, 1, NULL, &e), ERR_ARGUMENT);
        assert_non_null(strstr(e.message, "`height`"));
        assert_non_null(strstr(e.message, "32"));
        lockstep_close(&l);
        error_clear(&e);
        assert_int_equal(lockstep_measure(&s.request, 1, NULL, &cost, &e), ERR_ARGUMENT);
    }
    small_story_close(&s);
}

static void check_refused(const struct lockstep_request *r, const char *what)
{
    struct lockstep l;
    struct error e = {0};
    assert_int_equal(lockstep_open(&l, r, 1, NULL, &e), ERR_ARGUMENT);
    assert_non_null(strstr(e.message, what));
    lockstep_close(&l);
}

/* Of the story: two writers of two panels each, then readers, the second of which looks at both. */
static void passes_that_do_not_fit_the_bank_are_refused(void **state)
{
    (void)state;
    struct small_story s;
    struct story_pass passes[STORY_PASSES];
    int thirty_two[32] = {0};
    small_story_open(&s, "ddim", STEPS);
    memcpy(passes, s.passes, sizeof passes);
    s.request.passes = passes;
    s.request.csa.id_length = 3;
    check_refused(&s.request, "id_length is 3");
    s.request.csa.id_length = 2;
    passes[3].characters = thirty_two;
    passes[3].character_count = 32; /* 32 x 2 sets and the own one: HOOK_KEY_SETS + 1 */
    check_refused(&s.request, "`id_length`");
    memcpy(passes, s.passes + 1, sizeof passes - sizeof *passes);
    s.request.pass_count = STORY_PASSES - 1; /* the first character's writer is missing */
    check_refused(&s.request, "without id panels");
    s.request.csa.mode = CSA_OFF;
    free(final_latents(&s.request, 1));
    small_story_close(&s);
}

/* Wherever in a step the working memory ends, nothing is written beside it (AddressSanitizer watches), and it is
 * told. */
static void a_step_that_runs_out_of_memory_says_so(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    small_story_open(&s, "ddim", 6);
    lockstep_open_well(&l, &s.request, 2);
    lockstep_advance(&l, 2, 2);
    assert_int_equal(lockstep_check(&l, NULL), OK);
    const size_t whole = l.work.capacity, peak = l.work.peak;
    enum { PLACES = 60 };
    for (size_t i = 0; i <= PLACES; i++) {
        struct error e = {0};
        l.step = 2;
        l.work.exceeded = false;
        l.work.capacity = peak / 64 * i / PLACES * 64;
        lockstep_step(&l, &(struct context){.threads = 2}, NULL);
        assert_int_equal(lockstep_check(&l, &e), i < PLACES ? ERR_MEMORY : OK);
        assert_true(i == PLACES || strstr(e.message, "the UNet took more working memory") != NULL);
    }
    l.work.capacity = whole;
    lockstep_close(&l);
    small_story_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(a_pass_does_not_notice_the_others),
        cmocka_unit_test(readers_look_at_their_characters),
        cmocka_unit_test(the_reference_noise_begins_anew_in_every_pass),
        cmocka_unit_test(shared_noise_is_the_same_in_all_panels),
        cmocka_unit_test(own_noise_is_another_in_every_panel),
        cmocka_unit_test(without_guidance_the_negative_prompt_is_not_looked_at),
        cmocka_unit_test(watchers_are_told_of_every_half_of_every_pass),
        cmocka_unit_test(the_cost_is_known_before_the_run),
        cmocka_unit_test(guidance_is_given_in_its_interval_alone),
        cmocka_unit_test(kept_features_are_used_between_the_steps_that_compute_them),
        cmocka_unit_test(kept_features_are_made_again_when_a_run_goes_on),
        cmocka_unit_test(the_cost_of_every_lever_is_known_before_the_run),
        cmocka_unit_test(sizes_that_do_not_divide_are_refused),
        cmocka_unit_test(passes_that_do_not_fit_the_bank_are_refused),
        cmocka_unit_test(a_step_that_runs_out_of_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
