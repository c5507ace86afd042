/* Blocks within blocks (Goto & van de Geijn 2008), sized for caches from the outside in:
 *
 *   for every block of ROWS rows and every block of K:       (a packed block of the input: a share of level 3)
 *     pack its rows, in parallel
 *     for every group of columns, in parallel:               (a packed block of the weight: a third of level 2)
 *       pack its strips [K, NR]
 *       for every MC rows, for every strip:                  (rows of the input: a quarter of level 2)
 *         for every MR rows:  tile = a . b                   (registers; the strip is in level 1, piece by piece)
 *       after the last block of K tiles go through the epilogue, before that their sums wait in `out`
 *
 * A weight is widened and packed by who multiplies with it, into a cache of its own, and so costs hardly anything; the
 * price is that this is done once for every block of rows. Where groups of columns are few, rows are shared out, too.
 * A whole strip without activation needs no tile: its sums are made in `out` itself.
 * A strip of a GEGLU weight is followed by the strip of its gates. */
#include "tensor/gemm.h"

#include <string.h>

#include "tensor/blas.h"
#include "tensor/cpu.h"
#include "tensor/gemm_int8.h"
#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"
#include "tensor/low_rank.h"

enum {
    ROWS = 1024,        /* 5 MiB of packed input at most */
    COLUMNS = 64,       /* 320 KiB of packed weight */
    ENOUGH_TASKS = 20,  /* that keep any sensible number of threads busy; columns making fewer, rows are shared out */
    FEW_COLUMNS = 32,   /* of a task where rows are few */
    ENOUGH_ROWS = 192,  /* but not fewer than these, for which packing a weight costs little */
};

struct job {
    const struct gemm *g;
    const struct gemm_kernel *kernel;
    const float *bias;          /* [weight rows], float32, or NULL */
    int parts;                  /* strips per strip of output: 2 with GEGLU */
    int64_t strips;             /* of a group of columns */
    int64_t groups, shares;     /* of columns, of rows: a task each */
    struct range m, k;          /* the current block */
    float *panels;              /* [rows of m, GEMM_STRIDE]: the packed input, or NULL: it can stay where it is */
    struct scratch {            /* per thread */
        float *packed;          /* [strips * parts, GEMM_K, NR] */
        float *rows;            /* [NR, GEMM_STRIDE]: weight rows to transpose */
        float *filters;         /* [GEMM_K, NR]: filters in the file's order */
        float *tile;            /* [parts][MC, NR] */
    } * scratch;
};

/* ---------------------------------------------------------------------------------------------------------- packing
 */

static void pack_rows(const void *self, struct range m, struct range k, float *panel, int64_t stride)
{
    const struct gemm_rows *rows = self;
    int64_t split =
        smaller(rows->width > k.begin ? rows->width : k.begin, k.end); /* where the second tensor takes over */
    size_t first = (size_t)(split - k.begin) * sizeof(float), second = (size_t)(k.end - split) * sizeof(float);
    for (int64_t i = m.begin; i < m.end; i++, panel += stride) {
        memcpy(panel, rows->data + i * rows->width + k.begin, first);
        if (second > 0)
            memcpy(panel + (split - k.begin), rows->next + i * rows->next_width + (split - rows->width), second);
    }
}

struct gemm_input gemm_input_rows(const struct gemm_rows *rows)
{
    return (struct gemm_input){pack_rows, rows, rows->next == NULL ? rows->data : NULL, rows->width};
}

struct gemm_column gemm_column_at(int64_t k, int64_t C)
{
    int64_t first = k / (9 * GEMM_CHANNELS) * GEMM_CHANNELS, count = smaller(GEMM_CHANNELS, C - first),
            within = k - 9 * first;
    return (struct gemm_column){first, count, within / count, first + within % count};
}

/* Whether a strip of so many columns is nothing but halves from the file, in the file's order. */
static bool halves_suffice(const struct job *job, int64_t used)
{
    const struct gemm_weight *w = &job->g->weight;
    return w->taps == 1 && w->tensor->dtype == DTYPE_F16 && w->tensor->delta == NULL && used == job->kernel->NR &&
           job->kernel->transpose_halves != NULL;
}

