/* The micro-kernel in AVX2 with FMA: 6 x 16, which takes 15 of the 16 registers. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#define TARGET __attribute__((target("avx2,fma")))

enum { MR = 6, LANES = 8 };
typedef __m256 vec;

TARGET static inline vec vec_zero(void) { return _mm256_setzero_ps(); }
TARGET static inline vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
TARGET static inline void vec_store(float *p, vec x) { _mm256_storeu_ps(p, x); }
TARGET static inline vec vec_broadcast(const float *p) { return _mm256_broadcast_ss(p); }
TARGET static inline vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

#include "tensor/gemm_vector.h"

const struct gemm_kernel gemm_avx2 = {"avx2 6x16", MR, NR, 8 * MR, run, run_short, transpose, transpose_halves,
                                      gemm_few_avx2, add};
#endif
