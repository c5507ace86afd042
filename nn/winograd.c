/* Two orders of the same products. A large image has many tiles per filter; blocks, from the outside in:
 *
 *   for every block of NB output channels:
 *     transform its filters into strips, in parallel:   filters[block of channels][36][strip][channel][NR]
 *     for every block of TILES tiles, in parallel:
 *       for every block of GEMM_SHORT_K channels:
 *         transform the input into V[36][TILES][channel]             (level 2)
 *         36 times: sums[tile][NB] += V[i] . filters[..][i]          (the micro-kernels of the multiply)
 *       transform the sums back, epilogue, 16 pixels per tile
 *
 * A small image with many channels has more filters than tiles, and transformed filters are 4 times as many
 * values, 8 times the bytes of an f16 file. They must not leave the cache of the core that made them:
 *
 *   for every tile, in parallel:  transform the input, all channels:  all_v[block of channels][36][tile][channel]
 *   for every strip of NR output channels, in parallel:
 *     for every block of GEMM_SHORT_K channels:
 *       transform the filters                                        (level 2)
 *       36 times: sums[tile][NR] += all_v[..][i] . filters[i]
 *     transform the sums back, epilogue */
#include "nn/winograd.h"

#include <string.h>

#include "nn/winograd_transform.h"
#include "tensor/gemm_kernel.h"
#include "tensor/low_rank.h"

enum {
    NB = 128,   /* output channels per block */
    TILES = 28, /* two rows of micro-tiles; V and the sums are 0.6 MB each */
    FEW_TILES = 256,
    ENOUGH_TILES = 8,
    POSITIONS = 36,
    /* Floats between the blocks of neighbouring positions. A transform touches all 36 at once: were they a power of
     * two apart, they would fight for the same few sets of the cache. */
    PAD = 16,
};

struct job {
    struct features out, in;
    const struct features *concat;
    const struct conv *layer;
    enum conv_kind kind;
    struct conv_options options;
    struct conv_band band;
    const struct gemm_kernel *kernel;
    const struct winograd_transforms *transform;
    const float *bias;
    int64_t C, depth_blocks, tiles_x, tiles_y, tiles, strips;
    int64_t v_step, filter_step, sum_step; /* floats from position to position of what is below */
    bool doubled;                          /* enlarged exactly twice */
    struct range n;                        /* the current block of output channels */
    float *filters;                        /* many tiles: [depth_blocks, 36][strips, GEMM_SHORT_K, NR] */
    float *all_v;                          /* few tiles: [depth_blocks, 36][tiles, GEMM_SHORT_STRIDE] */
    const float *zeros;
    struct scratch {
        float *v;       /* many tiles: [36][TILES, GEMM_SHORT_STRIDE] */
        float *filters; /* few tiles: [36][GEMM_SHORT_K, NR] */
        float *sums;    /* [36][TILES, NB] or [36][tiles, NR] */
        float *rows;    /* [NR, GEMM_STRIDE]: filters of NR output channels as they lie in the file */
        float *strip;   /* [9 * GEMM_SHORT_K, NR]: the same, transposed */
        float *tile;    /* [16, NB] */
    } * scratch;
};

bool winograd_wins(struct features out, int64_t in_channels, enum conv_kind kind)
{
    bool fits = kind == CONV_SAME || kind == CONV_UP;
    return fits && in_channels >= 32 && out.c >= 32 && out.n * ((out.h + 3) / 4) * ((out.w + 3) / 4) >= ENOUGH_TILES;
}

/* ---------------------------------------------------------------------------------------------------------- filters
 */

static struct range depth_range(const struct job *job, int64_t block)
{
    return (struct range){block * GEMM_SHORT_K, smaller((block + 1) * GEMM_SHORT_K, job->C)};
}

/* Up to NR output channels over one block of input channels: read, transposed to [channel, tap] x NR, then per
 * channel nine rows of NR become 36; missing output channels are zeros. */
static void transform_filters(const struct job *job, const struct scratch *s, struct range n, struct range c,
                              float *out)
{
    int64_t NR = job->kernel->NR, channels = c.end - c.begin;
    int64_t used = smaller(NR, n.end - n.begin);
    weight_rows(&job->layer->weight, 9 * job->C, n.begin, used, 9 * c.begin, 9 * channels, s->rows);
    for (int64_t i = used; i < NR; i++)
        memset(s->rows + i * GEMM_STRIDE, 0, (size_t)(channels * 9) * sizeof(float));
    job->kernel->transpose(s->rows, channels * 9, s->strip);
    for (int64_t i = 0; i < channels; i++)
        job->transform->filter(s->strip + i * 9 * NR, NR, out + i * NR, job->filter_step);
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
    int64_t y = conv_source(job->kind, job->band.out_first + p.y + dy, 0, job->band.in_height, job->band.out_height);
    int64_t x = conv_source(job->kind, p.x + dx, 0, job->in.w, job->out.w);
    if (y < 0 || x < 0)
        return job->zeros;
    const struct features *f = c < job->in.c ? &job->in : job->concat;
    int64_t within = c < job->in.c ? c : c - job->in.c;
    return f->x + ((p.sample * f->h + y - job->band.in_first) * f->w + x) * f->c + within;
}

