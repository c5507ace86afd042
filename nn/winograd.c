/* Blocks, from the outside in:
 *
 *   for every block of NB output channels:
 *     transform its filters into strips, in parallel:   filters[block of channels][36][strip][channel][NR]
 *     for every block of TILES tiles, in parallel:
 *       for every block of GEMM_SHORT_K channels:
 *         transform the input into V[36][TILES][channel]             (level 2)
 *         36 times: sums[tile][NB] += V[i] . filters[..][i]          (the micro-kernels of the multiply)
 *       transform the sums back, epilogue, 16 pixels per tile */
#include "nn/winograd.h"

#include <string.h>

#include "nn/winograd_transform.h"
#include "tensor/gemm_kernel.h"

enum {
    NB = 128,   /* output channels per block */
    TILES = 28, /* two rows of micro-tiles; V and the sums are 0.6 MB each */
    POSITIONS = 36,
};

struct job {
    struct features out, in;
    const struct features *concat;
    const struct conv *layer;
    enum conv_kind kind;
    struct conv_options options;
    const struct gemm_kernel *kernel;
    const struct winograd_transforms *transform;
    const float *bias;
    int64_t C, depth_blocks, tiles_x, tiles_y, tiles, strips;
    struct range n; /* the current block of output channels */
    float *filters; /* [depth_blocks, 36, strips, GEMM_SHORT_K, NR] */
    const float *zeros;
    struct scratch {
        float *v;     /* [36, TILES, GEMM_SHORT_STRIDE] */
        float *sums;  /* [36, TILES, NB] */
        float *rows;  /* [NR, GEMM_STRIDE]: filters of NR output channels as they lie in the file */
        float *strip; /* [9 * GEMM_SHORT_K, NR]: the same, transposed */
        float *tile;  /* [16, NB] */
    } * scratch;
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

bool winograd_wins(struct features out, int64_t in_channels, enum conv_kind kind)
{
    int64_t tiles = out.n * ((out.h + 3) / 4) * ((out.w + 3) / 4);
    bool fits = kind == CONV_SAME || kind == CONV_UP;
    return fits && in_channels >= 64 && out.c >= 64 && tiles >= 128;
}

/* ---------------------------------------------------------------------------------------------------------- filters
 */

/* One strip of NR output channels over one block of input channels: read, transposed to [channel, tap] x NR, then per
 * channel nine rows of NR become 36. */
static void pack_filters(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t NR = job->kernel->NR, strip = index % job->strips, block = index / job->strips;
    int64_t first_n = job->n.begin + strip * NR, used = smaller(NR, job->n.end - first_n);
    int64_t first_c = block * GEMM_SHORT_K, channels = smaller(GEMM_SHORT_K, job->C - first_c);
    for (int64_t i = 0; i < NR; i++) {
        float *row = s->rows + i * GEMM_STRIDE;
        if (i < used)
            tensor_read(&job->layer->weight, ((first_n + i) * job->C + first_c) * 9, channels * 9, row);
        else
            memset(row, 0, (size_t)(channels * 9) * sizeof(float));
    }
    job->kernel->transpose(s->rows, channels * 9, s->strip);
    float *out = job->filters + ((block * POSITIONS) * job->strips + strip) * GEMM_SHORT_K * NR;
    for (int64_t c = 0; c < channels; c++)
        job->transform->filter(s->strip + c * 9 * NR, NR, out + c * NR, job->strips * GEMM_SHORT_K * NR);
}

static const float *filter_strip(const struct job *job, int64_t block, int position, int64_t strip)
{
    return job->filters + ((block * POSITIONS + position) * job->strips + strip) * GEMM_SHORT_K * job->kernel->NR;
}

/* ------------------------------------------------------------------------------------------------------------ tiles
 */

struct place {
    int64_t sample, y, x; /* first output pixel of a tile */
};

static struct place place_of(const struct job *job, int64_t tile)
{
    int64_t x = tile % job->tiles_x, y = tile / job->tiles_x % job->tiles_y;
    return (struct place){tile / (job->tiles_x * job->tiles_y), 4 * y, 4 * x};
}

/* Channels from `c` on of an input pixel, zeros outside of the image. A block of channels may reach over the seam of
 * the two inputs; then it is handled in two parts. */
static const float *pixel(const struct job *job, struct place p, int dy, int dx, int64_t c)
{
    int64_t y = conv_source(job->kind, p.y + dy, 0, job->in.h, job->out.h);
    int64_t x = conv_source(job->kind, p.x + dx, 0, job->in.w, job->out.w);
    if (y < 0 || x < 0)
        return job->zeros;
    const struct features *f = c < job->in.c ? &job->in : job->concat;
    int64_t within = c < job->in.c ? c : c - job->in.c;
    return f->x + ((p.sample * f->h + y) * f->w + x) * f->c + within;
}

static void transform_input(const struct job *job, const struct scratch *s, int64_t tile, int64_t slot,
                            int64_t first_c, int64_t channels)
{
    struct place p = place_of(job, tile);
    for (int64_t c = first_c; c < first_c + channels;) {
        int64_t end = c < job->in.c ? smaller(job->in.c, first_c + channels) : first_c + channels;
        const float *d[POSITIONS];
        for (int i = 0; i < POSITIONS; i++)
            d[i] = pixel(job, p, i / 6, i % 6, c);
        job->transform->input(d, end - c, s->v + slot * GEMM_SHORT_STRIDE + (c - first_c), TILES * GEMM_SHORT_STRIDE);
        c = end;
    }
}

static void multiply(const struct job *job, const struct scratch *s, int64_t block, int64_t channels, int64_t tiles)
{
    const struct gemm_kernel *kernel = job->kernel;
    enum gemm_sum sum = block == 0 ? GEMM_REPLACE : GEMM_ADD;
    for (int position = 0; position < POSITIONS; position++)
        for (int64_t strip = 0; strip < job->strips; strip++)
            for (int64_t row = 0; row < tiles; row += kernel->MR)
                kernel->run_short(smaller(kernel->MR, tiles - row), channels,
                                  s->v + (position * TILES + row) * GEMM_SHORT_STRIDE,
                                  filter_strip(job, block, position, strip),
                                  s->sums + (position * TILES + row) * NB + strip * kernel->NR, NB, sum);
}

static void add(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* Sums of one tile to pixels: y = sums + bias + per_sample + residual. */
static void finish_tile(const struct job *job, const struct scratch *s, int64_t tile, int64_t slot)
{
    struct place p = place_of(job, tile);
    const struct features *out = &job->out;
    int64_t width = job->n.end - job->n.begin;
    job->transform->output(s->sums + slot * NB, TILES * NB, width, s->tile);
    for (int64_t i = 0; i < 16; i++) {
        int64_t y = p.y + i / 4, x = p.x + i % 4;
        if (y >= out->h || x >= out->w)
            continue;
        float *row = s->tile + i * width;
        int64_t at = ((p.sample * out->h + y) * out->w + x) * out->c + job->n.begin;
        if (job->bias != NULL)
            add(row, job->bias + job->n.begin, width);
        if (job->options.per_sample != NULL)
            add(row, job->options.per_sample + p.sample * out->c + job->n.begin, width);
        if (job->options.residual != NULL)
            add(row, job->options.residual + at, width);
        memcpy(out->x + at, row, (size_t)width * sizeof(float));
    }
}

static void run_tiles(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t first = index * TILES, tiles = smaller(TILES, job->tiles - first);
    for (int64_t block = 0; block < job->depth_blocks; block++) {
        int64_t first_c = block * GEMM_SHORT_K, channels = smaller(GEMM_SHORT_K, job->C - first_c);
        for (int64_t slot = 0; slot < tiles; slot++)
            transform_input(job, s, first + slot, slot, first_c, channels);
        multiply(job, s, block, channels, tiles);
    }
    for (int64_t slot = 0; slot < tiles; slot++)
        finish_tile(job, s, first + slot, slot);
}

/* ------------------------------------------------------------------------------------------------------------- call
 */

static void allocate(const struct context *ctx, struct job *job)
{
    int64_t NR = job->kernel->NR, strips = (smaller(job->out.c, NB) + NR - 1) / NR;
    bool real = !arena_measuring(ctx->arena);
    float *bias = arena_floats(ctx->arena, job->out.c), *zeros = arena_floats(ctx->arena, GEMM_SHORT_K);
    if (real) {
        memset(zeros, 0, GEMM_SHORT_K * sizeof *zeros);
        if (job->layer->bias.data != NULL)
            tensor_read(&job->layer->bias, 0, job->out.c, bias);
    }
    job->bias = job->layer->bias.data != NULL ? bias : NULL;
    job->zeros = zeros;
    job->filters = arena_floats(ctx->arena, job->depth_blocks * POSITIONS * strips * GEMM_SHORT_K * NR);
    job->scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *job->scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .v = arena_floats(ctx->arena, POSITIONS * TILES * GEMM_SHORT_STRIDE),
            .sums = arena_floats(ctx->arena, POSITIONS * TILES * NB),
            .rows = arena_floats(ctx->arena, NR * GEMM_STRIDE),
            .strip = arena_floats(ctx->arena, 9 * GEMM_SHORT_K * NR),
            .tile = arena_floats(ctx->arena, 16 * NB),
        };
        if (real)
            job->scratch[t] = s;
    }
}

