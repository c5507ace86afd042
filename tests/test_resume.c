/* Losing hours of drawing is the worst that can happen to a user: the program is killed at many moments, goes on, and
 * must leave the same bytes as a run that nobody disturbed. */
#include "tensor/safetensors.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

#include <sys/stat.h>
#include <time.h>

enum { STEPS = 6, PATIENCE = 120 /* seconds, for slow machines and sanitizers */ };

/* Two id panels, then one that looks at them. */
#define STORY BOB "-p 'on a boat #Far out.' --csa sampled --id_length 2 -t 1" SMALL
#define SLOW " --height 192 --width 192 " /* so that a step takes a while */

static void rest(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
}

/* Between 0 and `most`; the same in every run of the test. */
static double some_seconds(struct torch_rng *g, double most)
{
    float share;
    torch_rand(g, &share, 1);
    return most * (double)share;
}

/* The number of steps in the state of a folder, -1 if there is none. */
static int saved_step(const struct folder *f, const char *name)
{
    char path[128];
    struct safetensors file;
    snprintf(path, sizeof path, "%s/unfinished.safetensors", name);
    if (safetensors_open(folder_path(f, path).text, &file, NULL) != OK)
        return -1;
    int step = atoi(safetensors_meta(&file, "step"));
    safetensors_close(&file);
    return step;
}

static bool has_ended(pid_t child)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
}

/* Until the state has that step. False if the program has ended before. */
static bool wait_for_step(const struct folder *f, pid_t child, const char *name, int step)
{
    for (double start = seconds_now(); saved_step(f, name) < step; rest(0.001)) {
        if (has_ended(child))
            return false;
        if (seconds_now() - start > PATIENCE)
            fail_msg("%d seconds, and no step %d in %s", PATIENCE, step, name);
    }
    return true;
}

/* Starts, kills a moment after a step was saved, starts again, until all steps are saved; then lets it end. Returns
 * the number of kills. */
static int run_with_kills(const struct folder *f, const char *words, const char *name, struct torch_rng *g,
                          double moment)
{
    int kills = 0;
    for (int step = saved_step(f, name); step < STEPS; step = saved_step(f, name)) {
        pid_t child = program_start(f, words);
        if (wait_for_step(f, child, name, step + 1))
            rest(some_seconds(g, moment));
        kill(child, SIGKILL);
        struct outcome o = program_wait(f, child);
        int status = o.status;
        if (status != 0 && status != 128 + SIGKILL)
            fail_msg("storydiff %s: exit status %d: %s", words, o.status, o.err);
        outcome_free(&o);
        if (status == 0) /* it was faster */
            return kills;
        kills++;
    }
    assert_done(f, words);
    return kills;
}

/* --------------------------------------------------------------------------------------------------------- kills */

static void a_killed_run_goes_on_to_the_same_bytes(void **state)
{
    static const char *const samplers[] = {"ddim --eta 1", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "lcm"};
    struct folder *f = *state;
    struct torch_rng g;
    int kills = 0;
    torch_seed(&g, 1);
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
        char words[512];
        prepare(f, "rm -rf $F/whole $F/o");
        snprintf(words, sizeof words, STORY "--output_dir $F/whole --no_save --sampler %s", samplers[i]);
        assert_done(f, words);
        snprintf(words, sizeof words, STORY "--output_dir $F/o --resume --sampler %s", samplers[i]);
        kills += run_with_kills(f, words, "o", &g, 0.03);
        assert_same_pictures(f, "whole", "o");
    }
    assert_true(kills > 0);
}

/* Links the state into `last` if it is that of the last step. */
static bool catch_state(const struct folder *f, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/unfinished.safetensors", name);
    if (link(folder_path(f, path).text, folder_path(f, "last/unfinished.safetensors").text) != 0)
        return false;
    if (saved_step(f, "last") == STEPS)
        return true;
    unlink(folder_path(f, "last/unfinished.safetensors").text);
    return false;
}

/* Runs it in the folder `started`, and puts the state after its last step, when only the pictures are left to do,
 * into the folder `last`. */
static void leave_before_pictures(const struct folder *f, const char *words)
{
    char command[512];
    bool caught = false;
    snprintf(command, sizeof command, "%s --output_dir $F/started", words);
    prepare(f, "mkdir -p $F/last $F/started; cp -r $F/started $F/before");
    for (double start = seconds_now(); !caught && seconds_now() - start < PATIENCE;) {
        prepare(f, "rm -rf $F/started; cp -r $F/before $F/started");
        pid_t child = program_start(f, command);
        while (!caught && !has_ended(child))
            caught = catch_state(f, "started");
        kill(child, SIGKILL);
        struct outcome o = program_wait(f, child);
        outcome_free(&o);
    }
    assert_true(caught);
}

