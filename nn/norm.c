/* Two passes over the data: statistics, then y = (x - mean) * scale + shift and the activation, row by row in level 1
 * cache. A group is a few channels of every pixel: were each group summed on its own, each cache line would be
 * fetched by several of them. So a task sums the channels of a block of whole rows of the image, then those of each
 * group; the sums of the blocks are added in their order. Blocks depend on the shape alone. */
#include "nn/norm.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "nn/norm_forms.h"
#include "tensor/parallel.h"

struct group_moments {
    double sum, squares;
};

const struct norm_form *norm_form(enum cpu_family family)
{
    switch (family) {
#if defined(__x86_64__)
    case CPU_AVX2:
    case CPU_AVX512: return &norm_avx2;
#endif
    default: return &norm_portable;
    }
}

static const float *read_vector(const struct context *ctx, const struct tensor *t, int64_t n)
{
    float *values = arena_floats(ctx->arena, n);
    if (!arena_measuring(ctx->arena))
        tensor_read(t, 0, n, values);
    return values;
}

/* ----------------------------------------------------------------------------------------- group normalisation */

/* The channels of one or two inputs side by side. */
struct parts {
    struct features items[2];
    int count;
};

static struct parts parts_of(struct features x, const struct features *concat)
{
    return (struct parts){{x, concat ? *concat : (struct features){0}}, concat ? 2 : 1};
}

static int64_t blocks_of(const struct group_statistics *s, int64_t rows)
{
    return (rows + s->block_rows - 1) / s->block_rows;
}

struct group_statistics group_statistics_new(const struct context *ctx, const struct norm *layer, int64_t groups,
                                             float eps, struct features shape)
{
    const int64_t enough = 1 << 15; /* values that outweigh waking a thread */
    struct group_statistics s = {
        .layer = layer,
        .groups = groups,
        .eps = eps,
        .n = shape.n,
        .h = shape.h,
        .w = shape.w,
        .c = shape.c,
        .block_rows = 1,
        .mean = arena_floats(ctx->arena, shape.n * shape.c),
        .scale = arena_floats(ctx->arena, shape.n * shape.c),
        .shift = arena_floats(ctx->arena, shape.n * shape.c),
    };
    while (s.block_rows < GROUP_NORM_BAND && s.block_rows * s.w * s.c < enough)
        s.block_rows *= 2;
    s.sums = arena_bytes(ctx->arena, (size_t)(s.n * blocks_of(&s, s.h) * groups) * sizeof *s.sums);
    return s;
}

struct add_job {
    const struct group_statistics *s;
    const struct norm_form *form;
    struct parts parts;
    int64_t first;       /* row of the image that the parts begin with */
    double *column_sums; /* [threads, 2, c]: sums, squares */
};

static void add_block(void *arg, int64_t index, int thread)
{
    const struct add_job *job = arg;
    const struct group_statistics *s = job->s;
    int64_t rows = job->parts.items[0].h, blocks = blocks_of(s, rows), sample = index / blocks;
    int64_t begin = index % blocks * s->block_rows, end = begin + s->block_rows < rows ? begin + s->block_rows : rows;
    double *sum = job->column_sums + thread * 2 * s->c, *squares = sum + s->c;
    memset(sum, 0, (size_t)(2 * s->c) * sizeof *sum);
    for (int64_t i = 0, c = 0; i < job->parts.count; c += job->parts.items[i++].c) {
        const struct features *part = &job->parts.items[i];
        const float *x = part->x + (sample * rows + begin) * s->w * part->c;
        job->form->column_sums(sum + c, squares + c, x, (end - begin) * s->w, part->c);
    }
    int64_t block = sample * blocks_of(s, s->h) + (job->first + begin) / s->block_rows, width = s->c / s->groups;
    for (int64_t g = 0; g < s->groups; g++) {
        struct group_moments group = {0};
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            group.sum += sum[c];
            group.squares += squares[c];
        }
        s->sums[block * s->groups + g] = group;
    }
}

void group_statistics_add(const struct context *ctx, struct group_statistics *s, struct features x,
                          const struct features *concat, int64_t first)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    struct add_job job = {
        .s = s,
        .form = norm_form(cpu_family()),
        .parts = parts_of(x, concat),
        .first = first,
        .column_sums = arena_bytes(ctx->arena, (size_t)(ctx->threads * 2 * s->c) * sizeof(double)),
    };
    assert(first % GROUP_NORM_BAND == 0);
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, s->n * blocks_of(s, x.h), add_block, &job);
    arena_release(ctx->arena, mark);
    double count = (double)(features_rows(x) * s->c);
    profile_add(ctx->profile, OP_NORM, start, 2 * count, 4 * count);
}

struct finish_job {
    const struct group_statistics *s;
    const float *weight, *bias; /* [c] */
};

