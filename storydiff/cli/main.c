/* The program: options in, a comic out, what there is to say on the terminal. */
#include <stdlib.h>
#include <string.h>

#include "storydiff/cli/dump.h"
#include "storydiff/cli/events.h"
#include "storydiff/cli/options.h"
#include "storydiff/cli/progress.h"
#include "storydiff/cli/say.h"
#include "storydiff/cli/signals.h"
#include "storydiff/comic/consistency.h"
#include "storydiff/comic/draw.h"
#include "storydiff/comic/output.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/parallel.h"

enum { EXIT_FAILED = 1, EXIT_MISTAKE = 2, EXIT_STOPPED = 130 };

/* Everything of one run. */
struct run {
    int argc;
    char **argv;
    struct options options;
    struct model model;
    struct comic comic;
    struct comic_request request;
    struct progress progress;
    struct events events;
    struct dump dump;
    struct profile profile;
    struct observer observer;
    struct context ctx;
    struct memory_watch memory;
    struct output_lock lock;
    struct draw_result drawn;
    struct text paths; /* of what a person asked for, a line each */
    bool begun;    /* and what was done is saved, but for --no_save */
    bool finished; /* every picture is in its folder */
    double start;
};

static int report(struct run *r, const struct error *e)
{
    int exit_status = e->code == ERR_MEMORY ? EXIT_FAILED : EXIT_MISTAKE;
    say_line("storydiff: ", e->message);
    events_failed(&r->events, e->message, exit_status);
    return exit_status;
}

/* A full disk or too little memory is no reason to begin anew. */
static void print_how_to_go_on(struct run *r, const struct error *e)
{
    struct text command = {0};
    bool saved = r->begun && !r->finished && !r->comic.settings.no_save && !r->comic.settings.pages_only;
    if (!saved || (e->code != ERR_IO && e->code != ERR_MEMORY))
        return;
    options_resume_command(r->argc, r->argv, &command);
    if (!command.failed)
        fprintf(stderr, "what was done is saved; go on with:\n%s\n", command.data);
    text_free(&command);
}

static void print_lines(struct run *r, const struct text *lines)
{
    events_notices(&r->events, lines->data);
    say_lines("note: ", lines);
}

/* Where the weights come from: of several files in a folder, one is taken (sdxl/checkpoint/parts.h). */
static void print_files(const struct model *m)
{
    struct text lines = {0};
    model_list_files(m, &lines);
    say_lines("", &lines);
    text_free(&lines);
}

static void print_notice(void *self, const char *line)
{
    struct run *r = self;
    say_line("note: ", line);
    events_notice(&r->events, line);
}

static void print_stopped(struct run *r, const struct error *e)
{
    struct text command = {0};
    events_stopped(&r->events, e->message);
    options_resume_command(r->argc, r->argv, &command);
    fprintf(stderr, "%s, seed %llu", e->message, (unsigned long long)r->comic.settings.seed);
    bool lost = r->comic.settings.no_save && !r->finished;
    fputs(r->finished ? "" : lost ? "; nothing was saved, as --no_save says" : ", saved", stderr);
    if (lost || command.failed)
        fputc('\n', stderr);
    else
        fprintf(stderr, "; go on with:\n%s\n", command.data);
    text_free(&command);
}

/* Where no step is left, what is dumped from now on is the decoder's. */
static void dump_decoder(struct run *r, int steps_done)
{
    if (r->options.dump != NULL && steps_done == r->comic.sampler.steps)
        dump_part(&r->dump, "decode");
}

static void begins(void *self, int step)
{
    struct run *r = self;
    r->begun = true;
    progress_start(&r->progress, &r->request.lockstep, "", stderr);
    events_begun(&r->events, &r->comic, step);
    dump_decoder(r, step);
}

static void pass_begins(void *self, int step, int half, int pass)
{
    struct run *r = self;
    if (r->options.dump != NULL)
        dump_pass(&r->dump, step, pass, half);
    events_panels(&r->events, &r->request.passes[pass], step);
}

static void pass_done(void *self, int step, int half, int pass)
{
    struct run *r = self;
    progress_pass_done(&r->progress, step, half, pass);
    memory_look(&r->memory);
    dump_decoder(r, step + 1); /* pass_begins has the last word where another pass follows */
    if (r->dump.error.code != OK)
        signals_stop = 1;
}

static void step_saved(void *self, int step)
{
    struct run *r = self;
    int last_half = lockstep_halves(&r->request.lockstep) - 1, last_pass = r->request.lockstep.pass_count - 1;
    events_step(&r->events, step, r->comic.sampler.steps,
                progress_seconds_left(&r->progress, step, last_half, last_pass));
}

static void decodes(void *self, int panel)
{
    struct run *r = self;
    progress_decodes(&r->progress, panel);
    events_picture(&r->events, panel);
}

static void written(void *self, const char *path)
{
    struct run *r = self;
    const char *slash = strrchr(path, '/');
    bool panel = strncmp(slash != NULL ? slash + 1 : path, "panel-", 6) == 0;
    events_written(&r->events, &r->comic, path);
    if (!panel || r->comic.settings.comic_type == PAGE_NONE)
        text_append(&r->paths, "%s\n", path);
}

