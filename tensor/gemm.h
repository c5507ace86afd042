/* The one multiply:  out[M,N] = epilogue(in[M,K] . weight[N,K]^T)
 *
 * Nearly all of the arithmetic of SDXL is this. Blocks of `in` and `weight` are packed into small float32 panels that
 * fit the cache, multiplied, and the finished tile goes through the epilogue on its way to memory. What differs
 * between a linear layer, a 3x3 convolution, a strided one, one over two concatenated inputs, is only how the panels
 * are packed: an input is a function that copies any block of the matrix [M,K] it stands for. No im2col buffer
 * exists, and weights stay in the file, in whatever format they were stored in.
 *
 * Blocks follow from the shape alone and each tile is computed by one thread: any number of threads gives the same
 * bits. Blocking after Goto & van de Geijn 2008. */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include <stdint.h>

#include "tensor/activation.h"
#include "tensor/context.h"
#include "tensor/parallel.h"
#include "tensor/tensor.h"

/* Packs rows m and columns k of the input matrix into rows of `stride` floats. */
struct gemm_input {
    void (*pack)(const void *self, struct range m, struct range k, float *panel, int64_t stride);
    const void *self;
    const float *rows; /* where the matrix lies in memory as it is, row by row, `width` floats apart; or NULL */
    int64_t width;
};

/* The usual input: M rows of K contiguous floats. With `next`, K continues in a second tensor after `width` columns:
 * a concatenation along channels that is never made. */
struct gemm_rows {
    const float *data;
    int64_t width;
    const float *next; /* [M, next_width], or NULL */
    int64_t next_width;
};
struct gemm_input gemm_input_rows(const struct gemm_rows *rows);

/* weight: [N, K], or [N, C, 3, 3] with `taps` = 9. Then K = 9 C is cut into blocks of GEMM_CHANNELS channels, each
 * ordered (tap, channel of the block): a block is contiguous in the file's rows, and nine runs of neighbouring floats
 * in an image. An input packer is asked for one such block, or a part of it, at a time. */
struct gemm_weight {
    const struct tensor *tensor;
    int64_t taps; /* 1 or 9 */
};
enum { GEMM_CHANNELS = 128 };

/* Where column k of such a matrix is: channels first .. first + count - 1 are a block; k is tap `tap` of channel c.
 */
struct gemm_column {
    int64_t first, count, tap, c;
};
struct gemm_column gemm_column_at(int64_t k, int64_t C);

/* y = activation(x + bias + per_sample[m / rows_per_sample]) + residual. With ACT_GEGLU the weight has 2N rows, the
 * value half first: y = (value + bias + per_sample) * GELU(gate + bias') + residual. */
struct epilogue {
    const struct tensor *bias; /* [N] (GEGLU: [2N]); NULL or a tensor without data: none */
    const float *per_sample;   /* [M / rows_per_sample, N], or NULL */
    int64_t rows_per_sample;
    enum activation activation;
    const float *residual; /* [M, N], or NULL; may be `out` itself if there is no activation */
};

struct gemm {
    int64_t M, N, K;          /* M and N may be 0: nothing is computed */
    enum precision precision; /* of the products; int8 only with taps = 1. The epilogue is float32 */
    struct gemm_input in;
    struct gemm_weight weight;
    struct epilogue epilogue;
    float *out; /* [M, N] */
    enum op op; /* the row of the profile it counts in */
};

/* To be called before the first product: loads OpenBLAS where it is what multiplies. */
status gemm_ready(struct error *e);

/* Computes. Shapes were checked when the weights were bound; this cannot fail. */
void gemm_run(const struct context *ctx, const struct gemm *g);

/* The name of the micro-kernel: "avx512 14x32", "avx2 6x16", ... */
const char *gemm_kernel_name(void);
const char *gemm_int8_kernel_name(void);

#endif