void winograd_conv(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
                   enum conv_kind kind, struct conv_options options)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    struct job job = {
        .out = out,
        .in = in,
        .concat = options.concat,
        .layer = layer,
        .kind = kind,
        .options = options,
        .kernel = gemm_large_kernel(),
        .transform = winograd_transforms(),
        .C = in.c + (options.concat ? options.concat->c : 0),
        .tiles_x = (out.w + 3) / 4,
        .tiles_y = (out.h + 3) / 4,
    };
    job.depth_blocks = (job.C + GEMM_SHORT_K - 1) / GEMM_SHORT_K;
    job.tiles = out.n * job.tiles_x * job.tiles_y;
    allocate(ctx, &job);
    for (int64_t n = 0; n < out.c && !arena_measuring(ctx->arena); n += NB) {
        job.n = (struct range){n, smaller(n + NB, out.c)};
        job.strips = (job.n.end - job.n.begin + job.kernel->NR - 1) / job.kernel->NR;
        parallel_for(ctx->threads, job.depth_blocks * job.strips, pack_filters, &job);
        parallel_for(ctx->threads, (job.tiles + TILES - 1) / TILES, run_tiles, &job);
    }
    arena_release(ctx->arena, mark);
    double pixels = (double)features_rows(out), taps = 9.0 * (double)job.C;
    profile_add(ctx->profile, OP_CONV, start, 2 * pixels * taps * (double)out.c,
                4 * pixels * (double)(job.C + out.c) +
                    taps * (double)out.c * (double)dtype_size(layer->weight.dtype));
}
