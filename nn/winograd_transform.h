/* The three linear maps of F(4x4, 3x3), each over `n` independent columns (channels) side by side. Private to
 * winograd.c.
 *
 * One form is written in plain C and compiled for each instruction set: the arithmetic, and so the result, is the
 * same. */
#ifndef NN_WINOGRAD_TRANSFORM_H
#define NN_WINOGRAD_TRANSFORM_H

#include <stdint.h>

struct winograd_transforms {
    /* out[i][0..n) = (B^T d B)[i], i = 0 .. 35: d is 36 pixels of n channels, in[i]; out[i] = out + i * stride */
    void (*input)(const float *const in[36], int64_t n, float *out, int64_t stride);
    /* filter in the order [3][3][n] -> out[i][0..n) = (G g G^T)[i] */
    void (*filter)(const float *in, int64_t n, float *out, int64_t stride);
    /* sums[i] = in + i * stride, i = 0 .. 35 -> out[16][n] = A^T m A */
    void (*output)(const float *in, int64_t stride, int64_t n, float *out);
};

/* For the family in use (tensor/cpu.h). */
const struct winograd_transforms *winograd_transforms(void);

#endif
