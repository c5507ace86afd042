#include "nn/linear.h"

void linear(const struct context *ctx, float *y, const float *x, int64_t rows, const struct linear *layer,
            struct linear_options options)
{
    int64_t N = layer->weight.shape[0], K = layer->weight.shape[1];
    struct gemm_rows in = {.data = x, .width = K};
    gemm_run(ctx, &(struct gemm){
                      .M = rows,
                      .N = options.activation == ACT_GEGLU ? N / 2 : N,
                      .K = K,
                      .precision = ctx->precision,
                      .in = gemm_input_rows(&in),
                      .weight = {&layer->weight, 1},
                      .epilogue = {.bias = &layer->bias,
                                   .activation = options.activation,
                                   .residual = options.residual},
                      .out = y,
                      .op = OP_LINEAR,
                  });
}

void linear_concat(const struct context *ctx, float *y, const float *x1, int64_t K1, const float *x2, int64_t K2,
                   int64_t rows, const struct linear *layer)
{
    struct gemm_rows in = {.data = x1, .width = K1, .next = x2, .next_width = K2};
    gemm_run(ctx, &(struct gemm){
                      .M = rows,
                      .N = layer->weight.shape[0],
                      .K = K1 + K2,
                      .precision = ctx->precision,
                      .in = gemm_input_rows(&in),
                      .weight = {&layer->weight, 1},
                      .epilogue = {.bias = &layer->bias},
                      .out = y,
                      .op = OP_LINEAR,
                  });
}
