/* The forms of attention. Private to nn/attention*.c, the tests and the bench.
 *
 * The portable form is the definition. The fast form, attention_tiled, is built on kernels of an instruction set,
 * whose layout has one idea: a query is a lane. A panel holds `lanes` queries, transposed: a vector is the same
 * channel of 16 queries (8 in AVX2), and keys and values are broadcast, one float at a time. Then
 *
 *   - both products, scores and output, are the same register tile, sum += broadcast x vector;
 *   - softmax runs down the lanes: there is no sum and no maximum across a vector;
 *   - keys and values are not transposed: to bring a row list together is to copy rows. */
#ifndef NN_ATTENTION_FORMS_H
#define NN_ATTENTION_FORMS_H

#include "nn/attention.h"
#include "tensor/cpu.h"

enum {
    ATTENTION_KEYS = 96,    /* keys of a tile. 64 to 128 take the same time; a prompt's 77 fit into one */
    ATTENTION_CHANNELS = 8, /* of one run of values; d is a multiple of it */
    ATTENTION_KEY_STEP = 8, /* scores are computed for so many keys at a time */
};

/* The running softmax of a panel, one number per lane. */
struct attention_softmax {
    float *max, *sum;
    float *rescale; /* by the last fold: what earlier outputs are to be multiplied by */
};

/* One panel, one tile of keys. Rows of q, s and o are `lanes` long. Of the lanes only `queries` are asked for; the
 * others may hold anything. */
struct attention_kernels {
    int64_t lanes;

    /* q[c, i] = rows[i * stride + c];  lanes from n on repeat the last row. */
    void (*load)(float *q, int64_t lanes, const float *rows, int64_t stride, int64_t n, int64_t d);

    /* rows[i * stride + c] = o[c, i] / sum[i]  for i < n */
    void (*store)(float *rows, int64_t stride, int64_t n, int64_t d, const float *o, const float *sum, int64_t lanes);

    /* s[j, i] = sum_c k[j, c] q[c, i];  k is readable, and s writable, up to a multiple of KEY_STEP keys. */
    void (*score)(float *s, const float *k, const float *q, int64_t keys, int64_t d, int64_t queries);

    /* s becomes p = e^(scale (s - max)); the maximum and the sum of p are brought up to date. */
    void (*fold)(float *s, const struct attention_softmax *softmax, int64_t keys, double scale, int64_t queries);

    /* o[c, i] = rescale[i] o[c, i] + sum_j v[j, c] p[j, i];  v: [d / CHANNELS, KEYS, CHANNELS], read in this order */
    void (*mix)(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                int64_t queries);
};

#if defined(__x86_64__)
extern const struct attention_kernels attention_avx2, attention_avx512;
#endif

/* load and store of both, in AVX2 (nn/attention_panel.c). */
void attention_load(float *q, int64_t lanes, const float *rows, int64_t stride, int64_t n, int64_t d);
void attention_store(float *rows, int64_t stride, int64_t n, int64_t d, const float *o, const float *sum,
                     int64_t lanes);

/* The kernels that a family uses, or NULL: the portable form. The CPU must have the family. */
const struct attention_kernels *attention_kernels(enum cpu_family family);

/* In double: any d. */
void attention_portable(const struct context *ctx, const struct attention *a);

/* In float32: d is a multiple of 8. */
void attention_tiled(const struct context *ctx, const struct attention *a, const struct attention_kernels *kernels);

#endif
