/* The one multiply in 8-bit integers (int8_kernel.h says what is computed):
 *
 *   for every block of rows:                       (few enough that all of K, in bytes, is a share of level 3)
 *     quantise the input, block by block of K, in parallel
 *     for every strip of the weight, in parallel:
 *       quantise it [all of K, NR]                 (level 2 of the core that uses it)
 *       for every group of rows, block of K, panel of rows:  tile += a . b; then the epilogue
 *
 * Weights are read from the file as they are, each time anew: 8-bit copies of them would be a second model in memory,
 * and finding a block's scale costs less than reading the block does. While one core waits for memory, others
 * multiply. All of K fits one pass, so that a tile is complete when the epilogue sees it. */
#include <string.h>

#include "tensor/gemm.h"
#include "tensor/gemm_int8.h"
#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"
#include "tensor/low_rank.h"

enum {
    INPUT_BYTES = 6 << 20, /* quantised input at a time */
    CHUNK = INT8_BLOCK,    /* values of k of the input packed at a time; a multiple of INT8_BLOCK */
    BYTES = 4 * GEMM_K,    /* of a row of the weight that wait to be transposed */
    ENOUGH_TASKS = 16,     /* that keep any sensible number of threads busy */
    GROUP_ROWS = 56,       /* whose tiles stay in level 1 while blocks of K pass by */
};

struct job {
    const struct gemm *g;
    const struct int8_kernel *kernel;
    const float *bias;            /* [weight rows], float32, or NULL */
    int parts;                    /* strips per strip of output: 2 with GEGLU */
    int64_t blocks;               /* of K */
    struct range m;               /* the current block of rows */
    int64_t row_parts;            /* where strips are few, several tasks share one, each with a part of the rows */
    struct int8_rows rows;        /* [panels of m] */
    struct scratch {              /* per thread */
        float *rows;              /* [MR, GEMM_STRIDE]: some of K of the input, or of rows of the weight */
        uint8_t *bytes;           /* [NR, 4 GEMM_STRIDE]: quantised rows of the weight */
        struct int8_strip weight; /* [parts] */
        float *tiles;             /* [panels of a group][parts][MR, NR] */
    } * scratch;
};

static int64_t blocks_of(int64_t size, int64_t block)
{
    return (size + block - 1) / block;
}

/* ---------------------------------------------------------------------------------------------------------- packing
 */

static int64_t group_panels(const struct int8_kernel *kernel)
{
    return GROUP_ROWS / kernel->MR;
}

static struct int8_rows panel_at(const struct job *job, int64_t panel, int64_t block)
{
    int64_t at = (panel * job->blocks + block) * job->kernel->MR;
    return (struct int8_rows){job->rows.q + at * INT8_BLOCK, job->rows.scale + at, job->rows.zero + at};
}

static struct int8_strip strip_at(const struct job *job, const struct scratch *s, int part, int64_t block)
{
    int64_t at = (part * job->blocks + block) * job->kernel->NR;
    return (struct int8_strip){s->weight.q + at * INT8_BLOCK, s->weight.scale + at, s->weight.sum + at};
}

static int64_t panels_of(const struct job *job)
{
    return blocks_of(job->m.end - job->m.begin, job->kernel->MR);
}

/* A last panel may have fewer than MR. */
static int64_t rows_of(const struct job *job, int64_t panel)
{
    return smaller(job->kernel->MR, job->m.end - job->m.begin - panel * job->kernel->MR);
}

