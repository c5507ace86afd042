/* Around the product: floats to blocks of 8 bits (int8_kernel.h says how), and what follows. Written once and
 * compiled for each instruction set. The including file defines TARGET, the attribute of every function; MR, NR and
 * LIMIT; and before it includes this, the heart of the matter:
 *
 *   float quantise(const float *x, int limit, uint8_t *q, int shift, int32_t *sum)
 *
 * One block, x[INT8_BLOCK], to integers between plus and minus the limit; q: those plus `shift`, in a byte; returns
 * their scale, and their sum. */
#include <string.h>

#include "tensor/int8_kernel.h"

/* A last block that K does not fill goes on in zeros. */
TARGET static inline float quantise_last(const float *x, int64_t K, int limit, uint8_t *q, int shift, int32_t *sum)
{
    float filled[INT8_BLOCK] = {0};
    memcpy(filled, x, (size_t)K * sizeof *x);
    return quantise(filled, limit, q, shift, sum);
}

TARGET static void pack_row(const float *x, int64_t K, struct int8_rows a)
{
    int32_t sum;
    for (; K >= INT8_BLOCK; K -= INT8_BLOCK) {
        *a.scale = quantise(x, LIMIT, a.q, LIMIT + 1, &sum);
        x += INT8_BLOCK;
        a.q += MR * INT8_BLOCK;
        a.scale += MR;
    }
    if (K > 0)
        *a.scale = quantise_last(x, K, LIMIT, a.q, LIMIT + 1, &sum);
}

/* One row of a weight, byte after byte; scale and offset: one for each block, NR apart. */
TARGET static void pack_weight(const float *x, int64_t K, uint8_t *q, float *scale, int32_t *offset)
{
    for (; K > 0; K -= INT8_BLOCK) {
        int32_t sum;
        *scale = K >= INT8_BLOCK ? quantise(x, INT8_WEIGHT_LIMIT, q, 0, &sum)
                                 : quantise_last(x, K, INT8_WEIGHT_LIMIT, q, 0, &sum);
        *offset = -(LIMIT + 1) * sum;
        x += INT8_BLOCK;
        q += INT8_BLOCK;
        scale += NR;
        offset += NR;
    }
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
