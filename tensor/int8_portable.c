/* The 8-bit product as its definition, and which form of it a CPU gets. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define TARGET
enum { MR = 4, NR = 8, LEVELS = 254 };

#include "tensor/cpu.h"
#include "tensor/gemm_kernel.h"
#include "tensor/int8_kernel.h"

/* Infinities and NaN are the largest of all, and get into the scale, so that they are not lost. */
static bool exceeds(float x, float largest)
{
    return isnan(x) || x > largest;
}

static float quantise_row(const float *x, uint8_t *q, float *zero)
{
    float above = 0, below = 0;
    for (int i = 0; i < INT8_BLOCK; i++) {
        if (exceeds(x[i], above))
            above = x[i];
        if (exceeds(-x[i], below))
            below = -x[i];
    }
    float range = above + below, factor = range > 0x1p-100f ? LEVELS / range : 0;
    *zero = factor > 0 ? nearbyintf(below * factor) : 0;
    for (int i = 0; i < INT8_BLOCK; i++)
        q[i] = factor > 0 ? (uint8_t)((int)nearbyintf(x[i] * factor) + (int)*zero) : 0;
    return range / LEVELS;
}

static float quantise_weight(const float *x, int count, uint8_t *q, float *sum)
{
    float largest = 0;
    for (int i = 0; i < count; i++)
        if (exceeds(fabsf(x[i]), largest))
            largest = fabsf(x[i]);
    float factor = largest > 0x1p-100f ? INT8_WEIGHT_LIMIT / largest : 0;
    int whole = 0;
    for (int i = 0; i < count; i++) {
        int nearest = factor > 0 ? (int)nearbyintf(x[i] * factor) : 0;
        q[i] = (uint8_t)nearest;
        whole += nearest;
    }
    *sum = (float)whole;
    return largest / INT8_WEIGHT_LIMIT;
}

static void transpose(const float *rows, int64_t K, float *strip)
{
    for (int64_t k = 0; k < K; k++)
        for (int64_t n = 0; n < NR; n++)
            memcpy(strip + k * NR + n, rows + n * GEMM_STRIDE + k, sizeof *strip);
}

#include "tensor/int8_pack.h"

static void run(int64_t rows, int64_t K, struct int8_rows a, struct int8_strip b, float *tile, enum gemm_sum mode)
{
    for (int64_t m = 0; m < rows; m++)
        for (int64_t n = 0; n < NR; n++) {
            int32_t sum = 0;
            for (int64_t k = 0; k < (K + 3) / 4 * 4; k++)
                sum += (int32_t)a.q[m * INT8_BLOCK + k] * b.q[k / 4 * 4 * NR + 4 * n + k % 4];
            float *out = &tile[m * NR + n];
            float exact = (float)sum - a.zero[m] * b.sum[n]; /* whole numbers below 2^24 */
            *out = fmaf(exact * b.scale[n], a.scale[m], mode == GEMM_ADD ? *out : 0);
        }
}

const struct int8_kernel int8_portable = {"portable 4x8", MR,          NR,           LEVELS,    run,     pack_row,
                                          pack_weight,    pack_filter, arrange_taps, transpose, add_row, finish};

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
