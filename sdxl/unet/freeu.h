/* FreeU (Si et al. 2023, eq. 4-6, in the form diffusers computes): in the first two up blocks, before each resnet's
 * concatenation, the backbone features are strengthened and the low frequencies of the skip features weakened.
 *
 *   hidden[.., c] *= b                       for the first half of the channels
 *   skip = IFFT(mask * FFT(skip)),  mask = s on the frequencies {-1, 0} x {-1, 0}, 1 elsewhere
 *
 * The surprise: with a threshold of 1 the mask touches four frequencies only, so no FFT is needed. With X(u, v) the
 * DFT of one channel,  skip += (s - 1) Re( 1/(hw) sum over the four (u, v) of X(u, v) e^(2 pi i (u y / h + v x / w))
 * ). */
#ifndef SDXL_FREEU_H
#define SDXL_FREEU_H

#include "nn/features.h"

struct freeu {
    float s1, s2, b1, b2; /* skip and backbone factors of up_blocks.0 and up_blocks.1 */
};

/* Both in place. */
void freeu_apply(const struct context *ctx, struct features hidden, struct features skip, float s, float b);

#endif