/* Kills while panels and pages are written; then the same with everything that `words` asks for. */
static void assert_pictures_survive_kills(const struct folder *f, const char *words, double moment)
{
    char command[512];
    struct torch_rng g;
    torch_seed(&g, 2);
    snprintf(command, sizeof command, "%s --output_dir $F/o --resume", words);
    for (int i = 0; i < 6; i++) {
        prepare(f, "rm -rf $F/o; cp -r $F/last $F/o");
        pid_t child = program_start(f, command);
        rest(moment * i / 6 + some_seconds(&g, moment / 6));
        kill(child, SIGKILL);
        struct outcome o = program_wait(f, child);
        outcome_free(&o);
        assert_done(f, command);
        assert_same_pictures(f, "whole", "o");
    }
}

/* How long a run takes that has only the pictures to do. */
static double seconds_for_pictures(const struct folder *f, const char *words)
{
    char command[512];
    snprintf(command, sizeof command, "%s --output_dir $F/o --resume", words);
    prepare(f, "rm -rf $F/o; cp -r $F/last $F/o");
    double start = seconds_now();
    assert_done(f, command);
    assert_same_pictures(f, "whole", "o");
    return seconds_now() - start;
}

static void a_run_killed_while_writing_pictures_goes_on(void **state)
{
    struct folder *f = *state;
#define PAGED BOB SMALL "--comic_type four "
    assert_done(f, PAGED "--output_dir $F/whole");
    leave_before_pictures(f, PAGED);
    assert_pictures_survive_kills(f, PAGED, seconds_for_pictures(f, PAGED));
}

/* The longer story that was there before must be gone in the end, however often the new one was killed. */
static void an_overwriting_run_that_was_killed_goes_on(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB SMALL "-p 3 -p 4 --seed 1 --output_dir $F/last");
    assert_done(f, BOB SMALL "--output_dir $F/whole");
    leave_before_pictures(f, BOB SMALL "--overwrite");
    assert_pictures_survive_kills(f, BOB SMALL, seconds_for_pictures(f, BOB SMALL));
}

/* The older panels are kept once, not once per start. */
static void redrawing_that_was_killed_goes_on(void **state)
{
    struct folder *f = *state;
#define REDRAW BOB SMALL "--seed 5 --only 2"
    assert_done(f, BOB SMALL "--output_dir $F/whole");
    prepare(f, "cp -r $F/whole $F/last; cp -r $F/whole $F/started");
    assert_done(f, REDRAW " --output_dir $F/whole");
    leave_before_pictures(f, REDRAW);
    prepare(f, "cp $F/started/panel-02.before-1.png $F/last");
    assert_pictures_survive_kills(f, REDRAW, seconds_for_pictures(f, REDRAW));
    assert_true(has(f, "o/panel-02.before-1.png"));
    assert_false(has(f, "o/panel-02.before-2.png"));
}

static void what_a_killed_run_was_writing_is_tidied_up(void **state)
{
    struct folder *f = *state;
    prepare(f, "mkdir $F/o && touch $F/o/unfinished.safetensors.tmp-12 $F/o/panel-01.png.tmp-1234567 "
               "$F/o/page-01.png.tmp-5 $F/o/preview.png.tmp-5 $F/o/mine.tmp-5 $F/o/panel-01.png.tmp-x");
    assert_done(f, BOB SMALL "--output_dir $F/o");
    struct listing l = listing_of(f, "o");
    assert_int_equal(l.count, 2 + 2);
    assert_true(has(f, "o/mine.tmp-5"));
    assert_true(has(f, "o/panel-01.png.tmp-x"));
}

/* -------------------------------------------------------------------------------------------------------- Ctrl-C */

/* Stops a run after its second step, which leaves its state in the folder o; the outcome's caller frees it. */
static struct outcome stop_with(const struct folder *f, const char *words, int signal)
{
    for (int i = 0; i < 20; i++) {
        prepare(f, "rm -rf $F/o $F/parts");
        pid_t child = program_start(f, words);
        wait_for_step(f, child, "o", 2);
        kill(child, signal);
        struct outcome o = program_wait(f, child);
        if (o.status != 0)
            return o;
        outcome_free(&o); /* it was faster */
    }
    fail_msg("storydiff %s: always faster than the signal", words);
    return (struct outcome){0};
}

