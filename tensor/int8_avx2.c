/* The 8-bit micro-kernel in AVX2: 5 x 16. Three instructions where VNNI has one: products of bytes added in pairs (in
 * 16 bits, hence the limit of activations), pairs added to 32 bits, added to the sum. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,fma")))

enum { MR = 5, LANES = 8, LIMIT = 63 };
typedef int32_t ints __attribute__((vector_size(32))); /* GCC keeps an array of __m256i in memory */
typedef __m256 floats;

TARGET static inline ints int_load(const void *p) { return (ints)_mm256_loadu_si256(p); }
TARGET static inline ints int_broadcast(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (ints)_mm256_set1_epi32(four);
}
TARGET static inline ints dot(ints sum, ints x, ints w)
{
    return sum + (ints)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)w), _mm256_set1_epi16(1));
}
TARGET static inline floats float_load(const float *p) { return _mm256_loadu_ps(p); }
TARGET static inline void float_store(float *p, floats x) { _mm256_storeu_ps(p, x); }
TARGET static inline floats float_broadcast(const float *p) { return _mm256_broadcast_ss(p); }
TARGET static inline floats float_from(ints x) { return _mm256_cvtepi32_ps((__m256i)x); }
TARGET static inline floats float_fma(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }

#include "tensor/int8_vector.h"

const struct int8_kernel int8_avx2 = {"avx2 5x16", MR, NR, LIMIT, run, pack_row,
                                             pack_strip, transpose, add_row, finish};
#endif
