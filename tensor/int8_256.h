/* Registers of 256 bits for int8_vector.h: all that AVX2 with and without AVX-VNNI have in common, which is everything
 * but `dot`. The including file defines TARGET. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8 };
typedef int32_t ints __attribute__((vector_size(32))); /* GCC keeps an array of __m256i in memory */
typedef __m256 floats;

TARGET static inline ints int_load(const void *p)
{
    return (ints)_mm256_loadu_si256(p);
}
TARGET static inline ints int_broadcast(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (ints)_mm256_set1_epi32(four);
}
TARGET static inline ints int_max(ints a, ints b)
{
    return (ints)_mm256_max_epi32((__m256i)a, (__m256i)b);
}
TARGET static inline int32_t int_most(ints x)
{
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}
TARGET static inline int32_t int_sum(ints x)
{
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}
TARGET static inline floats float_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
TARGET static inline void float_store(float *p, floats x)
{
    _mm256_storeu_ps(p, x);
}
TARGET static inline floats float_broadcast(const float *p)
{
    return _mm256_broadcast_ss(p);
}
TARGET static inline floats float_from(ints x)
{
    return _mm256_cvtepi32_ps((__m256i)x);
}
TARGET static inline floats float_fma(floats a, floats b, floats c)
{
    return _mm256_fmadd_ps(a, b, c);
}
TARGET static inline ints int_nearest(floats x)
{
    return (ints)_mm256_cvtps_epi32(x);
}
TARGET static inline void bytes_store(uint8_t *out, const ints x[4], int shift)
{
    __m256i low = _mm256_packs_epi32((__m256i)x[0], (__m256i)x[1]),
            high = _mm256_packs_epi32((__m256i)x[2], (__m256i)x[3]);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* of fours: halves were packed each for itself */
    __m256i all = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_add_epi8(all, _mm256_set1_epi8((char)shift)));
}
