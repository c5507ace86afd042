/* The pointwise functions of SDXL, on a row of n values, in place.
 *
 *   SiLU(x) = x sigmoid(x)                         ResNet blocks and time embedding (Elfwing et al. 2017)
 *   GELU(x) = x Phi(x), Phi by the error function  CLIP encoder 2, GEGLU (Hendrycks & Gimpel 2016)
 *   quick GELU(x) = x sigmoid(1.702 x)             CLIP encoder 1 */
#ifndef TENSOR_ACTIVATION_H
#define TENSOR_ACTIVATION_H

#include <stdint.h>

enum activation {
    ACT_NONE,
    ACT_SILU,
    ACT_GELU,
    ACT_QUICK_GELU,
    ACT_GEGLU, /* only as a gemm epilogue: value * GELU(gate), from a weight of twice the width (Shazeer 2020, eq. 6)
                */
};

/* In place, on the calling thread. ACT_NONE and ACT_GEGLU leave x as it is: the latter is the multiply's (gemm.h). */
void activate(enum activation act, float *x, int64_t n);

#endif
