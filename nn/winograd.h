/* 3x3 convolution with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray
 * 2016).
 *
 * The output is cut into tiles of 4x4 pixels; a tile depends on 6x6 input pixels d. With the matrices A, B, G of
 * winograd_transform.c
 *
 *   Y = A^T [ sum over channels of  (G g G^T) * (B^T d B) ] A            * element by element
 *
 * so for each of the 36 positions the sum over channels is a matrix product [tiles, C] . [C, N], and there are 36
 * products for 16 pixels where the definition has 9 for each: 4 times fewer. Filters are transformed block by block
 * as they are needed and not kept. The surprise: transforms amplify rounding; the result is off by up to about 1e-5
 * of its largest value where the definition is off by 1e-6 (measured in the tests). */
#ifndef NN_WINOGRAD_H
#define NN_WINOGRAD_H

#include <stdbool.h>

#include "nn/conv.h"

/* Whether this form is the faster one: enough tiles to pay for transforming the filters, enough channels to fill
 * them. */
bool winograd_wins(struct features out, int64_t in_channels, enum conv_kind kind);

/* As conv3x3, for CONV_SAME and CONV_UP. */
void winograd_conv(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
                   enum conv_kind kind, struct conv_options options);

#endif
