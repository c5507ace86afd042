/* Attention in float32: blocks of queries x tiles of keys, one head at a time.
 *
 *   for each block of 384 queries of a head                        (one task)
 *     q: the block's queries, transposed into panels
 *     for each tile of 96 keys
 *       k, v: the tile's rows, copied                              (here row lists are followed)
 *       for each panel of the block
 *         s = k q     max, sum, p = fold(s)     o = rescale o + p v
 *     out = o / sum
 *
 * A panel's q, s and o stay in level 1 while k and v stream past. The copy makes dense what lies kilobytes apart, two
 * keys of one head on two pages, and is shared by all panels of a block: that is what large blocks are for. Tiles run
 * on from one set into the next. */
#include <math.h>
#include <string.h>

#include "nn/attention_forms.h"
#include "tensor/parallel.h"
#include "tensor/tensor.h"

enum {
    LARGE_BLOCK = 384, /* queries. Measured, 768 px: 192 reach 75 % of the FMA peak, 384 80 %, 576 82 % */
    SMALL_BLOCK = 96,
    TASKS_PER_THREAD = 8, /* so that threads which are done wait little for the last */
};

struct attention_job {
    const struct attention *a;
    const struct attention_kernels *kernels;
    int64_t block;  /* queries of a task */
    int64_t blocks; /* of a head */
    int64_t panels; /* of a block */
    float *scratch; /* per thread: a struct block's arrays */
    int64_t scratch_size;
};

/* What a task works on, in its thread's scratch. */
struct block {
    float *k;         /* [KEYS, d] */
    float *v;         /* [d / CHANNELS, KEYS, CHANNELS] */
    float *q, *o;     /* [panels, d, lanes] */
    float *s;         /* [KEYS, lanes] */
    float *max, *sum; /* [panels, lanes] */
    float *rescale;   /* [lanes] */
    int64_t head, first, queries;
};

/* The next key to be copied. */
struct cursor {
    const struct key_set *set;
    int64_t j;
};

static int64_t scratch_size(int64_t panels, int64_t lanes, int64_t d)
{
    int64_t floats = 2 * ATTENTION_KEYS * d + 2 * panels * d * lanes + (ATTENTION_KEYS + 2 * panels + 1) * lanes;
    return (floats + 31) / 32 * 32; /* no two threads write to the same pair of cache lines */
}

static struct block block_new(const struct attention_job *job, int64_t index, int thread)
{
    const struct attention *a = job->a;
    int64_t d = a->d, lanes = job->kernels->lanes, first = index % job->blocks * job->block;
    struct block b = {
        .head = index / job->blocks, .first = first, .queries = smaller(a->queries - first, job->block)};
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

static void load_queries(const struct block *b, const struct attention *a, const struct attention_kernels *kernels)
{
    int64_t d = a->d, width = a->heads * d, lanes = kernels->lanes;
    for (int64_t i = 0; i < b->queries; i += lanes) {
        kernels->load(b->q + i * d, lanes, a->q + (b->first + i) * width + b->head * d, width,
                      smaller(b->queries - i, lanes), d);
        memset(b->o + i * d, 0, (size_t)(lanes * d) * sizeof *b->o);
        for (int64_t lane = i; lane < i + lanes; lane++) {
            b->max[lane] = -INFINITY;
            b->sum[lane] = 0;
        }
    }
}

static void store_queries(const struct block *b, const struct attention *a, const struct attention_kernels *kernels)
{
    int64_t d = a->d, width = a->heads * d, lanes = kernels->lanes;
    for (int64_t i = 0; i < b->queries; i += lanes)
        kernels->store(a->out + (b->first + i) * width + b->head * d, width, smaller(b->queries - i, lanes), d,
                       b->o + i * d, b->sum + i, lanes);
}

/* Where in its set's K and V the next key of a head begins; there must be one. */
static int64_t next_key(struct cursor *at, const struct attention *a, int64_t head)
{
    while (at->j == at->set->n)
        *at = (struct cursor){at->set + 1, 0};
    int64_t j = at->j++, row = at->set->rows ? at->set->rows[j] : j;
    return (row * a->heads + head) * a->d;
}

/* Copies the next n keys, of whatever sets. */
static void load_keys(const struct block *b, const struct attention *a, struct cursor *at, int64_t n)
{
    int64_t d = a->d;
    for (int64_t j = 0; j < n; j++) {
        int64_t from = next_key(at, a, b->head);
        memcpy(b->k + j * d, at->set->k + from, (size_t)d * sizeof *b->k);
        for (int64_t c = 0; c < d; c += ATTENTION_CHANNELS)
            memcpy(b->v + c * ATTENTION_KEYS + j * ATTENTION_CHANNELS, at->set->v + from + c,
                   ATTENTION_CHANNELS * sizeof *b->v);
    }
    for (int64_t j = n; j % ATTENTION_KEY_STEP != 0; j++)
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
    load_queries(&b, a, job->kernels);
    for (int64_t key = 0; key < keys; key += ATTENTION_KEYS) {
        int64_t n = smaller(keys - key, ATTENTION_KEYS);
        load_keys(&b, a, &next, n);
        attend(job, &b, key, n);
    }
    store_queries(&b, a, job->kernels);
}

static int64_t count_blocks(const struct attention *a, int64_t block)
{
    return (a->queries + block - 1) / block;
}

/* Alone among our tasks these depend on the number of threads. The result does not: lanes never meet, so what a query
 * gets is the same in any block. */
static int64_t choose_block(const struct attention *a, int threads)
{
    int64_t block = LARGE_BLOCK;
    while (block > SMALL_BLOCK && count_blocks(a, block) * a->heads < TASKS_PER_THREAD * threads)
        block /= 2;
    return block;
}

void attention_tiled(const struct context *ctx, const struct attention *a, const struct attention_kernels *kernels)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t block = choose_block(a, ctx->threads);
    int64_t panels = (smaller(a->queries, block) + kernels->lanes - 1) / kernels->lanes;
    struct attention_job job = {
        .a = a,
        .kernels = kernels,
        .block = block,
        .blocks = count_blocks(a, block),
        .panels = panels,
        .scratch_size = scratch_size(panels, kernels->lanes, a->d),
    };
    job.scratch = arena_floats(ctx->arena, ctx->threads * job.scratch_size);
    if (!arena_measuring(ctx->arena)) /* blocks of a head follow each other: they share its keys in level 3 */
        parallel_for(ctx->threads, job.blocks * a->heads, run_block, &job);
    arena_release(ctx->arena, mark);
}
