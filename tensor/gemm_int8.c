/* The one multiply in 8-bit integers (int8_kernel.h says what is computed). The side with fewer rows is quantised
 * first and shared by all; each task then quantises a piece of the other and uses it up:
 *
 *   weights with more rows than the input:                     input with more rows than the weights:
 *     for every block of rows of the input:                      for every block of rows of the weights:
 *       quantise it, in parallel                                   quantise it, in parallel
 *       for every strip of NR rows of the weights, in parallel:    for every group of rows of the input, in parallel:
 *         quantise it                                                quantise it
 *         for every group of rows:  tiles                            for every strip:  tiles
 *
 * A piece stays in level 2 of the core that made it, what is shared is a share of level 3; while one core waits for
 * memory, others multiply. Tiles:  for every block of K, panel of MR rows:  tile += a . b; then the epilogue. All of
 * K fits one pass, so that a tile is complete when the epilogue sees it.
 *
 * Weights are read from the file as they are, each time anew: 8-bit copies of them would be a second model in memory,
 * and finding a block's scale costs less than reading the block does. */
#include <string.h>

#include "tensor/gemm.h"
#include "tensor/gemm_int8.h"
#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"
#include "tensor/low_rank.h"

enum {
    SHARED_BYTES = 6 << 20, /* quantised and shared at a time */
    CHUNK = INT8_BLOCK,     /* values of k of the input packed at a time; a multiple of INT8_BLOCK */
    BYTES = 4 * GEMM_K,     /* of a row of the weight that wait to be transposed */
    LINE = 16,              /* floats of a cache line */
    GROUP_ROWS = 56,        /* whose tiles stay in level 1 while blocks of K pass by */
};

struct job {
    const struct gemm *g;
    const struct int8_kernel *kernel;
    const float *bias;               /* [weight rows], float32, or NULL */
    int parts;                       /* strips per strip of output: 2 with GEGLU */
    int64_t blocks;                  /* of K */
    bool few_rows;                   /* the input is shared, not the weights */
    struct range m, n;               /* the current block of rows and of columns */
    struct int8_rows rows;           /* [panels of m], or nothing */
    struct int8_strip strips;        /* nothing, or [strips of n][parts] */
    struct scratch {                 /* per thread */
        float *rows;                 /* [MR, GEMM_STRIDE]: some of K of the input, or of rows of the weight */
        uint8_t *bytes;              /* [NR, 4 GEMM_STRIDE]: quantised rows of the weight */
        struct int8_rows own_rows;   /* nothing, or [panels of a group] */
        struct int8_strip own_strip; /* [parts], or nothing */
        float *tiles;                /* [panels of a group][parts][MR, NR] */
    } * scratch;
};

static int64_t blocks_of(int64_t size, int64_t block)
{
    return (size + block - 1) / block;
}

/* ---------------------------------------------------------------------------------------------------------- packing
 */

static int64_t group_rows(const struct int8_kernel *kernel)
{
    return GROUP_ROWS / kernel->MR * kernel->MR;
}

/* A block of K of a panel, of a strip, of those that begin at the first. */
static struct int8_rows panel_at(const struct job *job, struct int8_rows first, int64_t panel, int64_t block)
{
    int64_t at = (panel * job->blocks + block) * job->kernel->MR;
    return (struct int8_rows){first.q + at * INT8_BLOCK, first.scale + at, first.zero + at};
}

static struct int8_strip strip_at(const struct job *job, struct int8_strip first, int64_t strip, int64_t block)
{
    int64_t at = (strip * job->blocks + block) * job->kernel->NR;
    return (struct int8_strip){first.q + at * INT8_BLOCK, first.scale + at, first.sum + at};
}

