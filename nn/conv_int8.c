/* Blocks, from the outside in:
 *
 *   for every block of INT8_BLOCK channels:
 *     quantise all pixels, in parallel:         image[n, h + 2, w + 2][INT8_BLOCK], with its border of zeros
 *     quantise the filters, in parallel:        strips[9 taps][INT8_BLOCK][NR]
 *     for every group of lines and group of strips, in parallel:
 *       for every strip, tap, tile of pixels of a line:  tile += a . b
 *       out += tiles
 *
 * Where there are many strips, a task quantises its own and runs all lines over it: filters, which are the larger part
 * of small images' work, then do not leave the cache of the core that packed them.
 *
 * The pixels under a tap of neighbouring outputs of a line are neighbours: a tile's rows are read from the image
 * where they are, by the stride that the micro-kernels have anyway. Sums of the blocks of channels meet in `out`; the
 * first of them adds bias, time embedding and residual. */
#include "nn/conv_int8.h"

#include <string.h>

#include "tensor/cpu.h"
#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"
#include "tensor/low_rank.h"

enum {
    TAPS = 9,
    FILTER = TAPS * INT8_BLOCK,
    GROUP_PIXELS = 64, /* whose bytes under one tap stay in level 1 while strips pass by; one line at least */
    ENOUGH_TASKS = 16, /* that keep any sensible number of threads busy */
};

struct job {
    struct features out, in;
    const struct conv *layer;
    struct conv_options options;
    const struct int8_kernel *kernel;
    const float *bias;
    int64_t C, strips, line_groups, strip_groups;
    int64_t tile_rows;        /* pixels of a tile: most widths of images are multiples of it */
    struct range c;           /* the current block of channels */
    struct int8_rows image;   /* [n, h + 2, w + 2][INT8_BLOCK] */
    struct int8_strip filter; /* [strips][TAPS] */
    struct scratch {          /* per thread */
        float *joined;        /* [INT8_BLOCK]: a pixel's channels of both inputs */
        float *read;          /* [rows_together, GEMM_STRIDE]: a part of some filters */
        float *filters;       /* [rows_together, FILTER]: the whole */
        uint8_t *bytes;       /* [NR, 4 GEMM_STRIDE]: filters as bytes */
        uint32_t *words;      /* [FILTER / 4, NR]: the same, transposed */
        float *tiles;         /* [lines of a group][w, NR] */
    } * scratch;
};

/* ---------------------------------------------------------------------------------------------------------- packing
 */

/* The block's channels of a pixel; those of a second input follow the first's. */
static const float *pixel(const struct job *job, int64_t at, float *joined)
{
    struct range c = job->c;
    int64_t own = job->in.c;
    const struct features *next = job->options.concat;
    if (c.end <= own)
        return job->in.x + at * own + c.begin;
    if (c.begin >= own)
        return next->x + at * next->c + c.begin - own;
    memcpy(joined, job->in.x + at * own + c.begin, (size_t)(own - c.begin) * sizeof *joined);
    memcpy(joined + own - c.begin, next->x + at * next->c, (size_t)(c.end - own) * sizeof *joined);
    return joined;
}

/* Pixels of the bordered image: x from -1 to w, y from -1 to h of a sample. */
static struct int8_rows image_at(const struct job *job, int64_t sample, int64_t y, int64_t x)
{
    int64_t at = (sample * (job->in.h + 2) + y + 1) * (job->in.w + 2) + x + 1;
    return (struct int8_rows){job->image.q + at * INT8_BLOCK, job->image.scale + at, job->image.zero + at};
}

/* A line of the input. */
static void quantise_line(void *arg, int64_t line, int thread)
{
    const struct job *job = arg;
    int64_t w = job->in.w, sample = line / job->in.h, y = line % job->in.h;
    for (int64_t x = 0; x < w; x++)
        job->kernel->pack_row(pixel(job, line * w + x, job->scratch[thread].joined), job->c.end - job->c.begin,
                              image_at(job, sample, y, x));
}

/* Rows of a weight that are read at once: with something added to it (a LoRA), few at a time would read that again
 * and again. */
static int64_t rows_together(const struct job *job)
{
    return job->layer->weight.delta != NULL ? job->kernel->MR : 1;
}

static struct int8_strip strip_at(const struct job *job, int64_t strip, int64_t tap)
{
    int64_t at = (strip * TAPS + tap) * job->kernel->NR;
    return (struct int8_strip){job->filter.q + at * INT8_BLOCK, job->filter.scale + at, job->filter.sum + at};
}

