/* Few rows (one, for the time embedding): out[rows, columns] = a[rows, K] . b[columns, K]^T, b in halves.
 *
 * A weight is read once and used hardly more often, so it is what limits, and a strip of it in memory would cost more
 * than the product. It is transposed and widened in registers, sixteen values of eight columns at a time, and
 * multiplied there. Each sum is made in the same order as by the other kernels, so a row's bits do not depend on how
 * many there are. A sum waits for itself, four cycles a step: 32 columns at a time keep the CPU busy meanwhile. */
#include "tensor/gemm_kernel.h"
#include "tensor/parallel.h"
#include "tensor/tensor.h"

#if defined(__x86_64__)
#include "tensor/gemm_halves.h"

enum { STEP = 16, EIGHTS = 4 /* groups of eight columns at a time */, PAIR = 2 };

/* What K leaves behind whole steps: one column of eight values. */
HALVES __m256 read_column(const uint16_t *b, int64_t width)
{
    float column[8];
    for (int i = 0; i < 8; i++)
        column[i] = f16_to_f32(b[i * width]);
    return _mm256_loadu_ps(column);
}

/* Sums go on over k, a chain at most. `rows` and `eights` are constants wherever this is inlined. */
HALVES void chain(int rows, int eights, struct range k, const float *a, int64_t lda, const uint16_t *b, int64_t width,
                  __m256 sum[PAIR][EIGHTS])
{
    int64_t at = k.begin;
    for (; at + STEP <= k.end; at += STEP)
        for (int e = 0; e < eights; e++) {
            __m256i t[8];
            halves_transpose(b + 8 * e * width + at, width, t);
            for (int i = 0; i < STEP; i++) {
                __m256 w = halves_column(t, i);
                for (int m = 0; m < rows; m++)
                    sum[m][e] = _mm256_fmadd_ps(_mm256_broadcast_ss(a + m * lda + at + i), w, sum[m][e]);
            }
        }
    for (; at < k.end; at++)
        for (int e = 0; e < eights; e++) {
            __m256 w = read_column(b + 8 * e * width + at, width);
            for (int m = 0; m < rows; m++)
                sum[m][e] = _mm256_fmadd_ps(_mm256_broadcast_ss(a + m * lda + at), w, sum[m][e]);
        }
}

HALVES void columns_of(int rows, int eights, int64_t K, const float *a, int64_t lda, const uint16_t *b, float *out,
                       int64_t stride, struct gemm_after after)
{
    __m256 all[PAIR][EIGHTS];
    int64_t k = 0;
    do {
        __m256 sum[PAIR][EIGHTS];
        for (int m = 0; m < rows; m++)
            for (int e = 0; e < eights; e++)
                sum[m][e] = _mm256_setzero_ps();
        chain(rows, eights, (struct range){k, smaller(k + GEMM_CHAIN, K)}, a, lda, b, K, sum);
        for (int m = 0; m < rows; m++)
            for (int e = 0; e < eights; e++) {
                if (k > 0)
                    all[m][e] = _mm256_add_ps(sum[m][e], all[m][e]);
                else if (after.residual != NULL)
                    all[m][e] = _mm256_add_ps(sum[m][e], _mm256_loadu_ps(after.residual + m * stride + 8 * e));
                else
                    all[m][e] = sum[m][e];
            }
        k += GEMM_CHAIN;
    } while (k < K);
    for (int m = 0; m < rows; m++)
        for (int e = 0; e < eights; e++) {
            if (after.bias != NULL)
                all[m][e] = _mm256_add_ps(all[m][e], _mm256_loadu_ps(after.bias + 8 * e));
            _mm256_storeu_ps(out + m * stride + 8 * e, all[m][e]);
        }
}

HALVES void all_columns(int rows, int64_t columns, int64_t K, const float *a, int64_t lda, const uint16_t *b,
                        float *out, int64_t stride, struct gemm_after after)
{
    for (int64_t n = 0; n < columns;) {
        struct gemm_after here = {after.residual != NULL ? after.residual + n : NULL,
                                  after.bias != NULL ? after.bias + n : NULL};
        if (n + 8 * EIGHTS <= columns) {
            columns_of(rows, EIGHTS, K, a, lda, b + n * K, out + n, stride, here);
            n += 8 * EIGHTS;
        } else {
            columns_of(rows, 1, K, a, lda, b + n * K, out + n, stride, here);
            n += 8;
        }
    }
}

__attribute__((target("avx2,fma,f16c"))) void gemm_few_avx2(int64_t rows, int64_t columns, int64_t K, const float *a,
                                                            int64_t lda, const uint16_t *b, float *out,
                                                            int64_t stride, struct gemm_after after)
{
    for (int64_t m = 0; m < rows; m += PAIR) {
        if (m + PAIR <= rows)
            all_columns(PAIR, columns, K, a + m * lda, lda, b, out + m * stride, stride, after);
        else
            all_columns(1, columns, K, a + m * lda, lda, b, out + m * stride, stride, after);
        if (after.residual != NULL)
            after.residual += PAIR * stride;
    }
}
#endif
