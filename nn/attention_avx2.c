/* Attention in AVX2 with FMA: 8 queries to a vector, tiles of 4 x 24. 12 sums, 3 vectors and a broadcast take all 16
 * registers; a step is 12 multiply-adds for 7 loads, where a CPU does two of either at a time. */
#include "nn/attention_forms.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))

typedef __m256 vec;

enum { WIDTH = 8, ROWS = 4 };

TARGET static inline vec vec_set(float a) { return _mm256_set1_ps(a); }
TARGET static inline vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
TARGET static inline void vec_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
TARGET static inline vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
TARGET static inline vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
TARGET static inline vec vec_round(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT); }

/* 2^n is n in the exponent's place; where there is no place for it the result is 0 anyway. "Not less than", and not
 * "at least": a NaN stays one. */
TARGET static inline vec vec_power(vec p, vec n, vec y)
{
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(_mm256_cmp_ps(y, vec_set(-126), _CMP_NLT_UQ), p * _mm256_castsi256_ps(power));
}

#include "nn/attention_vector.h"

const struct attention_kernels attention_avx2 = {LANES, attention_load, attention_store, score, fold, mix};
#endif
