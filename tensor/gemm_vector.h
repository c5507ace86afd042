/* The vector micro-kernel, once for every instruction set. The including file defines TARGET, the attribute of every
 * function, MR, and a register: vec, LANES, vec_zero, vec_load, vec_store, vec_broadcast, vec_fma.
 *
 * MR rows by two registers of columns: 2 MR sums, two registers of b, one of a; per step of k two loads, MR
 * broadcasts and 2 MR multiply-adds, and these are what limits. */
#include "tensor/gemm_kernel.h"
#include "tensor/tensor.h"

enum { NR = 2 * LANES };

/* One chain of `rows` rows, at most MR. `rows` is a constant wherever this is inlined: the sums stay in registers. The
 * tile's own lines are asked for before the sums are made. */
TARGET static inline __attribute__((always_inline)) void tile_of(int rows, int64_t lda, int64_t K, const float *a,
                                                                 const float *b, float *tile, int64_t stride,
                                                                 enum gemm_sum mode, struct gemm_after after)
{
    vec sum[MR][2];
#pragma GCC unroll 14
    for (int m = 0; m < rows; m++) {
        sum[m][0] = sum[m][1] = vec_zero();
        __builtin_prefetch(tile + m * stride, 1);
        if (after.residual != NULL)
            __builtin_prefetch(after.residual + m * stride);
    }
    for (int64_t k = 0; k < K; k++) {
        vec b0 = vec_load(b + k * NR), b1 = vec_load(b + k * NR + LANES);
#pragma GCC unroll 14
        for (int m = 0; m < rows; m++) {
            vec x = vec_broadcast(a + m * lda + k);
            sum[m][0] = vec_fma(x, b0, sum[m][0]);
            sum[m][1] = vec_fma(x, b1, sum[m][1]);
        }
    }
    vec bias[2] = {vec_zero(), vec_zero()};
    if (after.bias != NULL) {
        bias[0] = vec_load(after.bias);
        bias[1] = vec_load(after.bias + LANES);
    }
#pragma GCC unroll 14
    for (int m = 0; m < rows; m++)
        for (int half = 0; half < 2; half++) {
            int64_t at = m * stride + half * LANES;
            if (mode == GEMM_ADD)
                sum[m][half] += vec_load(tile + at);
            if (after.residual != NULL)
                sum[m][half] += vec_load(after.residual + at);
            vec_store(tile + at, sum[m][half] + bias[half]);
        }
}

/* Whole tiles, then what is left by powers of two. */
TARGET static inline __attribute__((always_inline)) void all_rows(int64_t lda, int64_t rows, int64_t K,
                                                                  const float *a, const float *b, float *tile,
                                                                  int64_t stride, enum gemm_sum mode,
                                                                  struct gemm_after after)
{
    while (rows > 0) {
        int64_t done = rows >= MR ? MR : MR > 8 && rows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case MR: tile_of(MR, lda, K, a, b, tile, stride, mode, after); break;
        case 8: tile_of(MR > 8 ? 8 : 1, lda, K, a, b, tile, stride, mode, after); break;
        case 4: tile_of(4, lda, K, a, b, tile, stride, mode, after); break;
        case 2: tile_of(2, lda, K, a, b, tile, stride, mode, after); break;
        default: tile_of(1, lda, K, a, b, tile, stride, mode, after); break;
        }
        rows -= done;
        a += done * lda;
        tile += done * stride;
        if (after.residual != NULL)
            after.residual += done * stride;
    }
}

/* Chain by chain, so that the part of the strip that all rows go along stays in level 1. */
TARGET static void run(int64_t rows, int64_t K, const float *a, int64_t lda, const float *b, float *tile,
                       int64_t stride, enum gemm_sum sum, struct gemm_after after)
{
    for (int64_t k = 0; k < K; k += GEMM_CHAIN, sum = GEMM_ADD) {
        struct gemm_after now = {k == 0 ? after.residual : NULL, k + GEMM_CHAIN >= K ? after.bias : NULL};
        all_rows(lda, rows, smaller(GEMM_CHAIN, K - k), a + k, b + k * NR, tile, stride, sum, now);
    }
}

TARGET static void run_short(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                             enum gemm_sum sum)
{
    all_rows(GEMM_SHORT_STRIDE, rows, K, a, b, tile, stride, sum, (struct gemm_after){0});
}

static void transpose(const float *rows, int64_t K, float *strip)
{
    gemm_transpose_avx2(rows, K, NR, strip);
}

static void transpose_halves(const uint16_t *rows, int64_t width, int64_t K, float *strip)
{
    gemm_transpose_halves_avx2(rows, width, K, NR, strip);
}

TARGET static void add(float *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vec_store(y + i, vec_load(y + i) + vec_load(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}
