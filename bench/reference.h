/* The definition of every kernel, one output element at a time, in double: slow, obvious, and independent of the
 * kernels and of each other's tricks. */
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include "bench/problem.h"

/* Element (row, column) of the layer's output, or of the bare product. */
double reference_element(const struct problem *p, int64_t row, int64_t column, enum result_kind kind);

#endif
