/* The kernels of attention, for registers of any width. Included once by each instruction set's file, which has
 * defined, with the attribute TARGET:
 *
 *   vec, WIDTH               a register of WIDTH floats
 *   ROWS                     of a register tile: divides ATTENTION_CHANNELS
 *   vec_set(a)               a in every lane
 *   vec_load(p), vec_store(p, v)
 *   vec_fma(a, b, c)         a * b + c, rounded once
 *   vec_max(a, b)
 *   vec_round(a)             to the nearest integer
 *   vec_power(p, n, y)       p * 2^n, n whole; 0 where y < -126
 *
 * Both products are a register tile of ROWS x 3 vectors of queries. */
#include "nn/attention_forms.h"

enum { VECTORS = 3, LANES = VECTORS * WIDTH };

#define INLINED TARGET static inline __attribute__((always_inline))

/* sum[i, :] = sum_t a[i * row + t * step] b[t, :].  `vectors` is a constant wherever this is inlined: the sums stay
 * in registers. */
INLINED void multiply(vec sum[ROWS][VECTORS], const float *a, int64_t row, int64_t step, const float *b,
                      int64_t depth, int vectors)
{
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < vectors; v++)
            sum[i][v] = vec_set(0);
    for (int64_t t = 0; t < depth; t++) {
        vec x[VECTORS];
        for (int v = 0; v < vectors; v++)
            x[v] = vec_load(b + t * LANES + v * WIDTH);
        for (int i = 0; i < ROWS; i++) {
            vec y = vec_set(a[i * row + t * step]);
            for (int v = 0; v < vectors; v++)
                sum[i][v] = vec_fma(y, x[v], sum[i][v]);
        }
    }
}

INLINED void score_vectors(float *s, const float *k, const float *q, int64_t keys, int64_t d, int vectors)
{
    for (int64_t j = 0; j < keys; j += ROWS) {
        vec sum[ROWS][VECTORS];
        multiply(sum, k + j * d, d, 1, q, d, vectors);
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++)
                vec_store(s + (j + i) * LANES + v * WIDTH, sum[i][v]);
    }
}

/* The sum over a tile begins at zero and joins the sum over all earlier tiles at its end: over thousands of keys this
 * rounds less than one long sum, and costs as much. */
INLINED void mix_vectors(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                         int vectors)
{
    for (int64_t c = 0; c < d; c += ROWS) {
        int64_t within = c % ATTENTION_CHANNELS;
        vec sum[ROWS][VECTORS];
        multiply(sum, v + (c - within) * ATTENTION_KEYS + within, 1, ATTENTION_CHANNELS, p, keys, vectors);
        for (int i = 0; i < ROWS; i++)
            for (int x = 0; x < vectors; x++) {
                float *to = o + (c + i) * LANES + x * WIDTH;
                vec_store(to, vec_fma(vec_load(to), vec_load(rescale + x * WIDTH), sum[i][x]));
            }
    }
}

TARGET static void score(float *s, const float *k, const float *q, int64_t keys, int64_t d, int64_t queries)
{
    switch ((queries + WIDTH - 1) / WIDTH) {
    case 1: score_vectors(s, k, q, keys, d, 1); break;
    case 2: score_vectors(s, k, q, keys, d, 2); break;
    default: score_vectors(s, k, q, keys, d, VECTORS); break;
    }
}

TARGET static void mix(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                       int64_t queries)
{
    switch ((queries + WIDTH - 1) / WIDTH) {
    case 1: mix_vectors(o, rescale, v, p, keys, d, 1); break;
    case 2: mix_vectors(o, rescale, v, p, keys, d, 2); break;
    default: mix_vectors(o, rescale, v, p, keys, d, VECTORS); break;
    }
}

/* scale log2(e) = head + rest, both of them floats. */
struct exponent {
    float head, rest;
};

static struct exponent exponent_of(double scale)
{
    double factor = scale * 1.4426950408889634;
    return (struct exponent){(float)factor, (float)(factor - (float)factor)};
}

/* e^(scale x) = 2^n 2^r for x <= 0, with n the integer nearest to scale x log2(e), so |r| <= 1/2. The scale comes in
 * for nothing, and scores are not rounded by it. 2^r is a polynomial of degree 6 that is 1 at r = 0 and has the
 * smallest largest relative error elsewhere (3.0e-9, coefficients rounded to floats). Error: at most 1.1 ulp. Below
 * 2^-126 the result is 0: denormal numbers are slow, and beside the 1 of the largest score they are nothing. */
TARGET static inline vec exponential(vec x, struct exponent e)
{
    vec head = vec_set(e.head), y = x * head, n = vec_round(y);
    vec r = vec_fma(x, vec_set(e.rest), vec_fma(x, head, -n));
    vec p = vec_set(0x1.4176b2p-13f);
    p = vec_fma(p, r, vec_set(0x1.5f0964p-10f));
    p = vec_fma(p, r, vec_set(0x1.3b2dd6p-7f));
    p = vec_fma(p, r, vec_set(0x1.c6af7ap-5f));
    p = vec_fma(p, r, vec_set(0x1.ebfbdcp-3f));
    p = vec_fma(p, r, vec_set(0x1.62e430p-1f));
    p = vec_fma(p, r, vec_set(1));
    return vec_power(p, n, y);
}

TARGET static void fold(float *s, const struct attention_softmax *softmax, int64_t keys, double scale,
                        int64_t queries)
{
    struct exponent e = exponent_of(scale);
    for (int64_t i = 0; i < queries; i += WIDTH) {
        vec before = vec_load(softmax->max + i), max = before, sum = vec_set(0);
        for (int64_t j = 0; j < keys; j++)
            max = vec_max(max, vec_load(s + j * LANES + i));
        for (int64_t j = 0; j < keys; j++) {
            vec p = exponential(vec_load(s + j * LANES + i) - max, e);
            vec_store(s + j * LANES + i, p);
            sum = sum + p;
        }
        vec rescale = exponential(before - max, e);
        vec_store(softmax->max + i, max);
        vec_store(softmax->sum + i, vec_fma(vec_load(softmax->sum + i), rescale, sum));
        vec_store(softmax->rescale + i, rescale);
    }
}
