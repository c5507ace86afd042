#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tensor/gemm.h"
#include "tensor/cpu.h"
#include "tensor/parallel.h"
#include "tests/golden.h"

const double LIMIT_EXACT = 0, LIMIT_RANDN = 1e-6, LIMIT_STEP = 1e-5, LIMIT_LAYER = 2e-4, LIMIT_TRAJECTORY = 1e-3;

/* Keeps the lines that used most of their limit. */
static void remember(struct golden *g, double used, const char *where, const char *name)
{
    int place = CLOSEST_LINES;
    while (place > 0 && used > g->closest[place - 1].used)
        place--;
    if (place == CLOSEST_LINES)
        return;
    memmove(&g->closest[place + 1], &g->closest[place], (size_t)(CLOSEST_LINES - 1 - place) * sizeof *g->closest);
    g->closest[place].used = used;
    snprintf(g->closest[place].line, sizeof g->closest[place].line, "%s %s", where, name);
}

static void print_closest(const struct golden *g)
{
    for (int i = 0; i < CLOSEST_LINES && g->closest[i].used > 0; i++)
        printf("%s%8.3g of the limit  %s\n", i == 0 ? "closest to their limits:\n" : "", g->closest[i].used,
               g->closest[i].line);
}

static void report(struct golden *g, bool ok, const char *where, const char *name, const char *detail)
{
    *(ok ? &g->passed : &g->failed) += 1;
    if (!ok || !g->quiet)
        printf("%s  %s %s  %s\n", ok ? "PASS" : "FAIL", where, name, detail);
}

void golden_check(struct golden *g, const char *where, const char *name, bool ok, const char *detail)
{
    report(g, ok, where, name, detail);
}

void golden_passed(struct golden *g, const char *where, const char *name, int count, const char *detail)
{
    g->passed += count - 1;
    report(g, true, where, name, detail);
}

void golden_skip(struct golden *g, const char *where, const char *why)
{
    g->skipped++;
    printf("SKIP  %s  %s\n", where, why);
}

void golden_error(struct golden *g, const char *where, const struct error *e)
{
    report(g, false, where, "", e->message);
}