/* Columns n and on of the current block of K; columns beyond the weight are zeros. Filters lie in the file as [channel,
 * tap]: a transposed strip of them is put in the order [tap, channel] row by row. */
static void pack_strip(const struct job *job, const struct scratch *s, int64_t n, int part, float *packed)
{
    const struct gemm *g = job->g;
    int64_t NR = job->kernel->NR, used = smaller(NR, g->N - n), first = part * g->N + n;
    int64_t K = job->k.end - job->k.begin;
    if (halves_suffice(job, used)) {
        const uint16_t *halves = g->weight.tensor->data;
        job->kernel->transpose_halves(halves + first * g->K + job->k.begin, g->K, K, packed);
        return;
    }
    weight_rows(g->weight.tensor, g->K, first, used, job->k.begin, K, s->rows);
    for (int64_t i = used; i < NR; i++)
        memset(s->rows + i * GEMM_STRIDE, 0, (size_t)K * sizeof(float));
    job->kernel->transpose(s->rows, K, g->weight.taps == 1 ? packed : s->filters);
    for (int64_t tap = 0; tap < 9 && g->weight.taps == 9; tap++)
        for (int64_t c = 0; c < K / 9; c++, packed += NR)
            memcpy(packed, s->filters + (c * 9 + tap) * NR, (size_t)NR * sizeof(float));
}

/* --------------------------------------------------------------------------------------------------------- epilogue
 */

/* Between blocks of K the sums wait in `out`. A residual that is `out` itself must be taken in before they do: a sum
 * begins with it. */
static bool residual_comes_first(const struct epilogue *e)
{
    return e->residual != NULL && e->activation == ACT_NONE;
}

/* Sums of rows m and columns n, bias included, are in rows of NR floats; with GEGLU their gates are behind them.
 * They go to `out`, after the last block of K as what they shall be. */
static void finish_tile(const struct job *job, struct range m, struct range n, float *tile, float *gate)
{
    const struct gemm *g = job->g;
    const struct epilogue *e = &g->epilogue;
    void (*add)(float *y, const float *x, int64_t n) = job->kernel->add;
    int64_t NR = job->kernel->NR, values = (m.end - m.begin) * NR, width = n.end - n.begin;
    bool last = job->k.end == g->K;
    for (int64_t i = 0; i < values && last && e->per_sample != NULL; i += NR)
        add(tile + i, e->per_sample + (m.begin + i / NR) / e->rows_per_sample * g->N + n.begin, width);
    if (last && e->activation == ACT_GEGLU) {
        activate(ACT_GELU, gate, values);
        for (int64_t i = 0; i < values; i++)
            tile[i] *= gate[i];
    } else if (last) {
        activate(e->activation, tile, values);
    }
    bool residual = last && e->residual != NULL && !residual_comes_first(e);
    for (int64_t i = m.begin; i < m.end; i++, tile += NR) {
        if (residual)
            add(tile, e->residual + i * g->N + n.begin, width);
        memcpy(g->out + i * g->N + n.begin, tile, (size_t)width * sizeof *tile);
    }
}

/* ----------------------------------------------------------------------------------------------------------- blocks
 */

/* A whole strip without activation needs no tile: its sums are made in `out` itself. */
static bool goes_straight(const struct job *job, struct range n)
{
    return job->g->epilogue.activation == ACT_NONE && n.end - n.begin == job->kernel->NR;
}

