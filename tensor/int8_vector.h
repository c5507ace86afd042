/* The vector micro-kernel of 8-bit products, once for every instruction set: MR rows by two registers of columns. The
 * including file defines TARGET, MR, LIMIT, LANES, the values in a register, and registers: ints (int_load,
 * int_broadcast of four bytes, int_max, int_most and int_sum of a register, int_nearest of floats, ties to even, dot:
 * unsigned times signed, bytes_store: four registers of integers plus `shift` as bytes), floats (float_load,
 * float_store, float_broadcast, float_from, float_fma). */
#include <string.h>

#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"

enum { NR = 2 * LANES };

/* Largest: floats without their sign are ordered as their bits are, infinities and NaN above all; these get into the
 * scale, so that they are not lost. A block below 2^-100 becomes zeros. */
TARGET static inline __attribute__((always_inline)) float quantise(const float *x, int limit, uint8_t *q, int shift,
                                                                   int32_t *sum)
{
    ints most[4] = {0}, sums = {0};
    int32_t bits;
    float largest;
    for (int i = 0; i < INT8_BLOCK; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            most[j] = int_max(most[j], int_load(x + i + j * LANES) & 0x7fffffff);
    bits = int_most(int_max(int_max(most[0], most[1]), int_max(most[2], most[3])));
    memcpy(&largest, &bits, sizeof largest);
    float factor = largest > 0x1p-100f ? (float)limit / largest : 0;
    floats scaled = float_broadcast(&factor);
    for (int i = 0; i < INT8_BLOCK; i += 4 * LANES) {
        ints whole[4];
        for (int j = 0; j < 4; j++)
            whole[j] = int_nearest(float_load(x + i + j * LANES) * scaled);
        for (int j = 0; j < 4; j++)
            sums += whole[j];
        bytes_store(q + i, whole, shift);
    }
    *sum = int_sum(sums);
    return largest / (float)limit;
}

TARGET static void transpose(const float *rows, int64_t K, float *strip)
{
    gemm_transpose_avx2(rows, K, NR, strip);
}

#include "tensor/int8_pack.h"

/* out += sum w_scale a_scale */
TARGET static inline __attribute__((always_inline)) void add_block(float *out, ints sum, floats w_scale, floats a_scale)
{
    float_store(out, float_fma(float_from(sum) * w_scale, a_scale, float_load(out)));
}

/* `rows` is a constant wherever this is inlined. The sums of a block are in registers, those of all blocks in `tile`.
 */
TARGET static inline __attribute__((always_inline)) void tile_of(int rows, int64_t K, struct int8_rows a,
                                                                 struct int8_strip b, float *tile)
{
    memset(tile, 0, (size_t)(rows * NR) * sizeof *tile);
    for (; K > 0; K -= INT8_BLOCK) {
        int64_t steps = ((K < INT8_BLOCK ? K : INT8_BLOCK) + 3) / 4;
        ints sum[MR][2];
#pragma GCC unroll 14
        for (int m = 0; m < rows; m++) {
            sum[m][0] = int_load(b.offset);
            sum[m][1] = int_load(b.offset + LANES);
        }
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
#pragma GCC unroll 14
        for (int m = 0; m < rows; m++) {
            floats s = float_broadcast(&a.scale[m]);
            add_block(tile + m * NR, sum[m][0], s0, s);
            add_block(tile + m * NR + LANES, sum[m][1], s1, s);
        }
        a.q += MR * INT8_BLOCK;
        a.scale += MR;
        b.q += INT8_BLOCK * NR;
        b.scale += NR;
        b.offset += NR;
    }
}

/* Whole tiles, then what is left by powers of two. */
TARGET static void run(int64_t rows, int64_t K, struct int8_rows a, struct int8_strip b, float *tile)
{
    while (rows > 0) {
        int64_t done = rows >= MR ? MR : MR > 8 && rows >= 8 ? 8 : MR > 4 && rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case MR: tile_of(MR, K, a, b, tile); break;
        case 8: tile_of(MR > 8 ? 8 : 1, K, a, b, tile); break;
        case 4: tile_of(4, K, a, b, tile); break;
        case 2: tile_of(2, K, a, b, tile); break;
        default: tile_of(1, K, a, b, tile); break;
        }
        rows -= done;
        a.q += done * INT8_BLOCK;
        a.scale += done;
        tile += done * NR;
    }
}
