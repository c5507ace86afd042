#include "sdxl/blocks/resnet.h"

void resnet_bind(struct resnet *r, struct binder *b, const char *name, int64_t in_channels, int64_t out_channels,
                 int64_t time_width, int64_t groups, float eps)
{
    char part[MODULE_NAME];
    module_name(r->name, "%s", name);
    r->in_channels = in_channels;
    r->out_channels = out_channels;
    r->groups = groups;
    r->eps = eps;
    norm_bind(&r->norm1, b, module_name(part, "%s.norm1", name), in_channels);
    conv_bind(&r->conv1, b, module_name(part, "%s.conv1", name), in_channels, out_channels);
    if (time_width > 0)
        linear_bind(&r->time_emb_proj, b, module_name(part, "%s.time_emb_proj", name), time_width, out_channels);
    norm_bind(&r->norm2, b, module_name(part, "%s.norm2", name), out_channels);
    conv_bind(&r->conv2, b, module_name(part, "%s.conv2", name), out_channels, out_channels);
    if (in_channels != out_channels)
        pointwise_bind(&r->conv_shortcut, b, module_name(part, "%s.conv_shortcut", name), in_channels, out_channels);
}

/* What the block adds its result to: x itself, or x brought to the new width. */
static const float *shortcut(const struct context *ctx, const struct resnet *r, struct features out,
                             struct features x, const struct features *skip)
{
    struct context exact = context_float32(ctx); /* everything passes here: 1.6 % of error alone (bench/RESULTS.md) */
    if (r->conv_shortcut.weight.data == NULL)
        return x.x;
    if (skip != NULL)
        linear_concat(&exact, out.x, x.x, x.c, skip->x, skip->c, features_rows(x), &r->conv_shortcut);
    else
        linear(&exact, out.x, x.x, features_rows(x), &r->conv_shortcut, (struct linear_options){0});
    return out.x;
}

void resnet_forward(const struct context *ctx, const struct resnet *r, struct features out, struct features x,
                    const struct features *skip, const float *emb)
{
    size_t mark = arena_mark(ctx->arena);
    struct features h = features_new(ctx->arena, x.n, x.h, x.w, r->out_channels);
    struct features normed = features_new(ctx->arena, x.n, x.h, x.w, r->in_channels);
    float *time = NULL;
    if (emb != NULL) {
        time = arena_floats(ctx->arena, x.n * r->out_channels);
        struct context exact = context_float32(ctx); /* one row a sample: nothing to gain from 8 bits */
        linear(&exact, time, emb, x.n, &r->time_emb_proj, (struct linear_options){0});
    }
    group_norm(ctx, normed.x, x, skip, &r->norm1, r->groups, r->eps, ACT_SILU);               /* [n,h,w,in] */
    conv3x3(ctx, h, normed, &r->conv1, CONV_SAME, (struct conv_options){.per_sample = time}); /* [n,h,w,out] */
    group_norm(ctx, h.x, h, NULL, &r->norm2, r->groups, r->eps, ACT_SILU);
    const float *residual = shortcut(ctx, r, out, x, skip);
    conv3x3(ctx, out, h, &r->conv2, CONV_SAME, (struct conv_options){.residual = residual}); /* [n,h,w,out] */
    arena_release(ctx->arena, mark);
    observe_features(ctx, r->name, out);
}
