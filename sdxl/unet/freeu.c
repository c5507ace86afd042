#include "sdxl/unet/freeu.h"

#include <math.h>

#include "tensor/parallel.h"

enum { BINS = 4 }; /* (u, v) = (-1, -1), (-1, 0), (0, -1), (0, 0) */

struct job {
    struct features hidden, skip;
    float s, b;
    float *cosine, *sine; /* [BINS, h*w]: of 2 pi (u y / h + v x / w) */
};

/* In a single row (or column) frequency -1 is frequency 0 again; it counts once, so the other wave is none. */
static void fill_waves(const struct job *job)
{
    const double two_pi = 6.283185307179586477;
    int64_t h = job->skip.h, w = job->skip.w;
    for (int bin = 0; bin < BINS; bin++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) {
                double u = bin < 2 ? -1 : 0, v = bin % 2 == 0 ? -1 : 0;
                double angle = two_pi * (u * (double)y / (double)h + v * (double)x / (double)w);
                bool again = (u < 0 && h == 1) || (v < 0 && w == 1);
                job->cosine[(bin * h + y) * w + x] = again ? 0 : (float)cos(angle);
                job->sine[(bin * h + y) * w + x] = again ? 0 : (float)sin(angle);
            }
}

/* One channel of one sample: the four coefficients, then their waves back, scaled by s - 1. */
static void filter_channel(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t pixels = job->skip.h * job->skip.w, c = job->skip.c;
    float *x = job->skip.x + index / c * pixels * c + index % c;
    double real[BINS] = {0}, imaginary[BINS] = {0};
    for (int bin = 0; bin < BINS; bin++)
        for (int64_t p = 0; p < pixels; p++) {
            real[bin] += (double)x[p * c] * job->cosine[bin * pixels + p];
            imaginary[bin] -= (double)x[p * c] * job->sine[bin * pixels + p];
        }
    double factor = ((double)job->s - 1.0) / (double)pixels;
    for (int64_t p = 0; p < pixels; p++) {
        double wave = 0;
        for (int bin = 0; bin < BINS; bin++)
            wave += real[bin] * job->cosine[bin * pixels + p] - imaginary[bin] * job->sine[bin * pixels + p];
        x[p * c] += (float)(factor * wave);
    }
}

static void strengthen_row(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct job *job = arg;
    for (int64_t c = 0; c < job->hidden.c / 2; c++)
        job->hidden.x[row * job->hidden.c + c] *= job->b;
}

void freeu_apply(const struct context *ctx, struct features hidden, struct features skip, float s, float b)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    int64_t waves = BINS * skip.h * skip.w;
    struct job job = {hidden, skip, s, b, arena_floats(ctx->arena, waves), arena_floats(ctx->arena, waves)};
    if (!arena_measuring(ctx->arena)) {
        fill_waves(&job);
        parallel_for(ctx->threads, features_rows(hidden), strengthen_row, &job);
        parallel_for(ctx->threads, skip.n * skip.c, filter_channel, &job);
    }
    arena_release(ctx->arena, mark);
    profile_add(ctx->profile, OP_OTHER, start, 4.0 * BINS * (double)features_count(skip),
                12.0 * (double)features_count(skip));
}
