/* What may go wrong around a run: damaged weights, files that change behind its back, too little memory, signals and
 * closed streams. It ends with one line that says what is the matter, and what was saved stays as it was. */
#include "sdxl/model.h"
#include "tensor/finite.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

#include <math.h>
#include <sys/stat.h>

static void an_infinity_or_a_nan_anywhere_is_found(void **state)
{
    (void)state;
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    enum { N = 9001 };
    float *x = some_floats(1, N);
    x[5] = 3.4028235e38f;
    x[6] = 1e-45f;
    assert_true(all_finite(x, N));
    for (int i = 0; i < N; i += i < 20 || i > 8980 ? 1 : 97)
        for (int k = 0; k < 3; k++) {
            float kept = x[i];
            x[i] = bad[k];
            assert_false(all_finite(x, N));
            assert_true(all_finite(x, i));
            x[i] = kept;
        }
    free(x);
}

/* A copy of the tiny model in the test's folder, with the value at the middle of a tensor replaced. */
static void damage(const struct folder *f, const char *part, const char *file, const char *tensor, uint16_t half,
                   float single)
{
    char path[128];
    prepare(f, "rm -rf $F/m && cp -rL tests/models/default $F/m && chmod -R u+w $F/m");
    snprintf(path, sizeof path, "m/%s/%s", part, file);
    struct safetensors opened;
    struct file_path where = folder_path(f, path);
    assert_int_equal(safetensors_open(where.text, &opened, NULL), OK);
    const struct tensor *t = safetensors_find(&opened, tensor);
    assert_non_null(t);
    size_t size = dtype_size(t->dtype), at = 0, total;
    char *bytes = read_bytes(where.text, &total);
    for (size_t i = 0; i + size <= total && at == 0; i++) /* where the tensor lies in the file */
        if (memcmp(bytes + i, t->data, smaller(64, tensor_count(t) * (int64_t)size)) == 0)
            at = i + (size_t)tensor_count(t) / 2 * size;
    assert_true(at > 0);
    memcpy(bytes + at, t->dtype == DTYPE_F32 ? (void *)&single : (void *)&half, size);
    safetensors_close(&opened);
    write_bytes(where.text, bytes, total);
    free(bytes);
}

static void damaged_weights_are_named_and_nothing_is_drawn(void **state)
{
    struct folder *f = *state;
    static const struct {
        const char *part, *file, *tensor, *stage;
    } cases[] = {
        {"unet", "diffusion_pytorch_model.safetensors", "mid_block.resnets.0.conv1.weight", "step 1 of 6"},
        {"unet", "diffusion_pytorch_model.safetensors", "conv_out.bias", "step 1 of 6"},
        {"vae", "diffusion_pytorch_model.safetensors", "decoder.conv_in.weight", "the decoder"},
        {"text_encoder", "model.safetensors", "text_model.encoder.layers.0.mlp.fc1.weight", "the text encoders"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < 2; kind++) {
            damage(f, cases[i].part, cases[i].file, cases[i].tensor, kind ? 0x7c00 : 0x7e01, kind ? INFINITY : NAN);
            assert_outcome(f, BOB SMALL "--model $F/m --output_dir $F/o --overwrite", 2,
                           SAYS(cases[i].stage, cases[i].tensor, cases[i].part));
            assert_false(has(f, "o/panel-01.png"));
        }
}

#define SLOW " --height 256 --width 256 --model $F/m --output_dir $F/o"

static void wait_for(const struct folder *f, const char *name)
{
    for (int i = 0; i < 6000 && !has(f, name); i++)
        usleep(5000);
    assert_true(has(f, name));
}

static void a_model_that_changes_under_a_run_is_noticed(void **state)
{
    struct folder *f = *state;
    prepare(f, "cp -rL tests/models/default $F/m && chmod -R u+w $F/m");
    pid_t child = program_start(f, BOB SMALL "--sampling_steps 500" SLOW);
    wait_for(f, "o/unfinished.safetensors");
    prepare(f, "touch -d '2020-01-01' $F/m/unet/diffusion_pytorch_model.safetensors");
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 2);
    assert_non_null(strstr(o.err, "unet/diffusion_pytorch_model.safetensors was changed while it was in use"));
    assert_true(has(f, "o/unfinished.safetensors"));
    outcome_free(&o);
}

static void a_model_that_is_cut_off_under_a_run_is_named(void **state)
{
    struct folder *f = *state;
    prepare(f, "cp -rL tests/models/default $F/m && chmod -R u+w $F/m");
    pid_t child = program_start(f, BOB SMALL "--sampling_steps 500" SLOW);
    wait_for(f, "o/unfinished.safetensors");
    prepare(f, "truncate -s 4096 $F/m/unet/diffusion_pytorch_model.safetensors");
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 2);
    assert_non_null(strstr(o.err, "unet/diffusion_pytorch_model.safetensors"));
    assert_true(has(f, "o/unfinished.safetensors"));
    outcome_free(&o);
}