/* Rows m of the input, MR at most. */
static void pack_panel(const struct job *job, const struct scratch *s, struct range m, struct int8_rows panel)
{
    const struct gemm *g = job->g;
    for (int64_t i = m.begin; i < m.end && g->in.rows != NULL; i++) {
        int64_t at = i - m.begin;
        job->kernel->pack_row(g->in.rows + i * g->in.width, g->K,
                              (struct int8_rows){panel.q + at * INT8_BLOCK, panel.scale + at, panel.zero + at});
    }
    for (int64_t k = 0; k < g->K && g->in.rows == NULL; k += CHUNK) {
        int64_t count = smaller(CHUNK, g->K - k);
        g->in.pack(g->in.self, m, (struct range){k, k + count}, s->rows, GEMM_STRIDE);
        for (int64_t i = 0; i < m.end - m.begin; i++) {
            int64_t at = k / INT8_BLOCK * job->kernel->MR + i;
            job->kernel->pack_row(s->rows + i * GEMM_STRIDE, count,
                                  (struct int8_rows){panel.q + at * INT8_BLOCK, panel.scale + at, panel.zero + at});
        }
    }
}

static void zero_column(const struct job *job, const struct scratch *s, int64_t n, struct range k,
                        struct int8_strip strip)
{
    memset(s->bytes + n * GEMM_STRIDE * 4, 0, (size_t)(k.end - k.begin));
    for (int64_t block = k.begin / INT8_BLOCK; block * INT8_BLOCK < k.end; block++) {
        strip.scale[block * job->kernel->NR + n] = 0;
        strip.sum[block * job->kernel->NR + n] = 0;
    }
}

/* Values k of `rows` rows of the weight, columns n and on of the strip, as bytes. Rows lie one behind the other in
 * the file: what comes next is asked for while these become bytes. */
static void pack_columns(const struct job *job, const struct scratch *s, int64_t row, int64_t rows, int64_t n,
                         struct range k, struct int8_strip strip)
{
    const struct tensor *weight = job->g->weight.tensor;
    int64_t K = job->g->K;
    for (int64_t first = k.begin; first < k.end; first += GEMM_K) {
        int64_t count = smaller(GEMM_K, k.end - first), at = first / INT8_BLOCK * job->kernel->NR + n;
        weight_rows(weight, K, row, rows, first, count, s->rows);
        if (n + rows < job->kernel->NR && (row + rows) * K + first + count <= tensor_count(weight))
            tensor_prefetch(weight, (row + rows) * K + first, count);
        for (int64_t i = 0; i < rows; i++)
            job->kernel->pack_weight(s->rows + i * GEMM_STRIDE, count,
                                     s->bytes + (n + i) * GEMM_STRIDE * 4 + first - k.begin, strip.scale + at + i,
                                     strip.sum + at + i);
    }
}

/* Columns n, or the gates that belong to them. Columns beyond the weight are zeros. */
static void pack_strip(const struct job *job, const struct scratch *s, struct range n, int64_t part,
                       struct int8_strip strip)
{
    int64_t NR = job->kernel->NR, K = job->g->K, used = n.end - n.begin, first = part * job->g->N + n.begin;
    int64_t together = job->g->weight.tensor->delta != NULL ? job->kernel->MR : 1; /* weight_rows says why */
    for (int64_t begin = 0; begin < K; begin += BYTES) {
        struct range k = {begin, smaller(begin + BYTES, K)};
        for (int64_t i = 0; i < used; i += together)
            pack_columns(job, s, first + i, smaller(together, used - i), i, k, strip);
        for (int64_t i = used; i < NR; i++)
            zero_column(job, s, i, k, strip);
        job->kernel->transpose((const float *)(const void *)s->bytes,
                               blocks_of(k.end - begin, INT8_BLOCK) * INT8_BLOCK / 4,
                               (float *)(void *)(strip.q + begin * NR));
    }
}

/* ---------------------------------------------------------------------------------------------------------- product
 */

/* tile += bias of columns n, or of the gates that belong to them. The last strip may have fewer than a tile. */
static void add_bias(const struct job *job, float *tile, int64_t rows, struct range n, int part)
{
    if (job->bias == NULL)
        return;
    float padded[INT8_MOST_COLUMNS] = {0};
    memcpy(padded, job->bias + part * job->g->N + n.begin, (size_t)(n.end - n.begin) * sizeof *padded);
    job->kernel->add_row(tile, padded, rows);
}

