/* 14 x 32 in AVX-512: 28 accumulators of 16 floats, two registers for a row of the strip, one for a broadcast input.
 * Per k: two loads, 14 broadcasts, 28 multiply-adds; the multiply-adds are what limits. */
#include "tensor/gemm_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,fma")))

enum { MR = 14, NR = 32 };

/* `rows` and `lda` are constants wherever this is inlined: the accumulators stay in registers, the rows of a in the
 * addresses. */
TARGET static inline __attribute__((always_inline)) void tile_of(int rows, int64_t lda, int64_t K, const float *a,
                                                                 const float *b, float *tile, int64_t stride,
                                                                 enum gemm_sum mode)
{
    __m512 sum[MR][2];
#pragma GCC unroll 14
    for (int m = 0; m < rows; m++) {
        sum[m][0] = mode == GEMM_ADD ? _mm512_loadu_ps(tile + m * stride) : _mm512_setzero_ps();
        sum[m][1] = mode == GEMM_ADD ? _mm512_loadu_ps(tile + m * stride + 16) : _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < K; k++) {
        __m512 b0 = _mm512_loadu_ps(b + k * NR), b1 = _mm512_loadu_ps(b + k * NR + 16);
#pragma GCC unroll 14
        for (int m = 0; m < rows; m++) {
            __m512 x = _mm512_set1_ps(a[m * lda + k]);
            sum[m][0] = _mm512_fmadd_ps(x, b0, sum[m][0]);
            sum[m][1] = _mm512_fmadd_ps(x, b1, sum[m][1]);
        }
    }
#pragma GCC unroll 14
    for (int m = 0; m < rows; m++) {
        _mm512_storeu_ps(tile + m * stride, sum[m][0]);
        _mm512_storeu_ps(tile + m * stride + 16, sum[m][1]);
    }
}

TARGET static inline __attribute__((always_inline)) void all_rows(int64_t lda, int64_t rows, int64_t K,
                                                                  const float *a, const float *b, float *tile,
                                                                  int64_t stride, enum gemm_sum mode)
{
    while (rows > 0) {
        int64_t done = rows >= 14 ? 14 : rows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case 14: tile_of(14, lda, K, a, b, tile, stride, mode); break;
        case 8: tile_of(8, lda, K, a, b, tile, stride, mode); break;
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

static void transpose(const float *rows, int64_t K, float *strip)
{
    gemm_transpose_avx2(rows, K, NR, strip);
}

const struct gemm_kernel gemm_avx512 = {"avx512 14x32", MR, NR, 6 * MR, run, run_short, transpose};
#endif