static void pack_panel(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct gemm *g = job->g;
    int64_t MR = job->kernel->MR, first = job->m.begin + index * MR;
    struct range m = {first, smaller(first + MR, job->m.end)};
    struct int8_rows panel = panel_at(job, index, 0);
    float *rows = job->scratch[thread].rows;
    for (int64_t k = 0; k < g->K; k += CHUNK) {
        int64_t count = smaller(CHUNK, g->K - k);
        g->in.pack(g->in.self, m, (struct range){k, k + count}, rows, GEMM_STRIDE);
        for (int64_t i = 0; i < m.end - m.begin; i++) {
            int64_t at = k / INT8_BLOCK * MR + i;
            job->kernel->pack_row(rows + i * GEMM_STRIDE, count,
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

/* Columns n, and with GEGLU those of their gates. Columns beyond the weight are zeros. */
static void pack_strip(const struct job *job, const struct scratch *s, struct range n, int part)
{
    int64_t NR = job->kernel->NR, K = job->g->K, used = n.end - n.begin, first = part * job->g->N + n.begin;
    int64_t together = job->g->weight.tensor->delta != NULL ? job->kernel->MR : 1; /* weight_rows says why */
    struct int8_strip strip = strip_at(job, s, part, 0);
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

/* tile += bias[n], where the last strip may have fewer columns than a tile. */
static void add_bias(const struct job *job, float *tile, int64_t rows, const float *bias, struct range n)
{
    if (job->bias == NULL)
        return;
    float padded[INT8_MOST_COLUMNS] = {0};
    memcpy(padded, bias + n.begin, (size_t)(n.end - n.begin) * sizeof *padded);
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
    add_bias(job, tile, rows, job->bias, n);
    for (int64_t i = 0; i < rows && e->per_sample != NULL; i++)
        for (int64_t j = n.begin; j < n.end; j++)
            tile[i * kernel->NR + j - n.begin] += e->per_sample[(m.begin + i) / e->rows_per_sample * g->N + j];
    if (gate != NULL) {
        add_bias(job, gate, rows, job->bias + g->N, n);
        activate(ACT_GELU, gate, rows * kernel->NR);
    } else {
        activate(e->activation, tile, rows * kernel->NR);
    }
    kernel->finish(g->out + at, g->N, rows, n.end - n.begin, tile, gate,
                   e->residual != NULL ? e->residual + at : NULL);
}

/* One strip and the panels of a group. Block by block: a block of the strip stays in level 1 while the panels pass.
 */
static void run_panels(const struct job *job, const struct scratch *s, struct range panels, struct range n)
{
    const struct int8_kernel *kernel = job->kernel;
    int64_t K = job->g->K, size = (int64_t)kernel->MR * kernel->NR;
    memset(s->tiles, 0, (size_t)((panels.end - panels.begin) * job->parts * size) * sizeof(float));
    for (int64_t block = 0; block < job->blocks; block++)
        for (int64_t panel = panels.begin; panel < panels.end; panel++)
            for (int part = 0; part < job->parts; part++)
                kernel->run(rows_of(job, panel), smaller(INT8_BLOCK, K - block * INT8_BLOCK),
                            panel_at(job, panel, block), strip_at(job, s, part, block),
                            s->tiles + ((panel - panels.begin) * job->parts + part) * size);
    for (int64_t panel = panels.begin; panel < panels.end; panel++) {
        int64_t first = job->m.begin + panel * kernel->MR;
        finish_tile(job, (struct range){first, first + rows_of(job, panel)}, n,
                    s->tiles + (panel - panels.begin) * job->parts * size);
    }
}

static void run_strip(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t NR = job->kernel->NR, first = index / job->row_parts * NR, step = group_panels(job->kernel);
    struct range n = {first, smaller(first + NR, job->g->N)};
    struct range panels = task_range(panels_of(job), job->row_parts, index % job->row_parts);
    for (int part = 0; part < job->parts; part++)
        pack_strip(job, s, n, part);
    for (int64_t panel = panels.begin; panel < panels.end; panel += step)
        run_panels(job, s, (struct range){panel, smaller(panel + step, panels.end)}, n);
}

static void run_rows(const struct context *ctx, struct job *job)
{
    int64_t strips = blocks_of(job->g->N, job->kernel->NR), panels = panels_of(job);
    job->row_parts = smaller(blocks_of(ENOUGH_TASKS, strips), panels);
    parallel_for(ctx->threads, panels, pack_panel, job);
    parallel_for(ctx->threads, strips * job->row_parts, run_strip, job);
}

/* ------------------------------------------------------------------------------------------------------------- call
 */

/* Rows at a time: whole panels. */
static int64_t most_rows(const struct job *job)
{
    int64_t MR = job->kernel->MR, panels = INPUT_BYTES / (MR * job->blocks * INT8_BLOCK);
    return smaller(panels > 1 ? panels : 1, blocks_of(job->g->M, MR)) * MR;
}

static void allocate(const struct context *ctx, struct job *job)
{
    const struct int8_kernel *kernel = job->kernel;
    int64_t rows = most_rows(job) * job->blocks, columns = job->parts * kernel->NR * job->blocks;
    job->rows.q = arena_bytes(ctx->arena, (size_t)(rows * INT8_BLOCK));
    job->rows.scale = arena_floats(ctx->arena, rows);
    job->rows.zero = arena_floats(ctx->arena, rows);
    job->scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *job->scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .rows = arena_floats(ctx->arena, kernel->MR * GEMM_STRIDE),
            .bytes = arena_bytes(ctx->arena, (size_t)(kernel->NR * GEMM_STRIDE * 4)),
            .weight = {arena_bytes(ctx->arena, (size_t)(columns * INT8_BLOCK)), arena_floats(ctx->arena, columns),
                       arena_floats(ctx->arena, columns)},
            .tiles = arena_floats(ctx->arena, (int64_t)job->parts * group_panels(kernel) * kernel->MR * kernel->NR),
        };
        if (!arena_measuring(ctx->arena))
            job->scratch[t] = s;
    }
}

void gemm_int8_run(const struct context *ctx, const struct gemm *g, const float *bias)
{
    struct job job = {
        .g = g,
        .kernel = int8_kernel(),
        .bias = bias,
        .parts = g->epilogue.activation == ACT_GEGLU ? 2 : 1,
        .blocks = blocks_of(g->K, INT8_BLOCK),
    };
    allocate(ctx, &job);
    int64_t rows = most_rows(&job);
    for (int64_t m = 0; m < g->M && !arena_measuring(ctx->arena); m += rows) {
        job.m = (struct range){m, smaller(m + rows, g->M)};
        run_rows(ctx, &job);
    }
}