/* V of one tile and a block of channels. */
static void transform_input(const struct job *job, int64_t tile, struct range channels, float *v)
{
    struct place p = place_of(job, tile);
    for (int64_t c = channels.begin; c < channels.end;) {
        int64_t end = c < job->in.c ? smaller(job->in.c, channels.end) : channels.end;
        const float *d[POSITIONS];
        for (int i = 0; i < POSITIONS; i++)
            d[i] = pixel(job, p, i / 6, i % 6, c);
        job->transform->input(d, end - c, v + (c - channels.begin), job->v_step);
        c = end;
    }
}

/* Sums of one tile to pixels: y = sums + bias + per_sample + residual, output channels n. */
static void finish_tile(const struct job *job, const struct scratch *s, int64_t tile, struct range n,
                        const float *sums)
{
    struct place p = place_of(job, tile);
    const struct features *out = &job->out;
    void (*add)(float *y, const float *x, int64_t n) = job->kernel->add;
    int64_t width = n.end - n.begin;
    job->transform->output(sums, job->sum_step, width, s->tile);
    for (int64_t i = 0; i < 16; i++) {
        int64_t y = p.y + i / 4, x = p.x + i % 4;
        if (y >= out->h || x >= out->w)
            continue;
        float *row = s->tile + i * width;
        int64_t at = ((p.sample * out->h + y) * out->w + x) * out->c + n.begin;
        if (job->bias != NULL)
            add(row, job->bias + n.begin, width);
        if (job->options.per_sample != NULL)
            add(row, job->options.per_sample + p.sample * out->c + n.begin, width);
        if (job->options.residual != NULL)
            add(row, job->options.residual + at, width);
        memcpy(out->x + at, row, (size_t)width * sizeof(float));
    }
}

/* Of an image enlarged twice a tile sees rows a b b c c d, from which B^T makes 4b - 4b - c + c at its third place:
 * with the columns, 11 of the 36 products are of zeros. */
static bool is_zero(const struct job *job, int position)
{
    return job->doubled && (position / 6 == 2 || position % 6 == 2);
}

/* sums[tile][NR of `stride`] += v[tile][channel] . strip[channel][NR] */
static void multiply(const struct job *job, int64_t tiles, int64_t channels, const float *v, const float *strip,
                     float *sums, int64_t stride, enum gemm_sum sum)
{
    const struct gemm_kernel *kernel = job->kernel;
    for (int64_t row = 0; row < tiles; row += kernel->MR)
        kernel->run_short(smaller(kernel->MR, tiles - row), channels, v + row * GEMM_SHORT_STRIDE, strip,
                          sums + row * stride, stride, sum);
}

/* ------------------------------------------------------------------------------------------------------- many tiles
 */

static float *filter_strip(const struct job *job, int64_t block, int position, int64_t strip)
{
    return job->filters + (block * POSITIONS + position) * job->filter_step + strip * GEMM_SHORT_K * job->kernel->NR;
}

static void pack_filters(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    int64_t NR = job->kernel->NR, strip = index % job->strips, block = index / job->strips;
    struct range n = {job->n.begin + strip * NR, job->n.end};
    transform_filters(job, &job->scratch[thread], n, depth_range(job, block), filter_strip(job, block, 0, strip));
}

static void run_tiles(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t first = index * TILES, tiles = smaller(TILES, job->tiles - first);
    for (int64_t block = 0; block < job->depth_blocks; block++) {
        struct range c = depth_range(job, block);
        for (int64_t slot = 0; slot < tiles; slot++)
            transform_input(job, first + slot, c, s->v + slot * GEMM_SHORT_STRIDE);
        for (int position = 0; position < POSITIONS; position++)
            for (int64_t strip = 0; strip < job->strips && !is_zero(job, position); strip++)
                multiply(job, tiles, c.end - c.begin, s->v + position * job->v_step,
                         filter_strip(job, block, position, strip),
                         s->sums + position * job->sum_step + strip * job->kernel->NR, NB,
                         block == 0 ? GEMM_REPLACE : GEMM_ADD);
    }
    for (int64_t slot = 0; slot < tiles; slot++)
        finish_tile(job, s, first + slot, job->n, s->sums + slot * NB);
}

static void run_many_tiles(const struct context *ctx, struct job *job)
{
    int64_t NR = job->kernel->NR;
    for (int64_t n = 0; n < job->out.c; n += NB) {
        job->n = (struct range){n, smaller(n + NB, job->out.c)};
        job->strips = (job->n.end - job->n.begin + NR - 1) / NR;
        parallel_for(ctx->threads, job->depth_blocks * job->strips, pack_filters, job);
        parallel_for(ctx->threads, (job->tiles + TILES - 1) / TILES, run_tiles, job);
    }
}

