/* The 8-bit micro-kernel in AVX2: 5 x 16. Three instructions where VNNI has one: products of bytes added in pairs (in
 * 16 bits, hence the levels of activations), pairs added to 32 bits, added to the sum. */
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))

enum { MR = 5, LEVELS = 126 };

#include "tensor/int8_256.h"

TARGET static inline ints dot(ints sum, ints x, ints w)
{
    return sum + (ints)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)w), _mm256_set1_epi16(1));
}

#include "tensor/int8_vector.h"

const struct int8_kernel int8_avx2 = {"avx2 5x16", MR,          NR,           LEVELS,    run,     pack_row,
                                      pack_weight, pack_filter, arrange_taps, transpose, add_row, finish};
#endif