/* A tile of sums, with GEGLU followed by that of its gates, becomes rows m and columns n of the output. */
static void finish_tile(const struct job *job, struct range m, struct range n, float *tile)
{
    const struct int8_kernel *kernel = job->kernel;
    const struct gemm *g = job->g;
    const struct epilogue *e = &g->epilogue;
    int64_t rows = m.end - m.begin, at = m.begin * g->N + n.begin;
    float *gate = e->activation == ACT_GEGLU ? tile + (int64_t)kernel->MR * kernel->NR : NULL;
    add_bias(job, tile, rows, n, 0);
    for (int64_t i = 0; i < rows && e->per_sample != NULL; i++)
        for (int64_t j = n.begin; j < n.end; j++)
            tile[i * kernel->NR + j - n.begin] += e->per_sample[(m.begin + i) / e->rows_per_sample * g->N + j];
    if (gate != NULL) {
        add_bias(job, gate, rows, n, 1);
        activate(ACT_GELU, gate, rows * kernel->NR);
    } else {
        activate(e->activation, tile, rows * kernel->NR);
    }
    kernel->finish(g->out + at, g->N, rows, n.end - n.begin, tile, gate,
                   e->residual != NULL ? e->residual + at : NULL);
}

/* Asks for the lines that will be written, and for those of the residual. */
static void prefetch_output(const struct job *job, struct range m, struct range n)
{
    const struct gemm *g = job->g;
    const float *residual = g->epilogue.residual;
    for (int64_t i = m.begin; i < m.end; i++)
        for (int64_t at = i * g->N + n.begin; at < i * g->N + n.end; at += LINE) {
            __builtin_prefetch(g->out + at, 1);
            if (residual != NULL)
                __builtin_prefetch(residual + at);
        }
}

/* Rows m, a group at most, which are the panels from `rows` on, and columns n, which are one strip, with its gates.
 * Block by block: a block of the strip stays in level 1 while the panels pass. */
static void run_tiles(const struct job *job, float *tiles, struct range m, struct int8_rows rows, struct range n,
                      struct int8_strip strip)
{
    const struct int8_kernel *kernel = job->kernel;
    int64_t K = job->g->K, MR = kernel->MR, count = m.end - m.begin, panels = blocks_of(count, MR);
    int64_t size = MR * kernel->NR;
    prefetch_output(job, m, n);
    for (int64_t block = 0; block < job->blocks; block++)
        for (int64_t panel = 0; panel < panels; panel++)
            for (int part = 0; part < job->parts; part++)
                kernel->run(smaller(MR, count - panel * MR), smaller(INT8_BLOCK, K - block * INT8_BLOCK),
                            panel_at(job, rows, panel, block), strip_at(job, strip, part, block),
                            tiles + (panel * job->parts + part) * size, block > 0 ? GEMM_ADD : GEMM_REPLACE);
    for (int64_t panel = 0; panel < panels; panel++, tiles += job->parts * size) {
        int64_t first = m.begin + panel * MR;
        finish_tile(job, (struct range){first, smaller(first + MR, m.end)}, n, tiles);
    }
}

/* The index-th piece of so many of a range. */
static struct range piece(struct range all, int64_t size, int64_t index)
{
    int64_t first = all.begin + index * size;
    return (struct range){first, smaller(first + size, all.end)};
}

static void share_panel(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    pack_panel(job, &job->scratch[thread], piece(job->m, job->kernel->MR, index), panel_at(job, job->rows, index, 0));
}

static void run_strip(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t MR = job->kernel->MR, step = group_rows(job->kernel);
    struct range n = piece(job->n, job->kernel->NR, index);
    for (int part = 0; part < job->parts; part++)
        pack_strip(job, s, n, part, strip_at(job, s->own_strip, part, 0));
    for (int64_t i = 0; job->m.begin + i * step < job->m.end; i++)
        run_tiles(job, s->tiles, piece(job->m, step, i), panel_at(job, job->rows, i * step / MR, 0), n, s->own_strip);
}

static void share_strip(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    pack_strip(job, &job->scratch[thread], piece(job->n, job->kernel->NR, index / job->parts), index % job->parts,
               strip_at(job, job->strips, index, 0));
}

static void run_group(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t MR = job->kernel->MR, NR = job->kernel->NR;
    struct range m = piece(job->m, group_rows(job->kernel), index);
    for (int64_t i = 0; m.begin + i * MR < m.end; i++)
        pack_panel(job, s, piece(m, MR, i), panel_at(job, s->own_rows, i, 0));
    for (int64_t i = 0; job->n.begin + i * NR < job->n.end; i++)
        run_tiles(job, s->tiles, m, s->own_rows, piece(job->n, NR, i), strip_at(job, job->strips, i * job->parts, 0));
}

