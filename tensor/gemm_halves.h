/* Halves as they lie in a file, transposed in the registers of AVX2: for the micro-kernels. */
#ifndef TENSOR_GEMM_HALVES_H
#define TENSOR_GEMM_HALVES_H

#include <immintrin.h>
#include <stdint.h>

#define HALVES static inline __attribute__((always_inline, target("avx2,fma,f16c")))

/* Values of registers i and i + 4 by turns. Three times, and in each lane rows have become columns: of the number of a
 * value's register and that of its place in the lane, three bits each, the top bit of either goes to the end of the
 * other. */
HALVES void halves_interleave(const __m256i *in, __m256i *out)
{
    for (int i = 0; i < 4; i++) {
        out[2 * i] = _mm256_unpacklo_epi16(in[i], in[i + 4]);
        out[2 * i + 1] = _mm256_unpackhi_epi16(in[i], in[i + 4]);
    }
}

/* Eight rows of sixteen halves, `width` apart, to columns: t[k] holds column k of all rows, and behind it k + 8. */
HALVES void halves_transpose(const uint16_t *in, int64_t width, __m256i t[8])
{
    __m256i r[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_si256((const __m256i *)(const void *)(in + i * width));
    halves_interleave(r, t);
    halves_interleave(t, r);
    halves_interleave(r, t);
}

/* Column k of those, 0 <= k < 16, as floats. */
HALVES __m256 halves_column(const __m256i t[8], int k)
{
    return _mm256_cvtph_ps(k < 8 ? _mm256_castsi256_si128(t[k]) : _mm256_extracti128_si256(t[k - 8], 1));
}

#endif
