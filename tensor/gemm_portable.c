/* The micro-kernel as its definition: every sum in double, rounded once. The oracle of the others; it runs where
 * STORYDIFF_CPU=portable asks for it (a CPU without AVX2 gets OpenBLAS). */
#include <string.h>

#include "tensor/gemm_kernel.h"

enum { MR = 8, NR = 8, ROWS = 4 };

#define INLINE static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(NR * sizeof(float))));
typedef double doubles __attribute__((vector_size(NR * sizeof(double))));

/* `rows`, at most ROWS, is a constant where this is inlined: their sums go on side by side. */
INLINE void some_rows(int rows, int64_t lda, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                      enum gemm_sum mode)
{
    doubles sum[ROWS] = {{0}};
    for (int64_t k = 0; k < K; k++) {
        floats w;
        memcpy(&w, b + k * NR, sizeof w);
        doubles wide = __builtin_convertvector(w, doubles);
        for (int m = 0; m < rows; m++)
            sum[m] += (double)a[m * lda + k] * wide;
    }
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < NR; n++)
            tile[m * stride + n] = (float)(mode == GEMM_ADD ? tile[m * stride + n] + sum[m][n] : sum[m][n]);
}

INLINE void product(int64_t lda, int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                    enum gemm_sum mode)
{
    int64_t m = 0;
    for (; m + ROWS <= rows; m += ROWS)
        some_rows(ROWS, lda, K, a + m * lda, b, tile + m * stride, stride, mode);
    for (; m < rows; m++)
        some_rows(1, lda, K, a + m * lda, b, tile + m * stride, stride, mode);
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

void gemm_add_after(int64_t rows, int64_t columns, float *tile, int64_t stride, struct gemm_after after)
{
    for (int64_t m = 0; m < rows && after.residual != NULL; m++)
        gemm_add_portable(tile + m * stride, after.residual + m * stride, columns);
    for (int64_t m = 0; m < rows && after.bias != NULL; m++)
        gemm_add_portable(tile + m * stride, after.bias, columns);
}

static void run(int64_t rows, int64_t K, const float *a, int64_t lda, const float *b, float *tile, int64_t stride,
                enum gemm_sum sum, struct gemm_after after)
{
    product(lda, rows, K, a, b, tile, stride, sum);
    gemm_add_after(rows, NR, tile, stride, after);
}

static void run_short(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                      enum gemm_sum sum)
{
    product(GEMM_SHORT_STRIDE, rows, K, a, b, tile, stride, sum);
}

const struct gemm_kernel gemm_portable = {"portable 8x8", MR,        NR,   96,               run,
                                          run_short,      transpose, NULL, NULL, gemm_add_portable};