static void too_little_memory_is_told_before_the_first_step(void **state)
{
    struct folder *f = *state;
    char command[1024];
    snprintf(command, sizeof command, "ulimit -v 400000; '%s' " BOB " --height 2048 --width 2048 --sampling_steps 50 "
             "--output_dir $F/o 2>$F/said", program());
    if (getenv("ASAN_OPTIONS") != NULL || access("build/sanitize", F_OK) == 0)
        skip(); /* AddressSanitizer reserves more than that */
    prepare(f, "true");
    assert_int_not_equal(system(command), 0);
    size_t size;
    char *said = read_bytes(folder_path(f, "said").text, &size);
    assert_true(strstr(said, "MB") != NULL || strstr(said, "memory") != NULL);
    assert_null(strstr(said, "step 1 of"));
    free(said);
}

/* A closed standard error must not become the state's file descriptor. */
static void without_standard_streams_nothing_lands_in_the_state(void **state)
{
    struct folder *f = *state;
    char command[1024];
    prepare(f, "cp -rL tests/models/default $F/m");
    snprintf(command, sizeof command,
             "'%s' " BOB SMALL "--sampling_steps 60" SLOW " <&- >&- 2>&- & child=$!; "
             "while [ ! -e $F/o/unfinished.safetensors ]; do sleep 0.01; done; kill -TERM $child; wait $child",
             program());
    system(command);
    assert_true(has(f, "o/unfinished.safetensors"));
    assert_done(f, "--resume --model $F/m --output_dir $F/o");
    assert_true(has(f, "o/panel-02.png"));
}

static void an_ignored_interrupt_stays_ignored(void **state)
{
    struct folder *f = *state;
    char command[1024];
    prepare(f, "cp -rL tests/models/default $F/m");
    snprintf(command, sizeof command,
             "trap '' INT; '%s' " BOB SMALL SLOW " 2>/dev/null & child=$!; "
             "while [ ! -e $F/o/unfinished.safetensors ]; do sleep 0.01; done; kill -INT $child; wait $child",
             program());
    assert_int_equal(system(command), 0);
    assert_true(has(f, "o/panel-02.png"));
}

static void a_small_stack_is_enough(void **state)
{
    struct folder *f = *state;
    char command[1024];
    if (access("build/sanitize", F_OK) == 0)
        skip(); /* AddressSanitizer's frames are larger */
    prepare(f, "true");
    snprintf(command, sizeof command, "ulimit -s 128; '%s' " BOB SMALL " --output_dir $F/o >/dev/null 2>&1", program());
    assert_int_equal(system(command), 0);
}

static void more_characters_than_a_panel_can_look_at_are_refused_while_planning(void **state)
{
    struct folder *f = *state;
    struct text story = {0};
    for (int i = 0; i < 64; i++)
        text_append(&story, "[C%d] a man\n", i);
    text_append(&story, "---\n");
    for (int i = 0; i < 64; i++)
        text_append(&story, "[C%d] alone\n", i);
    for (int i = 0; i < 64; i++)
        text_append(&story, "[C%d] ", i);
    text_append(&story, "all\n");
    write_bytes(folder_path(f, "story").text, story.data, story.length);
    text_free(&story);
    assert_outcome(f, "--story $F/story --output_dir $F/o", 2, SAYS("panel 65 names 64 characters"));
    assert_false(has(f, "o"));
}

static void a_dry_run_of_large_panels_is_quick(void **state)
{
    double start = seconds_now();
    assert_outcome(*state, BOB "--dry_run --height 4096 --width 4096 -t 1", 0, SAYS("estimated time"));
    double seconds = seconds_now() - start;
    if (seconds > 20) /* 0.6 s of computing; the rest is for a busy machine and sanitizers */
        fail_msg("%.1f s", seconds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_infinity_or_a_nan_anywhere_is_found),
        TEST(damaged_weights_are_named_and_nothing_is_drawn),
        TEST(a_model_that_changes_under_a_run_is_noticed),
        TEST(a_model_that_is_cut_off_under_a_run_is_named),
        TEST(too_little_memory_is_told_before_the_first_step),
        TEST(without_standard_streams_nothing_lands_in_the_state),
        TEST(an_ignored_interrupt_stays_ignored),
        TEST(a_small_stack_is_enough),
        TEST(more_characters_than_a_panel_can_look_at_are_refused_while_planning),
        TEST(a_dry_run_of_large_panels_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
