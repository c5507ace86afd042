/* Normalisation, channels last.
 *
 * Group normalisation (Wu & He 2018, eq. 1):
 *   x, y: [n, h*w, c]     weight, bias: [c]     each group is c / groups neighbouring channels
 *   y = (x - mean) / sqrt(var + eps) * weight + bias      mean, var over (h*w, channels of the group) of each sample
 * The surprise: eps is not one number. The UNet's resnets take norm_eps from its config (1e-5); the norm that opens
 * each of its transformers, and all of the VAE, use 1e-6, which is in no config file.
 *
 * Layer normalisation (Ba et al. 2016): the same over the c channels of each row. */
#ifndef NN_NORM_H
#define NN_NORM_H

#include "nn/features.h"
#include "tensor/activation.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

struct norm {
    struct tensor weight, bias; /* [c] */
};

/* y = activation(group norm of x). `concat`, if not NULL, continues x's channels; y has them all, side by side. y may
 * be x.x when there is no concat. groups divides the number of channels (checked with the config). */
void group_norm(const struct context *ctx, float *y, struct features x, const struct features *concat,
                const struct norm *layer, int64_t groups, float eps, enum activation activation);

/* x, y: [rows, c]; y may be x. */
void layer_norm(const struct context *ctx, float *y, const float *x, int64_t rows, int64_t c,
                const struct norm *layer, float eps);

#endif
