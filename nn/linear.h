/* Linear layers:  y = activation(x W^T + b) + residual     (torch.nn.Linear)
 *
 *   x: [rows, K]   weight: [N, K]   bias: [N] or absent   y: [rows, N] */
#ifndef NN_LINEAR_H
#define NN_LINEAR_H

#include "tensor/gemm.h"

struct linear {
    struct tensor weight; /* [N, K]; a 1x1 convolution's [N, K, 1, 1] is the same thing */
    struct tensor bias;   /* [N]; no data: none */
};

/* What may follow the product, all optional. */
struct linear_options {
    enum activation activation; /* ACT_GEGLU: weight [2N, K], y: [rows, N] */
    const float *residual;      /* [rows, N]; may be y if there is no activation */
};

void linear(const struct context *ctx, float *y, const float *x, int64_t rows, const struct linear *layer,
            struct linear_options options);

/* The same over two inputs side by side, [rows, K1 + K2], which are never concatenated in memory. */
void linear_concat(const struct context *ctx, float *y, const float *x1, int64_t K1, const float *x2, int64_t K2,
                   int64_t rows, const struct linear *layer);

#endif
