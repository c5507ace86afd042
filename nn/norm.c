/* Two passes over the data: statistics, then y = x * scale[channel] + shift[channel] with weight, bias, mean and
 * deviation folded into two numbers per channel. Everything but x and y is double: a group of a 1024 px VAE feature map
 * has four million values, and where the mean is far from zero scale and shift cancel. Each (sample, group) is summed by
 * one thread, in order. */
#include "nn/norm.h"

#include <math.h>

#include "tensor/parallel.h"

struct group_job {
    const struct features *parts; /* the one or two inputs, channels side by side */
    int count;
    int64_t groups, channels, pixels;
    const float *weight, *bias;
    float eps;
    double *scale, *shift; /* [n, channels] */
    float *y;
    enum activation activation;
    int64_t tasks;
};

static const float *read_vector(const struct context *ctx, const struct tensor *t, int64_t n)
{
    float *values = arena_floats(ctx->arena, n);
    if (!arena_measuring(ctx->arena))
        tensor_read(t, 0, n, values);
    return values;
}

/* Which input a channel is in; *c becomes the channel within it. */
static const struct features *part_of(const struct group_job *job, int64_t *c)
{
    const struct features *part = job->parts;
    if (*c >= part->c) {
        *c -= part->c;
        part++;
    }
    return part;
}

static void group_statistics(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct group_job *job = arg;
    int64_t sample = index / job->groups, width = job->channels / job->groups, first = index % job->groups * width;
    double sum = 0, squares = 0;
    for (int64_t c = first; c < first + width;) {
        int64_t at = c;
        const struct features *part = part_of(job, &at);
        int64_t run = part->c - at < first + width - c ? part->c - at : first + width - c;
        const float *x = part->x + sample * job->pixels * part->c + at;
        for (int64_t p = 0; p < job->pixels; p++, x += part->c)
            for (int64_t i = 0; i < run; i++) {
                sum += x[i];
                squares += (double)x[i] * x[i];
            }
        c += run;
    }
    double count = (double)width * (double)job->pixels, mean = sum / count;
    double variance = squares / count - mean * mean;
    double inverse = 1.0 / sqrt((variance > 0 ? variance : 0) + job->eps);
    for (int64_t c = first; c < first + width; c++) {
        double scale = job->weight[c] * inverse;
        job->scale[sample * job->channels + c] = scale;
        job->shift[sample * job->channels + c] = job->bias[c] - mean * scale;
    }
}

static void group_apply(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct group_job *job = arg;
    struct range rows = task_range(job->parts->n * job->pixels, job->tasks, index);
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t sample = row / job->pixels, c = 0;
        const double *scale = job->scale + sample * job->channels, *shift = job->shift + sample * job->channels;
        float *y = job->y + row * job->channels;
        for (int part = 0; part < job->count; part++) {
            const float *x = job->parts[part].x + row * job->parts[part].c;
            for (int64_t i = 0; i < job->parts[part].c; i++, c++)
                y[c] = (float)(x[i] * scale[c] + shift[c]);
        }
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
    struct group_job job = {
        .parts = parts,
        .count = concat ? 2 : 1,
        .groups = groups,
        .channels = channels,
        .pixels = pixels,
        .weight = read_vector(ctx, &layer->weight, channels),
        .bias = read_vector(ctx, &layer->bias, channels),
        .eps = eps,
        .scale = arena_bytes(ctx->arena, (size_t)(x.n * channels) * sizeof(double)),
        .shift = arena_bytes(ctx->arena, (size_t)(x.n * channels) * sizeof(double)),
        .y = y,
        .activation = activation,
        .tasks = task_count(x.n * pixels, channels * (activation == ACT_NONE ? 1 : 8)),
    };
    if (!arena_measuring(ctx->arena)) {
        parallel_for(ctx->threads, x.n * groups, group_statistics, &job);
        parallel_for(ctx->threads, job.tasks, group_apply, &job);
    }
    arena_release(ctx->arena, mark);
    double count = (double)(x.n * pixels * channels);
    profile_add(ctx->profile, OP_NORM, start, 5 * count, 12 * count);
}

struct layer_job {
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
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < job->c; i++)
            sum += x[i];
        double mean = sum / (double)job->c;
        for (int64_t i = 0; i < job->c; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        double inverse = 1.0 / sqrt(squares / (double)job->c + job->eps);
        for (int64_t i = 0; i < job->c; i++)
            y[i] = (float)((x[i] - mean) * inverse * job->weight[i] + job->bias[i]);
    }
}

void layer_norm(const struct context *ctx, float *y, const float *x, int64_t rows, int64_t c, const struct norm *layer,
                float eps)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    struct layer_job job = {
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