/* -------------------------------------------------------------------------------------------------------- few tiles
 */

static float *v_of(const struct job *job, int64_t block, int position)
{
    return job->all_v + (block * POSITIONS + position) * job->v_step;
}

static void transform_tile(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t tile = index % job->tiles, block = index / job->tiles;
    transform_input(job, tile, depth_range(job, block), v_of(job, block, 0) + tile * GEMM_SHORT_STRIDE);
}

static void run_strip(void *arg, int64_t strip, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t NR = job->kernel->NR;
    struct range n = {strip * NR, smaller((strip + 1) * NR, job->out.c)};
    for (int64_t block = 0; block < job->depth_blocks; block++) {
        struct range c = depth_range(job, block);
        transform_filters(job, s, n, c, s->filters);
        for (int position = 0; position < POSITIONS; position++)
            if (!is_zero(job, position))
                multiply(job, job->tiles, c.end - c.begin, v_of(job, block, position),
                         s->filters + position * job->filter_step, s->sums + position * job->sum_step, NR,
                         block == 0 ? GEMM_REPLACE : GEMM_ADD);
    }
    for (int64_t tile = 0; tile < job->tiles; tile++)
        finish_tile(job, s, tile, n, s->sums + tile * NR);
}

static void run_few_tiles(const struct context *ctx, struct job *job)
{
    parallel_for(ctx->threads, job->depth_blocks * job->tiles, transform_tile, job);
    parallel_for(ctx->threads, (job->out.c + job->kernel->NR - 1) / job->kernel->NR, run_strip, job);
}

/* ------------------------------------------------------------------------------------------------------------- call
 */

static void allocate(const struct context *ctx, struct job *job, bool few)
{
    int64_t NR = job->kernel->NR, strips = (smaller(job->out.c, NB) + NR - 1) / NR;
    int64_t tiles = few ? job->tiles : TILES, columns = few ? NR : NB;
    job->v_step = tiles * GEMM_SHORT_STRIDE + PAD;
    job->filter_step = (few ? 1 : strips) * GEMM_SHORT_K * NR + PAD;
    job->sum_step = tiles * columns + PAD;
    float *bias = arena_floats(ctx->arena, job->out.c), *zeros = arena_floats(ctx->arena, GEMM_SHORT_K);
    if (!arena_measuring(ctx->arena)) {
        memset(zeros, 0, GEMM_SHORT_K * sizeof *zeros);
        if (job->layer->bias.data != NULL)
            tensor_read(&job->layer->bias, 0, job->out.c, bias);
    }
    job->bias = job->layer->bias.data != NULL ? bias : NULL;
    job->zeros = zeros;
    if (few)
        job->all_v = arena_floats(ctx->arena, job->depth_blocks * POSITIONS * job->v_step);
    else
        job->filters = arena_floats(ctx->arena, job->depth_blocks * POSITIONS * job->filter_step);
    job->scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *job->scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .v = few ? NULL : arena_floats(ctx->arena, POSITIONS * job->v_step),
            .filters = few ? arena_floats(ctx->arena, POSITIONS * job->filter_step) : NULL,
            .sums = arena_floats(ctx->arena, POSITIONS * job->sum_step),
            .rows = arena_floats(ctx->arena, NR * GEMM_STRIDE),
            .strip = arena_floats(ctx->arena, 9 * GEMM_SHORT_K * NR),
            .tile = arena_floats(ctx->arena, 16 * columns),
        };
        if (!arena_measuring(ctx->arena) && job->doubled)
            memset(s.sums, 0, (size_t)(POSITIONS * job->sum_step) * sizeof(float)); /* those that is_zero stay so */
        if (!arena_measuring(ctx->arena))
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
        .band = conv_band_of(out, in, options),
        .kernel = gemm_kernel(),
        .transform = winograd_transforms(),
        .C = in.c + (options.concat ? options.concat->c : 0),
        .tiles_x = (out.w + 3) / 4,
        .tiles_y = (out.h + 3) / 4,
    };
    job.doubled = kind == CONV_UP && job.band.out_height == 2 * job.band.in_height && out.w == 2 * in.w;
    job.depth_blocks = (job.C + GEMM_SHORT_K - 1) / GEMM_SHORT_K;
    job.tiles = out.n * job.tiles_x * job.tiles_y;
    bool few = job.tiles <= FEW_TILES;
    allocate(ctx, &job, few);
    if (!arena_measuring(ctx->arena))
        few ? run_few_tiles(ctx, &job) : run_many_tiles(ctx, &job);
    arena_release(ctx->arena, mark);
    double pixels = (double)features_rows(out), taps = 9.0 * (double)job.C;
    profile_add(ctx->profile, OP_CONV, start, 2 * pixels * taps * (double)out.c,
                4 * pixels * (double)(job.C + out.c) +
                    taps * (double)out.c * (double)dtype_size(layer->weight.dtype));
}