static void run_straight(const struct job *job, struct range m, struct range n, const float *a, int64_t lda,
                         const float *b)
{
    const struct gemm *g = job->g;
    const struct gemm_kernel *kernel = job->kernel;
    const struct epilogue *e = &g->epilogue;
    bool first = job->k.begin == 0, last = job->k.end == g->K, there = !first || e->residual == g->out;
    int64_t at = m.begin * g->N + n.begin;
    struct gemm_after after = {!there && e->residual != NULL ? e->residual + at : NULL,
                               last && job->bias != NULL ? job->bias + n.begin : NULL};
    kernel->run(m.end - m.begin, job->k.end - job->k.begin, a, lda, b, g->out + at, g->N,
                there ? GEMM_ADD : GEMM_REPLACE, after);
    for (int64_t i = m.begin; i < m.end && last && e->per_sample != NULL; i++)
        kernel->add(g->out + i * g->N + n.begin, e->per_sample + i / e->rows_per_sample * g->N + n.begin, kernel->NR);
}

/* Rows m, MC at most, times the strip of columns n, packed in b. */
static void run_strip(const struct job *job, const struct scratch *s, struct range m, struct range n, const float *b)
{
    const struct gemm *g = job->g;
    const struct gemm_kernel *kernel = job->kernel;
    bool packed = job->panels != NULL, last = job->k.end == g->K;
    const float *before = job->k.begin > 0 ? g->out : residual_comes_first(&g->epilogue) ? g->epilogue.residual : NULL;
    const float *a = packed ? job->panels + (m.begin - job->m.begin) * GEMM_STRIDE
                            : g->in.rows + m.begin * g->in.width + job->k.begin;
    int64_t lda = packed ? GEMM_STRIDE : g->in.width, rows = m.end - m.begin, K = job->k.end - job->k.begin;
    if (goes_straight(job, n)) {
        run_straight(job, m, n, a, lda, b);
        return;
    }
    for (int64_t i = 0; i < rows && before != NULL; i++)
        memcpy(s->tile + i * kernel->NR, before + (m.begin + i) * g->N + n.begin,
               (size_t)(n.end - n.begin) * sizeof *s->tile);
    for (int part = 0; part < job->parts; part++) {
        const float *bias = last && job->bias != NULL ? job->bias + part * g->N + n.begin : NULL;
        kernel->run(rows, K, a, lda, b + part * GEMM_K * kernel->NR, s->tile + part * kernel->MC * kernel->NR,
                    kernel->NR, before != NULL ? GEMM_ADD : GEMM_REPLACE, (struct gemm_after){NULL, bias});
    }
    finish_tile(job, m, n, s->tile, s->tile + kernel->MC * kernel->NR);
}

/* Rows so few that a weight is multiplied with as it lies in the file; nothing is packed, and K is not cut. */
static bool few_rows(const struct job *job)
{
    enum { FEW = 4 };
    const struct gemm *g = job->g;
    return g->M <= FEW && job->kernel->run_few != NULL && job->parts == 1 && g->in.rows != NULL && g->N % 8 == 0 &&
           g->epilogue.per_sample == NULL && halves_suffice(job, job->kernel->NR);
}

static void run_few(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct job *job = arg;
    const struct gemm *g = job->g;
    const struct epilogue *e = &g->epilogue;
    struct range n = {index * FEW_COLUMNS, smaller((index + 1) * FEW_COLUMNS, g->N)};
    bool first = e->residual != NULL && residual_comes_first(e), last = e->residual != NULL && !first;
    struct gemm_after after = {first ? e->residual + n.begin : NULL, job->bias != NULL ? job->bias + n.begin : NULL};
    job->kernel->run_few(g->M, n.end - n.begin, g->K, g->in.rows, g->in.width,
                         (const uint16_t *)g->weight.tensor->data + n.begin * g->K, g->out + n.begin, g->N, after);
    for (int64_t m = 0; m < g->M; m++) {
        float *out = g->out + m * g->N + n.begin;
        activate(e->activation, out, n.end - n.begin);
        if (last)
            job->kernel->add(out, e->residual + m * g->N + n.begin, n.end - n.begin);
    }
}

