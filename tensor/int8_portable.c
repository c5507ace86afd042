/* The 8-bit product as its definition, and which form of it a CPU gets. */
#include <math.h>
#include <string.h>

#define TARGET
enum { MR = 4, NR = 8, LIMIT = 127 };

#include "tensor/cpu.h"
#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"

/* Infinities and NaN are the largest of all, and get into the scale, so that they are not lost. */
static float quantise(const float *x, int limit, uint8_t *q, int shift, int32_t *sum)
{
    float largest = 0;
    for (int i = 0; i < INT8_BLOCK; i++)
        if (isnan(x[i]) || fabsf(x[i]) > largest)
            largest = fabsf(x[i]);
    float factor = largest > 0x1p-100f && isfinite(largest) ? (float)limit / largest : 0;
    *sum = 0;
    for (int i = 0; i < INT8_BLOCK; i++) {
        int whole = factor > 0 ? (int)nearbyintf(x[i] * factor) : 0;
        q[i] = (uint8_t)(whole + shift);
        *sum += whole;
    }
    return largest / (float)limit;
}

static void transpose(const float *rows, int64_t K, float *strip)
{
    for (int64_t k = 0; k < K; k++)
        for (int64_t n = 0; n < NR; n++)
            memcpy(strip + k * NR + n, rows + n * GEMM_STRIDE + k, sizeof *strip);
}

#include "tensor/int8_pack.h"

static void run(int64_t rows, int64_t K, struct int8_rows a, struct int8_strip b, float *tile)
{
    int64_t blocks = (K + INT8_BLOCK - 1) / INT8_BLOCK;
    memset(tile, 0, (size_t)(rows * NR) * sizeof *tile);
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t m = 0; m < rows; m++)
            for (int64_t n = 0; n < NR; n++) {
                const uint8_t *q = a.q + (block * MR + m) * INT8_BLOCK;
                const int8_t *w = b.q + block * INT8_BLOCK * NR + 4 * n;
                int32_t sum = b.offset[block * NR + n];
                for (int64_t k = 0; k < INT8_BLOCK; k++)
                    sum += (int32_t)q[k] * w[k / 4 * 4 * NR + k % 4];
                float *out = &tile[m * NR + n];
                *out = fmaf((float)sum * b.scale[block * NR + n], a.scale[block * MR + m], *out);
            }
}

const struct int8_kernel int8_portable = {"portable 4x8", MR,          NR,        LIMIT,   run,
                                          pack_row,       pack_weight, transpose, add_row, finish};

const struct int8_kernel *int8_kernel(void)
{
    switch (cpu_bytes()) {
#if defined(__x86_64__)
    case CPU_BYTES_AVX512_VNNI: return &int8_avx512_vnni;
    case CPU_BYTES_AVX_VNNI: return &int8_avx_vnni;
    case CPU_BYTES_AVX2: return &int8_avx2;
#endif
    default: return &int8_portable;
    }
}
