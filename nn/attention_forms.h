/* Inside attention: its forms, and what the fast ones are made of. Callers want nn/attention.h; tests and the bench
 * come here to run one form beside another.
 *
 * A form that is fast is attention_tiled with the kernels of an instruction set. Their layout has one idea: a query is a
 * lane. A panel holds `lanes` queries, transposed, so that a vector is the same channel of 16 queries (8 in AVX2); a key
 * or value is read one float at a time and broadcast. Then
 *
 *   - both products are the same register tile, sum += broadcast x vector,
 *   - a softmax runs down the lanes, with no sum or maximum across a vector,
 *   - keys and values are never transposed: bringing a row list together is copying rows. */
#ifndef NN_ATTENTION_FORMS_H
#define NN_ATTENTION_FORMS_H

#include "nn/attention.h"
#include "tensor/cpu.h"

enum {
    ATTENTION_KEYS = 96,    /* keys of a tile. Measured: 64 is 2 % slower, 128 no faster */
    ATTENTION_CHANNELS = 8, /* the values of a tile: [d / 8, ATTENTION_KEYS, 8] */
};

/* Running softmax of a panel, one number per lane. */
struct attention_softmax {
    float *max, *sum;
    float *rescale; /* what the last fold multiplies earlier sums by */
};

/* One panel against one tile of keys. `queries` of the lanes are in use; what the others hold is never looked at, but
 * must be finite. Rows of s, q and o are `lanes` long, and lanes is a multiple of the vectors' length. */
struct attention_kernels {
    int64_t lanes;

    /* s[j, lane] = sum_c k[j, c] q[c, lane];  k: [keys, d], readable up to a multiple of 8 keys, as s is writable */
    void (*score)(float *s, const float *k, const float *q, int64_t keys, int64_t d, int64_t queries);

    /* s becomes p = e^(scale (s - max)); the maximum, the sum of p and the rescaling are brought up to date. */
    void (*fold)(float *s, const struct attention_softmax *softmax, int64_t keys, double scale, int64_t queries);

    /* o[c, lane] = rescale[lane] o[c, lane] + sum_j v[c / 8, j, c % 8] p[j, lane] */
    void (*mix)(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                int64_t queries);
};

/* The kernels of a family, or NULL where it is computed in the portable form. Run them only on a CPU that has the
 * instructions: what cpu_family() returns is one. */
const struct attention_kernels *attention_kernels(enum cpu_family family);
const struct attention_kernels *attention_kernels_avx2(void);
const struct attention_kernels *attention_kernels_avx512(void);

/* The definition, in double: any d. */
void attention_portable(const struct context *ctx, const struct attention *a);

/* In float32: d is a multiple of 8. */
void attention_tiled(const struct context *ctx, const struct attention *a, const struct attention_kernels *kernels);

#endif
