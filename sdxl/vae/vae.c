#include "sdxl/vae/vae.h"

#include <stdlib.h>

#include "nn/attention.h"

static const float eps = 1e-6f; /* everywhere in the autoencoder, in no config */

/* ------------------------------------------------------------------------------------------------------ binding */

/* Before diffusers 0.14 the projections had other names. */
static const struct binding attention_rows[] = {
    {"group_norm.weight", offsetof(struct vae_attention, group_norm.weight), "c", NULL, false},
    {"group_norm.bias", offsetof(struct vae_attention, group_norm.bias), "c", NULL, false},
    {"to_q.weight", offsetof(struct vae_attention, to_q.weight), "oi", "query.weight", false},
    {"to_q.bias", offsetof(struct vae_attention, to_q.bias), "o", "query.bias", false},
    {"to_k.weight", offsetof(struct vae_attention, to_k.weight), "oi", "key.weight", false},
    {"to_k.bias", offsetof(struct vae_attention, to_k.bias), "o", "key.bias", false},
    {"to_v.weight", offsetof(struct vae_attention, to_v.weight), "oi", "value.weight", false},
    {"to_v.bias", offsetof(struct vae_attention, to_v.bias), "o", "value.bias", false},
    {"to_out.0.weight", offsetof(struct vae_attention, to_out.weight), "oi", "proj_attn.weight", false},
    {"to_out.0.bias", offsetof(struct vae_attention, to_out.bias), "o", "proj_attn.bias", false},
};

static void bind_resnet(struct resnet *r, struct binder *b, const char *name, int64_t in, int64_t out,
                        const struct vae_config *c)
{
    resnet_bind(r, b, name, in, out, 0, c->norm_num_groups, eps);
}

static void bind_middle(struct vae_coder *coder, struct binder *b, const struct vae_config *c)
{
    int64_t width = c->block_out_channels[c->levels - 1];
    char name[MODULE_NAME];
    for (int i = 0; i < 2; i++)
        bind_resnet(&coder->mid_resnets[i], b, module_name(name, "%s.mid_block.resnets.%d", coder->name, i), width,
                    width, c);
    module_name(coder->mid_attention.name, "%s.mid_block.attentions.0", coder->name);
    bind_rows(b, coder->mid_attention.name, attention_rows, sizeof attention_rows / sizeof *attention_rows,
              &coder->mid_attention, (int64_t[DIMS]){['c'] = width, ['i'] = width, ['o'] = width});
}

/* Level `index` in the coder's own order, from width `in` to `out`; sampler: "downsamplers" or "upsamplers". */
static void bind_level(struct vae_coder *coder, struct binder *b, const struct vae_config *c, int index,
                       const char *blocks, const char *sampler, int64_t in, int64_t out, int layers)
{
    struct vae_level *level = &coder->levels[index];
    char name[MODULE_NAME];
    module_name(level->name, "%s.%s.%d", coder->name, blocks, index);
    level->layers = layers;
    for (int i = 0; i < layers; i++)
        bind_resnet(&level->resnets[i], b, module_name(name, "%s.resnets.%d", level->name, i), i == 0 ? in : out, out,
                    c);
    if (index < c->levels - 1)
        conv_bind(&level->sampler, b, module_name(name, "%s.%s.0.conv", level->name, sampler), out, out);
}

static void bind_encoder(struct vae_coder *coder, struct binder *b, const struct vae_config *c)
{
    const int64_t *width = c->block_out_channels;
    conv_bind(&coder->conv_in, b, "encoder.conv_in", c->in_channels, width[0]);
    for (int i = 0; i < c->levels; i++)
        bind_level(coder, b, c, i, "down_blocks", "downsamplers", width[i > 0 ? i - 1 : 0], width[i],
                   c->layers_per_block);
    bind_middle(coder, b, c);
    norm_bind(&coder->conv_norm_out, b, "encoder.conv_norm_out", width[c->levels - 1]);
    conv_bind(&coder->conv_out, b, "encoder.conv_out", width[c->levels - 1], 2 * c->latent_channels);
}

static void bind_decoder(struct vae_coder *coder, struct binder *b, const struct vae_config *c)
{
    const int64_t *width = c->block_out_channels;
    int last = c->levels - 1;
    conv_bind(&coder->conv_in, b, "decoder.conv_in", c->latent_channels, width[last]);
    bind_middle(coder, b, c);
    for (int i = 0; i < c->levels; i++)
        bind_level(coder, b, c, i, "up_blocks", "upsamplers", width[i > 0 ? last - i + 1 : last], width[last - i],
                   c->layers_per_block + 1);
    norm_bind(&coder->conv_norm_out, b, "decoder.conv_norm_out", width[0]);
    conv_bind(&coder->conv_out, b, "decoder.conv_out", width[0], c->out_channels);
}