/* What stands below "go on with:", without the line break. */
static const char *printed_command(struct outcome *o)
{
    static const char before[] = "go on with:\n";
    char *command = strstr(o->err, before);
    if (command == NULL)
        fail_msg("no command that goes on:\n%s", o->err);
    command += strlen(before);
    command[strlen(command) - 1] = '\0';
    return command;
}

/* Runs the printed command just as it is, but for its output. */
static void obey(const struct folder *f, struct outcome *o)
{
    char command[4096];
    struct file_path silent = folder_path(f, "obeyed.txt");
    snprintf(command, sizeof command, "exec >%s 2>&1\n%s", silent.text, printed_command(o));
    int status = system(command);
    size_t size;
    char *said = read_bytes(silent.text, &size);
    if (status != 0)
        fail_msg("%s\nexit status %d: %s", printed_command(o), WEXITSTATUS(status), said);
    free(said);
}

static void ctrl_c_finishes_the_step_and_prints_the_command_that_goes_on(void **state)
{
    static const char *const prompts[] = {
        "--general-prompt \"it's a \\$HOME of \\`ls\\` \\\\ \\\"men\\\" ; rm *\" -p --overwrite -p 'x # y' -n 'a\nb'",
        "--general_prompt=bob --prompt=--resume --overwrite=yes -n ''",
    };
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        char words[512];
        prepare(f, "rm -rf $F/whole $F/o");
        snprintf(words, sizeof words, "%s" SMALL SLOW "-t 1 --output_dir $F/whole", prompts[i]);
        assert_done(f, words);
        snprintf(words, sizeof words, "%s" SMALL SLOW "-t 1 --output_dir $F/o --overwrite", prompts[i]);
        struct outcome o = stop_with(f, words, SIGINT);
        assert_int_equal(o.status, 130);
        assert_non_null(strstr(o.err, "stopped after step "));
        assert_non_null(strstr(o.err, ", seed 3407, saved; go on with:\n"));
        assert_true(saved_step(f, "o") >= 2);
        struct listing l = listing_of(f, "o");
        assert_int_equal(l.count, 1); /* the state, and no half of anything */
        obey(f, &o);
        assert_same_pictures(f, "whole", "o");
        outcome_free(&o);
    }
}

/* With -1 whoever goes on means the seed that was drawn when the run began. */
static void any_seed_is_drawn_once(void **state)
{
    struct folder *f = *state;
    struct outcome o = stop_with(f, BOB SMALL SLOW "--seed -1 --output_dir $F/o", SIGINT);
    assert_int_equal(o.status, 130);
    obey(f, &o);
    outcome_free(&o);
    assert_done(f, BOB "--height 64 --width 64 --sampling_steps 6 --seed -1 --output_dir $F/pages");
    assert_done(f, BOB "--height 64 --width 64 --sampling_steps 6 --seed -1 --output_dir $F/pages --pages_only");
    assert_done(f, BOB "--height 64 --width 64 --sampling_steps 6 --seed -1 --output_dir $F/pages --resume");
}

static void a_termination_signal_is_as_gentle(void **state)
{
    struct folder *f = *state;
    assert_done(f, STORY SLOW "--output_dir $F/whole");
    struct outcome o = stop_with(f, STORY SLOW "--output_dir $F/o", SIGTERM);
    assert_int_equal(o.status, 130);
    obey(f, &o);
    assert_same_pictures(f, "whole", "o");
    outcome_free(&o);
}

static void a_stop_between_two_pictures_goes_on(void **state)
{
    struct folder *f = *state;
#define MANY BOB SMALL SLOW "-p 3 -p 4 -p 5 -p 6 -p 7 -p 8 --sampling_steps 1 -t 1 "
    assert_done(f, MANY "--output_dir $F/whole");
    pid_t child = program_start(f, MANY "--output_dir $F/o");
    for (double start = seconds_now(); !has(f, "o/panel-01.png") && seconds_now() - start < PATIENCE;)
        rest(0.001);
    kill(child, SIGINT);
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 130);
    assert_non_null(strstr(o.err, "stopped before the picture of panel "));
    obey(f, &o);
    assert_same_pictures(f, "whole", "o");
    outcome_free(&o);
}

