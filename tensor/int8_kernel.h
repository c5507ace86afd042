/* Products of 8-bit integers: the innermost loop of gemm_int8.c and nn/conv_int8.c, one per instruction set.
 *
 * A row is cut into blocks of INT8_BLOCK values, and each block has a scale of its own, so one large value spoils its
 * block alone:
 *
 *   weights:      x = q scale            scale = largest |x| / 127
 *   activations:  x = (q - zero) scale   scale = (largest x - smallest x) / levels   zero = -smallest x / scale
 *
 * where q and zero are the nearest integers, and 0 counts as one of the values, so that it is never rounded. What
 * follows a SiLU begins at -0.28: half of the integers would be wasted on a zero in their middle. Over a block
 * the product is exact, in integers; blocks are added in float32:
 *
 *   tile[m][n] = sum over blocks of  (sum over k of (a_q[m][k] - zero[m]) w_q[n][k]) w_scale[n] a_scale[m]
 *
 * Instructions want activations unsigned and weights signed. There are 254 levels where the CPU has dot products of
 * bytes (VNNI), but 126 in AVX2, whose vpmaddubsw adds two products in 16 bits: 2 * 127 * 127 = 32258 fits, 2 * 255 *
 * 127 would be cut off silently. (One more integer than levels is in use: both ends may be rounded up.) What zero
 * adds is taken off at the end of a block: 255 * 127 * INT8_BLOCK is below 2^24, so a float holds all of these sums.
 *
 * int8_portable is the specification: with as many levels every form makes the same bits. Integers with scales: Wu et
 * al. 2020; scales per block: Dai et al. 2021. */
#ifndef TENSOR_INT8_KERNEL_H
#define TENSOR_INT8_KERNEL_H

#include <stdint.h>

#include "tensor/gemm_kernel.h"

enum { INT8_BLOCK = 320, INT8_WEIGHT_LIMIT = 127, INT8_MOST_COLUMNS = 32 };

/* Up to MR rows of activations, block by block. */
struct int8_rows {
    uint8_t *q;   /* [blocks][MR][INT8_BLOCK] */
    float *scale; /* [blocks][MR] */
    float *zero;  /* [blocks][MR]: a whole number */
};

/* NR rows of a weight, four values of k at a time. A last block that K does not fill goes on in zeros. */
struct int8_strip {
    int8_t *q;    /* [blocks][INT8_BLOCK / 4][NR][4] */
    float *scale; /* [blocks][NR] */
    float *sum;   /* [blocks][NR]: of q */
};

struct int8_kernel {
    const char *name;
    int MR, NR;
    int levels; /* of activations */
    /* One block: tile[rows][NR] = a[rows, K] . b[NR, K]^T, or is added to; rows <= MR, K <= INT8_BLOCK. */
    void (*run)(int64_t rows, int64_t K, struct int8_rows a, struct int8_strip b, float *tile, enum gemm_sum mode);
    /* Packs one row, x[K], as row 0 of `a`. */
    void (*pack_row)(const float *x, int64_t K, struct int8_rows a);
    /* Packs one row of a weight, x[K], byte after byte; scale and sum: one for each block, NR apart. */
    void (*pack_weight)(const float *x, int64_t K, uint8_t *q, float *scale, float *sum);
    /* The filters of a 3x3 convolution, for which a strip has nine blocks for each INT8_BLOCK channels, one a tap: x
     * is one of up to so many channels, [channels][9], as it lies in the file. It becomes bytes in that order, and
     * zeros up to q[9 INT8_BLOCK]; its scale, one for all taps, is returned. NR of them, transposed, are then words
     * [9 INT8_BLOCK / 4][NR], from which q and sum of the nine blocks are made. */
    float (*pack_filter)(const float *x, int64_t channels, uint8_t *q);
    void (*arrange_taps)(const uint32_t *words, struct int8_strip strip);
    /* strip[K, NR] = transpose of NR rows of GEMM_STRIDE words of four bytes: of four values of k each */
    void (*transpose)(const float *rows, int64_t K, float *strip);
    /* What follows a product. tile[rows][NR] += row[NR], and out[m][0 .. width) = tile[m] * gate[m] + residual[m];
     * out and residual: rows of `stride` floats; gate and residual may be NULL, residual may be out. */
    void (*add_row)(float *tile, const float *row, int64_t rows);
    void (*finish)(float *out, int64_t stride, int64_t rows, int64_t width, const float *tile, const float *gate,
                   const float *residual);
};

/* The kernel for this CPU (tensor/cpu.h). */
const struct int8_kernel *int8_kernel(void);

extern const struct int8_kernel int8_portable;
#if defined(__x86_64__)
extern const struct int8_kernel int8_avx2, int8_avx_vnni, int8_avx512_vnni;
#endif

#endif
