/* The state between two steps: what is saved continues to the same bits, what is damaged or another's is refused. */
#include "storydiff/csa/lockstep.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/small_story.h"

/* DDIM remembers nothing, Euler ancestral draws noise, DPM-Solver++ has a history, LCM draws noise on all steps but
 * one, PNDM has four of them and asks the model twice at one timestep. */
static const char *const samplers[] = {"ddim", "euler_a", "dpmpp_2m", "lcm", "pndm"};
enum { SAMPLERS = sizeof samplers / sizeof *samplers, STEPS = 3 };

/* The small story with pictures as small as they can be, and one half of the work. */
static void open_story(struct small_story *s, const char *sampler)
{
    small_story_open(s, sampler, STEPS);
    s->request.height = s->request.width = 32;
    s->request.guidance_scale = 1;
}

/* Two locksteps are at the same point: all that the next step depends on. */
static void check_same_state(const struct lockstep *found, const struct lockstep *wanted)
{
    int64_t count = wanted->request->panels * latent_floats(wanted);
    assert_int_equal(found->step, wanted->step);
    check_same("latents", found->latents, wanted->latents, count);
    check_same("history", found->history, wanted->history, sampler_history(wanted->request->sampler) * count);
}

static void save_well(const struct lockstep *l, const char *path)
{
    struct error e = {0};
    if (lockstep_save(l, path, "a recipe", &e) != OK)
        fail_msg("%s", e.message);
}

static void load_well(struct lockstep *l, const char *path)
{
    struct error e = {0};
    if (lockstep_load(l, path, &e) != OK)
        fail_msg("%s", e.message);
}

static struct file_path state_path(const struct folder *folder, int step)
{
    char name[32];
    snprintf(name, sizeof name, "step-%d.safetensors", step);
    return folder_path(folder, name);
}

/* Runs the story to its end, saving at every step: STEPS + 1 files. */
static void run_and_save(struct lockstep *l, const struct folder *folder)
{
    for (int step = 0; step <= STEPS; step++) {
        lockstep_advance(l, 1, step);
        save_well(l, state_path(folder, step).text);
    }
}

static void a_loaded_state_continues_to_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLERS; i++) {
        struct small_story s;
        struct lockstep whole, resumed;
        open_story(&s, samplers[i]);
        lockstep_open_well(&whole, &s.request, 1);
        run_and_save(&whole, own_folder());
        for (int step = 0; step <= STEPS; step++) {
            lockstep_open_well(&resumed, &s.request, 1);
            load_well(&resumed, state_path(own_folder(), step).text);
            assert_int_equal(resumed.step, step);
            lockstep_advance(&resumed, 1, STEPS);
            check_same_state(&resumed, &whole);
            lockstep_close(&resumed);
        }
        lockstep_close(&whole);
        small_story_close(&s);
    }
}

static void loading_goes_back_as_well_as_forward(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep whole, again;
    open_story(&s, "euler_a");
    lockstep_open_well(&whole, &s.request, 1);
    run_and_save(&whole, own_folder());
    lockstep_open_well(&again, &s.request, 1);
    lockstep_advance(&again, 1, STEPS);
    for (int step = STEPS; step >= 0; step--) {
        load_well(&again, state_path(own_folder(), step).text);
        lockstep_advance(&again, 1, STEPS);
        check_same_state(&again, &whole);
    }
    lockstep_close(&whole);
    lockstep_close(&again);
    small_story_close(&s);
}

static void every_noise_mode_can_be_resumed(void **state)
{
    (void)state;
    for (enum noise_mode noise = NOISE_REFERENCE; noise <= NOISE_OWN; noise++) {
        struct small_story s;
        struct lockstep whole, resumed;
        open_story(&s, "euler_a");
        s.request.noise = noise;
        lockstep_open_well(&whole, &s.request, 1);
        lockstep_open_well(&resumed, &s.request, 1);
        lockstep_advance(&whole, 1, 1);
        save_well(&whole, state_path(own_folder(), 1).text);
        lockstep_advance(&whole, 1, STEPS);
        load_well(&resumed, state_path(own_folder(), 1).text);
        lockstep_advance(&resumed, 1, STEPS);
        check_same_state(&resumed, &whole);
        lockstep_close(&whole);
        lockstep_close(&resumed);
        small_story_close(&s);
    }
}

static void a_state_keeps_its_recipe(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l;
    struct safetensors file;
    struct error e = {0};
    open_story(&s, "ddim");
    lockstep_open_well(&l, &s.request, 1);
    save_well(&l, state_path(own_folder(), 0).text);
    assert_int_equal(safetensors_open(state_path(own_folder(), 0).text, &file, &e), OK);
    assert_string_equal(safetensors_meta(&file, "recipe"), "a recipe");
    safetensors_close(&file);
    lockstep_close(&l);
    small_story_close(&s);
}

