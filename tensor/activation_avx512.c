/* The pointwise functions in AVX-512, 16 at a time. */
#include "tensor/activation_forms.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,fma")))

typedef __m512 vec;

enum { WIDTH = 16 };

TARGET static inline vec vec_set(float a) { return _mm512_set1_ps(a); }
TARGET static inline vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
TARGET static inline vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
TARGET static inline vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
TARGET static inline vec vec_round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
TARGET static inline vec vec_scale(vec a, vec n) { return _mm512_scalef_ps(a, n); }

TARGET static inline vec vec_load(const float *p, int64_t n)
{
    return n >= WIDTH ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

TARGET static inline void vec_store(float *p, vec v, int64_t n)
{
    if (n >= WIDTH)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}

#include "tensor/activation_vector.h"

const struct activation_form activation_avx512 = {"avx512", exp_row, erf_row, silu_row, gelu_row, quick_gelu_row};
#endif