/* One element of any format; a float64 keeps its digits. */
static double element(const struct tensor *t, int64_t i)
{
    float value;
    switch (t->dtype) {
    case DTYPE_F64: return ((const double *)t->data)[i];
    case DTYPE_I64: return (double)((const int64_t *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    case DTYPE_U8:
    case DTYPE_BOOL: return ((const uint8_t *)t->data)[i];
    default: tensor_read(t, i, 1, &value); return value;
    }
}

/* Where element i of a channels-last array lies in the channels-first recording. */
static int64_t recorded_index(const struct tensor *t, int64_t i, enum layout layout)
{
    if (layout == AS_IS || t->rank < 3)
        return i;
    int64_t c = t->shape[t->rank - 3], h = t->shape[t->rank - 2], w = t->shape[t->rank - 1];
    int64_t channel = i % c, x = i / c % w, y = i / (c * w) % h, sample = i / (c * w * h);
    return ((sample * c + channel) * h + y) * w + x;
}

static bool same_count(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                       int64_t count)
{
    char shape[96], detail[256];
    if (tensor_count(recorded) == count)
        return true;
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    snprintf(detail, sizeof detail, "%s, ours has %lld values", shape, (long long)count);
    report(g, false, where, name, detail);
    return false;
}

/* The larger one, or the one that is no number: a comparison must not lose it. */
static double worse(double a, double b)
{
    return b > a || isnan(b) ? b : a;
}

void golden_compare_doubles(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                            const double *ours, int64_t count, enum measure measure, double limit)
{
    static const char *const words[] = {
        [OF_LARGEST] = "relative", [OF_STEP] = "relative by step", [ABSOLUTE] = "absolute"};
    if (!same_count(g, where, name, recorded, count))
        return;
    int64_t part = measure == OF_STEP && recorded->rank > 0 && count > 0 ? count / recorded->shape[0] : count;
    double worst = 0, measured = 0;
    for (int64_t first = 0; first < count; first += part) {
        double error = 0, scale = 0;
        for (int64_t i = first; i < first + part; i++) {
            double wanted = element(recorded, i);
            error = worse(error, fabs(wanted - ours[i]));
            scale = fmax(scale, fabs(wanted));
        }
        worst = worse(worst, error);
        measured = worse(measured, measure != ABSOLUTE && scale > 0 ? error / scale : error);
    }
    char shape[96], detail[256];
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    snprintf(detail, sizeof detail, "%s  worst %.3g  %s %.3g  (limit %.3g)", shape, worst, words[measure], measured,
             limit);
    if (limit > 0)
        remember(g, measured / limit, where, name);
    report(g, measured <= limit, where, name, detail);
}

void golden_compare(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                    const float *ours, int64_t count, enum layout layout, double limit)
{
    if (!same_count(g, where, name, recorded, count))
        return;
    double *turned = malloc((size_t)(count + 1) * sizeof *turned);
    for (int64_t i = 0; turned != NULL && i < count; i++)
        turned[recorded_index(recorded, i, layout)] = ours[i];
    if (turned != NULL)
        golden_compare_doubles(g, where, name, recorded, turned, count, OF_LARGEST, limit);
    else
        report(g, false, where, name, "not enough memory to compare");
    free(turned);
}

void golden_compare_image(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                          const unsigned char *ours, int64_t count)
{
    char shape[96], detail[256];
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    int worst = 0;
    int64_t beyond_one = 0;
    bool same = tensor_count(recorded) == count && recorded->dtype == DTYPE_U8;
    for (int64_t i = 0; same && i < count; i++) {
        int error = abs((int)ours[i] - ((const uint8_t *)recorded->data)[i]);
        worst = error > worst ? error : worst;
        beyond_one += error > 1;
    }
    double allowed = 0.005 * (double)count;
    snprintf(detail, sizeof detail, "%s  worst %d of 255, %lld beyond 1", shape, worst, (long long)beyond_one);
    if (same && count > 0)
        remember(g, fmax(worst / 2.0, (double)beyond_one / allowed), where, name);
    report(g, same && worst <= 2 && (double)beyond_one <= allowed, where, name, detail);
}

float *golden_floats(const struct tensor *t, enum layout layout)
{
    if (t == NULL)
        return NULL;
    int64_t count = tensor_count(t);
    float *out = malloc((size_t)(count + 1) * sizeof *out);
    for (int64_t i = 0; out != NULL && i < count; i++)
        out[i] = (float)element(t, recorded_index(t, i, layout));
    return out;
}

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

static void watch_see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    const struct watch *w = self;
    char full[160];
    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    for (size_t i = 0; w->seen != NULL && i < w->file->count; i++) {
        const struct tensor *recorded = &w->file->items[i].tensor;
        if (strcmp(w->file->items[i].name, full) != 0)
            continue;
        w->seen[i] = true;
        golden_compare(w->g, w->where, full, recorded, data, count, recorded->rank == 4 ? CHANNELS_FIRST : AS_IS,
                       LIMIT_LAYER);
    }
}

struct observer golden_watch(struct watch *w)
{
    w->seen = calloc(w->file->count + 1, sizeof *w->seen);
    return (struct observer){watch_see, w};
}

static bool excepted(const struct watch *w, const char *name)
{
    for (const char *const *except = w->except; except != NULL && *except != NULL; except++)
        if (strcmp(*except, name) == 0)
            return true;
    return false;
}

void golden_watch_finish(struct watch *w)
{
    for (size_t i = 0; i < w->file->count; i++) {
        const char *name = w->file->items[i].name;
        bool expected = strncmp(name, w->prefix, strlen(w->prefix)) == 0 && !excepted(w, name);
        if (expected && (w->seen == NULL || !w->seen[i]))
            report(w->g, false, w->where, name, "recorded, but nothing of that name was computed");
    }
    free(w->seen);
    w->seen = NULL;
}

/* How the folders of a kind are laid out. */
static const struct kind {
    const char *name;
    void (*run)(struct golden *g, const char *folder);
    enum { FOLDER_OF_CASES, ONE_CASE } layout;
} kinds[] = {
    {"rng", golden_rng, ONE_CASE},
    {"schedulers", golden_schedulers, FOLDER_OF_CASES},
    {"tokenizer", golden_tokenizer, ONE_CASE},
    {"clip", golden_clip, FOLDER_OF_CASES},
    {"unet-sdxl", golden_unet, ONE_CASE},
    {"unet-sd15", golden_unet, ONE_CASE},
    {"vae", golden_vae, ONE_CASE},
    {"csa", golden_csa, FOLDER_OF_CASES},
    {"pipeline", golden_pipeline, ONE_CASE},
    {"story", golden_story, FOLDER_OF_CASES},
    {"pipeline-sd15", golden_pipeline, ONE_CASE},
    {"lcm", golden_pipeline, ONE_CASE},
    {"weights", golden_weights, ONE_CASE},
    {"taesd", golden_taesd, ONE_CASE},
    {"lora", golden_lora, FOLDER_OF_CASES},
    {"single-file", golden_single_file, ONE_CASE},
};

static const struct kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* A folder of which nothing is compared must not pass for one that agrees. */
static void run_case(struct golden *g, const struct kind *kind, const char *folder)
{
    int before = g->passed + g->failed + g->skipped;
    kind->run(g, folder);
    if (g->passed + g->failed + g->skipped == before)
        report(g, false, folder, "", "nothing in this folder was compared");
}

static void count_file(struct golden *g, const char *folder, const char *path)
{
    (void)folder, (void)path;
    g->files++;
}

/* A model that other cases draw with, and nothing recorded of it. */
static bool is_only_a_model(struct golden *g, const char *path)
{
    char index[4096];
    g->files = 0;
    golden_files(g, path, "io", ".safetensors", count_file);
    return g->files == 0 && path_join(index, sizeof index, path, "model_index.json", NULL) == OK &&
           file_exists(index);
}

static void run_top_folder(struct golden *g, const char *folder, const char *path)
{
    (void)folder;
    const char *name = strrchr(path, '/') + 1;
    const struct kind *kind = find_kind(name);
    if (!file_is_directory(path) || is_only_a_model(g, path))
        return;
    if (kind == NULL) {
        golden_skip(g, path, "no runner for this kind of case yet");
        return;
    }
    if (kind->layout == ONE_CASE) {
        run_case(g, kind, path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char sub[4096];
        if (entries[i]->d_name[0] != '.' && path_join(sub, sizeof sub, path, entries[i]->d_name, NULL) == OK &&
            file_is_directory(sub))
            run_case(g, kind, sub);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

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

int main(int argc, char **argv)
{
    struct golden g = {.clip = getenv("CLIP")};
    const char *folder = "tests/golden";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-q") == 0)
            g.quiet = true;
        else if (argv[i][0] != '-')
            folder = argv[i];
        else {
            fprintf(stderr, "usage: golden [-q] [FOLDER]    (CLIP=folder of the CLIP vocabulary)\n");
            return 2;
        }
    }
    struct error e = {0};
    if (!file_is_directory(folder) || gemm_ready(&e) != OK) {
        fprintf(stderr, "golden: %s\n", e.code != OK ? e.message : "no such folder: give that of the recorded cases");
        return 2;
    }
    if (g.clip == NULL)
        g.clip = "../shared/clip";
    g.threads = cpu_detect().physical_cores;
    parallel_team(g.threads, run_all, &(struct all_cases){&g, folder});
    print_closest(&g);
    printf("%d passed, %d failed, %d skipped\n", g.passed, g.failed, g.skipped);
    return g.failed > 0 || g.passed == 0;
}