static void a_resumed_dump_goes_on_with_the_right_step(void **state)
{
    struct folder *f = *state;
    assert_done(f, STORY SLOW "--output_dir $F/whole --dump $F/all");
    struct outcome o = stop_with(f, STORY SLOW "--output_dir $F/o --dump $F/parts", SIGINT);
    assert_int_equal(o.status, 130);
    obey(f, &o);
    for (int step = 1; step <= STEPS; step++) {
        char all[64], parts[64];
        snprintf(all, sizeof all, "all/step-%03d-pass-2", step);
        snprintf(parts, sizeof parts, "parts/step-%03d-pass-2", step);
        size_t size, other;
        char *a = read_bytes(folder_path(f, strcat(all, "/noise_pred.safetensors")).text, &size);
        char *b = read_bytes(folder_path(f, strcat(parts, "/noise_pred.safetensors")).text, &other);
        assert_true(size == other && memcmp(a, b, size) == 0);
        free(a);
        free(b);
    }
    prepare(f, "[ $(find $F/all -type f | wc -l) = $(find $F/parts -type f | wc -l) ]");
    outcome_free(&o);
}

/* ------------------------------------------------------------------------------------------------------ refusals */

/* Exit status 2, one line that says `says`, and the folder o as it was. */
static void assert_refused(const struct folder *f, const char *words, const char *says)
{
    struct listing before = listing_of(f, "o");
    struct outcome o = run(f, words);
    if (o.status != 2 || strncmp(o.err, "storydiff: ", 11) != 0 || strchr(o.err, '\n') != o.err + strlen(o.err) - 1 ||
        strstr(o.err, says) == NULL)
        fail_msg("storydiff %s\nexit status %d; it should say \"%s\":\n%s", words, o.status, says, o.err);
    struct listing after = listing_of(f, "o");
    assert_same_folder(&before, &after);
    outcome_free(&o);
}

static void other_settings_are_refused_by_name(void **state)
{
    static const struct {
        const char *words, *name;
    } cases[] = {
        {"--seed 4", "another seed (then: 3407; now: 4)"},
        {"--sampling_steps 7", "another sampling_steps (then: 6; now: 7)"},
        {"-p 'one more'", "another story "},
        {"--general_prompt 'a woman'", "another story (then: a man, black suit --- in"},
        {"--model $F/other", "another model (then: default; now: other)"},
        {"--model $F/same/default", "another model_fingerprint "},
        {"--style_name Watercolor", "another style_name (then: Comic book; now: Watercolor)"},
        {"-n crowd", "another negative_prompt (then: not given; now: crowd)"},
        {"-n ''", "another negative_prompt (then: not given; now: )"},
        {"--height 64", "another height "},
        {"--width 64", "another width "},
        {"--guidance_scale 4.5", "another guidance_scale (then: 5; now: 4.5)"},
        {"--sampler euler", "another sampler (then: ddim; now: euler)"},
        {"--eta 1", "another eta "},
        {"--noise own", "another noise "},
        {"--csa off", "another csa "},
        {"--csa_start 2", "another csa_start "},
        {"--id_length 1", "another id_length "},
        {"--sa32 0.6", "another sa32 "},
        {"--sa64 0.6", "another sa64 "},
        {"--freeu", "another freeu "},
        {"--long_prompt truncate", "another long_prompt "},
        {"--comic_type four", "another comic_type "},
        {"--only 1", "another only (then: not given; now: 1)"},
    };
    struct folder *f = *state;
    prepare(f, "cp -r tests/models/default $F/other; mkdir $F/same; cp -r $F/other $F/same/default; "
               "W=$F/same/default/unet/diffusion_pytorch_model.safetensors; truncate -s -64 $W; "
               "head -c 64 /dev/zero >> $W");
    struct outcome o = stop_with(f, STORY SLOW "--output_dir $F/o", SIGINT);
    assert_int_equal(o.status, 130);
    outcome_free(&o);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[1024];
        snprintf(words, sizeof words, STORY SLOW "--output_dir $F/o --resume %s", cases[i].words);
        assert_refused(f, words, cases[i].name);
    }
    assert_refused(f, STORY SLOW "--output_dir $F/o", "go on with --resume, start anew with --overwrite");
    assert_done(f, STORY SLOW "--output_dir $F/o --resume --threads 2 --verbose --preview_every 4"); /* may change */
}

static void a_finished_run_says_so_and_changes_nothing(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB SMALL "--output_dir $F/o");
    prepare(f, "touch -d '2001-02-03' $F/o/*");
    struct listing before = listing_of(f, "o");
    assert_outcome(f, BOB SMALL "--output_dir $F/o --resume", 0, SAYS("already finished: ", "seed 3407"));
    struct listing after = listing_of(f, "o");
    assert_same_folder(&before, &after);
    prepare(f, "[ -z \"$(find $F/o -newermt 2001-02-04 -type f)\" ]");

    assert_refused(f, BOB SMALL "--output_dir $F/o --resume --seed 4", "o/panel-01.png was made with another seed");
    prepare(f, "rm $F/o/panel-02.png");
    assert_refused(f, BOB SMALL "--output_dir $F/o --resume", "has some of the results (panel-01.png ..) but no ");
}

