/* Low-rank additions to a weight (LoRA: Hu et al. 2021, eq. 3) without a second copy of it.
 *
 *   W' = W + sum of scale * up . down        W: [N, K]   up: [N, r]   down: [r, K], the taps of a filter among the K
 *
 * A tensor with a delta is W': tensor_read gives out its values, whoever asks. Weights are packed afresh for each
 * product anyway, a few rows at a time, and there the small product up . down costs r / M of the large one (M rows of
 * input): weight_rows, which all packers read with. The other way, a product x . down^T . up^T beside the large one,
 * costs r (1/K + 1/N) of it and leaves no room for GEGLU in the same pass. Measured at r = 32, two threads with
 * AVX-512, K = N = 640: it took 30 % more than the plain product at M = 576 and at 1024, merging 13 and 12 %; at M =
 * 256, K = N = 1280 both took a quarter more. A step of SDXL at 768 px with such a LoRA on all attention took 1 %
 * more CPU time. */
#ifndef TENSOR_LOW_RANK_H
#define TENSOR_LOW_RANK_H

#include "tensor/tensor.h"

struct low_rank {
    struct tensor up, down; /* [N, r], [r, K]; trailing dimensions of 1, and taps, as the file has them */
    float scale;
    const struct low_rank *next; /* one more addition, or NULL */
};

/* The rank of one addition. */
int64_t low_rank_rank(const struct low_rank *d);

/* out[i] += element first + i of the sum of the additions. Slow: for the few who read a weight value by value. */
void low_rank_add(const struct low_rank *d, int64_t first, int64_t count, float *out);

/* Rows first .. first + rows - 1 and columns k .. k + count - 1 of a weight whose rows have K values, with what is
 * added to it, into rows of GEMM_STRIDE floats (gemm_kernel.h), count <= GEMM_K; a single row may be longer. With a
 * delta, some of what lies behind `count` in a row is overwritten. */
void weight_rows(const struct tensor *weight, int64_t K, int64_t first, int64_t rows, int64_t k, int64_t count,
                 float *out);

#endif
