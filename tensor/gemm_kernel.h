/* Micro-kernels: the innermost product, one per instruction set. For tensor/gemm*.c and nn/winograd.c.
 *
 *   tile[rows, NR] = a[rows, K] . b[K, NR]
 *
 * a: rows of `lda` floats. Packed ones are GEMM_STRIDE apart, an odd number of cache lines: rows do not fall on the
 * same sets. b: a strip of NR columns of the packed weight, k by k. tile: rows of `stride` floats; GEMM_ADD: sums go on
 * from what is there. Rows may be many more than the registers have room for. */
#ifndef TENSOR_GEMM_KERNEL_H
#define TENSOR_GEMM_KERNEL_H

#include <stdint.h>

enum { GEMM_K = 1280, GEMM_STRIDE = GEMM_K + 16 };

/* The longest sum made in one go, in registers. Rounding grows with the length of a sum: 5120 products in one chain are
 * off by 2.7e-6 of the largest, as 16 sums that are added in the tile by 3.6e-7; and once in 320 steps that costs
 * nothing that can be measured (256 and less do, in AVX-512). The portable form sums in double. */
enum { GEMM_CHAIN = 320 };

/* Whether a tile begins with zeros or with what is there. */
enum gemm_sum { GEMM_REPLACE, GEMM_ADD };

/* What is added to the sums before they leave the registers, first one, then the other; NULL: nothing. */
struct gemm_after {
    const float *residual; /* rows of `stride` floats, as the tile's */
    const float *bias;     /* [NR], to every row */
};

/* The same for short rows: Winograd's. */
enum { GEMM_SHORT_K = 128, GEMM_SHORT_STRIDE = GEMM_SHORT_K + 16 };

struct gemm_kernel {
    const char *name;
    int MR, NR; /* rows and columns of a tile */
    int MC;     /* rows of input in a block, at most: as many as half of a level 2 cache holds */
    void (*run)(int64_t rows, int64_t K, const float *a, int64_t lda, const float *b, float *tile, int64_t stride,
                enum gemm_sum sum, struct gemm_after after);
    /* a: rows of GEMM_SHORT_STRIDE floats, so that a kernel reaches every row from one register and a constant */
    void (*run_short)(int64_t rows, int64_t K, const float *a, const float *b, float *tile, int64_t stride,
                      enum gemm_sum sum);
    /* strip[K, NR] = transpose of NR rows of GEMM_STRIDE floats */
    void (*transpose)(const float *rows, int64_t K, float *strip);
    /* The same from halves as they lie in a file, rows of `width`; NULL: there is no faster way than by floats */
    void (*transpose_halves)(const uint16_t *rows, int64_t width, int64_t K, float *strip);
    /* out[rows, columns] = a[rows, K] . b[columns, K]^T, then what follows; b as it lies in a file, columns a multiple
     * of 8. The same bits as from `run`, for rows so few that packing b would be most of the work; NULL: there is no
     * such form */
    void (*run_few)(int64_t rows, int64_t columns, int64_t K, const float *a, int64_t lda, const uint16_t *b,
                    float *out, int64_t stride, struct gemm_after after);
    /* y += x, n values: for what follows the product */
    void (*add)(float *y, const float *x, int64_t n);
};

/* The kernel of the family in use. */
const struct gemm_kernel *gemm_kernel(void);

extern const struct gemm_kernel gemm_portable, gemm_openblas;
void gemm_add_portable(float *y, const float *x, int64_t n);
void gemm_add_after(int64_t rows, int64_t NR, float *tile, int64_t stride, struct gemm_after after);
#if defined(__x86_64__)
extern const struct gemm_kernel gemm_avx2, gemm_avx512;
/* NR: a multiple of 8 */
void gemm_transpose_avx2(const float *rows, int64_t K, int64_t NR, float *strip);
void gemm_transpose_halves_avx2(const uint16_t *rows, int64_t width, int64_t K, int64_t NR, float *strip);
void gemm_few_avx2(int64_t rows, int64_t columns, int64_t K, const float *a, int64_t lda, const uint16_t *b, float *out,
                   int64_t stride, struct gemm_after after);
#endif

#endif
