/* Is every value a number? Weights that are damaged, or too large for half precision, show up as infinities and NaNs,
 * and one of them makes a whole picture black: so this is asked after every stage. */
#ifndef TENSOR_FINITE_H
#define TENSOR_FINITE_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/tensor.h"

bool all_finite(const float *x, int64_t n);

/* The same of a tensor of any of the float formats; others are always finite. */
bool tensor_finite(const struct tensor *t);

#endif
