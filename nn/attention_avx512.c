/* Attention in AVX-512: 16 queries to a vector, tiles of 8 x 48. 24 sums, 3 vectors and a broadcast take 28 of the 32
 * registers; a step is 24 multiply-adds for 11 loads, so the multipliers set the pace, be there one or two. */
#include "nn/attention_forms.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,fma")))

typedef __m512 vec;

enum { WIDTH = 16, ROWS = 8 };

TARGET static inline vec vec_set(float a) { return _mm512_set1_ps(a); }
TARGET static inline vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
TARGET static inline void vec_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
TARGET static inline vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
TARGET static inline vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
TARGET static inline vec vec_round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }

/* "Not less than", and not "at least": a NaN stays one. */
TARGET static inline vec vec_power(vec p, vec n, vec y)
{
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(y, vec_set(-126), _CMP_NLT_UQ), p, n);
}

#include "nn/attention_vector.h"

const struct attention_kernels attention_avx512 = {LANES, attention_load, attention_store, score, fold, mix};
#endif
