/* Products of 8-bit integers: the innermost loop of gemm_int8.c, one per instruction set.
 *
 * A row is cut into blocks of INT8_BLOCK values, and each block has a scale of its own:
 *
 *   x = q scale,   scale = largest |x| of the block / limit,   q = nearest integer to x / scale
 *
 * so one large value spoils its block alone. Over a block the product is exact, in 32-bit integers; blocks are added
 * in float32:
 *
 *   tile[m][n] = sum over blocks of  (sum over k of a_q[m][k] w_q[n][k]) w_scale[n] a_scale[m]
 *
 * The limit is 127 for weights. For activations it is 127 where the CPU has dot products of bytes (VNNI), but 63 in
 * AVX2, whose vpmaddubsw adds two products in 16 bits: 2 * 127 * 127 = 32258 fits, 2 * 255 * 127 would be cut off
 * silently. Those instructions want one operand unsigned. That is the activation, stored as q + limit + 1; what this
 * adds too much, (limit + 1) (sum of w_q), is known when a weight is packed, and sums begin with minus that.
 *
 * int8_portable is the specification: from the same limit every form makes the same bits. Integers with scales: Wu et
 * al. 2020; scales per block: Dai et al. 2021. */
#ifndef TENSOR_INT8_KERNEL_H
#define TENSOR_INT8_KERNEL_H

#include <stdint.h>

enum { INT8_BLOCK = 320, INT8_WEIGHT_LIMIT = 127, INT8_MOST_COLUMNS = 32 };

/* Up to MR rows of activations, block by block. */
struct int8_rows {
    uint8_t *q;   /* [blocks][MR][INT8_BLOCK] */
    float *scale; /* [blocks][MR] */
};

/* NR rows of a weight, four values of k at a time. A last block that K does not fill goes on in zeros. */
struct int8_strip {
    int8_t *q;       /* [blocks][INT8_BLOCK / 4][NR][4] */
    float *scale;    /* [blocks][NR] */
    int32_t *offset; /* [blocks][NR]: -(limit + 1) (sum of q) */
};

struct int8_kernel {
    const char *name;
    int MR, NR;
    int limit; /* of activations */
    /* tile[rows][NR] = a[rows, K] . b[NR, K]^T, rows <= MR */
    void (*run)(int64_t rows, int64_t K, struct int8_rows a, struct int8_strip b, float *tile);
    /* Packs one row, x[K], as row 0 of `a`. */
    void (*pack_row)(const float *x, int64_t K, struct int8_rows a);
    /* Packs one row of a weight, x[K], byte after byte; scale and offset: one for each block, NR apart. */
    void (*pack_weight)(const float *x, int64_t K, uint8_t *q, float *scale, int32_t *offset);
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