static void check_load_refused(struct lockstep *l, const struct lockstep *before, const char *path)
{
    struct error e = {0};
    assert_int_not_equal(lockstep_load(l, path, &e), OK);
    assert_non_null(strstr(e.message, path));
    check_same_state(l, before);
}

static void states_of_other_stories_are_refused(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l, before, other;
    open_story(&s, "dpmpp_2m");
    lockstep_open_well(&l, &s.request, 1);
    lockstep_open_well(&before, &s.request, 1);
    struct file_path path = state_path(own_folder(), 0);

    struct lockstep_request larger = s.request;
    larger.width *= 2;
    lockstep_open_well(&other, &larger, 1);
    save_well(&other, path.text);
    check_load_refused(&l, &before, path.text);
    lockstep_close(&other);

    struct lockstep_request fewer = s.request;
    fewer.panels = STORY_PANELS - 1;
    fewer.pass_count = STORY_PASSES - 1;
    lockstep_open_well(&other, &fewer, 1);
    save_well(&other, path.text);
    check_load_refused(&l, &before, path.text);
    lockstep_close(&other);

    check_load_refused(&l, &before, "tests/golden/vae/diffusion_pytorch_model.safetensors");
    check_load_refused(&l, &before, "/nowhere/state.safetensors");
    lockstep_close(&l);
    lockstep_close(&before);
    small_story_close(&s);
}

static void steps_that_the_run_does_not_have_are_refused(void **state)
{
    (void)state;
    static const char *const steps[] = {"4", "-1", "", "2x", "1e0", "99999999999999999999", NULL};
    struct small_story s;
    struct lockstep l, before;
    open_story(&s, "ddim");
    lockstep_open_well(&l, &s.request, 1);
    lockstep_open_well(&before, &s.request, 1);
    struct file_path path = state_path(own_folder(), 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct error e = {0};
        struct tensor t = {.data = l.latents, .dtype = DTYPE_F32, .rank = 4, .shape = {STORY_PANELS, l.h, l.w, l.c}};
        struct named_tensor tensors[] = {{"latents", t}, {"history", t}};
        const char *const metadata[] = {steps[i] != NULL ? "step" : NULL, steps[i], NULL};
        assert_int_equal(safetensors_write(path.text, tensors, 2, metadata, &e), OK);
        check_load_refused(&l, &before, path.text);
    }
    lockstep_close(&l);
    lockstep_close(&before);
    small_story_close(&s);
}

static void states_cut_short_are_refused(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l, before;
    open_story(&s, "dpmpp_2m");
    lockstep_open_well(&l, &s.request, 1);
    lockstep_open_well(&before, &s.request, 1);
    struct file_path path = state_path(own_folder(), 0);
    save_well(&l, path.text);
    size_t size;
    char *bytes = read_bytes(path.text, &size);
    for (size_t kept = 0; kept < size; kept += kept < 600 ? 1 : 97) {
        write_bytes(path.text, bytes, kept);
        check_load_refused(&l, &before, path.text);
    }
    free(bytes);
    lockstep_close(&l);
    lockstep_close(&before);
    small_story_close(&s);
}

/* Numbers have no check sums, and the recipe is any text; whatever else a changed byte hits is noticed, or it is
 * another step of the same run. */
static void damaged_headers_are_refused_or_harmless(void **state)
{
    (void)state;
    struct small_story s;
    struct lockstep l, before;
    open_story(&s, "dpmpp_2m");
    lockstep_open_well(&l, &s.request, 1);
    lockstep_open_well(&before, &s.request, 1);
    struct file_path path = state_path(own_folder(), 0);
    save_well(&l, path.text);
    size_t size, header = 0;
    char *bytes = read_bytes(path.text, &size);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | (unsigned char)bytes[i];
    int refused = 0;
    for (size_t i = 0; i < 8 + header; i++) {
        struct error e = {0};
        bytes[i] ^= (char)(1 << i % 7);
        write_bytes(path.text, bytes, size);
        bytes[i] ^= (char)(1 << i % 7);
        if (lockstep_load(&l, path.text, &e) != OK) {
            check_same_state(&l, &before);
            refused++;
        } else {
            assert_in_range(l.step, 0, STEPS);
            l.step = 0;
            check_same_state(&l, &before);
        }
    }
    assert_true(refused > (int)header / 2);
    free(bytes);
    lockstep_close(&l);
    lockstep_close(&before);
    small_story_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_loaded_state_continues_to_the_same_bits),
        TEST(loading_goes_back_as_well_as_forward),
        TEST(every_noise_mode_can_be_resumed),
        TEST(a_state_keeps_its_recipe),
        TEST(states_of_other_stories_are_refused),
        TEST(steps_that_the_run_does_not_have_are_refused),
        TEST(states_cut_short_are_refused),
        TEST(damaged_headers_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
