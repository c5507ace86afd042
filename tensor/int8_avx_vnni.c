/* The 8-bit micro-kernel in AVX2 with AVX-VNNI: 6 x 16, which takes 15 of the 16 registers. */
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma,avxvnni")))

enum { MR = 6, LEVELS = 254 };

#include "tensor/int8_256.h"

TARGET static inline ints dot(ints sum, ints x, ints w)
{
    return (ints)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
}

#include "tensor/int8_vector.h"

const struct int8_kernel int8_avx_vnni = {"avx-vnni 6x16", MR,          NR,           LEVELS,    run,     pack_row,
                                          pack_weight,     pack_filter, arrange_taps, transpose, add_row, finish};
#endif
