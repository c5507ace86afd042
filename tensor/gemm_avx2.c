/* 6 x 16 in AVX2 with FMA: 12 accumulators of 8 floats, two registers for a row of the strip, two for broadcasts. */
#include "tensor/gemm_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))

enum { MR = 6, NR = 16 };

/* `rows` and `lda` are constants wherever this is inlined: the accumulators stay in registers, the rows of a in the
 * addresses. */
TARGET static inline __attribute__((always_inline)) void tile_of(int rows, int64_t lda, int64_t K, const float *a,
                                                                 const float *b, float *tile, int64_t stride,
                                                                 enum gemm_sum mode)
{
    __m256 sum[MR][2];
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++) {
        sum[m][0] = mode == GEMM_ADD ? _mm256_loadu_ps(tile + m * stride) : _mm256_setzero_ps();
        sum[m][1] = mode == GEMM_ADD ? _mm256_loadu_ps(tile + m * stride + 8) : _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < K; k++) {
        __m256 b0 = _mm256_loadu_ps(b + k * NR), b1 = _mm256_loadu_ps(b + k * NR + 8);
#pragma GCC unroll 6
        for (int m = 0; m < rows; m++) {
            __m256 x = _mm256_broadcast_ss(a + m * lda + k);
            sum[m][0] = _mm256_fmadd_ps(x, b0, sum[m][0]);
            sum[m][1] = _mm256_fmadd_ps(x, b1, sum[m][1]);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++) {
        _mm256_storeu_ps(tile + m * stride, sum[m][0]);
        _mm256_storeu_ps(tile + m * stride + 8, sum[m][1]);
    }
}

TARGET static inline __attribute__((always_inline)) void all_rows(int64_t lda, int64_t rows, int64_t K,
                                                                  const float *a, const float *b, float *tile,
                                                                  int64_t stride, enum gemm_sum mode)
{
    while (rows > 0) {
        int64_t done = rows >= 6 ? 6 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case 6: tile_of(6, lda, K, a, b, tile, stride, mode); break;
        case 4: tile_of(4, lda, K, a, b, tile, stride, mode); break;
        case 2: tile_of(2, lda, K, a, b, tile, stride, mode); break;
        default: tile_of(1, lda, K, a, b, tile, stride, mode); break;
        }
        rows -= done;
        a += done * lda;
        tile += done * stride;
    }
}

TARGET static void run(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride)
{
    all_rows(GEMM_STRIDE, rows, K, a, b, tile, stride, GEMM_REPLACE);
}

TARGET static void run_short(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                             enum gemm_sum sum)
{
    all_rows(GEMM_SHORT_STRIDE, rows, K, a, b, tile, stride, sum);
}

/* Eight rows of eight become eight columns: pairs, then fours, then halves of a register. */
TARGET static inline void transpose_8x8(const float *in, float *out, int64_t columns)
{
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(in + i * GEMM_STRIDE);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * columns, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * columns, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

TARGET void gemm_transpose_avx2(const float *rows, int64_t K, int64_t columns, float *strip)
{
    int64_t whole = K / 8 * 8;
    for (int64_t k = 0; k < whole; k += 8)
        for (int64_t n = 0; n < columns; n += 8)
            transpose_8x8(rows + n * GEMM_STRIDE + k, strip + k * columns + n, columns);
    for (int64_t k = whole; k < K; k++)
        for (int64_t n = 0; n < columns; n++)
            strip[k * columns + n] = rows[n * GEMM_STRIDE + k];
}

static void transpose(const float *rows, int64_t K, float *strip)
{
    gemm_transpose_avx2(rows, K, NR, strip);
}

const struct gemm_kernel gemm_avx2 = {"avx2 6x16", MR, NR, 16 * MR, run, run_short, transpose};
#endif
