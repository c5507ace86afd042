/* Attributes that compile one function for an instruction set. For sources that are written once, with vector types,
 * and compiled for each (nn/winograd_transform.c). AVX-512 is to use its whole
 * vectors, which compilers avoid unless told. */
#ifndef TENSOR_TARGETS_H
#define TENSOR_TARGETS_H

#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2")))
#if defined(__clang__)
#define TARGET_AVX512 __attribute__((target("avx512f,avx512vl"), min_vector_width(512)))
#else
#define TARGET_AVX512 __attribute__((target("avx512f,avx512vl,prefer-vector-width=512")))
#endif
#endif

#endif