static void bind_all(struct vae *v, struct binder *b)
{
    int64_t latent = v->config.latent_channels;
    v->encoder.name = "encoder";
    v->decoder.name = "decoder";
    bind_encoder(&v->encoder, b, &v->config);
    bind_decoder(&v->decoder, b, &v->config);
    pointwise_bind(&v->quant_conv, b, "quant_conv", 2 * latent, 2 * latent);
    pointwise_bind(&v->post_quant_conv, b, "post_quant_conv", latent, latent);
}

status vae_bind(struct vae *v, struct weights *weights, const struct vae_config *config, struct error *e)
{
    *v = (struct vae){.config = *config, .memory = vae_memory_default, .weights = *weights};
    *weights = (struct weights){0};
    struct binder b = {.weights = &v->weights};
    bind_all(v, &b);
    status s = bind_finish(&b, e);
    if (s != OK)
        vae_close(v);
    return s;
}

status vae_open(struct vae *v, const char *weights_path, const struct vae_config *config, struct error *e)
{
    struct weights weights;
    *v = (struct vae){0};
    TRY(weights_open(weights_path, &weights, e));
    return vae_bind(v, &weights, config, e);
}

status vae_list(const struct vae_config *config, const struct tensor_visitor *visitor, struct error *e)
{
    struct vae *v = calloc(1, sizeof *v); /* binding also writes names and sizes: into one that is thrown away */
    if (v == NULL)
        return fail(e, ERR_MEMORY, "the list of an autoencoder's tensors: out of memory");
    v->config = *config;
    bind_all(v, &(struct binder){.visitor = visitor});
    free(v);
    return OK;
}

void vae_close(struct vae *v)
{
    weights_close(&v->weights);
    *v = (struct vae){0};
}

/* ------------------------------------------------------------------------------------------------------ forward */

/* Sample i, each of `size` values. NULL, as a picture's that is only measured, stays NULL. */
static float *sample_at(float *x, int64_t i, int64_t size)
{
    return x != NULL ? x + i * size : NULL;
}

static struct features sample_of(struct features f, int64_t i)
{
    return (struct features){sample_at(f.x, i, f.h * f.w * f.c), 1, f.h, f.w, f.c};
}

/* x += to_out(softmax(q k^T / sqrt c) v) of the normalised x */
static void attend(const struct context *ctx, const struct vae_attention *a, struct features x, int64_t groups)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t rows = features_rows(x), pixels = x.h * x.w;
    float *normed = arena_floats(ctx->arena, rows * x.c), *q = arena_floats(ctx->arena, rows * x.c);
    float *k = arena_floats(ctx->arena, rows * x.c), *v = arena_floats(ctx->arena, rows * x.c);
    group_norm(ctx, normed, x, NULL, &a->group_norm, groups, eps, ACT_NONE);
    linear(ctx, q, normed, rows, &a->to_q, (struct linear_options){0});
    linear(ctx, k, normed, rows, &a->to_k, (struct linear_options){0});
    linear(ctx, v, normed, rows, &a->to_v, (struct linear_options){0});
    for (int64_t i = 0; i < x.n; i++) {
        int64_t first = i * pixels * x.c;
        struct key_set own = {k + first, v + first, NULL, pixels};
        attention(
            ctx,
            &(struct attention){
                .out = q + first, .q = q + first, .queries = pixels, .heads = 1, .d = x.c, .sets = &own, .count = 1});
    }
    linear(ctx, x.x, q, rows, &a->to_out, (struct linear_options){.residual = x.x});
    arena_release(ctx->arena, mark);
    observe_features(ctx, a->name, x);
}

/* In place. */
static void middle(const struct context *ctx, const struct vae *v, const struct vae_coder *coder, struct features x)
{
    size_t mark = arena_mark(ctx->arena);
    char name[MODULE_NAME];
    struct features h = features_new(ctx->arena, x.n, x.h, x.w, x.c);
    resnet_forward(ctx, &coder->mid_resnets[0], h, x, NULL, NULL);
    attend(ctx, &coder->mid_attention, h, v->config.norm_num_groups);
    resnet_forward(ctx, &coder->mid_resnets[1], x, h, NULL, NULL);
    arena_release(ctx->arena, mark);
    observe_features(ctx, module_name(name, "%s.mid_block", coder->name), x);
}

static struct features enter(const struct context *ctx, const struct vae_coder *coder, struct features x)
{
    char name[MODULE_NAME];
    struct features h = features_new(ctx->arena, x.n, x.h, x.w, coder->conv_in.weight.shape[0]);
    conv3x3(ctx, h, x, &coder->conv_in, CONV_SAME, (struct conv_options){0});
    observe_features(ctx, module_name(name, "%s.conv_in", coder->name), h);
    return h;
}

/* out: [h, w, N]; n = 1 */
static void leave(const struct context *ctx, const struct vae *v, const struct vae_coder *coder, float *out,
                  struct features h)
{
    char name[MODULE_NAME];
    struct features result = {out, h.n, h.h, h.w, coder->conv_out.weight.shape[0]};
    vae_bands_out(ctx, result, h, &coder->conv_norm_out, v->config.norm_num_groups, eps, &coder->conv_out, v->memory);
    observe_features(ctx, module_name(name, "%s.conv_out", coder->name), result);
}

