/* The 8-bit micro-kernel in AVX-512 with VNNI: 14 x 32, which takes 31 of the 32 registers. vpdpbusd is four
 * multiply-adds a lane: four times what float32 has. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,fma")))

enum { MR = 14, LANES = 16, LEVELS = 254 };
typedef int32_t ints __attribute__((vector_size(64))); /* GCC keeps an array of __m512i in memory */
typedef __m512 floats;

TARGET static inline ints int_load(const void *p)
{
    return (ints)_mm512_loadu_si512(p);
}
TARGET static inline ints int_broadcast(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (ints)_mm512_set1_epi32(four);
}
TARGET static inline ints int_max(ints a, ints b)
{
    return (ints)_mm512_max_epi32((__m512i)a, (__m512i)b);
}
TARGET static inline int32_t int_most(ints x)
{
    return _mm512_reduce_max_epi32((__m512i)x);
}
TARGET static inline int32_t int_sum(ints x)
{
    return _mm512_reduce_add_epi32((__m512i)x);
}
TARGET static inline ints dot(ints sum, ints x, ints w)
{
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
}
TARGET static inline floats float_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
TARGET static inline void float_store(float *p, floats x)
{
    _mm512_storeu_ps(p, x);
}
TARGET static inline floats float_broadcast(const float *p)
{
    return _mm512_set1_ps(*p);
}
TARGET static inline floats float_from(ints x)
{
    return _mm512_cvtepi32_ps((__m512i)x);
}
TARGET static inline floats float_fma(floats a, floats b, floats c)
{
    return _mm512_fmadd_ps(a, b, c);
}
TARGET static inline ints int_nearest(floats x)
{
    return (ints)_mm512_cvtps_epi32(x);
}
TARGET static inline void bytes_store(uint8_t *out, const ints x[4], int shift)
{
    __m512i low = _mm512_packs_epi32((__m512i)x[0], (__m512i)x[1]),
            high = _mm512_packs_epi32((__m512i)x[2], (__m512i)x[3]);
    __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); /* quarters were packed */
    __m512i all = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
    _mm512_storeu_si512(out, _mm512_add_epi8(all, _mm512_set1_epi8((char)shift)));
}

#include "tensor/int8_vector.h"

const struct int8_kernel int8_avx512_vnni = {
    "avx512-vnni 14x32", MR,          NR,           LEVELS,    run,     pack_row,
    pack_weight,         pack_filter, arrange_taps, transpose, add_row, finish};
#endif
