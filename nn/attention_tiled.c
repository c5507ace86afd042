/* Attention in float32: blocks of queries x tiles of keys, one head at a time.
 *
 *   for each block of 192 queries of a head                     (one task)
 *     Q of the block, transposed into panels
 *     for each tile of 96 keys
 *       copy the tile's rows of K and V                         (here a row list is followed)
 *       for each panel of the block
 *         S = K Q     P, max, sum = fold(S)     O = rescale O + V P
 *     out = O / sum
 *
 * The panel's Q, its scores and, panel by panel, its O stay in level 1 and 2; K and V stream past them. The copy makes
 * rows that lie far apart dense (thousands of bytes lie between two keys of a head, on another page each) and is paid
 * once for the block: 4 panels in AVX-512. Where sets begin and end is of no consequence to the tiles. */
#include <math.h>
#include <string.h>

#include "nn/attention_forms.h"
#include "tensor/parallel.h"

enum { BLOCK = 192 };

struct attention_job {
    const struct attention *a;
    const struct attention_kernels *kernels;
    int64_t blocks, panels; /* blocks of a head; panels of a block */
    float *scratch;         /* per thread: a struct block's arrays */
    int64_t scratch_size;
};

/* What a task works on, in its thread's scratch. */
struct block {
    float *k;                /* [KEYS, d] */
    float *v;                /* [d / CHANNELS, KEYS, CHANNELS] */
    float *q, *o;            /* [panels, d, lanes] */
    float *s;                /* [KEYS, lanes] */
    float *max, *sum;        /* [panels, lanes] */
    float *rescale;          /* [lanes] */
    int64_t head, first, queries;
};

