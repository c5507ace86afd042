#include "tensor/gemm_portable.h"

void gemm_portable(int64_t M, int64_t N, int64_t K, const float *a, const float *b, float *c, enum blas_beta beta)
{
    enum { TOGETHER = 4 }; /* independent sums, so that each addition need not wait for the one before */
    for (int64_t m = 0; m < M; m++, a += K)
        for (int64_t n0 = 0; n0 < N; n0 += TOGETHER) {
            const float *row[TOGETHER];
            double sum[TOGETHER] = {0};
            int64_t count = N - n0 < TOGETHER ? N - n0 : TOGETHER;
            for (int64_t j = 0; j < TOGETHER; j++)
                row[j] = b + (n0 + (j < count ? j : 0)) * K;
            for (int64_t k = 0; k < K; k++)
                for (int j = 0; j < TOGETHER; j++)
                    sum[j] += (double)a[k] * row[j][k];
            for (int64_t j = 0; j < count; j++) {
                float *out = c + m * N + n0 + j;
                *out = (float)(beta == BLAS_ADD ? *out + sum[j] : sum[j]);
            }
        }
}
