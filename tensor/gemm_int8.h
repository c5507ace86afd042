/* For tensor/gemm.c: the multiply in 8-bit integers. */
#ifndef TENSOR_GEMM_INT8_H
#define TENSOR_GEMM_INT8_H

#include "tensor/gemm.h"

/* As gemm_run. bias: epilogue.bias in float32, or NULL. Working memory comes from the arena. */
void gemm_int8_run(const struct context *ctx, const struct gemm *g, const float *bias);

#endif
