/* The pointwise functions in AVX2 with FMA, 8 at a time. */
#include "tensor/activation_forms.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))

typedef __m256 vec;

enum { WIDTH = 8 };

TARGET static inline vec vec_set(float a)
{
    return _mm256_set1_ps(a);
}
TARGET static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
TARGET static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}
TARGET static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
TARGET static inline vec vec_round(vec a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n as a float: n in the exponent's place. */
TARGET static inline vec power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* In two steps, since 2^n itself may be no normal number. The first is exact: only the second rounds. */
TARGET static inline vec vec_scale(vec a, vec n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return a * power_of_two(half) * power_of_two(_mm256_sub_epi32(whole, half));
}

/* All bits set in the first n lanes. */
TARGET static inline __m256i first_lanes(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

TARGET static inline vec vec_load(const float *p, int64_t n)
{
    return n >= WIDTH ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first_lanes(n));
}

TARGET static inline void vec_store(float *p, vec v, int64_t n)
{
    if (n >= WIDTH)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, first_lanes(n), v);
}

#include "tensor/activation_vector.h"

const struct activation_form activation_avx2 = {"avx2", exp_row, erf_row, silu_row, gelu_row, quick_gelu_row};
#endif
