/* The ResNet block (He et al. 2016, in the order of Ho et al. 2020): diffusers' ResnetBlock2D, shared by the UNet and
 * the VAE, which has no time embedding.
 *
 *   x -- norm1 -- SiLU -- conv1 -- + -- norm2 -- SiLU -- conv2 -- + -- out
 *     \            time_emb_proj(SiLU(emb))                      /
 *      ---------------- conv_shortcut (if the width changes) ----
 *
 * Members are named as the tensors of the checkpoint; `name` is the module's full name there. */
#ifndef SDXL_RESNET_H
#define SDXL_RESNET_H

#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "sdxl/checkpoint/bind.h"

struct resnet {
    char name[MODULE_NAME];
    struct norm norm1, norm2;
    struct conv conv1, conv2;
    struct linear time_emb_proj, conv_shortcut; /* no weight data: there is none */
    int64_t in_channels, out_channels, groups;
    float eps;
};

/* Binds the tensors of a resnet. time_width: width of the time embedding, 0: none. */
void resnet_bind(struct resnet *r, struct binder *b, const char *name, int64_t in_channels, int64_t out_channels,
                 int64_t time_width, int64_t groups, float eps);

/* out: [n, h, w, out_channels], may not overlap x. With `skip`, x and skip are side by side along the channels.
 * emb: SiLU of the time embedding, [n, time_width], or NULL. */
void resnet_forward(const struct context *ctx, const struct resnet *r, struct features out, struct features x,
                    const struct features *skip, const float *emb);

#endif
