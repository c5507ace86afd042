/* Normalisation as its definition, in double: for layers narrower than NARROW_LAYER, where tensor/gemm_portable.c
 * says why the last bit counts. Arguments as in norm.h. */
#ifndef NN_NORM_NARROW_H
#define NN_NORM_NARROW_H

#include "nn/norm.h"

void group_norm_narrow(const struct context *ctx, float *y, struct features x, const struct features *concat,
                       const struct norm *layer, int64_t groups, float eps, enum activation activation);
void layer_norm_narrow(float *y, const float *x, int64_t rows, int64_t c, const struct norm *layer, float eps);

#endif
