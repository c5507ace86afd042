/* Killed at any moment, as often as you like, a comic ends as if nothing had happened: the same files with the same
 * bytes, and no others. Fresh runs, runs that overwrite another comic, and panels drawn anew; SIGKILL, SIGINT and
 * SIGTERM; a random moment of the whole run, then --resume, which may be killed, too.
 *
 *   make kill ROUNDS=50      (make test: a few of them)
 */
#include "tensor/file.h"
#include "tensor/rng.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

#define DRAW                                                                                                         \
    "--general_prompt bob -p one -p two -p three -p four -p five --id_length 2 --csa sampled --height 64 --width "   \
    "64 "                                                                                                            \
    "--sampling_steps 30 --comic_type four -t 1 --title Kill "

enum { SHORT_FORM = 9, KILLS = 3 };

static const struct kind {
    const char *name, *words, *with; /* `with`: said at the first start only */
} kinds[] = {
    {"fresh", DRAW, ""},
    {"overwrite", DRAW "--format png,pdf,cbz ", "--overwrite "},
    {"only", DRAW "--only 2,4 --seed 99 ", ""},
};
enum { FRESH, OVERWRITE, ONLY, KIND_COUNT };

/* What lies in the folder before the run. */
static void begin_with(const struct folder *f, int kind, const char *name)
{
    char commands[256];
    snprintf(commands, sizeof commands, "rm -rf $F/%s; %s", name, kind == FRESH ? "true" : "cp -r $F/");
    if (kind != FRESH)
        snprintf(commands + strlen(commands), sizeof commands - strlen(commands), "%s $F/%s",
                 kind == ONLY ? "finished" : "other", name);
    prepare(f, commands);
}

/* Starts it and, after a part of `seconds`, sends it a signal. Returns its exit status. */
static int start_and_kill(const struct folder *f, const char *words, double seconds, struct mt19937 *mt)
{
    static const int signals[] = {SIGKILL, SIGKILL, SIGINT, SIGTERM};
    double wait = seconds * 1.05 * (mt19937_next(mt) / 4294967296.0);
    pid_t child = program_start(f, words);
    usleep((useconds_t)(wait * 1e6));
    kill(child, signals[mt19937_next(mt) % 4]);
    struct outcome o = program_wait(f, child);
    int exit_status = o.status;
    outcome_free(&o);
    return exit_status;
}

static void one_round(const struct folder *f, int number, const double *seconds)
{
    int kind = number % KIND_COUNT;
    char start[1024], resume[1024], whole[32];
    struct mt19937 mt;
    mt19937_seed(&mt, (uint32_t)number);
    snprintf(start, sizeof start, "%s%s--output_dir $F/o", kinds[kind].words, kinds[kind].with);
    snprintf(resume, sizeof resume, "%s--output_dir $F/o --resume", kinds[kind].words);
    snprintf(whole, sizeof whole, "whole-%s", kinds[kind].name);
    begin_with(f, kind, "o");
    struct listing before = listing_of(f, "o");
    start_and_kill(f, start, seconds[kind], &mt);
    for (int i = (int)(mt19937_next(&mt) % KILLS); i > 0; i--)
        start_and_kill(f, resume, seconds[kind], &mt);
    struct outcome o = run(f, resume);
    struct listing after = listing_of(f, "o");
    if (o.status != 0 && kind == OVERWRITE && listing_find(&after, "drawing.lock") < 0) {
        assert_same_folder(&after, &before); /* killed before it had taken the folder: nothing was overwritten */
        outcome_free(&o);
        o = run(f, start);
    }
    if (o.status != 0)
        fail_msg("round %d, %s: exit status %d\n%s", number, kinds[kind].name, o.status, o.err);
    outcome_free(&o);
    struct listing wanted = listing_of(f, whole), found = listing_of(f, "o");
    if (wanted.count != found.count)
        fail_msg("round %d, %s: %d files, not %d", number, kinds[kind].name, found.count, wanted.count);
    assert_same_folder(&found, &wanted);
    printf("round %d, %s: the same bytes\n", number, kinds[kind].name);
}

static void killed_at_any_moment_it_ends_the_same(void **state)
{
    struct folder *f = *state;
    const char *wanted = getenv("ROUNDS");
    int rounds = wanted != NULL && wanted[0] != '\0' ? atoi(wanted) : SHORT_FORM;
    double seconds[KIND_COUNT];
    assert_done(f, DRAW "--output_dir $F/finished");
    assert_done(f, DRAW "-p six -p seven --seed 1 --output_dir $F/other");
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        char name[32], words[1024];
        snprintf(name, sizeof name, "whole-%s", kinds[kind].name);
        begin_with(f, kind, name);
        snprintf(words, sizeof words, "%s%s--output_dir $F/%s", kinds[kind].words, kinds[kind].with, name);
        double start = seconds_now();
        assert_done(f, words);
        seconds[kind] = seconds_now() - start;
    }
    for (int i = 0; i < rounds; i++)
        one_round(f, i, seconds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(killed_at_any_moment_it_ends_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