static void with_nothing_there_resuming_is_starting(void **state)
{
    assert_outcome(*state, BOB SMALL "--output_dir $F/o --resume", 0, SAYS("nothing to resume", "2 panels"));
}

/* A state with this run's own recipe, but with another step or tensors of n values. */
static void write_state(const struct folder *f, const char *step, int64_t n)
{
    struct error e = {0};
    struct safetensors file;
    assert_int_equal(safetensors_open(folder_path(f, "good").text, &file, &e), OK);
    float *values = some_floats(1, n);
    struct tensor tensor = {.data = values, .dtype = DTYPE_F32, .rank = 1, .shape = {n}};
    struct named_tensor tensors[] = {{"latents", tensor}, {"history", tensor}};
    const char *const metadata[] = {"step", step, "recipe", safetensors_meta(&file, "recipe"), NULL};
    struct file_path path = folder_path(f, "o/unfinished.safetensors");
    assert_int_equal(safetensors_write(path.text, tensors, 2, metadata, &e), OK);
    safetensors_close(&file);
    free(values);
}

static void a_damaged_or_foreign_state_is_refused_and_kept(void **state)
{
    static const char *const damages[] = {
        "printf '' > $S",
        "echo 'drawn by hand, long ago' > $S",
        "truncate -s -1 $S",
        "truncate -s 100 $S",
        "echo >> $S",
        "printf '\\377\\377\\377\\377\\377\\377\\377\\177' | dd of=$S conv=notrunc status=none",
        "cp tests/models/default/vae/diffusion_pytorch_model.safetensors $S",
    };
    struct folder *f = *state;
    struct outcome o = stop_with(f, STORY SLOW "--output_dir $F/o", SIGINT);
    assert_int_equal(o.status, 130);
    outcome_free(&o);
    prepare(f, "cp $F/o/unfinished.safetensors $F/good");
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char command[512];
        snprintf(command, sizeof command, "S=$F/o/unfinished.safetensors; cp $F/good $S; %s", damages[i]);
        prepare(f, command);
        assert_refused(f, STORY SLOW "--output_dir $F/o --resume", "cannot be resumed; --overwrite starts anew");
        assert_refused(f, "--output_dir $F/o --resume", "cannot be resumed; --overwrite, with the story said again");
        assert_refused(f, STORY SLOW "--output_dir $F/o", "has an unfinished run");
    }

    static const char *const steps[][2] = {
        {"99", "its step is \"99\""}, {"-1", "its step is \"-1\""}, {"x", "its step is \"x\""}, {"3", "\"latents\""}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        write_state(f, steps[i][0], 3);
        struct listing before = listing_of(f, "o");
        assert_outcome(f, STORY SLOW "--output_dir $F/o --resume", 2, SAYS(steps[i][1]));
        struct listing after = listing_of(f, "o");
        assert_same_folder(&before, &after);
    }
    assert_done(f, STORY SLOW "--output_dir $F/o --overwrite");
    assert_false(has(f, "o/unfinished.safetensors"));
}

static void without_saving_there_is_no_state(void **state)
{
    struct folder *f = *state;
    pid_t child = program_start(f, STORY SLOW "--output_dir $F/o --no_save --preview_every 1");
    for (double start = seconds_now(); !has(f, "o/preview.png") && seconds_now() - start < PATIENCE;)
        rest(0.001);
    kill(child, SIGINT);
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 130);
    assert_non_null(strstr(o.err, "nothing was saved, as --no_save says"));
    assert_null(strstr(o.err, "--resume"));
    assert_false(has(f, "o/unfinished.safetensors"));
    outcome_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_run_goes_on_to_the_same_bytes),
        TEST(a_run_killed_while_writing_pictures_goes_on),
        TEST(an_overwriting_run_that_was_killed_goes_on),
        TEST(redrawing_that_was_killed_goes_on),
        TEST(what_a_killed_run_was_writing_is_tidied_up),
        TEST(ctrl_c_finishes_the_step_and_prints_the_command_that_goes_on),
        TEST(any_seed_is_drawn_once),
        TEST(a_termination_signal_is_as_gentle),
        TEST(a_stop_between_two_pictures_goes_on),
        TEST(a_resumed_dump_goes_on_with_the_right_step),
        TEST(other_settings_are_refused_by_name),
        TEST(a_finished_run_says_so_and_changes_nothing),
        TEST(with_nothing_there_resuming_is_starting),
        TEST(a_damaged_or_foreign_state_is_refused_and_kept),
        TEST(without_saving_there_is_no_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