/* ------------------------------------------------------------------------------------------------------------- call
 */

/* How many rows of the input, or columns of the output, are shared at a time: whole panels or strips. */
static int64_t rows_at_once(const struct job *job)
{
    int64_t unit = job->few_rows ? job->kernel->MR : job->kernel->NR;
    int64_t all = job->few_rows ? job->g->M : job->g->N, parts = job->few_rows ? 1 : job->parts;
    int64_t most = SHARED_BYTES / (unit * parts * job->blocks * INT8_BLOCK);
    return smaller(most > 1 ? most : 1, blocks_of(all, unit)) * unit;
}

static struct int8_rows new_rows(const struct context *ctx, const struct job *job, int64_t rows)
{
    int64_t count = rows * job->blocks;
    return (struct int8_rows){arena_bytes(ctx->arena, (size_t)(count * INT8_BLOCK)), arena_floats(ctx->arena, count),
                              arena_floats(ctx->arena, count)};
}

static struct int8_strip new_strips(const struct context *ctx, const struct job *job, int64_t columns)
{
    int64_t count = columns * job->parts * job->blocks;
    return (struct int8_strip){arena_bytes(ctx->arena, (size_t)(count * INT8_BLOCK)), arena_floats(ctx->arena, count),
                               arena_floats(ctx->arena, count)};
}

static void allocate(const struct context *ctx, struct job *job)
{
    const struct int8_kernel *kernel = job->kernel;
    if (job->few_rows)
        job->rows = new_rows(ctx, job, rows_at_once(job));
    else
        job->strips = new_strips(ctx, job, rows_at_once(job));
    job->scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *job->scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .rows = arena_floats(ctx->arena, kernel->MR * GEMM_STRIDE),
            .bytes = arena_bytes(ctx->arena, (size_t)(kernel->NR * GEMM_STRIDE * 4)),
            .tiles = arena_floats(ctx->arena, group_rows(kernel) * job->parts * kernel->NR),
        };
        if (job->few_rows)
            s.own_strip = new_strips(ctx, job, kernel->NR);
        else
            s.own_rows = new_rows(ctx, job, group_rows(kernel));
        if (!arena_measuring(ctx->arena))
            job->scratch[t] = s;
    }
}

static void run_few_rows(const struct context *ctx, struct job *job)
{
    int64_t step = rows_at_once(job);
    job->n = (struct range){0, job->g->N};
    for (int64_t m = 0; m < job->g->M; m += step) {
        job->m = (struct range){m, smaller(m + step, job->g->M)};
        parallel_for(ctx->threads, blocks_of(job->m.end - m, job->kernel->MR), share_panel, job);
        parallel_for(ctx->threads, blocks_of(job->g->N, job->kernel->NR), run_strip, job);
    }
}

static void run_many_rows(const struct context *ctx, struct job *job)
{
    int64_t step = rows_at_once(job);
    job->m = (struct range){0, job->g->M};
    for (int64_t n = 0; n < job->g->N; n += step) {
        job->n = (struct range){n, smaller(n + step, job->g->N)};
        parallel_for(ctx->threads, blocks_of(job->n.end - n, job->kernel->NR) * job->parts, share_strip, job);
        parallel_for(ctx->threads, blocks_of(job->g->M, group_rows(job->kernel)), run_group, job);
    }
}

void gemm_int8_run(const struct context *ctx, const struct gemm *g, const float *bias)
{
    int parts = g->epilogue.activation == ACT_GEGLU ? 2 : 1;
    struct job job = {
        .g = g,
        .kernel = int8_kernel(),
        .bias = bias,
        .parts = parts,
        .blocks = blocks_of(g->K, INT8_BLOCK),
        .few_rows = g->M <= parts * g->N,
    };
    allocate(ctx, &job);
    if (arena_measuring(ctx->arena))
        return;
    if (job.few_rows)
        run_few_rows(ctx, &job);
    else
        run_many_rows(ctx, &job);
}