static void print_drawn(struct run *r, const struct draw_result *result)
{
    printf("%d panel%s and %d page%s in %s, seed %llu, %.1f s", result->panels, result->panels == 1 ? "" : "s",
           result->pages, result->pages == 1 ? "" : "s", r->comic.settings.output_dir,
           (unsigned long long)r->comic.settings.seed, seconds_now() - r->start);
    if (r->memory.most > 0)
        printf(", at most %.0f MB of memory besides %.1f MB of mapped weights", (double)r->memory.most / 1e6,
               (double)memory_of_weights(&r->model) / 1e6);
    printf("\n");
    if (r->paths.data != NULL)
        fputs(r->paths.data, stdout);
}

static status draw(struct run *r, struct error *e)
{
    const struct draw_watch watch = {
        .begins = begins,
        .passes = {pass_begins, pass_done, r},
        .step_saved = step_saved,
        .decodes = decodes,
        .written = written,
        .notice = print_notice,
        .self = r,
        .memory = &r->memory,
        .stop = &signals_stop,
    };
    struct draw_result result;
    status s = r->comic.settings.pages_only
                   ? draw_pages_only(&r->comic, &watch, &result, e)
                   : draw_comic(&r->comic, &r->request, &r->ctx, &watch, &result, e);
    progress_end(&r->progress);
    if ((s == OK || s == ERR_STOPPED) && r->dump.error.code != OK)
        s = fail(e, r->dump.error.code, "%s", r->dump.error.message);
    TRY(s);
    r->drawn = result;
    print_drawn(r, &result);
    return OK;
}

/* --------------------------------------------------------------------------------------------------- consistency */

static void begins_again(void *self, int step)
{
    struct run *r = self;
    (void)step;
    progress_start(&r->progress, &r->request.lockstep, "without csa: ", stderr);
}

static void pass_done_again(void *self, int step, int half, int pass)
{
    struct run *r = self;
    progress_pass_done(&r->progress, step, half, pass);
}

/* Nothing of the second drawing is dumped: its panels would take the place of the first one's. */
static status draw_again(struct run *r, struct palette *palettes, struct error *e)
{
    const struct draw_watch watch = {.begins = begins_again,
                                     .passes = {NULL, pass_done_again, r},
                                     .decodes = decodes,
                                     .self = r,
                                     .stop = &signals_stop};
    struct context ctx = r->ctx;
    ctx.observer = NULL;
    status s = consistency_without_csa(&r->comic, &r->request, &ctx, &watch, palettes, e);
    progress_end(&r->progress);
    return s;
}

static bool has_pairs(const struct run *r)
{
    struct consistency pairs = consistency_of(&r->comic.plan, NULL);
    return pairs.rows[CONSISTENCY_ALL].pairs > 0;
}

static const char nothing_to_compare[] = "consistency: nothing to compare, no character is in two panels\n";

/* palettes: [panel_count], for one drawing after the other. */
static status compare(struct run *r, struct palette *palettes, struct error *e)
{
    const struct story_plan *plan = &r->comic.plan;
    enum csa_mode csa = r->comic.settings.csa;
    struct consistency drawn, without;
    struct text out = {0};
    TRY(consistency_of_results(&r->comic, palettes, e));
    drawn = consistency_of(plan, palettes);
    if (csa != CSA_OFF)
        TRY(draw_again(r, palettes, e));
    without = consistency_of(plan, palettes);
    consistency_append(&out, csa_mode_names[csa], &drawn, csa != CSA_OFF ? &without : NULL);
    status s = out.failed ? fail(e, ERR_MEMORY, "not enough memory for a table") : OK;
    if (s == OK)
        fputs(out.data, stdout);
    text_free(&out);
    return s;
}

static status print_consistency(struct run *r, struct error *e)
{
    if (!has_pairs(r)) {
        fputs(nothing_to_compare, stdout);
        return OK;
    }
    struct palette *palettes = calloc((size_t)r->comic.story.panel_count, sizeof *palettes);
    status s = palettes ? compare(r, palettes, e) : fail(e, ERR_MEMORY, "not enough memory to compare the panels");
    free(palettes);
    return s;
}

/* ------------------------------------------------------------------------------------------------------- one run */

static status describe(struct run *r, struct error *e)
{
    struct text out = {0};
    struct comic_report report;
    TRY(comic_measure(&r->comic, &r->request, &r->ctx, &report, e));
    events_plan(&r->events, &r->comic, &report);
    status s = comic_describe(&r->comic, &report, r->ctx.threads, &out, e);
    comic_report_free(&report);
    if (s == OK)
        fputs(out.data, stdout);
    if (s == OK && r->options.consistency && !has_pairs(r))
        fputs(nothing_to_compare, stdout);
    else if (s == OK && r->options.consistency && r->comic.settings.csa != CSA_OFF)
        puts("--consistency draws the story a second time, with csa off: about twice that time");
    text_free(&out);
    return s;
}

