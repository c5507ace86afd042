/* Kinds of cases, their folders, and the forms of the kernels they are run with. */
#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/parallel.h"
#include "tests/golden.h"

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

void golden_files(struct golden *g, const char *folder, const char *prefix, const char *suffix,
                  void (*visit)(struct golden *g, const char *folder, const char *path))
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        size_t length = strlen(name), tail = strlen(suffix);
        char path[4096];
        if (name[0] != '.' && strncmp(name, prefix, strlen(prefix)) == 0 && length >= tail &&
            strcmp(name + length - tail, suffix) == 0 && path_join(path, sizeof path, folder, name, NULL) == OK)
            visit(g, folder, path);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

status golden_run(struct golden *g, void (*run)(void *arg, const struct context *ctx), void *arg,
                  const struct observer *observer, struct error *e)
{
    struct context ctx = {.threads = g->threads, .observer = observer};
    return work_run(&ctx, (struct work){run, arg, "this case"}, e);
}

static void count_file(struct golden *g, const char *folder, const char *path)
{
    (void)folder, (void)path;
    g->files++;
}

int golden_count_files(struct golden *g, const char *folder)
{
    g->files = 0;
    golden_files(g, folder, "io", ".safetensors", count_file);
    return g->files;
}

/* ---------------------------------------------------------------------------------------------------------- kinds */

static const struct golden_kind kinds[] = {
    {"rng", golden_rng, ONE_CASE, ONCE},
    {"schedulers", golden_schedulers, FOLDER_OF_CASES, ONCE},
    {"tokenizer", golden_tokenizer, ONE_CASE, ONCE},
    {"clip", golden_clip, FOLDER_OF_CASES, IN_EVERY_FAMILY},
    {"unet-sdxl", golden_unet, ONE_CASE, IN_EVERY_FAMILY},
    {"unet-sd15", golden_unet, ONE_CASE, IN_EVERY_FAMILY},
    {"vae", golden_vae, ONE_CASE, IN_EVERY_FAMILY},
    {"csa", golden_csa, FOLDER_OF_CASES, IN_EVERY_FAMILY},
    {"pipeline", golden_pipeline, ONE_CASE, IN_EVERY_FAMILY},
    {"story", golden_story, FOLDER_OF_CASES, IN_EVERY_FAMILY},
    {"pipeline-sd15", golden_pipeline, ONE_CASE, IN_EVERY_FAMILY},
    {"lcm", golden_pipeline, ONE_CASE, IN_EVERY_FAMILY},
    {"weights", golden_weights, ONE_CASE, IN_EVERY_FAMILY},
    {"taesd", golden_taesd, ONE_CASE, IN_EVERY_FAMILY},
    {"lora", golden_lora, FOLDER_OF_CASES, IN_EVERY_FAMILY},
    {"single-file", golden_single_file, ONE_CASE, IN_EVERY_FAMILY},
    {"wide", golden_made, FOLDER_OF_CASES, IN_EVERY_FAMILY},
    {"full", golden_made, ONE_CASE, WHEN_ASKED},
};

static const struct golden_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static void run_case(struct golden *g, const struct golden_kind *kind, const char *folder)
{
    int before = g->passed + g->failed + g->skipped;
    kind->run(g, folder);
    if (g->passed + g->failed + g->skipped == before)
        golden_check(g, folder, "", false, "nothing in this folder was compared");
}

