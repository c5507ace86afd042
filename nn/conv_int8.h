/* 3x3 convolution in 8-bit integers, as a multiply (nn/conv.h: implicit GEMM; tensor/int8_kernel.h: the integers).
 *
 *   out[m, n] = sum over blocks of INT8_BLOCK channels, over taps of
 *                 (sum over c of q[pixel of m under the tap, c] w[n, c, tap]) w_scale[n, block] scale[pixel, block]
 *
 * Scales: one for a pixel and a block of its channels, so that a pixel becomes bytes once and not once for each of
 * the nine windows it is in; one for a filter and a block of channels, all taps.
 *
 * Nine multiplications where Winograd's algorithm needs 2.25, but 8-bit ones, and nothing to transform. With dot
 * products of bytes (VNNI), four times as fast as float32, this takes 0.5 to 0.95 of Winograd's time for SDXL's
 * layers; AVX2's 8-bit products are 1.7 times as fast, and this takes 1.2 to 1.6 of it (bench/RESULTS.md). Winograd's
 * sums in 8 bits would lose what they save: its transforms enlarge what rounding leaves (nn/winograd.h). */
#ifndef NN_CONV_INT8_H
#define NN_CONV_INT8_H

#include "nn/conv.h"

/* Whether this form is faster than float32's: with VNNI, for layers as wide as a block, that are not enlarged.
 * channels: of the input. */
bool conv_int8_wins(struct features out, int64_t channels, enum conv_kind kind);

/* As conv3x3, for CONV_SAME of whole images. */
void conv_int8(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
               struct conv_options options);

#endif
