/* The micro-kernel as its definition: every sum in double, rounded once.
 *
 * The oracle of the others, and what small weights are multiplied with: a layer of a few dozen channels fills no
 * vector kernel anyway, and models built from such layers amplify rounding so much that only sums this exact can be
 * compared with a recording at all (a tiny random UNet turns 1e-7 into 1e-4 in one forward pass). */
#include "tensor/gemm_kernel.h"

enum { MR = 8, NR = 8 };

static void product(int64_t lda, int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                    enum gemm_sum mode)
{
    for (int64_t m = 0; m < rows; m++, a += lda, tile += stride) {
        double sum[NR] = {0};
        for (int64_t k = 0; k < K; k++)
            for (int n = 0; n < NR; n++)
                sum[n] += (double)a[k] * b[k * NR + n];
        for (int n = 0; n < NR; n++)
            tile[n] = (float)(mode == GEMM_ADD ? tile[n] + sum[n] : sum[n]);
    }
}

static void run(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                enum gemm_sum sum)
{
    product(GEMM_STRIDE, rows, K, a, b, tile, stride, sum);
}

static void run_short(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                      enum gemm_sum sum)
{
    product(GEMM_SHORT_STRIDE, rows, K, a, b, tile, stride, sum);
}

static void transpose(const float *rows, int64_t K, float *strip)
{
    for (int64_t k = 0; k < K; k++)
        for (int64_t n = 0; n < NR; n++)
            strip[k * NR + n] = rows[n * GEMM_STRIDE + k];
}

void gemm_add_portable(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

const struct gemm_kernel gemm_portable = {"portable 8x8", MR, NR, 96, run, run_short, transpose, gemm_add_portable};
