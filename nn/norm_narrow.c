#include "nn/norm_narrow.h"

#include <math.h>

#include "tensor/parallel.h"

struct job {
    float *y;
    struct features x;
    const struct features *concat;
    const struct norm *layer;
    int64_t channels, groups;
    float eps;
    enum activation activation;
};

static float value(const struct job *job, int64_t row, int64_t c)
{
    return c < job->x.c ? job->x.x[row * job->x.c + c] : job->concat->x[row * job->concat->c + c - job->x.c];
}

static float weight_at(const struct tensor *t, int64_t i)
{
    float w;
    tensor_read(t, i, 1, &w);
    return w;
}

/* One group of one sample. */
static void run_group(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t pixels = job->x.h * job->x.w, width = job->channels / job->groups;
    int64_t first_row = index / job->groups * pixels, first = index % job->groups * width;
    double sum = 0, squares = 0, count = (double)(pixels * width);
    for (int64_t row = first_row; row < first_row + pixels; row++)
        for (int64_t c = first; c < first + width; c++) {
            double v = value(job, row, c);
            sum += v;
            squares += v * v;
        }
    double mean = sum / count, variance = squares / count - mean * mean;
    double inverse = 1.0 / sqrt((variance > 0 ? variance : 0) + job->eps);
    for (int64_t c = first; c < first + width; c++) {
        double scale = weight_at(&job->layer->weight, c) * inverse,
               shift = weight_at(&job->layer->bias, c) - mean * scale;
        for (int64_t row = first_row; row < first_row + pixels; row++) {
            float *y = job->y + row * job->channels + c;
            *y = (float)(value(job, row, c) * scale + shift);
        }
    }
}

/* One line of pixels. */
static void activate_line(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t n = job->x.w * job->channels;
    activate_narrow(job->activation, job->y + index * n, n);
}

void group_norm_narrow(const struct context *ctx, float *y, struct features x, const struct features *concat,
                       const struct norm *layer, int64_t groups, float eps, enum activation activation)
{
    int64_t channels = x.c + (concat ? concat->c : 0);
    struct job job = {y, x, concat, layer, channels, groups, eps, activation};
    parallel_for(ctx->threads, x.n * groups, run_group, &job);
    if (activation != ACT_NONE)
        parallel_for(ctx->threads, x.n * x.h, activate_line, &job);
}

void layer_norm_narrow(float *y, const float *x, int64_t rows, int64_t c, const struct norm *layer, float eps)
{
    for (int64_t row = 0; row < rows; row++, x += c, y += c) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < c; i++)
            sum += x[i];
        double mean = sum / (double)c;
        for (int64_t i = 0; i < c; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        double inverse = 1.0 / sqrt(squares / (double)c + eps);
        for (int64_t i = 0; i < c; i++)
            y[i] = (float)((x[i] - mean) * inverse * weight_at(&layer->weight, i) + weight_at(&layer->bias, i));
    }
}
