/* Tiles of the output, each made by one thread:
 *
 *   for every tile of out (TILE_M x TILE_N):
 *     for every block of K:  tile += panel of in [TILE_M, TILE_K] . panel of weight [TILE_N, TILE_K]^T
 *     out = epilogue(tile)
 *
 * A GEGLU tile holds its value columns and, beside them, the matching gate columns. */
#include "tensor/gemm.h"

#include <string.h>

#include "tensor/blas.h"
#include "tensor/gemm_portable.h"

/* Panels of 1 MiB: two of them and a tile of 256 KiB are what a core's share of the last two cache levels holds. */
enum { TILE_M = 256, TILE_N = 256, TILE_K = 1024 };

/* Weights up to this many values go to gemm_portable, which says why. The smallest weight of SDXL's blocks has 50 times
 * as many. */
enum { SMALL_WEIGHT = 8192 };

struct scratch {
    float *in_panel, *weight_panel, *tile;
};

struct job {
    const struct gemm *g;
    int64_t tiles_n, columns; /* columns of out per tile */
    const float *bias;        /* [weight rows], float32, or NULL */
    struct scratch *scratch;  /* one per thread */
    void (*multiply)(int64_t M, int64_t N, int64_t K, const float *a, const float *b, float *c, enum blas_beta beta);
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t tiles(int64_t size, int64_t tile)
{
    return (size + tile - 1) / tile;
}

static void pack_rows(const void *self, struct range m, struct range k, float *panel)
{
    const struct gemm_rows *rows = self;
    int64_t split = smaller(rows->width > k.begin ? rows->width : k.begin, k.end); /* where the second tensor takes over */
    size_t first = (size_t)(split - k.begin) * sizeof(float), second = (size_t)(k.end - split) * sizeof(float);
    for (int64_t i = m.begin; i < m.end; i++, panel += k.end - k.begin) {
        memcpy(panel, rows->data + i * rows->width + k.begin, first);
        if (second > 0)
            memcpy(panel + (split - k.begin), rows->next + i * rows->next_width + (split - rows->width), second);
    }
}

struct gemm_input gemm_input_rows(const struct gemm_rows *rows)
{
    return (struct gemm_input){pack_rows, rows};
}

/* The file keeps a filter as [C, 3, 3]; k runs over (tap, channel). A run of channels of one tap is a strided read. */
static void pack_filter(const struct tensor *w, int64_t taps, int64_t row, struct range k, float *panel)
{
    int64_t K = tensor_count(w) / w->shape[0], C = K / taps;
    for (int64_t i = k.begin; i < k.end;) {
        int64_t tap = i / C, c = i % C, run = smaller(C - c, k.end - i);
        for (int64_t j = 0; j < run; j++)
            tensor_read(w, row * K + (c + j) * taps + tap, 1, panel++);
        i += run;
    }
}

static void pack_weight(const struct gemm_weight *weight, int64_t K, struct range n, struct range k, float *panel)
{
    for (int64_t row = n.begin; row < n.end; row++, panel += k.end - k.begin) {
        if (weight->taps == 1)
            tensor_read(weight->tensor, row * K + k.begin, k.end - k.begin, panel);
        else
            pack_filter(weight->tensor, weight->taps, row, k, panel);
    }
}

static void add(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* One finished row of a tile: `row` has the columns n of output row m (and, for GEGLU, as many gate columns after them). */
static void finish_row(const struct job *job, int64_t m, struct range n, float *row)
{
    const struct gemm *g = job->g;
    const struct epilogue *e = &g->epilogue;
    int64_t width = n.end - n.begin;
    float *out = g->out + m * g->N + n.begin;
    if (job->bias != NULL)
        add(row, job->bias + n.begin, width);
    if (e->per_sample != NULL)
        add(row, e->per_sample + m / e->rows_per_sample * g->N + n.begin, width);
    if (e->activation == ACT_GEGLU) {
        float *gate = row + width;
        if (job->bias != NULL)
            add(gate, job->bias + g->N + n.begin, width);
        activate(ACT_GELU, gate, width);
        for (int64_t i = 0; i < width; i++)
            row[i] *= gate[i];
    } else {
        activate(e->activation, row, width);
    }
    if (e->residual != NULL)
        add(row, e->residual + m * g->N + n.begin, width);
    memcpy(out, row, (size_t)width * sizeof(float));
}

static void run_tile(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct gemm *g = job->g;
    const struct scratch *s = &job->scratch[thread];
    int64_t first_m = index / job->tiles_n * TILE_M, first_n = index % job->tiles_n * job->columns;
    struct range m = {first_m, smaller(first_m + TILE_M, g->M)}, n = {first_n, smaller(first_n + job->columns, g->N)};
    struct range gate = {n.begin + g->N, n.end + g->N};
    bool geglu = g->epilogue.activation == ACT_GEGLU;
    int64_t rows = m.end - m.begin, width = n.end - n.begin, total = geglu ? 2 * width : width;

    for (int64_t k0 = 0; k0 < g->K; k0 += TILE_K) {
        struct range k = {k0, smaller(k0 + TILE_K, g->K)};
        g->in.pack(g->in.self, m, k, s->in_panel);
        pack_weight(&g->weight, g->K, n, k, s->weight_panel);
        if (geglu)
            pack_weight(&g->weight, g->K, gate, k, s->weight_panel + width * (k.end - k.begin));
        job->multiply(rows, total, k.end - k.begin, s->in_panel, s->weight_panel, s->tile,
                      k0 == 0 ? BLAS_REPLACE : BLAS_ADD);
    }
    for (int64_t i = 0; i < rows; i++)
        finish_row(job, m.begin + i, n, s->tile + i * total);
}

void gemm_run(const struct context *ctx, const struct gemm *g)
{
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    bool geglu = g->epilogue.activation == ACT_GEGLU;
    int64_t weight_rows = geglu ? 2 * g->N : g->N, depth = smaller(g->K, TILE_K);
    struct job job = {.g = g, .columns = geglu ? TILE_N / 2 : TILE_N};
    job.tiles_n = tiles(g->N, job.columns);
    job.multiply = weight_rows * g->K <= SMALL_WEIGHT ? gemm_portable : blas_sgemm_nt;
    int64_t count = tiles(g->M, TILE_M) * job.tiles_n;

    const struct tensor *bias = g->epilogue.bias;
    if (bias != NULL && bias->data != NULL) {
        float *values = arena_floats(ctx->arena, weight_rows);
        if (!arena_measuring(ctx->arena))
            tensor_read(bias, 0, weight_rows, values);
        job.bias = values;
    }
    struct scratch *scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .in_panel = arena_floats(ctx->arena, smaller(g->M, TILE_M) * depth),
            .weight_panel = arena_floats(ctx->arena, smaller(weight_rows, TILE_N) * depth),
            .tile = arena_floats(ctx->arena, smaller(g->M, TILE_M) * smaller(weight_rows, TILE_N)),
        };
        if (!arena_measuring(ctx->arena))
            scratch[t] = s;
    }
    job.scratch = scratch;
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, count, run_tile, &job);

    arena_release(ctx->arena, mark);
    double weight_bytes = (double)(weight_rows * g->K) * (double)dtype_size(g->weight.tensor->dtype);
    profile_add(ctx->profile, g->op, start, 2.0 * (double)g->M * (double)weight_rows * (double)g->K,
                weight_bytes + 4.0 * (double)g->M * (double)(g->K + g->N));
}
