/* Two passes over the data: statistics, then y = (x - mean) * scale + shift and the activation, row by row in level 1
 * cache. A group is a few channels of every row: were each group summed on its own, each cache line would be fetched
 * by several of them. So a task sums the channels of a block of whole rows, then those of each group; the sums of the
 * blocks are added in their order. Blocks depend on the shape alone. */
#include "nn/norm.h"

#include <math.h>
#include <string.h>

#include "nn/norm_forms.h"
#include "nn/norm_narrow.h"
#include "tensor/parallel.h"

struct moments {
    double sum, squares;
};

struct group_job {
    const struct norm_form *form;
    const struct features *parts; /* the one or two inputs, channels side by side */
    int count;
    int64_t groups, channels, pixels;
    const float *weight, *bias;
    float eps;
    int64_t blocks;              /* of rows, per sample */
    double *column_sums;         /* [threads, 2, channels]: sums, squares */
    struct moments *moments;     /* [n, blocks, groups] */
    float *mean, *scale, *shift; /* [n, channels] */
    float *y;
    enum activation activation;
    int64_t tasks;
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

static void block_moments(void *arg, int64_t index, int thread)
{
    const struct group_job *job = arg;
    int64_t sample = index / job->blocks, width = job->channels / job->groups;
    struct range rows = task_range(job->pixels, job->blocks, index % job->blocks);
    double *sum = job->column_sums + thread * 2 * job->channels, *squares = sum + job->channels;
    memset(sum, 0, (size_t)(2 * job->channels) * sizeof *sum);
    for (int64_t i = 0, c = 0; i < job->count; c += job->parts[i++].c) {
        const struct features *part = &job->parts[i];
        const float *x = part->x + (sample * job->pixels + rows.begin) * part->c;
        job->form->column_sums(sum + c, squares + c, x, rows.end - rows.begin, part->c);
    }
    struct moments *moments = job->moments + index * job->groups;
    for (int64_t g = 0; g < job->groups; g++) {
        moments[g] = (struct moments){0};
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            moments[g].sum += sum[c];
            moments[g].squares += squares[c];
        }
    }
}

/* mean, scale and shift of the channels of a group. What the mean loses as a float goes into the shift. */
static void group_statistics(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct group_job *job = arg;
    int64_t sample = index / job->groups, group = index % job->groups, width = job->channels / job->groups;
    struct moments total = {0};
    for (int64_t b = 0; b < job->blocks; b++) {
        const struct moments *block = &job->moments[(sample * job->blocks + b) * job->groups + group];
        total.sum += block->sum;
        total.squares += block->squares;
    }
    double count = (double)width * (double)job->pixels, mean = total.sum / count;
    double variance = total.squares / count - mean * mean;
    double inverse = 1.0 / sqrt((variance > 0 ? variance : 0) + job->eps);
    for (int64_t c = group * width; c < (group + 1) * width; c++) {
        int64_t at = sample * job->channels + c;
        double scale = job->weight[c] * inverse;
        job->mean[at] = (float)mean;
        job->scale[at] = (float)scale;
        job->shift[at] = (float)(job->bias[c] + (job->mean[at] - mean) * scale);
    }
}

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

static void group_apply(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct group_job *job = arg;
    struct range rows = task_range(job->parts->n * job->pixels, job->tasks, index);
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t first = row / job->pixels * job->channels;
        float *y = job->y + row * job->channels, *to = y;
        for (int i = 0; i < job->count; to += job->parts[i++].c)
            bring_row(to, job->channels, job->parts[i].x + row * job->parts[i].c, job->parts[i].c);
        job->form->affine(y, job->mean + first, job->scale + first, job->shift + first, job->channels);
        activate(job->activation, y, job->channels);
    }
}

void group_norm(const struct context *ctx, float *y, struct features x, const struct features *concat,
                const struct norm *layer, int64_t groups, float eps, enum activation activation)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    struct features parts[2] = {x, concat ? *concat : (struct features){0}};
    int64_t channels = parts[0].c + parts[1].c, pixels = x.h * x.w;
    int64_t blocks = task_count(pixels, channels);
    struct group_job job = {
        .form = norm_form(cpu_family()),
        .parts = parts,
        .count = concat ? 2 : 1,
        .groups = groups,
        .channels = channels,
        .pixels = pixels,
        .weight = read_vector(ctx, &layer->weight, channels),
        .bias = read_vector(ctx, &layer->bias, channels),
        .eps = eps,
        .blocks = blocks,
        .column_sums = arena_bytes(ctx->arena, (size_t)(ctx->threads * 2 * channels) * sizeof(double)),
        .moments = arena_bytes(ctx->arena, (size_t)(x.n * blocks * groups) * sizeof(struct moments)),
        .mean = arena_floats(ctx->arena, x.n * channels),
        .scale = arena_floats(ctx->arena, x.n * channels),
        .shift = arena_floats(ctx->arena, x.n * channels),
        .y = y,
        .activation = activation,
        .tasks = task_count(x.n * pixels, channels * (activation == ACT_NONE ? 1 : 4)),
    };
    if (!arena_measuring(ctx->arena) && channels < NARROW_LAYER) {
        group_norm_narrow(ctx, y, x, concat, layer, groups, eps, activation);
    } else if (!arena_measuring(ctx->arena)) {
        parallel_for(ctx->threads, x.n * blocks, block_moments, &job);
        parallel_for(ctx->threads, x.n * groups, group_statistics, &job);
        parallel_for(ctx->threads, job.tasks, group_apply, &job);
    }
    arena_release(ctx->arena, mark);
    double count = (double)(x.n * pixels * channels);
    profile_add(ctx->profile, OP_NORM, start, 5 * count, 12 * count);
}

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
    if (!arena_measuring(ctx->arena) && c < NARROW_LAYER)
        layer_norm_narrow(y, x, rows, c, layer, eps);
    else if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, job.tasks, layer_rows, &job);
    arena_release(ctx->arena, mark);
    double count = (double)(rows * c);
    profile_add(ctx->profile, OP_NORM, start, 7 * count, 8 * count);
}
