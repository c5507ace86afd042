/* Between rows of a matrix and the lanes of a panel: transposes, 8 x 8 floats at a time in AVX2 registers.
 *
 *   rows 0 1 2 3 ..      pairs of rows, interleaved       pairs of pairs       halves exchanged
 *   a0 a1 a2 a3 a4 ..    a0 b0 a1 b1 | a4 b4 a5 b5        a0 b0 c0 d0 | a4 ..  a0 b0 c0 d0 | e0 f0 g0 h0 */
#include "nn/attention_forms.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))

enum { SIDE = 8 };

static inline AVX2 __attribute__((always_inline)) void transpose(__m256 x[SIDE])
{
    __m256 y[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4)
        for (int j = 0; j < 2; j++) {
            x[i + 2 * j] = _mm256_shuffle_ps(y[i + j], y[i + j + 2], _MM_SHUFFLE(1, 0, 1, 0));
            x[i + 2 * j + 1] = _mm256_shuffle_ps(y[i + j], y[i + j + 2], _MM_SHUFFLE(3, 2, 3, 2));
        }
    for (int i = 0; i < 4; i++) {
        y[i] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
        y[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
    }
    for (int i = 0; i < SIDE; i++)
        x[i] = y[i];
}

AVX2 void attention_load(float *panel, int64_t lanes, const float *rows, int64_t stride, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < lanes; i += SIDE)
        for (int64_t c = 0; c < d; c += SIDE) {
            __m256 x[SIDE];
            for (int j = 0; j < SIDE; j++)
                x[j] = _mm256_loadu_ps(rows + (i + j < n ? i + j : n - 1) * stride + c);
            transpose(x);
            for (int j = 0; j < SIDE; j++)
                _mm256_storeu_ps(panel + (c + j) * lanes + i, x[j]);
        }
}

AVX2 void attention_store(float *rows, int64_t stride, int64_t n, int64_t d, const float *panel, const float *sum,
                          int64_t lanes)
{
    for (int64_t i = 0; i < n; i += SIDE) {
        __m256 factor = _mm256_div_ps(_mm256_set1_ps(1), _mm256_loadu_ps(sum + i));
        for (int64_t c = 0; c < d; c += SIDE) {
            __m256 x[SIDE];
            for (int j = 0; j < SIDE; j++)
                x[j] = _mm256_mul_ps(_mm256_loadu_ps(panel + (c + j) * lanes + i), factor);
            transpose(x);
            for (int j = 0; j < SIDE && i + j < n; j++)
                _mm256_storeu_ps(rows + (i + j) * stride + c, x[j]);
        }
    }
}

#endif
