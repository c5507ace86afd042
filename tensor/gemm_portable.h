/* The multiply as its definition: c[M,N] (+)= a[M,K] . b[N,K]^T, each sum in double, rounded once.
 *
 * The oracle of the fast kernels, and what small weights are multiplied with: a layer of a few dozen channels fills no
 * vector kernel anyway, and models built from such layers amplify rounding so much that only sums this exact can be
 * compared with a recording at all (a tiny random UNet turns 1e-7 into 1e-4 in one forward pass). */
#ifndef TENSOR_GEMM_PORTABLE_H
#define TENSOR_GEMM_PORTABLE_H

#include <stdint.h>

#include "tensor/blas.h"

void gemm_portable(int64_t M, int64_t N, int64_t K, const float *a, const float *b, float *c, enum blas_beta beta);

#endif
