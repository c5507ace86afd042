/* Attention as its definition, in double: the oracle of the fast forms, what runs with STORYDIFF_CPU=portable or
 * openblas, and wherever d is no multiple of 8.
 *
 * Tiles of queries x tiles of keys, one head at a time. For each query the running maximum m, the running sum l of
 * exp(score - m) and the unnormalised output are kept; a tile with a larger maximum rescales what came before:
 *
 *   m' = max(m, max s_j)    l' = l e^(m - m') + sum e^(s_j - m')    o' = o e^(m - m') + sum e^(s_j - m') v_j
 *
 * The order of the keys is the order of the sets, so the result does not depend on threads. */
#include <math.h>

#include "nn/attention_forms.h"
#include "tensor/parallel.h"

/* With d = 64 the keys, the scores and the output of a tile take 64 KiB, well inside level 2. */
enum { QUERY_TILE = 32, KEY_TILE = 64 };

struct attention_job {
    const struct attention *a;
    double *scratch; /* per thread: QUERY_TILE x (KEY_TILE + d + 2) and KEY_TILE x d for transposed keys */
    int64_t scratch_size;
};

struct tile {
    double *scores; /* [QUERY_TILE, KEY_TILE] */
    double *o;      /* [QUERY_TILE, d] */
    double *m, *l;  /* [QUERY_TILE] */
    double *k;      /* [d, KEY_TILE]: transposed, so that the inner loop runs over keys */
    int64_t first, queries;
};

static int64_t row_of(const struct key_set *set, int64_t j)
{
    return set->rows ? set->rows[j] : j;
}

/* s[i, j] = q_i . k_j / sqrt(d) for the keys first .. first + n of a set. */
static void score(const struct attention *a, struct tile *t, int64_t head, const struct key_set *set, int64_t first,
                  int64_t n)
{
    int64_t width = a->heads * a->d;
    double scale = 1.0 / sqrt((double)a->d);
    for (int64_t j = 0; j < n; j++) {
        const float *k = set->k + row_of(set, first + j) * width + head * a->d;
        for (int64_t c = 0; c < a->d; c++)
            t->k[c * KEY_TILE + j] = scale * k[c];
    }
    for (int64_t i = 0; i < t->queries; i++) {
        const float *q = a->q + (t->first + i) * width + head * a->d;
        double *s = t->scores + i * KEY_TILE;
        for (int64_t j = 0; j < n; j++)
            s[j] = 0;
        for (int64_t c = 0; c < a->d; c++)
            for (int64_t j = 0; j < n; j++)
                s[j] += q[c] * t->k[c * KEY_TILE + j];
    }
}

/* Folds one row of scores into the running softmax of query i; leaves exp(s - m) in the row. */
static void fold(struct tile *t, int64_t i, int64_t n, int64_t d)
{
    double *s = t->scores + i * KEY_TILE, *o = t->o + i * d, m = t->m[i];
    for (int64_t j = 0; j < n; j++)
        m = s[j] > m ? s[j] : m;
    double rescale = exp(t->m[i] - m), sum = 0;
    for (int64_t j = 0; j < n; j++) {
        s[j] = exp(s[j] - m);
        sum += s[j];
    }
    for (int64_t c = 0; c < d; c++)
        o[c] *= rescale;
    t->l[i] = t->l[i] * rescale + sum;
    t->m[i] = m;
}

static void run_query_tile(void *arg, int64_t index, int thread)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->a;
    int64_t d = a->d, width = a->heads * d, head = index % a->heads, first = index / a->heads * QUERY_TILE;
    double *scratch = job->scratch + thread * job->scratch_size;
    struct tile t = {
        .scores = scratch,
        .o = scratch + QUERY_TILE * KEY_TILE,
        .m = scratch + QUERY_TILE * (KEY_TILE + d),
        .l = scratch + QUERY_TILE * (KEY_TILE + d + 1),
        .k = scratch + QUERY_TILE * (KEY_TILE + d + 2),
        .first = first,
        .queries = a->queries - first < QUERY_TILE ? a->queries - first : QUERY_TILE,
    };
    for (int64_t i = 0; i < t.queries; i++) {
        t.m[i] = -INFINITY;
        t.l[i] = 0;
        for (int64_t c = 0; c < d; c++)
            t.o[i * d + c] = 0;
    }
    for (const struct key_set *set = a->sets; set < a->sets + a->count; set++)
        for (int64_t key = 0; key < set->n; key += KEY_TILE) {
            int64_t n = set->n - key < KEY_TILE ? set->n - key : KEY_TILE;
            score(a, &t, head, set, key, n);
            for (int64_t i = 0; i < t.queries; i++) {
                int64_t seen = n;
                if (a->span == ATTEND_PAST) /* this query's own position is the last key it sees */
                    seen = first + i + 1 - key < n ? first + i + 1 - key : n;
                if (seen <= 0)
                    continue;
                fold(&t, i, seen, d);
                for (int64_t j = 0; j < seen; j++) {
                    const float *v = set->v + row_of(set, key + j) * width + head * d;
                    double p = t.scores[i * KEY_TILE + j];
                    for (int64_t c = 0; c < d; c++)
                        t.o[i * d + c] += p * v[c];
                }
            }
        }
    for (int64_t i = 0; i < t.queries; i++)
        for (int64_t c = 0; c < d; c++)
            a->out[(first + i) * width + head * d + c] = (float)(t.o[i * d + c] / t.l[i]);
}

void attention_portable(const struct context *ctx, const struct attention *a)
{
    size_t mark = arena_mark(ctx->arena);
    struct attention_job job = {
        .a = a,
        .scratch_size = QUERY_TILE * (KEY_TILE + a->d + 2) + KEY_TILE * a->d,
    };
    int64_t tiles = (a->queries + QUERY_TILE - 1) / QUERY_TILE;
    job.scratch = arena_bytes(ctx->arena, (size_t)(ctx->threads * job.scratch_size) * sizeof *job.scratch);
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, tiles * a->heads, run_query_tile, &job);
    arena_release(ctx->arena, mark);
}
