#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tensor/blas.h"
#include "tensor/cpu.h"
#include "tests/golden.h"

const double LIMIT_EXACT = 0, LIMIT_RANDN = 1e-6, LIMIT_STEP = 1e-5, LIMIT_LAYER = 2e-4, LIMIT_TRAJECTORY = 1e-3;

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

void golden_compare(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                    const float *ours, int64_t count, enum layout layout, double limit)
{
    char shape[96], detail[256];
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    if (tensor_count(recorded) != count) {
        snprintf(detail, sizeof detail, "%s, ours has %lld values", shape, (long long)count);
        report(g, false, where, name, detail);
        return;
    }
    double worst = 0, scale = 0;
    for (int64_t i = 0; i < count; i++) {
        double wanted = element(recorded, recorded_index(recorded, i, layout)), error = fabs(wanted - (double)ours[i]);
        worst = error > worst || isnan(error) ? error : worst;
        scale = fabs(wanted) > scale ? fabs(wanted) : scale;
    }
    double relative = scale > 0 ? worst / scale : worst;
    snprintf(detail, sizeof detail, "%s  worst %.3g  relative %.3g  (limit %.3g)", shape, worst, relative, limit);
    report(g, relative <= limit, where, name, detail);
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
    snprintf(detail, sizeof detail, "%s  worst %d of 255, %lld beyond 1", shape, worst, (long long)beyond_one);
    report(g, same && worst <= 2 && (double)beyond_one <= 0.005 * (double)count, where, name, detail);
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
    struct arena arena = arena_measure();
    struct context ctx = {.arena = &arena, .threads = g->threads, .observer = observer};
    run(arg, &ctx);
    TRY(arena_open(&arena, arena.peak, "this case", e));
    run(arg, &ctx);
    arena_close(&arena);
    return OK;
}

static void watch_see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    const struct watch *w = self;
    char full[160];
    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    const struct tensor *recorded = safetensors_find(w->file, full);
    if (recorded == NULL)
        return;
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    golden_compare(w->g, w->where, full, recorded, data, count, recorded->rank == 4 ? CHANNELS_FIRST : AS_IS, LIMIT_LAYER);
}

struct observer golden_watch(struct watch *w)
{
    return (struct observer){watch_see, w};
}

/* How the folders of a kind are laid out. */
static const struct kind {
    const char *name;
    void (*run)(struct golden *g, const char *folder);
    enum { FOLDER_OF_CASES, ONE_CASE } layout;
} kinds[] = {
    {"rng", golden_rng, ONE_CASE},         {"schedulers", golden_schedulers, FOLDER_OF_CASES},
    {"tokenizer", golden_tokenizer, ONE_CASE}, {"clip", golden_clip, FOLDER_OF_CASES},
    {"unet-sdxl", golden_unet, ONE_CASE},  {"unet-sd15", golden_unet, ONE_CASE},
    {"vae", golden_vae, ONE_CASE},         {"csa", golden_csa, FOLDER_OF_CASES},
    {"pipeline", golden_pipeline, ONE_CASE}, {"story", golden_story, FOLDER_OF_CASES},
};

static const struct kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static void run_top_folder(struct golden *g, const char *folder, const char *path)
{
    (void)folder;
    const char *name = strrchr(path, '/') + 1;
    const struct kind *kind = find_kind(name);
    if (!file_is_directory(path))
        return;
    if (kind == NULL) {
        golden_skip(g, path, "no runner for this kind of case yet");
        return;
    }
    if (kind->layout == ONE_CASE) {
        kind->run(g, path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char sub[4096];
        if (entries[i]->d_name[0] != '.' && path_join(sub, sizeof sub, path, entries[i]->d_name, NULL) == OK &&
            file_is_directory(sub))
            kind->run(g, sub);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
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
    if (!file_is_directory(folder) || blas_load(&e) != OK) {
        fprintf(stderr, "golden: %s\n", e.code != OK ? e.message : "no such folder; give the folder of recorded cases");
        return 2;
    }
    if (g.clip == NULL)
        g.clip = "../shared/clip";
    g.threads = cpu_detect().physical_cores;
    golden_files(&g, folder, "", "", run_top_folder);
    printf("%d passed, %d failed, %d skipped\n", g.passed, g.failed, g.skipped);
    return g.failed > 0 || g.passed == 0;
}