static status start_dump(struct run *r, struct error *e)
{
    if (r->options.dump == NULL)
        return OK;
    TRY(dump_start(&r->dump, r->options.dump, e));
    r->observer = dump_observer(&r->dump);
    r->ctx.observer = &r->observer;
    return OK;
}

static status work(struct run *r, struct error *e)
{
    if (r->options.dry_run) {
        print_lines(r, &r->comic.notices);
        if (r->options.dump != NULL)
            print_notice(r, "--dump has no effect: a dry run draws nothing");
        if (r->options.verbose)
            print_files(r->comic.model);
        TRY(comic_encode(&r->comic, &r->ctx, &r->request, e));
        return describe(r, e);
    }
    bool again = r->comic.settings.resume || r->comic.settings.overwrite;
    if (r->options.dump != NULL)
        TRY(dump_check(r->options.dump, again ? DUMP_AGAIN : DUMP_ANEW, e));
    TRY(output_open(&r->comic, &r->lock, &r->finished, &r->comic.notices, e));
    if (r->finished)
        printf("already finished: %s, seed %llu%s\n", r->comic.settings.output_dir,
               (unsigned long long)r->comic.settings.seed, r->options.dump != NULL ? "; nothing is dumped" : "");
    else
        TRY(start_dump(r, e));
    if (r->finished && !r->options.consistency)
        return OK;
    signals_catch(EXIT_MISTAKE);
    print_lines(r, &r->comic.notices); /* not before: a mistake is told in one line */
    if (!r->comic.settings.pages_only)
        TRY(comic_encode(&r->comic, &r->ctx, &r->request, e));
    if (r->options.verbose)
        print_files(r->comic.model);
    if (r->options.verbose)
        fprintf(stderr, "model %s, %lld x %lld px, %d steps of %s, seed %llu, %d threads, %s kernels\n",
                r->comic.model_name, (long long)r->comic.settings.width, (long long)r->comic.settings.height,
                r->comic.sampler.steps, sampler_name(&r->comic.sampler), (unsigned long long)r->comic.settings.seed,
                r->ctx.threads, gemm_kernel_name());
    if (!r->finished)
        TRY(draw(r, e));
    r->finished = true;
    return r->options.consistency ? print_consistency(r, e) : OK;
}

/* Work as a team is handed it. */
struct task {
    struct run *r;
    struct error *e;
    status status;
};

static void run_task(void *arg)
{
    struct task *task = arg;
    task->status = work(task->r, task->e);
}

static status run(struct run *r, struct error *e)
{
    TRY(comic_plan(&r->comic, &r->model, &r->options.settings, e));
    if (r->options.consistency && r->comic.settings.only != NULL)
        return fail(e, ERR_ARGUMENT, "--consistency and --only exclude each other: all panels are compared");
    r->ctx.threads = (int)r->comic.settings.threads;
    if (r->options.profile)
        r->ctx.profile = &r->profile;
    struct task task = {r, e, OK};
    parallel_team(r->ctx.threads, run_task, &task);
    return task.status;
}

/* What was promised on standard output must have arrived there. */
static int finish_output(int exit_status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_status;
    fputs("storydiff: standard output cannot be written: is the disk full?\n", stderr);
    return exit_status == EXIT_SUCCESS ? EXIT_FAILED : exit_status;
}

static int obey(struct run *r, struct error *e)
{
    if (options_parse(r->argc, r->argv, &r->options, e) != OK)
        return report(r, e);
    if (r->options.help || r->argc == 1) {
        options_help(stdout);
        return finish_output(EXIT_SUCCESS);
    }
    if (cpu_check_wanted(e) != OK)
        return report(r, e);
    if (r->options.version) {
        say_version();
        return finish_output(EXIT_SUCCESS);
    }
    status s = OK;
    if (r->options.progress_fd >= 0)
        s = events_open(&r->events, r->options.progress_fd, e);
    if (s == OK)
        s = run(r, e);
    if (s == OK)
        events_finished(&r->events, r->drawn.panels, r->drawn.pages, seconds_now() - r->start);
    if (s == ERR_STOPPED)
        print_stopped(r, e);
    else if (s == OK && r->options.profile)
        say_profile(&r->profile, r->ctx.threads);
    int exit_status = s == OK ? EXIT_SUCCESS : s == ERR_STOPPED ? EXIT_STOPPED : report(r, e);
    if (s != OK && s != ERR_STOPPED)
        print_how_to_go_on(r, e);
    return finish_output(exit_status);
}

int main(int argc, char **argv)
{
    struct error e = {0};
    signals_open_standard_streams();
    struct run *r = calloc(1, sizeof *r); /* too large for a small stack */
    if (r == NULL) {
        fputs("storydiff: not enough memory to begin\n", stderr);
        return EXIT_FAILED;
    }
    *r = (struct run){.argc = argc, .argv = argv, .options = options_default(), .events = {-1}, .start = seconds_now()};
    int exit_status = obey(r, &e);
    output_lock_drop(&r->lock, OUTPUT_DONE);
    text_free(&r->paths);
    comic_request_free(&r->request);
    comic_free(&r->comic);
    model_close(&r->model);
    free(r);
    return exit_status;
}
