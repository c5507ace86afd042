/* Around the product: floats to blocks of 8 bits (int8_kernel.h says how), and what follows. Written once and
 * compiled for each instruction set. The including file defines TARGET, the attribute of every function; MR, NR and
 * LEVELS; and before it includes this, the heart of the matter:
 *
 *   float quantise_row(const float *x, uint8_t *q, float *zero)
 *
 * One block of activations, x[INT8_BLOCK]; returns its scale.
 *
 *   float quantise_weight(const float *x, int count, uint8_t *q, float *sum)
 *
 * x[count], whole blocks, to signed bytes; returns their scale, and their sum. */
#include <string.h>

#include "tensor/int8_kernel.h"

/* A last block that K does not fill goes on in zeros. */
TARGET static void pack_row(const float *x, int64_t K, struct int8_rows a)
{
    float filled[INT8_BLOCK] = {0};
    for (; K >= INT8_BLOCK; K -= INT8_BLOCK) {
        *a.scale = quantise_row(x, a.q, a.zero);
        x += INT8_BLOCK;
        a.q += MR * INT8_BLOCK;
        a.scale += MR;
        a.zero += MR;
    }
    if (K > 0) {
        memcpy(filled, x, (size_t)K * sizeof *x);
        *a.scale = quantise_row(filled, a.q, a.zero);
    }
}

/* One row of a weight, byte after byte; scale and sum: one for each block, NR apart. */
TARGET static void pack_weight(const float *x, int64_t K, uint8_t *q, float *scale, float *sum)
{
    float filled[INT8_BLOCK] = {0};
    for (; K >= INT8_BLOCK; K -= INT8_BLOCK) {
        *scale = quantise_weight(x, INT8_BLOCK, q, sum);
        x += INT8_BLOCK;
        q += INT8_BLOCK;
        scale += NR;
        sum += NR;
    }
    if (K > 0) {
        memcpy(filled, x, (size_t)K * sizeof *x);
        *scale = quantise_weight(filled, INT8_BLOCK, q, sum);
    }
}

/* A filter of one output channel, as it lies in the file: x[channels][9 taps]. */
TARGET static float pack_filter(const float *x, int64_t channels, uint8_t *q)
{
    enum { SIZE = 9 * INT8_BLOCK };
    float filled[SIZE], sum;
    if (channels == INT8_BLOCK)
        return quantise_weight(x, SIZE, q, &sum);
    memcpy(filled, x, (size_t)(9 * channels) * sizeof *x);
    memset(filled + 9 * channels, 0, (size_t)(SIZE - 9 * channels) * sizeof *x);
    return quantise_weight(filled, SIZE, q, &sum);
}

/* Bytes k, k + 9, k + 18 and k + 27 are the same tap of four channels: nine words in, nine words out, each column for
 * itself. */
TARGET static void arrange_taps(const uint32_t *words, struct int8_strip strip)
{
    enum { TAPS = 9, STEPS = INT8_BLOCK / 4 };
    int32_t sum[TAPS][NR] = {{0}};
    for (int step = 0; step < STEPS; step++, words += TAPS * NR)
#pragma GCC unroll 9
        for (int tap = 0; tap < TAPS; tap++) {
            uint32_t *to = (uint32_t *)(void *)(strip.q + ((int64_t)tap * STEPS + step) * NR * 4);
            for (int n = 0; n < NR; n++) {
                uint32_t word = 0;
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) {
                    int k = TAPS * i + tap;
                    uint32_t byte = words[k / 4 * NR + n] >> 8 * (k % 4) & 255;
                    word |= byte << 8 * i;
                    sum[tap][n] += (int32_t)(byte ^ 128) - 128; /* its sign */
                }
                to[n] = word;
            }
        }
    for (int tap = 0; tap < TAPS; tap++)
        for (int n = 0; n < NR; n++)
            strip.sum[tap * NR + n] = (float)sum[tap][n];
}

TARGET static void add_row(float *tile, const float *row, int64_t rows)
{
    for (; rows > 0; rows--, tile += NR)
        for (int n = 0; n < NR; n++)
            tile[n] += row[n];
}

TARGET static void finish(float *out, int64_t stride, int64_t rows, int64_t width, const float *tile,
                          const float *gate, const float *residual)
{
    for (int64_t m = 0; m < rows; m++) {
        float row[NR];
        memcpy(row, tile + m * NR, sizeof row);
        for (int n = 0; n < NR && gate != NULL; n++)
            row[n] *= gate[m * NR + n];
        if (residual != NULL && width == NR)
            for (int n = 0; n < NR; n++)
                row[n] += residual[m * stride + n];
        for (int64_t n = 0; n < width && residual != NULL && width < NR; n++)
            row[n] += residual[m * stride + n];
        if (width == NR)
            memcpy(out + m * stride, row, sizeof row);
        else
            memcpy(out + m * stride, row, (size_t)width * sizeof *row);
    }
}
