/* Attention over key sets:  out_i = softmax(q_i . k / sqrt(d)) v,  the keys being the union of several sets.
 *
 * A key set is rows of K and V somewhere in memory, all of them or those named in a list. Self-attention is one set,
 * cross-attention is one set, consistent self-attention is several: a panel's own tokens and the sampled tokens of
 * the others (the paper's RandSample; which tokens: storydiff/csa/csa_plan.h). There is no mask and no concatenation:
 * rows come together a tile at a time. And since the softmax is computed online (Milakov & Gimelshein 2018, algorithm
 * 3; tiled as in Dao et al. 2022), scores never leave the cache.
 *
 *   q, out: [queries, heads * d]     k, v: rows of heads * d floats */
#ifndef NN_ATTENTION_H
#define NN_ATTENTION_H

#include <stdint.h>

#include "tensor/context.h"

struct key_set {
    const float *k, *v;  /* [.., heads * d] */
    const int32_t *rows; /* which rows take part, or NULL: rows 0 .. n-1 */
    int64_t n;           /* how many */
};

enum attention_span {
    ATTEND_ALL,  /* every key of every set */
    ATTEND_PAST, /* query i sees keys 0 .. i only (CLIP's text encoders); one set, as many keys as queries */
};

struct attention {
    float *out;
    const float *q;
    int64_t queries, heads, d;
    const struct key_set *sets; /* together at least one key */
    int count;
    enum attention_span span;
};

/* Computes; cannot fail. `out` may be `q`. */
void attention(const struct context *ctx, const struct attention *a);

#endif