void golden_run_kind(struct golden *g, const struct golden_kind *kind, const char *folder)
{
    struct dirent **entries;
    if (kind->layout == ONE_CASE) {
        run_case(g, kind, folder);
        return;
    }
    int count = scandir(folder, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char sub[4096];
        if (entries[i]->d_name[0] != '.' && path_join(sub, sizeof sub, folder, entries[i]->d_name, NULL) == OK &&
            file_is_directory(sub))
            run_case(g, kind, sub);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* A model that other cases draw with, and nothing recorded of it. */
static bool is_only_a_model(struct golden *g, const char *path)
{
    char index[4096];
    return golden_count_files(g, path) == 0 && path_join(index, sizeof index, path, "model_index.json", NULL) == OK &&
           file_exists(index);
}

static void run_top_folder(struct golden *g, const char *folder, const char *path)
{
    (void)folder;
    const char *name = strrchr(path, '/') + 1;
    const struct golden_kind *kind = find_kind(name);
    bool asked = g->only != NULL && strcmp(g->only, name) == 0;
    if (!file_is_directory(path) || is_only_a_model(g, path) || (g->only != NULL && !asked))
        return;
    if (kind == NULL && g->first)
        golden_skip(g, path, "no runner for this kind of case yet");
    else if (kind != NULL && kind->when == WHEN_ASKED && !asked && g->first)
        golden_skip(g, path, "gigabytes of weights are made for it: make golden-full");
    else if (kind != NULL && (asked || kind->when == IN_EVERY_FAMILY || (kind->when == ONCE && g->first)))
        golden_run_kind(g, kind, path);
}

/* ------------------------------------------------------------------------------------------------------- families */

static void print_closest(const struct golden *g)
{
    for (int i = 0; i < CLOSEST_LINES && g->closest[i].used > 0; i++)
        printf("%s%8.3g of the limit  %s\n", i == 0 ? "closest to their limits:\n" : "", g->closest[i].used,
               g->closest[i].line);
}

struct counts {
    int passed, failed, skipped;
};

/* As a team is handed it. */
struct all_cases {
    struct golden *g;
    const char *folder;
};

static void run_all(void *arg)
{
    const struct all_cases *all = arg;
    golden_files(all->g, all->folder, "", "", run_top_folder);
}

/* All cases in this process, which then is of one family for good. */
static struct counts run_here(struct golden *g, const char *folder)
{
    struct error e = {0};
    if (gemm_ready(&e) != OK) {
        golden_skip(g, folder, e.message);
    } else {
        parallel_team(g->threads, run_all, &(struct all_cases){g, folder});
        print_closest(g);
    }
    fflush(NULL);
    return (struct counts){g->passed, g->failed, g->skipped};
}

/* The same in a child. A child that ends without counts has crashed. */
static struct counts run_family(struct golden *g, const char *family, const char *folder)
{
    int ends[2];
    struct counts counts = {.failed = 1};
    printf("STORYDIFF_CPU=%s\n", family);
    fflush(NULL);
    if (pipe(ends) != 0)
        return counts;
    pid_t child = fork();
    if (child == 0) {
        setenv("STORYDIFF_CPU", family, 1);
        counts = run_here(g, folder);
        exit(write(ends[1], &counts, sizeof counts) != sizeof counts);
    }
    close(ends[1]);
    int ended = 0;
    bool told = child > 0 && read(ends[0], &counts, sizeof counts) == sizeof counts;
    close(ends[0]);
    if (child < 0 || waitpid(child, &ended, 0) != child || !told || ended != 0) {
        printf("FAIL  %s: the run in %s did not end well\n", folder, family);
        counts.failed += told;
    }
    return counts;
}

/* What this CPU has, the best first. */
static int families_here(const char *names[4])
{
    struct cpu cpu = cpu_detect();
    int count = 0;
    if (cpu.avx512)
        names[count++] = "avx512";
    if (cpu.avx2_fma)
        names[count++] = "avx2";
    names[count++] = "portable";
    names[count++] = "openblas";
    return count;
}

/* A name, "best", or "all", in a list of these? */
static bool is_listed(const char *list, const char *family, bool best)
{
    const char *const names[] = {family, "all", best ? "best" : family};
    for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += *at == ',')
        for (int i = 0; i < 3; i++)
            if (strcspn(at, ",") == strlen(names[i]) && strncmp(at, names[i], strlen(names[i])) == 0)
                return true;
    return false;
}

static const char usage[] =
    "usage: golden [options] [FOLDER]    recorded cases (tests/golden) against what is computed here\n"
    "\n"
    "  -q               no lines for what passes\n"
    "  --cpu LIST       forms of the kernels: avx512, avx2, portable, openblas, best, all (best)\n"
    "  --only KIND      one folder of FOLDER; needed for those that are too large for an ordinary run\n"
    "  --weights FOLDER where models are made, and found again (build/weights)\n"
    "  CLIP=FOLDER      environment: the CLIP vocabulary (../shared/clip)\n";

int main(int argc, char **argv)
{
    static const struct option flags[] = {{"cpu", required_argument, NULL, 'c'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"weights", required_argument, NULL, 'w'},
                                          {0}};
    static struct golden g = {.weights = "build/weights", .first = true};
    const char *cpu = "best", *names[4];
    for (int flag; (flag = getopt_long(argc, argv, "q", flags, NULL)) != -1;) {
        switch (flag) {
        case 'q': g.quiet = true; break;
        case 'c': cpu = optarg; break;
        case 'o': g.only = optarg; break;
        case 'w': g.weights = optarg; break;
        default: fputs(usage, stderr); return 2;
        }
    }
    const char *folder = optind < argc ? argv[optind] : "tests/golden";
    if (!file_is_directory(folder)) {
        fprintf(stderr, "golden: %s: no such folder: give that of the recorded cases\n", folder);
        return 2;
    }
    g.clip = getenv("CLIP") != NULL ? getenv("CLIP") : "../shared/clip";
    g.threads = cpu_detect().physical_cores;
    struct counts total = {0};
    int count = families_here(names);
    for (int i = 0; i < count; i++) {
        if (!is_listed(cpu, names[i], i == 0))
            continue;
        struct counts family = run_family(&g, names[i], folder);
        total.passed += family.passed;
        total.failed += family.failed;
        total.skipped += family.skipped;
        g.first = false;
    }
    printf("%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped);
    return total.failed > 0 || total.passed == 0;
}