/* A group of columns for a share of the rows. */
static void run_task(void *arg, int64_t index, int thread)
{
    const struct job *job = arg;
    const struct scratch *s = &job->scratch[thread];
    int64_t NR = job->kernel->NR, MR = job->kernel->MR, MC = job->kernel->MC, width = job->strips * NR;
    int64_t first = index / job->shares * width, end = smaller(first + width, job->g->N);
    int64_t rows = job->m.end - job->m.begin, strip_size = job->parts * GEMM_K * NR;
    for (int64_t n = first; n < end; n += NR)
        for (int part = 0; part < job->parts; part++)
            pack_strip(job, s, n, part, s->packed + (n - first) / NR * strip_size + part * GEMM_K * NR);
    struct range tiles = task_range(divide_up(rows, MR), job->shares, index % job->shares);
    struct range share = {job->m.begin + tiles.begin * MR, smaller(job->m.begin + tiles.end * MR, job->m.end)};
    for (int64_t m = share.begin; m < share.end; m += MC)
        for (int64_t n = first; n < end; n += NR)
            run_strip(job, s, (struct range){m, smaller(m + MC, share.end)}, (struct range){n, smaller(n + NR, end)},
                      s->packed + (n - first) / NR * strip_size);
}

static void pack_panel(void *arg, int64_t index, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t MR = job->kernel->MR, first = job->m.begin + index * MR;
    struct range m = {first, smaller(first + MR, job->m.end)};
    job->g->in.pack(job->g->in.self, m, job->k, job->panels + index * MR * GEMM_STRIDE, GEMM_STRIDE);
}

/* Blocks of rows as even as whole tiles allow: a last one of few rows would pack the whole weight for them. */
static int64_t rows_at_once(const struct job *job)
{
    int64_t M = job->g->M, MR = job->kernel->MR;
    return divide_up(divide_up(M, divide_up(M, ROWS)), MR) * MR;
}

static void run_rows(const struct context *ctx, struct job *job)
{
    const struct gemm *g = job->g;
    int64_t depth = g->weight.taps == 9 ? 9 * GEMM_CHANNELS : GEMM_K, rows = job->m.end - job->m.begin;
    job->shares = smaller(divide_up(ENOUGH_TASKS, job->groups), divide_up(rows, ENOUGH_ROWS));
    for (int64_t k = 0; k < g->K; k += depth) {
        job->k = (struct range){k, smaller(k + depth, g->K)};
        if (job->panels != NULL)
            parallel_for(ctx->threads, divide_up(rows, job->kernel->MR), pack_panel, job);
        parallel_for(ctx->threads, job->groups * job->shares, run_task, job);
    }
}

/* ------------------------------------------------------------------------------------------------------------- call
 */

const struct gemm_kernel *gemm_kernel(void)
{
    switch (cpu_family()) {
#if defined(__x86_64__)
    case CPU_AVX512: return &gemm_avx512;
    case CPU_AVX2: return &gemm_avx2;
#endif
    case CPU_PORTABLE: return &gemm_portable;
    default: return &gemm_openblas;
    }
}

const char *gemm_kernel_name(void)
{
    return gemm_kernel()->name;
}

const char *gemm_int8_kernel_name(void)
{
    return int8_kernel()->name;
}

status gemm_ready(struct error *e)
{
    return cpu_family() == CPU_OPENBLAS ? blas_load(e) : OK;
}

/* With zeros behind it, for a last strip that is not full. */
static const float *read_bias(const struct context *ctx, const struct tensor *bias, int64_t count)
{
    if (bias == NULL || bias->data == NULL)
        return NULL;
    int64_t NR = gemm_kernel()->NR;
    float *values = arena_floats(ctx->arena, count + NR);
    if (!arena_measuring(ctx->arena)) {
        tensor_read(bias, 0, count, values);
        memset(values + count, 0, (size_t)NR * sizeof *values);
    }
    return values;
}

/* Rows in memory are good as they are, unless they are so far apart that all fall on the same sets of level 1. */
static bool must_be_packed(const struct gemm_input *in)
{
    enum { PAGE = 4096 };
    return in->rows == NULL || in->width * (int64_t)sizeof(float) % PAGE == 0;
}

