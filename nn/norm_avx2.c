/* The loops of normalisation in AVX2: 4 doubles, 8 floats at a time. */
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2")))
#include "nn/norm_loops.h"

const struct norm_form norm_avx2 = {"avx2", column_sums, affine, layer_row};
#endif