/* The block's channels of the filters of output channels n. Those of the next are asked for meanwhile. */
static void read_filters(const struct job *job, const struct scratch *s, struct range n)
{
    const struct tensor *weight = &job->layer->weight;
    int64_t rows = n.end - n.begin, K = TAPS * job->C;
    struct range all = {TAPS * job->c.begin, TAPS * job->c.end};
    if (n.end < job->out.c)
        tensor_prefetch(weight, n.end * K + all.begin, all.end - all.begin);
    if (weight->delta == NULL) { /* and one row */
        weight_rows(weight, K, n.begin, rows, all.begin, all.end - all.begin, s->filters);
        return;
    }
    for (int64_t k = all.begin; k < all.end; k += GEMM_K) {
        int64_t count = smaller(GEMM_K, all.end - k);
        weight_rows(weight, K, n.begin, rows, k, count, s->read);
        for (int64_t i = 0; i < rows; i++)
            memcpy(s->filters + i * FILTER + k - all.begin, s->read + i * GEMM_STRIDE, (size_t)count * sizeof(float));
    }
}

/* Filters of NR output channels; missing ones are zeros. */
static void quantise_filters(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t NR = job->kernel->NR, first = index * NR, used = smaller(NR, job->out.c - first);
    int64_t together = rows_together(job);
    struct int8_strip strip = strip_at(job, index, 0);
    memset(strip.scale, 0, (size_t)NR * sizeof *strip.scale);
    for (int64_t n = 0; n < used; n += together) {
        int64_t rows = smaller(together, used - n);
        read_filters(job, s, (struct range){first + n, first + n + rows});
        for (int64_t i = 0; i < rows; i++)
            strip.scale[n + i] = job->kernel->pack_filter(s->filters + i * FILTER, job->c.end - job->c.begin,
                                                          s->bytes + (n + i) * 4 * GEMM_STRIDE);
    }
    for (int64_t n = used; n < NR; n++)
        memset(s->bytes + n * 4 * GEMM_STRIDE, 0, FILTER);
    job->kernel->transpose((const float *)(const void *)s->bytes, FILTER / 4, (float *)(void *)s->words);
    job->kernel->arrange_taps(s->words, strip);
    for (int64_t tap = 1; tap < TAPS; tap++)
        memcpy(strip.scale + tap * NR, strip.scale, (size_t)NR * sizeof *strip.scale);
}

/* ---------------------------------------------------------------------------------------------------------- product
 */

/* A tile becomes rows m and columns n of the output, or is added to them. */
static void finish_tile(const struct job *job, struct range m, struct range n, float *tile)
{
    const struct int8_kernel *kernel = job->kernel;
    int64_t N = job->out.c, at = m.begin * N + n.begin, width = n.end - n.begin;
    const float *residual = job->options.residual, *time = job->options.per_sample;
    if (job->c.begin > 0) {
        kernel->finish(job->out.x + at, N, m.end - m.begin, width, tile, NULL, job->out.x + at);
        return;
    }
    for (int64_t i = 0; i < m.end - m.begin; i++) {
        float *row = tile + i * kernel->NR;
        int64_t sample = (m.begin + i) / (job->out.h * job->out.w);
        for (int64_t j = 0; j < width && job->bias != NULL; j++)
            row[j] += job->bias[n.begin + j];
        for (int64_t j = 0; j < width && time != NULL; j++)
            row[j] += time[sample * N + n.begin + j];
    }
    kernel->finish(job->out.x + at, N, m.end - m.begin, width, tile, NULL, residual != NULL ? residual + at : NULL);
}

static void run_strip(const struct job *job, float *tiles, struct range lines, int64_t strip)
{
    const struct int8_kernel *kernel = job->kernel;
    int64_t w = job->out.w, h = job->out.h, step = job->tile_rows;
    struct range n = {strip * kernel->NR, smaller((strip + 1) * kernel->NR, job->out.c)};
    for (int64_t tap = 0; tap < TAPS; tap++)
        for (int64_t line = lines.begin; line < lines.end; line++)
            for (int64_t x = 0; x < w; x += step)
                kernel->run(smaller(step, w - x), job->c.end - job->c.begin,
                            image_at(job, line / h, line % h + tap / 3 - 1, x + tap % 3 - 1),
                            strip_at(job, strip, tap), tiles + ((line - lines.begin) * w + x) * kernel->NR,
                            tap > 0 ? GEMM_ADD : GEMM_REPLACE);
    finish_tile(job, (struct range){lines.begin * w, lines.end * w}, n, tiles);
}

static void run_group(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    struct range lines = task_range(job->out.n * job->out.h, job->line_groups, index / job->strip_groups);
    struct range strips = task_range(job->strips, job->strip_groups, index % job->strip_groups);
    for (int64_t strip = strips.begin; strip < strips.end; strip++)
        run_strip(job, job->scratch[thread].tiles, lines, strip);
}

/* ------------------------------------------------------------------------------------------------------------- call
 */

static int64_t group_lines(const struct job *job)
{
    return job->out.w < GROUP_PIXELS ? GROUP_PIXELS / job->out.w : 1;
}