static void allocate(const struct context *ctx, struct job *job)
{
    int64_t NR = job->kernel->NR, MC = job->kernel->MC;
    if (must_be_packed(&job->g->in))
        job->panels = arena_floats(ctx->arena, rows_at_once(job) * GEMM_STRIDE);
    job->scratch = arena_bytes(ctx->arena, (size_t)ctx->threads * sizeof *job->scratch);
    for (int t = 0; t < ctx->threads; t++) {
        struct scratch s = {
            .packed = arena_floats(ctx->arena, job->strips * job->parts * GEMM_K * NR),
            .rows = arena_floats(ctx->arena, NR * GEMM_STRIDE),
            .filters = job->g->weight.taps == 9 ? arena_floats(ctx->arena, GEMM_K * NR) : NULL,
            .tile = arena_floats(ctx->arena, job->parts * MC * NR),
        };
        if (!arena_measuring(ctx->arena))
            job->scratch[t] = s;
    }
}

/* A GEGLU tile needs both of its sums at once, so its K must fit one block; a wider one is two products. */
static bool geglu_is_too_deep(const struct gemm *g)
{
    return g->epilogue.activation == ACT_GEGLU && g->K > GEMM_K;
}

static void run_deep_geglu(const struct context *ctx, const struct gemm *g)
{
    size_t mark = arena_mark(ctx->arena);
    const struct epilogue *e = &g->epilogue;
    struct gemm both = *g;
    both.N = 2 * g->N;
    both.epilogue = (struct epilogue){.bias = e->bias};
    both.out = arena_floats(ctx->arena, g->M * both.N);
    gemm_run(ctx, &both);
    for (int64_t m = 0; m < g->M && !arena_measuring(ctx->arena); m++) {
        float *value = both.out + m * both.N, *gate = value + g->N, *out = g->out + m * g->N;
        if (e->per_sample != NULL)
            gemm_add_portable(value, e->per_sample + m / e->rows_per_sample * g->N, g->N);
        activate(ACT_GELU, gate, g->N);
        for (int64_t n = 0; n < g->N; n++)
            out[n] = value[n] * gate[n] + (e->residual ? e->residual[m * g->N + n] : 0);
    }
    arena_release(ctx->arena, mark);
}

static void run_float32(const struct context *ctx, const struct gemm *g, const float *bias, int parts)
{
    struct job job = {
        .g = g,
        .kernel = gemm_kernel(),
        .bias = bias,
        .parts = parts,
    };
    if (few_rows(&job)) {
        if (!arena_measuring(ctx->arena))
            parallel_for(ctx->threads, divide_up(g->N, FEW_COLUMNS), run_few, &job);
        return;
    }
    int64_t columns = COLUMNS / parts, rows = rows_at_once(&job);
    job.strips = columns > job.kernel->NR ? columns / job.kernel->NR : 1;
    job.groups = divide_up(g->N, job.strips * job.kernel->NR);
    allocate(ctx, &job);
    for (int64_t m = 0; m < g->M && !arena_measuring(ctx->arena); m += rows) {
        job.m = (struct range){m, smaller(m + rows, g->M)};
        run_rows(ctx, &job);
    }
}

void gemm_run(const struct context *ctx, const struct gemm *g)
{
    if (g->M == 0 || g->N == 0)
        return;
    if (g->precision == PRECISION_FLOAT32 && geglu_is_too_deep(g)) {
        run_deep_geglu(ctx, g);
        return;
    }
    double start = seconds_now();
    size_t mark = arena_mark(ctx->arena);
    int parts = g->epilogue.activation == ACT_GEGLU ? 2 : 1;
    const float *bias = read_bias(ctx, g->epilogue.bias, parts * g->N);
    if (g->precision == PRECISION_INT8)
        gemm_int8_run(ctx, g, bias);
    else
        run_float32(ctx, g, bias, parts);
    arena_release(ctx->arena, mark);
    double weights = (double)(parts * g->N) * (double)g->K;
    profile_add(ctx->profile, g->op, start, 2.0 * (double)g->M * weights,
                weights * (double)dtype_size(g->weight.tensor->dtype) + 4.0 * (double)g->M * (double)(g->K + g->N));
}
