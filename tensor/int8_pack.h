/* Around the product: floats to blocks of 8 bits (int8_kernel.h says how), and what follows. Written once and compiled for each instruction set. The including
 * file defines TARGET, the attribute of every function, MR, LIMIT, and LANES: values in a register.
 *
 * Largest: floats without their sign are ordered as their bits are, infinities and NaN above all; these get into the
 * scale, so that they are not lost. Nearest: adding 1.5 2^23 leaves no room for a fraction, so the sum is rounded to an
 * integer (ties to even), which its low bits hold. A block below 2^-100 becomes zeros. */
#include <string.h>

#include "tensor/int8_kernel.h"

enum { NR = 2 * LANES };

typedef float pack_floats __attribute__((vector_size(LANES * 4)));
typedef int32_t pack_ints __attribute__((vector_size(LANES * 4)));

static const float to_integer = 0x1.8p23f, least_scaled = 0x1p-100f;
static const int32_t to_integer_bits = 0x4b400000;

/* A column of registers: LANES weight rows over one block. q: their words, NR apart. */
TARGET static inline void pack_columns(const float *x, int64_t K, int8_t *q, float *scale, int32_t *offset)
{
    pack_ints largest = {0}, sum = {0};
    for (int64_t k = 0; k < K; k++) {
        pack_ints magnitude;
        memcpy(&magnitude, x + k * NR, sizeof magnitude);
        magnitude &= 0x7fffffff;
        pack_ints more = magnitude > largest;
        largest = (magnitude & more) | (largest & ~more);
    }
    pack_floats size, inverse;
    memcpy(&size, &largest, sizeof size);
    pack_ints usable = size > (pack_floats){0} + least_scaled;
    inverse = INT8_WEIGHT_LIMIT / size;
    memcpy(&largest, &inverse, sizeof largest);
    largest &= usable;
    memcpy(&inverse, &largest, sizeof inverse);
    for (int64_t k = 0; k < INT8_BLOCK; k += 4, q += 4 * NR) {
        pack_ints word = {0};
        for (int64_t j = 0; j < 4 && k + j < K; j++) {
            pack_floats value;
            pack_ints bits;
            memcpy(&value, x + (k + j) * NR, sizeof value);
            value = value * inverse + to_integer;
            memcpy(&bits, &value, sizeof bits);
            sum += bits - to_integer_bits;
            word |= (bits & 255) << (8 * (int)j);
        }
        memcpy(q, &word, sizeof word);
    }
    size /= INT8_WEIGHT_LIMIT;
    sum *= -(LIMIT + 1);
    memcpy(scale, &size, sizeof size);
    memcpy(offset, &sum, sizeof sum);
}

TARGET static void pack_strip(const float *x, int64_t K, struct int8_strip b)
{
    for (; K > 0; K -= INT8_BLOCK) {
        int64_t count = K < INT8_BLOCK ? K : INT8_BLOCK;
        for (int half = 0; half < 2; half++)
            pack_columns(x + half * LANES, count, b.q + half * LANES * 4, b.scale + half * LANES,
                         b.offset + half * LANES);
        x += INT8_BLOCK * NR;
        b.q += INT8_BLOCK * NR;
        b.scale += NR;
        b.offset += NR;
    }
}

/* x[INT8_BLOCK] to q; returns the scale. */
TARGET static inline float pack_block(const float *x, uint8_t *q)
{
    int32_t bits[INT8_BLOCK], largest_bits = 0;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < INT8_BLOCK; i++) {
        int32_t magnitude = bits[i] & 0x7fffffff;
        largest_bits = magnitude > largest_bits ? magnitude : largest_bits;
    }
    float largest, rounded[INT8_BLOCK];
    memcpy(&largest, &largest_bits, sizeof largest);
    float inverse = largest > least_scaled ? LIMIT / largest : 0;
    for (int i = 0; i < INT8_BLOCK; i++)
        rounded[i] = x[i] * inverse + to_integer;
    memcpy(bits, rounded, sizeof bits);
    for (int i = 0; i < INT8_BLOCK; i++)
        q[i] = (uint8_t)(bits[i] + LIMIT + 1);
    return largest / LIMIT;
}

TARGET static void pack_row(const float *x, int64_t K, struct int8_rows a)
{
    float last[INT8_BLOCK] = {0};
    for (; K >= INT8_BLOCK; K -= INT8_BLOCK) {
        *a.scale = pack_block(x, a.q);
        x += INT8_BLOCK;
        a.q += MR * INT8_BLOCK;
        a.scale += MR;
    }
    if (K > 0) {
        memcpy(last, x, (size_t)K * sizeof *x);
        *a.scale = pack_block(last, a.q);
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