/* The next key to be copied. */
struct cursor {
    const struct key_set *set;
    int64_t j;
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t scratch_size(int64_t panels, int64_t lanes, int64_t d)
{
    int64_t floats = 2 * ATTENTION_KEYS * d + 2 * panels * d * lanes + (ATTENTION_KEYS + 2 * panels + 1) * lanes;
    return (floats + 31) / 32 * 32; /* no two threads write to the same pair of cache lines */
}

static struct block block_new(const struct attention_job *job, int64_t index, int thread)
{
    const struct attention *a = job->a;
    int64_t d = a->d, lanes = job->kernels->lanes, first = index % job->blocks * BLOCK;
    struct block b = {.head = index / job->blocks, .first = first, .queries = smaller(a->queries - first, BLOCK)};
    b.k = job->scratch + thread * job->scratch_size;
    b.v = b.k + ATTENTION_KEYS * d;
    b.q = b.v + ATTENTION_KEYS * d;
    b.o = b.q + job->panels * d * lanes;
    b.s = b.o + job->panels * d * lanes;
    b.max = b.s + ATTENTION_KEYS * lanes;
    b.sum = b.max + job->panels * lanes;
    b.rescale = b.sum + job->panels * lanes;
    return b;
}

/* Queries beyond the last are zeros. */
static void load_queries(const struct block *b, const struct attention *a, int64_t lanes)
{
    int64_t d = a->d, width = a->heads * d, panels = (b->queries + lanes - 1) / lanes;
    for (int64_t i = 0; i < panels * lanes; i++) {
        const float *from = a->q + (b->first + i) * width + b->head * d;
        float *to = b->q + i / lanes * d * lanes + i % lanes;
        for (int64_t c = 0; c < d; c++)
            to[c * lanes] = i < b->queries ? from[c] : 0;
        b->max[i] = -INFINITY;
        b->sum[i] = 0;
    }
    memset(b->o, 0, (size_t)(panels * d * lanes) * sizeof *b->o);
}

static void store_queries(const struct block *b, const struct attention *a, int64_t lanes)
{
    int64_t d = a->d, width = a->heads * d;
    for (int64_t i = 0; i < b->queries; i++) {
        float *to = a->out + (b->first + i) * width + b->head * d;
        const float *from = b->o + i / lanes * d * lanes + i % lanes;
        for (int64_t c = 0; c < d; c++)
            to[c] = from[c * lanes] / b->sum[i];
    }
}

/* Copies the next n keys, of whatever sets. */
static void load_keys(const struct block *b, const struct attention *a, struct cursor *at, int64_t n)
{
    int64_t d = a->d, width = a->heads * d;
    for (int64_t j = 0; j < n; j++, at->j++) {
        while (at->j == at->set->n)
            *at = (struct cursor){at->set + 1, 0};
        int64_t row = at->set->rows ? at->set->rows[at->j] : at->j, from = row * width + b->head * d;
        memcpy(b->k + j * d, at->set->k + from, (size_t)d * sizeof *b->k);
        for (int64_t c = 0; c < d; c += ATTENTION_CHANNELS)
            memcpy(b->v + c * ATTENTION_KEYS + j * ATTENTION_CHANNELS, at->set->v + from + c,
                   ATTENTION_CHANNELS * sizeof *b->v);
    }
    for (int64_t j = n; j % ATTENTION_CHANNELS != 0; j++)
        memset(b->k + j * d, 0, (size_t)d * sizeof *b->k);
}

/* Keys that come after a query are none of its business: e^-infinity = 0. */
static void hide_later_keys(float *s, int64_t lanes, int64_t first_key, int64_t keys, int64_t first_query)
{
    for (int64_t j = 0; j < keys; j++)
        for (int64_t i = 0; i < smaller(first_key + j - first_query, lanes); i++)
            s[j * lanes + i] = -INFINITY;
}

static void attend(const struct attention_job *job, const struct block *b, int64_t first_key, int64_t keys)
{
    const struct attention_kernels *kernels = job->kernels;
    int64_t d = job->a->d, lanes = kernels->lanes;
    double scale = 1.0 / sqrt((double)d);
    for (int64_t i = 0; i < b->queries; i += lanes) {
        int64_t queries = smaller(b->queries - i, lanes);
        struct attention_softmax softmax = {b->max + i, b->sum + i, b->rescale};
        if (job->a->span == ATTEND_PAST && first_key >= b->first + i + queries)
            continue;
        kernels->score(b->s, b->k, b->q + i * d, keys, d, queries);
        if (job->a->span == ATTEND_PAST)
            hide_later_keys(b->s, lanes, first_key, keys, b->first + i);
        kernels->fold(b->s, &softmax, keys, scale, queries);
        kernels->mix(b->o + i * d, b->rescale, b->v, b->s, keys, d, queries);
    }
}

static int64_t count_keys(const struct attention *a)
{
    int64_t keys = 0;
    for (int i = 0; i < a->count; i++)
        keys += a->sets[i].n;
    return keys;
}

static void run_block(void *arg, int64_t index, int thread)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->a;
    struct block b = block_new(job, index, thread);
    struct cursor next = {a->sets, 0};
    int64_t keys = count_keys(a);
    if (a->span == ATTEND_PAST)
        keys = smaller(keys, b.first + b.queries);
    load_queries(&b, a, job->kernels->lanes);
    for (int64_t key = 0; key < keys; key += ATTENTION_KEYS) {
        int64_t n = smaller(keys - key, ATTENTION_KEYS);
        load_keys(&b, a, &next, n);
        attend(job, &b, key, n);
    }
    store_queries(&b, a, job->kernels->lanes);
}

void attention_tiled(const struct context *ctx, const struct attention *a, const struct attention_kernels *kernels)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t panels = (smaller(a->queries, BLOCK) + kernels->lanes - 1) / kernels->lanes;
    struct attention_job job = {
        .a = a,
        .kernels = kernels,
        .blocks = (a->queries + BLOCK - 1) / BLOCK,
        .panels = panels,
        .scratch_size = scratch_size(panels, kernels->lanes, a->d),
    };
    job.scratch = arena_floats(ctx->arena, ctx->threads * job.scratch_size);
    if (!arena_measuring(ctx->arena)) /* blocks of a head follow each other: they share its keys in level 3 */
        parallel_for(ctx->threads, job.blocks * a->heads, run_block, &job);
    arena_release(ctx->arena, mark);
}
