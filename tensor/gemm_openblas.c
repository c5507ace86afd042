/* OpenBLAS as a micro-kernel of large tiles: the baseline, and what runs where none of our instruction sets does. */
#include <stddef.h>

#include "tensor/blas.h"
#include "tensor/gemm_kernel.h"

enum { MR = 256, NR = 128 }; /* no wider than the blocks of nn/winograd.c */

static void run(int64_t rows, int64_t K, const float *a, int64_t lda, const float *b, float *tile, int64_t stride,
                enum gemm_sum sum, struct gemm_after after)
{
    blas_sgemm(rows, NR, K, a, lda, b, NR, tile, stride, sum == GEMM_ADD);
    gemm_add_after(rows, NR, tile, stride, after);
}

static void run_short(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                      enum gemm_sum sum)
{
    blas_sgemm(rows, NR, K, a, GEMM_SHORT_STRIDE, b, NR, tile, stride, sum == GEMM_ADD);
}

static void transpose(const float *rows, int64_t K, float *strip)
{
    for (int64_t n = 0; n < NR; n++)
        for (int64_t k = 0; k < K; k++)
            strip[k * NR + n] = rows[n * GEMM_STRIDE + k];
}

const struct gemm_kernel gemm_openblas = {"openblas", MR,        NR,   MR,               run,
                                          run_short,  transpose, NULL, NULL, gemm_add_portable};
