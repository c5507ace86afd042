/* OpenBLAS, loaded so that it uses the best kernels this CPU can run.
 *
 * OpenBLAS picks its kernels by CPU model number when it is loaded. A model newer than the library falls back to
 * SSE3: correct, and slower (2.3 times for a linear layer on a Zen 4). We ask for kernels by instruction set instead:
 * the library is opened with dlopen, with OPENBLAS_CORETYPE set from the CPU's features, unless the user has set it.
 * Its own threads stay off; ours split the work (parallel.h). */
#ifndef TENSOR_BLAS_H
#define TENSOR_BLAS_H

#include <stdint.h>

#include "tensor/status.h"

/* Loads the library, once per process and thread-safe; later calls return the first outcome. The error says which
 * package to install. */
status blas_load(struct error *e);

/* "SkylakeX", "Haswell", ...: the kernels that were chosen; and OpenBLAS's own description of itself, version first.
 * NULL before a successful blas_load. */
const char *blas_core(void);
const char *blas_config(void);

/* c[M,N] = a[M,K] . b[K,N] + beta c, row-major with rows of lda, ldb, ldc floats, on the calling thread. blas_load
 * must have succeeded. */
void blas_sgemm(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                int64_t ldc, float beta);

#endif
