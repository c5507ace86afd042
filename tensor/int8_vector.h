/* The vector micro-kernel of 8-bit products, once for every instruction set: MR rows by two registers of columns. The
 * including file defines TARGET, MR, LEVELS, LANES, the values in a register, and registers: ints (int_load,
 * int_broadcast of four bytes, int_max, int_most and int_sum of a register, int_nearest of floats, ties to even, dot:
 * unsigned times signed, bytes_store: four registers of integers plus `shift` as bytes), floats (float_load,
 * float_store, float_broadcast, float_from, float_fma). */
#include <math.h>
#include <string.h>

#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"

enum { NR = 2 * LANES };

/* Floats that are not negative are ordered as their bits are, infinities and NaN above all; these get into the scale,
 * so that they are not lost. Of two floats with their signs, as integers, the positive one is the larger: its most
 * with 0 is the largest value, that of values with their signs turned is the smallest. A range below 2^-100 or
 * an infinite one becomes zeros; times an infinite scale, these are NaN. */
TARGET static inline float float_of(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

TARGET static inline float most_of(const ints most[4])
{
    return float_of(int_most(int_max(int_max(most[0], most[1]), int_max(most[2], most[3]))));
}

TARGET static inline __attribute__((always_inline)) float quantise_row(const float *x, uint8_t *q, float *zero)
{
    ints high[4] = {0}, low[4] = {0};
    for (int i = 0; i < INT8_BLOCK; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            ints bits = int_load(x + i + j * LANES);
            high[j] = int_max(high[j], bits);
            low[j] = int_max(low[j], bits ^ INT32_MIN);
        }
    float below = most_of(low), range = most_of(high) + below;
    float factor = range > 0x1p-100f ? (float)LEVELS / range : 0;
    *zero = 0;
    if (factor == 0) {
        memset(q, 0, INT8_BLOCK);
        return range / (float)LEVELS;
    }
    float middle = nearbyintf(below * factor);
    floats scaled = float_broadcast(&factor);
    int shift = (int)middle - (LEVELS / 2 + 1); /* bytes are made of signed ones */
    for (int i = 0; i < INT8_BLOCK; i += 4 * LANES) {
        ints whole[4];
        for (int j = 0; j < 4; j++)
            whole[j] = int_nearest(float_load(x + i + j * LANES) * scaled) + shift;
        bytes_store(q + i, whole, LEVELS / 2 + 1);
    }
    *zero = middle;
    return range / (float)LEVELS;
}

/* `count` is a constant wherever this is inlined. */
TARGET static inline __attribute__((always_inline)) float quantise_weight(const float *x, int count, uint8_t *q,
                                                                          float *sum)
{
    ints most[4] = {0}, sums = {0};
    for (int i = 0; i < count; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            most[j] = int_max(most[j], int_load(x + i + j * LANES) & INT32_MAX);
    float largest = most_of(most), factor = largest > 0x1p-100f ? (float)INT8_WEIGHT_LIMIT / largest : 0;
    *sum = 0;
    if (factor == 0) {
        memset(q, 0, (size_t)count);
        return largest / (float)INT8_WEIGHT_LIMIT;
    }
    floats scaled = float_broadcast(&factor);
    for (int i = 0; i < count; i += 4 * LANES) {
        ints whole[4];
        for (int j = 0; j < 4; j++)
            whole[j] = int_nearest(float_load(x + i + j * LANES) * scaled);
        for (int j = 0; j < 4; j++)
            sums += whole[j];
        bytes_store(q + i, whole, 0);
    }
    *sum = (float)int_sum(sums);
    return largest / (float)INT8_WEIGHT_LIMIT;
}

TARGET static void transpose(const float *rows, int64_t K, float *strip)
{
    gemm_transpose_avx2(rows, K, NR, strip);
}

#include "tensor/int8_pack.h"

/* out = before + (sum - a_zero w_sum) w_scale a_scale; what is in brackets is whole, and exact */
TARGET static inline __attribute__((always_inline)) void add_block(float *out, floats before, ints sum, floats a_zero,
                                                                   floats w_sum, floats w_scale, floats a_scale)
{
    floats exact = float_fma(-a_zero, w_sum, float_from(sum));
    float_store(out, float_fma(exact * w_scale, a_scale, before));
}

/* `rows` is a constant wherever this is inlined. Integers are in registers, the sums of all blocks in `tile`. */
TARGET static inline __attribute__((always_inline)) void tile_of(int rows, int64_t K, struct int8_rows a,
                                                                 struct int8_strip b, float *tile, enum gemm_sum mode)
{
    int64_t steps = (K + 3) / 4;
    ints sum[MR][2];
#pragma GCC unroll 14
    for (int m = 0; m < rows; m++)
        sum[m][0] = sum[m][1] = (ints){0};
    for (int64_t step = 0; step < steps; step++) {
        ints w0 = int_load(b.q + step * NR * 4), w1 = int_load(b.q + step * NR * 4 + LANES * 4);
#pragma GCC unroll 14
        for (int m = 0; m < rows; m++) {
            ints x = int_broadcast(a.q + m * INT8_BLOCK + step * 4);
            sum[m][0] = dot(sum[m][0], x, w0);
            sum[m][1] = dot(sum[m][1], x, w1);
        }
    }
    floats s0 = float_load(b.scale), s1 = float_load(b.scale + LANES);
    floats w0 = float_load(b.sum), w1 = float_load(b.sum + LANES);
#pragma GCC unroll 14
    for (int m = 0; m < rows; m++) {
        floats s = float_broadcast(&a.scale[m]), zero = float_broadcast(&a.zero[m]);
        float *to = tile + m * NR;
        add_block(to, mode == GEMM_ADD ? float_load(to) : (floats){0}, sum[m][0], zero, w0, s0, s);
        add_block(to + LANES, mode == GEMM_ADD ? float_load(to + LANES) : (floats){0}, sum[m][1], zero, w1, s1, s);
    }
}

/* Whole tiles, then what is left by powers of two. */
TARGET static void run(int64_t rows, int64_t K, struct int8_rows a, struct int8_strip b, float *tile,
                       enum gemm_sum mode)
{
    while (rows > 0) {
        int64_t done = rows >= MR ? MR : MR > 8 && rows >= 8 ? 8 : MR > 4 && rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case MR: tile_of(MR, K, a, b, tile, mode); break;
        case 8: tile_of(MR > 8 ? 8 : 1, K, a, b, tile, mode); break;
        case 4: tile_of(4, K, a, b, tile, mode); break;
        case 2: tile_of(2, K, a, b, tile, mode); break;
        default: tile_of(1, K, a, b, tile, mode); break;
        }
        rows -= done;
        a.q += done * INT8_BLOCK;
        a.scale += done;
        a.zero += done;
        tile += done * NR;
    }
}