/* mean, scale and shift of the channels of a group. What the mean loses as a float goes into the shift. */
static void finish_group(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct finish_job *job = arg;
    const struct group_statistics *s = job->s;
    int64_t sample = index / s->groups, group = index % s->groups, width = s->c / s->groups;
    int64_t blocks = blocks_of(s, s->h);
    struct group_moments total = {0};
    for (int64_t b = 0; b < blocks; b++) {
        const struct group_moments *block = &s->sums[(sample * blocks + b) * s->groups + group];
        total.sum += block->sum;
        total.squares += block->squares;
    }
    double count = (double)width * (double)(s->h * s->w), mean = total.sum / count;
    double variance = total.squares / count - mean * mean;
    double inverse = 1.0 / sqrt((variance > 0 ? variance : 0) + s->eps);
    for (int64_t c = group * width; c < (group + 1) * width; c++) {
        int64_t at = sample * s->c + c;
        double scale = job->weight[c] * inverse;
        s->mean[at] = (float)mean;
        s->scale[at] = (float)scale;
        s->shift[at] = (float)(job->bias[c] + (s->mean[at] - mean) * scale);
    }
}

void group_statistics_finish(const struct context *ctx, struct group_statistics *s)
{
    size_t mark = arena_mark(ctx->arena);
    struct finish_job job = {s, read_vector(ctx, &s->layer->weight, s->c), read_vector(ctx, &s->layer->bias, s->c)};
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, s->n * s->groups, finish_group, &job);
    arena_release(ctx->arena, mark);
}

struct apply_job {
    const struct group_statistics *s;
    const struct norm_form *form;
    struct parts parts;
    float *y;
    enum activation activation;
    int64_t tasks;
};

/* y = x, where what is done to a row happens, and word to memory that the next row of both is wanted: its arithmetic
 * keeps the CPU from noticing by itself (measured: up to twice as fast). The row after the last is only a hint, too.
 */
static void bring_row(float *y, int64_t y_stride, const float *x, int64_t c)
{
    const int64_t line = 16; /* floats */
    for (int64_t i = 0; i < c; i += line) {
        __builtin_prefetch(x + c + i);
        __builtin_prefetch(y + y_stride + i, 1);
    }
    if (x != y)
        memcpy(y, x, (size_t)c * sizeof *x);
}

/* A row is a pixel here. */
static void apply_rows(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct apply_job *job = arg;
    const struct group_statistics *s = job->s;
    const struct features *parts = job->parts.items;
    struct range rows = task_range(features_rows(parts[0]), job->tasks, index);
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t first = row / (parts[0].h * s->w) * s->c;
        float *y = job->y + row * s->c, *to = y;
        for (int i = 0; i < job->parts.count; to += parts[i++].c)
            bring_row(to, s->c, parts[i].x + row * parts[i].c, parts[i].c);
        job->form->affine(y, s->mean + first, s->scale + first, s->shift + first, s->c);
        activate(job->activation, y, s->c);
    }
}

void group_norm_apply(const struct context *ctx, const struct group_statistics *s, float *y, struct features x,
                      const struct features *concat, enum activation activation)
{
    double start = seconds_now();
    int64_t rows = features_rows(x);
    struct apply_job job = {
        .s = s,
        .form = norm_form(cpu_family()),
        .parts = parts_of(x, concat),
        .y = y,
        .activation = activation,
        .tasks = task_count(rows, s->c * (activation == ACT_NONE ? 1 : 4)),
    };
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, job.tasks, apply_rows, &job);
    double count = (double)(rows * s->c);
    profile_add(ctx->profile, OP_NORM, start, 3 * count, 8 * count);
}

void group_norm(const struct context *ctx, float *y, struct features x, const struct features *concat,
                const struct norm *layer, int64_t groups, float eps, enum activation activation)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    struct context parts = *ctx; /* which count as one operation */
    parts.profile = NULL;
    struct features shape = {NULL, x.n, x.h, x.w, x.c + (concat ? concat->c : 0)};
    struct group_statistics s = group_statistics_new(&parts, layer, groups, eps, shape);
    group_statistics_add(&parts, &s, x, concat, 0);
    group_statistics_finish(&parts, &s);
    group_norm_apply(&parts, &s, y, x, concat, activation);
    arena_release(ctx->arena, mark);
    double count = (double)features_count(shape);
    profile_add(ctx->profile, OP_NORM, start, 5 * count, 12 * count);
}

/* ----------------------------------------------------------------------------------------- layer normalisation */

struct layer_job {
    const struct norm_form *form;
    float *y;
    const float *x, *weight, *bias;
    int64_t rows, c, tasks;
    float eps;
};

static void layer_rows(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct layer_job *job = arg;
    struct range rows = task_range(job->rows, job->tasks, index);
    for (int64_t row = rows.begin; row < rows.end; row++) {
        const float *x = job->x + row * job->c;
        float *y = job->y + row * job->c;
        if (x != y)
            memcpy(y, x, (size_t)job->c * sizeof *x);
        job->form->layer_row(y, job->weight, job->bias, job->c, job->eps);
    }
}

void layer_norm(const struct context *ctx, float *y, const float *x, int64_t rows, int64_t c,
                const struct norm *layer, float eps)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    struct layer_job job = {
        .form = norm_form(cpu_family()),
        .y = y,
        .x = x,
        .weight = read_vector(ctx, &layer->weight, c),
        .bias = read_vector(ctx, &layer->bias, c),
        .rows = rows,
        .c = c,
        .tasks = task_count(rows, c * 4),
        .eps = eps,
    };
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, job.tasks, layer_rows, &job);
    arena_release(ctx->arena, mark);
    double count = (double)(rows * c);
    profile_add(ctx->profile, OP_NORM, start, 7 * count, 8 * count);
}
