/* Rows of a weight to a strip, k by k, in blocks that fit the registers of AVX2. */
#include "tensor/gemm_kernel.h"
#include "tensor/tensor.h"

#if defined(__x86_64__)
#include "tensor/gemm_halves.h"

#define TARGET __attribute__((target("avx2,fma,f16c")))

/* Eight rows of eight become eight columns: pairs, then fours, then halves of a register. */
TARGET static inline void transpose_8x8(const float *in, float *out, int64_t columns)
{
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(in + i * GEMM_STRIDE);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * columns, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * columns, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

TARGET void gemm_transpose_avx2(const float *rows, int64_t K, int64_t columns, float *strip)
{
    int64_t whole = K / 8 * 8;
    for (int64_t k = 0; k < whole; k += 8)
        for (int64_t n = 0; n < columns; n += 8)
            transpose_8x8(rows + n * GEMM_STRIDE + k, strip + k * columns + n, columns);
    for (int64_t k = whole; k < K; k++)
        for (int64_t n = 0; n < columns; n++)
            strip[k * columns + n] = rows[n * GEMM_STRIDE + k];
}

/* Eight rows of sixteen halves become sixteen columns of eight floats: transposed as halves, of which a register holds
 * twice as many, then widened. */
TARGET static inline void transpose_halves_8x16(const uint16_t *in, int64_t width, float *out, int64_t columns)
{
    __m256i t[8];
    halves_transpose(in, width, t);
    for (int i = 0; i < 16; i++)
        _mm256_storeu_ps(out + i * columns, halves_column(t, i));
}

TARGET void gemm_transpose_halves_avx2(const uint16_t *rows, int64_t width, int64_t K, int64_t columns, float *strip)
{
    int64_t whole = K / 16 * 16;
    for (int64_t k = 0; k < whole; k += 16)
        for (int64_t n = 0; n < columns; n += 8)
            transpose_halves_8x16(rows + n * width + k, width, strip + k * columns + n, columns);
    for (int64_t k = whole; k < K; k++)
        for (int64_t n = 0; n < columns; n++)
            strip[k * columns + n] = f16_to_f32(rows[n * width + k]);
}
#endif
