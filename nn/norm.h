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

/* The two halves of group_norm, for images that are there in bands of rows: first every band is counted in, then any
 * may be normalised.
 *
 *   struct group_statistics s = group_statistics_new(ctx, layer, groups, eps, shape);
 *   group_statistics_add(ctx, &s, band, NULL, first_row);      for every band
 *   group_statistics_finish(ctx, &s);
 *   group_norm_apply(ctx, &s, y, band, NULL, ACT_SILU);        for every band
 *
 * Sums are taken over blocks of rows of the image and added in their order: results do not depend on how it was cut,
 * provided that bands begin at multiples of GROUP_NORM_BAND. */
enum { GROUP_NORM_BAND = 4 };
struct group_statistics {
    const struct norm *layer;
    int64_t groups;
    float eps;
    int64_t n, h, w, c;          /* of the whole images, all channels */
    int64_t block_rows;          /* per block: 1, 2 or 4 */
    struct group_moments *sums;  /* [n, blocks, groups] */
    float *mean, *scale, *shift; /* [n, c], once finished */
};

/* In the arena. shape: n, h, w of the images, c with those of the second input; its data is not looked at. */
struct group_statistics group_statistics_new(const struct context *ctx, const struct norm *layer, int64_t groups,
                                             float eps, struct features shape);

/* Rows first .. first + x.h - 1 of each image. */
void group_statistics_add(const struct context *ctx, struct group_statistics *s, struct features x,
                          const struct features *concat, int64_t first);
void group_statistics_finish(const struct context *ctx, struct group_statistics *s);

/* y: [n, x.h, w, c]; may be x.x when there is no concat. */
void group_norm_apply(const struct context *ctx, const struct group_statistics *s, float *y, struct features x,
                      const struct features *concat, enum activation activation);

/* x, y: [rows, c]; y may be x. */
void layer_norm(const struct context *ctx, float *y, const float *x, int64_t rows, int64_t c,
                const struct norm *layer, float eps);

#endif
