/* The kernels of attention in AVX-512: 16 queries to a vector, 48 to a panel.
 *
 * Both products are a tile of 8 rows x 3 vectors: 24 sums, 3 vectors and a broadcast in 28 of the 32 registers. A step
 * does 24 multiplications and 11 loads, so the multipliers, one or two, set the pace and not the loads. */
#include "nn/attention_forms.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* The program is compiled for any x86-64; this file's functions are for CPUs that attention_kernels is asked about. */
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx2")))
#define KERNEL static inline AVX512 __attribute__((always_inline))

enum { LANES = 16, VECTORS = 3, WIDTH = VECTORS * LANES, ROWS = ATTENTION_CHANNELS };

/* sum[i, :] = sum_t a[i * row + t * step] b[t, :] */
KERNEL void multiply(__m512 sum[ROWS][VECTORS], const float *a, int64_t row, int64_t step, const float *b,
                     int64_t depth, const int vectors)
{
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < vectors; v++)
            sum[i][v] = _mm512_setzero_ps();
    for (int64_t t = 0; t < depth; t++) {
        __m512 x[VECTORS];
        for (int v = 0; v < vectors; v++)
            x[v] = _mm512_loadu_ps(b + t * WIDTH + v * LANES);
        for (int i = 0; i < ROWS; i++) {
            __m512 y = _mm512_set1_ps(a[i * row + t * step]);
            for (int v = 0; v < vectors; v++)
                sum[i][v] = _mm512_fmadd_ps(y, x[v], sum[i][v]);
        }
    }
}

KERNEL void score_vectors(float *s, const float *k, const float *q, int64_t keys, int64_t d, const int vectors)
{
    for (int64_t j = 0; j < keys; j += ROWS) {
        __m512 sum[ROWS][VECTORS];
        multiply(sum, k + j * d, d, 1, q, d, vectors);
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++)
                _mm512_storeu_ps(s + (j + i) * WIDTH + v * LANES, sum[i][v]);
    }
}

/* The sum over a tile begins at zero and joins the sum over all earlier tiles at its end: over thousands of keys this
 * rounds less than one long sum, and costs as much. */
KERNEL void mix_vectors(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                        const int vectors)
{
    for (int64_t c = 0; c < d; c += ROWS) {
        __m512 sum[ROWS][VECTORS];
        multiply(sum, v + c * ATTENTION_KEYS, 1, ATTENTION_CHANNELS, p, keys, vectors);
        for (int i = 0; i < ROWS; i++)
            for (int x = 0; x < vectors; x++) {
                float *to = o + (c + i) * WIDTH + x * LANES;
                __m512 factor = _mm512_loadu_ps(rescale + x * LANES);
                _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_loadu_ps(to), factor, sum[i][x]));
            }
    }
}

AVX512 static void score(float *s, const float *k, const float *q, int64_t keys, int64_t d, int64_t queries)
{
    switch ((queries + LANES - 1) / LANES) {
    case 1: score_vectors(s, k, q, keys, d, 1); break;
    case 2: score_vectors(s, k, q, keys, d, 2); break;
    case 3: score_vectors(s, k, q, keys, d, 3); break;
    }
}

AVX512 static void mix(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                       int64_t queries)
{
    switch ((queries + LANES - 1) / LANES) {
    case 1: mix_vectors(o, rescale, v, p, keys, d, 1); break;
    case 2: mix_vectors(o, rescale, v, p, keys, d, 2); break;
    case 3: mix_vectors(o, rescale, v, p, keys, d, 3); break;
    }
}

/* e^(scale x) for x <= 0, as 2^n 2^r with n whole and |r| <= 1/2. scale log2(e) is the sum of two floats, so that r is
 * right however large x is, and the scale costs nothing. 2^r is a polynomial of degree 6 through 1 at r = 0, within
 * 2^-26.7 of it. All of it is within 1 ulp. Below 2^-126 the result is 0: denormal numbers are slow, and next to the 1
 * of the largest key they are nothing. */
KERNEL __m512 exponential(__m512 x, __m512 high, __m512 low)
{
    __m512 y = _mm512_mul_ps(x, high);
    __m512 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmadd_ps(x, low, _mm512_fmsub_ps(x, high, n));
    __m512 p = _mm512_set1_ps(0x1.4413f6p-13f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5f092ep-10f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.3b2a52p-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c6af6cp-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ebfbe0p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e430p-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    __mmask16 normal = _mm512_cmp_ps_mask(y, _mm512_set1_ps(-126), _CMP_NLT_UQ); /* a NaN stays one */
    return _mm512_maskz_scalef_ps(normal, p, n);
}

AVX512 static void fold(float *s, const struct attention_softmax *softmax, int64_t keys, double scale, int64_t queries)
{
    const double log2_e = 1.4426950408889634;
    float head = (float)(scale * log2_e);
    __m512 high = _mm512_set1_ps(head), low = _mm512_set1_ps((float)(scale * log2_e - head));
    for (int64_t i = 0; i < queries; i += LANES) {
        __m512 before = _mm512_loadu_ps(softmax->max + i), max = before, sum = _mm512_setzero_ps();
        for (int64_t j = 0; j < keys; j++)
            max = _mm512_max_ps(max, _mm512_loadu_ps(s + j * WIDTH + i));
        for (int64_t j = 0; j < keys; j++) {
            float *at = s + j * WIDTH + i;
            __m512 p = exponential(_mm512_sub_ps(_mm512_loadu_ps(at), max), high, low);
            _mm512_storeu_ps(at, p);
            sum = _mm512_add_ps(sum, p);
        }
        __m512 rescale = exponential(_mm512_sub_ps(before, max), high, low);
        _mm512_storeu_ps(softmax->max + i, max);
        _mm512_storeu_ps(softmax->sum + i, _mm512_fmadd_ps(_mm512_loadu_ps(softmax->sum + i), rescale, sum));
        _mm512_storeu_ps(softmax->rescale + i, rescale);
    }
}

const struct attention_kernels *attention_kernels_avx512(void)
{
    static const struct attention_kernels kernels = {.lanes = WIDTH, .score = score, .fold = fold, .mix = mix};
    return &kernels;
}

#else

const struct attention_kernels *attention_kernels_avx512(void)
{
    return 0;
}

#endif
