/* The kernels of attention in AVX2 and FMA: 8 queries to a vector, 24 to a panel.
 *
 * As in AVX-512, with half the registers: a tile is 4 rows x 3 vectors, 12 sums, 3 vectors and a broadcast in all 16. A
 * step does 12 multiplications and 7 loads, two of either per cycle. */
#include "nn/attention_forms.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* The program is compiled for any x86-64; this file's functions are for CPUs that have these instructions. */
#define AVX2 __attribute__((target("avx2,fma")))
#define KERNEL static inline AVX2 __attribute__((always_inline))

enum { LANES = 8, VECTORS = 3, WIDTH = VECTORS * LANES, ROWS = 4 };

/* sum[i, :] = sum_t a[i * row + t * step] b[t, :] */
KERNEL void multiply(__m256 sum[ROWS][VECTORS], const float *a, int64_t row, int64_t step, const float *b,
                     int64_t depth, const int vectors)
{
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < vectors; v++)
            sum[i][v] = _mm256_setzero_ps();
    for (int64_t t = 0; t < depth; t++) {
        __m256 x[VECTORS];
        for (int v = 0; v < vectors; v++)
            x[v] = _mm256_loadu_ps(b + t * WIDTH + v * LANES);
        for (int i = 0; i < ROWS; i++) {
            __m256 y = _mm256_broadcast_ss(a + i * row + t * step);
            for (int v = 0; v < vectors; v++)
                sum[i][v] = _mm256_fmadd_ps(y, x[v], sum[i][v]);
        }
    }
}

KERNEL void score_vectors(float *s, const float *k, const float *q, int64_t keys, int64_t d, const int vectors)
{
    for (int64_t j = 0; j < keys; j += ROWS) {
        __m256 sum[ROWS][VECTORS];
        multiply(sum, k + j * d, d, 1, q, d, vectors);
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++)
                _mm256_storeu_ps(s + (j + i) * WIDTH + v * LANES, sum[i][v]);
    }
}

/* The sum over a tile begins at zero and joins the sum over all earlier tiles at its end. */
KERNEL void mix_vectors(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                        const int vectors)
{
    for (int64_t c = 0; c < d; c += ROWS) {
        const float *channels = v + c / ATTENTION_CHANNELS * ATTENTION_CHANNELS * ATTENTION_KEYS + c % ATTENTION_CHANNELS;
        __m256 sum[ROWS][VECTORS];
        multiply(sum, channels, 1, ATTENTION_CHANNELS, p, keys, vectors);
        for (int i = 0; i < ROWS; i++)
            for (int x = 0; x < vectors; x++) {
                float *to = o + (c + i) * WIDTH + x * LANES;
                __m256 factor = _mm256_loadu_ps(rescale + x * LANES);
                _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_loadu_ps(to), factor, sum[i][x]));
            }
    }
}

AVX2 static void score(float *s, const float *k, const float *q, int64_t keys, int64_t d, int64_t queries)
{
    switch ((queries + LANES - 1) / LANES) {
    case 1: score_vectors(s, k, q, keys, d, 1); break;
    case 2: score_vectors(s, k, q, keys, d, 2); break;
    case 3: score_vectors(s, k, q, keys, d, 3); break;
    }
}

AVX2 static void mix(float *o, const float *rescale, const float *v, const float *p, int64_t keys, int64_t d,
                     int64_t queries)
{
    switch ((queries + LANES - 1) / LANES) {
    case 1: mix_vectors(o, rescale, v, p, keys, d, 1); break;
    case 2: mix_vectors(o, rescale, v, p, keys, d, 2); break;
    case 3: mix_vectors(o, rescale, v, p, keys, d, 3); break;
    }
}

/* e^(scale x) for x <= 0, within 1 ulp, 0 below 2^-126: as in attention_avx512.c, with 2^n made of its exponent's bits.
 * Where n is out of their range the result is 0 anyway. */
KERNEL __m256 exponential(__m256 x, __m256 high, __m256 low)
{
    __m256 y = _mm256_mul_ps(x, high);
    __m256 n = _mm256_round_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(x, low, _mm256_fmsub_ps(x, high, n));
    __m256 p = _mm256_set1_ps(0x1.4413f6p-13f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5f092ep-10f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.3b2a52p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.c6af6cp-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.ebfbe0p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e430p-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1));
    __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    __m256 normal = _mm256_cmp_ps(y, _mm256_set1_ps(-126), _CMP_NLT_UQ); /* a NaN stays one */
    return _mm256_and_ps(normal, _mm256_mul_ps(p, _mm256_castsi256_ps(exponent)));
}

AVX2 static void fold(float *s, const struct attention_softmax *softmax, int64_t keys, double scale, int64_t queries)
{
    const double log2_e = 1.4426950408889634;
    float head = (float)(scale * log2_e);
    __m256 high = _mm256_set1_ps(head), low = _mm256_set1_ps((float)(scale * log2_e - head));
    for (int64_t i = 0; i < queries; i += LANES) {
        __m256 before = _mm256_loadu_ps(softmax->max + i), max = before, sum = _mm256_setzero_ps();
        for (int64_t j = 0; j < keys; j++)
            max = _mm256_max_ps(max, _mm256_loadu_ps(s + j * WIDTH + i));
        for (int64_t j = 0; j < keys; j++) {
            float *at = s + j * WIDTH + i;
            __m256 p = exponential(_mm256_sub_ps(_mm256_loadu_ps(at), max), high, low);
            _mm256_storeu_ps(at, p);
            sum = _mm256_add_ps(sum, p);
        }
        __m256 rescale = exponential(_mm256_sub_ps(before, max), high, low);
        _mm256_storeu_ps(softmax->max + i, max);
        _mm256_storeu_ps(softmax->sum + i, _mm256_fmadd_ps(_mm256_loadu_ps(softmax->sum + i), rescale, sum));
        _mm256_storeu_ps(softmax->rescale + i, rescale);
    }
}

const struct attention_kernels *attention_kernels_avx2(void)
{
    static const struct attention_kernels kernels = {.lanes = WIDTH, .score = score, .fold = fold, .mix = mix};
    return &kernels;
}

#else

const struct attention_kernels *attention_kernels_avx2(void)
{
    return 0;
}

#endif