static void allocate(const struct context *ctx, struct job *job)
{
    const struct int8_kernel *kernel = job->kernel;
    int64_t pixels = job->in.n * (job->in.h + 2) * (job->in.w + 2), columns = job->strips * TAPS * kernel->NR;
    job->image.q = arena_bytes(ctx->arena, (size_t)(pixels * INT8_BLOCK));
    job->image.scale = arena_floats(ctx->arena, pixels);
    job->image.zero = arena_floats(ctx->arena, pixels);
    job->filter.q = arena_bytes(ctx->arena, (size_t)(columns * INT8_BLOCK));
    job->filter.scale = arena_floats(ctx->arena, columns);
    job->filter.sum = arena_floats(ctx->arena, columns);
    job->scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *job->scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .joined = arena_floats(ctx->arena, INT8_BLOCK),
            .read = arena_floats(ctx->arena, rows_together(job) * GEMM_STRIDE),
            .filters = arena_floats(ctx->arena, rows_together(job) * FILTER),
            .bytes = arena_bytes(ctx->arena, (size_t)(kernel->NR * GEMM_STRIDE * 4)),
            .words = arena_bytes(ctx->arena, (size_t)(kernel->NR * FILTER)),
            .tiles = arena_floats(ctx->arena, group_lines(job) * job->out.w * kernel->NR),
        };
        if (!arena_measuring(ctx->arena))
            job->scratch[t] = s;
    }
}

static void clear_border(const struct job *job)
{
    int64_t w = job->in.w, h = job->in.h;
    for (int64_t sample = 0; sample < job->in.n; sample++)
        for (int64_t y = -1; y <= h; y++)
            for (int64_t x = -1; x <= w; x += y < 0 || y == h ? 1 : w + 1) {
                struct int8_rows at = image_at(job, sample, y, x);
                memset(at.q, 0, INT8_BLOCK);
                *at.scale = *at.zero = 0;
            }
}

/* All lines of one strip of output channels, whose filters then come from the cache of the core that packed them. */
static void run_whole_strip(void *arg, int64_t strip, int thread)
{
    const struct job *job = arg;
    quantise_filters(arg, strip, thread);
    for (int64_t i = 0; i < job->line_groups; i++)
        run_strip(job, job->scratch[thread].tiles, task_range(job->out.n * job->out.h, job->line_groups, i), strip);
}

static void run(const struct context *ctx, struct job *job)
{
    clear_border(job);
    for (int64_t c = 0; c < job->C; c += INT8_BLOCK) {
        job->c = (struct range){c, smaller(c + INT8_BLOCK, job->C)};
        parallel_for(ctx->threads, job->in.n * job->in.h, quantise_line, job);
        if (job->strips >= ENOUGH_TASKS) {
            parallel_for(ctx->threads, job->strips, run_whole_strip, job);
            continue;
        }
        parallel_for(ctx->threads, job->strips, quantise_filters, job);
        parallel_for(ctx->threads, job->line_groups * job->strip_groups, run_group, job);
    }
}

static const float *read_bias(const struct context *ctx, const struct tensor *bias, int64_t count)
{
    if (bias->data == NULL)
        return NULL;
    float *values = arena_floats(ctx->arena, count);
    if (!arena_measuring(ctx->arena))
        tensor_read(bias, 0, count, values);
    return values;
}

void conv_int8(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
               struct conv_options options)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    const struct int8_kernel *kernel = int8_kernel();
    struct job job = {
        .out = out,
        .in = in,
        .layer = layer,
        .options = options,
        .kernel = kernel,
        .bias = read_bias(ctx, &layer->bias, out.c),
        .C = in.c + (options.concat ? options.concat->c : 0),
        .strips = divide_up(out.c, kernel->NR),
        .tile_rows = kernel->MR >= 8 ? 8 : 4,
    };
    job.line_groups = divide_up(out.n * out.h, group_lines(&job));
    job.strip_groups = smaller(divide_up(ENOUGH_TASKS, job.line_groups), job.strips);
    allocate(ctx, &job);
    if (!arena_measuring(ctx->arena))
        run(ctx, &job);
    arena_release(ctx->arena, mark);
    double weights = (double)(TAPS * job.C * out.c), rows = (double)features_rows(out);
    profile_add(ctx->profile, OP_CONV, start, 2 * rows * weights,
                weights * (double)dtype_size(layer->weight.dtype) + 4 * rows * (double)(job.C + out.c));
}

bool conv_int8_wins(struct features out, int64_t channels, enum conv_kind kind)
{
    bool four_times_faster = cpu_bytes() == CPU_BYTES_AVX512_VNNI || cpu_bytes() == CPU_BYTES_AVX_VNNI;
    return four_times_faster && kind == CONV_SAME && channels >= INT8_BLOCK && out.c >= INT8_BLOCK;
}
