/* The micro-kernel in AVX-512: 14 x 32, which takes 31 of the 32 registers. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#define TARGET __attribute__((target("avx512f,avx512vl,fma")))

enum { MR = 14, LANES = 16 };
typedef __m512 vec;

TARGET static inline vec vec_zero(void) { return _mm512_setzero_ps(); }
TARGET static inline vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
TARGET static inline void vec_store(float *p, vec x) { _mm512_storeu_ps(p, x); }
TARGET static inline vec vec_broadcast(const float *p) { return _mm512_set1_ps(*p); }
TARGET static inline vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

#include "tensor/gemm_vector.h"

const struct gemm_kernel gemm_avx512 = {"avx512 14x32", MR, NR, 4 * MR, run, run_short, transpose,
                                        transpose_halves, gemm_few_avx2, add};
#endif