/* The resnets; the upsampler is left to the next level, which may not need its result as a whole. */
static void up_block(const struct context *ctx, const struct vae *v, const struct vae_level *level,
                     struct vae_map *map)
{
    for (int i = 0; i < level->layers; i++)
        vae_bands_resnet(ctx, map, &level->resnets[i], v->memory);
    if (level->sampler.weight.data != NULL)
        *map = (struct vae_map){map->x, map->mark, &level->sampler, level->name};
    else
        observe_features(ctx, level->name, map->x);
}

static void decode(const struct context *ctx, const struct vae *v, float *image, struct features latents)
{
    size_t mark = arena_mark(ctx->arena);
    struct features scaled = features_new(ctx->arena, 1, latents.h, latents.w, latents.c);
    struct features z = features_new(ctx->arena, 1, latents.h, latents.w, latents.c);
    for (int64_t i = 0; i < features_count(latents) && !arena_measuring(ctx->arena); i++)
        scaled.x[i] = (float)(latents.x[i] / v->config.scaling_factor);
    linear(ctx, z.x, scaled.x, features_rows(z), &v->post_quant_conv, (struct linear_options){0});
    observe_features(ctx, "post_quant_conv", z);

    struct vae_map map = {.mark = arena_mark(ctx->arena)};
    map.x = enter(ctx, &v->decoder, z);
    middle(ctx, v, &v->decoder, map.x);
    for (int i = 0; i < v->config.levels; i++)
        up_block(ctx, v, &v->decoder.levels[i], &map);
    leave(ctx, v, &v->decoder, image, map.x);
    arena_release(ctx->arena, mark);
}

void vae_decode(const struct context *ctx, const struct vae *v, float *image, struct features latents)
{
    int64_t f = vae_factor(&v->config), size = f * latents.h * f * latents.w * v->config.out_channels;
    for (int64_t i = 0; i < latents.n; i++)
        decode(ctx, v, sample_at(image, i, size), sample_of(latents, i));
}

/* The resnets of a level, then its downsampler; what is between is given back. */
static struct features down_block(const struct context *ctx, const struct vae_level *level, struct features x)
{
    bool halved = level->sampler.weight.data != NULL;
    int64_t h = halved ? conv_out_size(CONV_DOWN_ASYMMETRIC, x.h) : x.h;
    int64_t w = halved ? conv_out_size(CONV_DOWN_ASYMMETRIC, x.w) : x.w, c = level->resnets[0].out_channels;
    struct features result = features_new(ctx->arena, x.n, h, w, c);
    size_t mark = arena_mark(ctx->arena);
    for (int i = 0; i < level->layers; i++) {
        bool last = i == level->layers - 1 && !halved;
        struct features out = last ? result : features_new(ctx->arena, x.n, x.h, x.w, c);
        resnet_forward(ctx, &level->resnets[i], out, x, NULL, NULL);
        x = out;
    }
    if (halved)
        conv3x3(ctx, result, x, &level->sampler, CONV_DOWN_ASYMMETRIC, (struct conv_options){0});
    arena_release(ctx->arena, mark);
    observe_features(ctx, level->name, result);
    return result;
}

/* moments: [rows, 2 c] -> mean, logvar: [rows, c] */
static void split_moments(const float *moments, int64_t rows, int64_t c, float *mean, float *logvar)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < c; i++) {
            float value = moments[row * 2 * c + c + i];
            mean[row * c + i] = moments[row * 2 * c + i];
            logvar[row * c + i] = value < -30.0f ? -30.0f : value > 20.0f ? 20.0f : value;
        }
}

static void encode(const struct context *ctx, const struct vae *v, float *mean, float *logvar, struct features image)
{
    size_t mark = arena_mark(ctx->arena);
    struct features h = enter(ctx, &v->encoder, image);
    for (int i = 0; i < v->config.levels; i++)
        h = down_block(ctx, &v->encoder.levels[i], h);
    middle(ctx, v, &v->encoder, h);

    int64_t rows = features_rows(h), c = v->config.latent_channels;
    float *before = arena_floats(ctx->arena, rows * 2 * c), *moments = arena_floats(ctx->arena, rows * 2 * c);
    leave(ctx, v, &v->encoder, before, h);
    linear(ctx, moments, before, rows, &v->quant_conv, (struct linear_options){0});
    if (!arena_measuring(ctx->arena))
        split_moments(moments, rows, c, mean, logvar);
    arena_release(ctx->arena, mark);
}

void vae_encode(const struct context *ctx, const struct vae *v, float *mean, float *logvar, struct features image)
{
    int64_t f = vae_factor(&v->config), size = image.h / f * (image.w / f) * v->config.latent_channels;
    for (int64_t i = 0; i < image.n; i++)
        encode(ctx, v, mean + i * size, logvar + i * size, sample_of(image, i));
}
