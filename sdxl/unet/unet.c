#include "sdxl/unet/unet.h"

#include <string.h>

#include "nn/embedding.h"

int64_t unet_time_width(const struct unet_config *c)
{
    return 4 * c->block_out_channels[0];
}

int64_t unet_deep_channels(const struct unet_config *c)
{
    return c->levels > 1 ? c->block_out_channels[1] : 0;
}

int64_t unet_text_keys_size(const struct unet *u, int64_t tokens)
{
    return u->text_width * tokens;
}

void unet_text_keys(const struct context *ctx, const struct unet *u, float *keys, const float *states, int64_t tokens)
{
    for (int i = 0; i < u->transformer_block_count; i++) {
        const struct transformer_block *block = &u->transformer_blocks[i];
        float *k = keys + block->text_at * tokens, *v = k + block->attn2.to_k.weight.shape[0] * tokens;
        text_keys(ctx, block, k, v, states, tokens);
    }
}

int64_t unet_level_size(int64_t size, int level)
{
    for (; level > 0; level--)
        size = conv_out_size(CONV_DOWN, size);
    return size;
}

/* linear_2(SiLU(linear_1(x))): [n, in] -> [n, 4 c0] */
static void embed(const struct context *ctx, const struct linear layers[2], float *out, const float *x, int64_t n,
                  const float *residual)
{
    size_t mark = arena_mark(ctx->arena);
    float *hidden = arena_floats(ctx->arena, n * layers[0].weight.shape[0]);
    linear(ctx, hidden, x, n, &layers[0], (struct linear_options){.activation = ACT_SILU});
    linear(ctx, out, hidden, n, &layers[1], (struct linear_options){.residual = residual});
    arena_release(ctx->arena, mark);
}

/* sinusoids += cond_proj(sinusoids of 1000 (guidance - 1)): what a latent consistency model was distilled with (Luo et
 * al. 2023, section 4.2; diffusers get_guidance_scale_embedding). The surprise: sine before cosine here, and another
 * shift, whatever the config says of t. */
static void add_guidance(const struct context *ctx, const struct unet *u, float *sinusoids, const struct unet_input *in)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t n = in->sample.n, d = u->config.time_cond_proj_dim;
    float *cond = arena_floats(ctx->arena, n * d);
    for (int64_t i = 0; i < n && !arena_measuring(ctx->arena); i++)
        sinusoidal_embedding(cond + i * d, (in->guidance_scale - 1) * 1000, d, 1, SINE_FIRST);
    observe(ctx, "timestep_cond", cond, 2, (int64_t[]){n, d});
    linear(ctx, sinusoids, cond, n, &u->cond_proj, (struct linear_options){.residual = sinusoids});
    arena_release(ctx->arena, mark);
}

/* emb = time_embedding(sinusoids of t, and of the guidance) + add_embedding([text_embeds, sinusoids of the six
 * sizes]) */
static void embed_time(const struct context *ctx, const struct unet *u, float *emb, const struct unet_input *in)
{
    const struct unet_config *c = &u->config;
    size_t mark = arena_mark(ctx->arena);
    enum embedding_order order = c->flip_sin_to_cos ? COSINE_FIRST : SINE_FIRST;
    int64_t n = in->sample.n, first = c->block_out_channels[0], width = unet_time_width(c);

    float *sinusoids = arena_floats(ctx->arena, n * first);
    for (int64_t i = 0; i < n && !arena_measuring(ctx->arena); i++)
        sinusoidal_embedding(sinusoids + i * first, in->timestep, first, c->freq_shift, order);
    if (c->time_cond_proj_dim > 0)
        add_guidance(ctx, u, sinusoids, in);
    embed(ctx, u->time_embedding, emb, sinusoids, n, NULL);
    observe(ctx, "time_embedding", emb, 2, (int64_t[]){n, width});

    if (c->text_time) {
        int64_t sizes = c->addition_time_embed_dim, total = c->projection_class_embeddings_input_dim;
        int64_t pooled = total - 6 * sizes;
        float *added = arena_floats(ctx->arena, n * total), *before = arena_floats(ctx->arena, n * width);
        for (int64_t i = 0; i < n && !arena_measuring(ctx->arena); i++) {
            memcpy(added + i * total, in->text_embeds + i * pooled, (size_t)pooled * sizeof(float));
            for (int64_t j = 0; j < 6; j++)
                sinusoidal_embedding(added + i * total + pooled + j * sizes, in->time_ids[i * 6 + j], sizes,
                                     c->freq_shift, order);
        }
        if (!arena_measuring(ctx->arena))
            memcpy(before, emb, (size_t)(n * width) * sizeof(float));
        embed(ctx, u->add_embedding, emb, added, n, before);
        if (ctx->observer != NULL && !arena_measuring(ctx->arena)) {
            for (int64_t i = 0; i < n * width; i++)
                before[i] = emb[i] - before[i];
            observe(ctx, "add_embedding", before, 2, (int64_t[]){n, width});
        }
    }
    arena_release(ctx->arena, mark);
}

/* What every block of one forward pass needs. */
struct forward {
    const struct context *ctx; /* of the blocks: with the precision that was asked for */
    const struct unet *u;
    const struct unet_input *in;
    struct unet_options options;
    float *emb;                                                         /* SiLU of the time embedding [n, 4 c0] */
    struct features skips[MAX_LEVELS * (MAX_LAYERS_PER_BLOCK + 1) + 1]; /* a stack */
    int skip_count;
};

static void attend(const struct forward *p, const struct transformer *t, struct features x)
{
    if (t->depth > 0)
        transformer_forward(p->ctx, t, x, &p->in->text, p->options.hook);
}

static struct features down_resnets(struct forward *p, const struct unet_block *block, struct features x)
{
    for (int i = 0; i < block->layers; i++) {
        struct features out = features_new(p->ctx->arena, x.n, x.h, x.w, block->resnets[i].out_channels);
        resnet_forward(p->ctx, &block->resnets[i], out, x, NULL, p->emb);
        attend(p, &block->attentions[i], out);
        p->skips[p->skip_count++] = x = out;
    }
    return x;
}

static struct features down_block(struct forward *p, const struct unet_block *block, struct features x)
{
    struct context exact = context_float32(p->ctx); /* everything passes the sampler (bench/RESULTS.md) */
    x = down_resnets(p, block, x);
    if (block->sampler.weight.data != NULL) {
        struct features out =
            features_new(p->ctx->arena, x.n, conv_out_size(CONV_DOWN, x.h), conv_out_size(CONV_DOWN, x.w), x.c);
        conv3x3(&exact, out, x, &block->sampler, CONV_DOWN, (struct conv_options){0});
        observe_features(p->ctx, block->sampler_name, out);
        p->skips[p->skip_count++] = x = out;
    }
    observe_features(p->ctx, block->name, x);
    return x;
}

static struct features mid_block(struct forward *p, const struct unet_block *block, struct features x)
{
    struct features out = features_new(p->ctx->arena, x.n, x.h, x.w, x.c);
    size_t mark = arena_mark(p->ctx->arena);
    struct features h = features_new(p->ctx->arena, x.n, x.h, x.w, x.c);
    resnet_forward(p->ctx, &block->resnets[0], h, x, NULL, p->emb);
    attend(p, &block->attentions[0], h);
    resnet_forward(p->ctx, &block->resnets[1], out, h, NULL, p->emb);
    arena_release(p->ctx->arena, mark);
    observe_features(p->ctx, block->name, out);
    return out;
}

static void strengthen(const struct forward *p, int order, struct features x, struct features skip)
{
    const struct freeu *f = p->options.freeu;
    if (f != NULL && order < 2)
        freeu_apply(p->ctx, x, skip, order == 0 ? f->s1 : f->s2, order == 0 ? f->b1 : f->b2);
}

/* Upsampling goes to the size of the next level's skip, which need not be twice this one. */
static struct features up_block(struct forward *p, int order, struct features x)
{
    const struct unet_block *block = &p->u->up_blocks[order];
    int level = p->u->config.levels - 1 - order, up = level > 0 ? level - 1 : 0;
    int64_t h = unet_level_size(p->in->sample.h, up), w = unet_level_size(p->in->sample.w, up);
    int64_t c = block->resnets[0].out_channels;
    struct context exact = context_float32(p->ctx); /* as in down_block */
    struct features result = features_new(p->ctx->arena, x.n, h, w, c);
    size_t mark = arena_mark(p->ctx->arena);
    for (int i = 0; i < block->layers; i++) {
        struct features skip = p->skips[--p->skip_count];
        bool last = i == block->layers - 1 && block->sampler.weight.data == NULL;
        struct features out = last ? result : features_new(p->ctx->arena, x.n, x.h, x.w, c);
        strengthen(p, order, x, skip);
        resnet_forward(p->ctx, &block->resnets[i], out, x, &skip, p->emb);
        attend(p, &block->attentions[i], out);
        x = out;
    }
    if (block->sampler.weight.data != NULL) {
        conv3x3(&exact, result, x, &block->sampler, CONV_UP, (struct conv_options){0});
        observe_features(p->ctx, block->sampler_name, result);
    }
    arena_release(p->ctx->arena, mark);
    observe_features(p->ctx, block->name, result);
    return result;
}

/* All blocks up to the second to last up block, whose output is returned. */
static struct features inner_blocks(struct forward *p, struct features h)
{
    const struct unet *u = p->u;
    int levels = u->config.levels;
    for (int level = 0; level < levels; level++) /* [n,h/2^level,w/2^level,c_level] */
        h = down_block(p, &u->down_blocks[level], h);
    h = mid_block(p, &u->mid_block, h);
    for (int order = 0; order < levels - 1; order++)
        h = up_block(p, order, h);
    return h;
}

/* The same, or what is kept of an earlier step. Of the way down only the skips of the last up block are then needed.
 * A copy is taken either way: the last up block may change its input (FreeU). */
static struct features deep_features(struct forward *p, struct features h)
{
    const struct unet *u = p->u;
    if (p->options.deep_use != DEEP_USE) {
        h = inner_blocks(p, h);
        if (p->options.deep_use == DEEP_KEEP && !arena_measuring(p->ctx->arena))
            memcpy(p->options.deep, h.x, (size_t)features_count(h) * sizeof(float));
        return h;
    }
    down_resnets(p, &u->down_blocks[0], h);
    struct features kept = features_new(p->ctx->arena, h.n, h.h, h.w, unet_deep_channels(&u->config));
    if (!arena_measuring(p->ctx->arena))
        memcpy(kept.x, p->options.deep, (size_t)features_count(kept) * sizeof(float));
    return kept;
}

void unet_forward(const struct context *ctx, const struct unet *u, float *out, const struct unet_input *in,
                  struct unet_options options)
{
    const struct unet_config *c = &u->config;
    size_t mark = arena_mark(ctx->arena);
    struct features x = in->sample; /* [n,h,w,4] */
    struct context blocks = *ctx;
    blocks.precision = options.precision;
    struct forward p = {.ctx = &blocks, .u = u, .in = in, .options = options};

    p.emb = arena_floats(ctx->arena, x.n * unet_time_width(c));
    embed_time(ctx, u, p.emb, in); /* [n,4 c0] */
    if (!arena_measuring(ctx->arena))
        activate(ACT_SILU, p.emb, x.n * unet_time_width(c));

    struct features h = features_new(ctx->arena, x.n, x.h, x.w, c->block_out_channels[0]);
    conv3x3(ctx, h, x, &u->conv_in, CONV_SAME, (struct conv_options){0}); /* [n,h,w,c0] */
    observe_features(ctx, "conv_in", h);
    p.skips[p.skip_count++] = h;

    h = deep_features(&p, h);
    h = up_block(&p, c->levels - 1, h);

    if (ctx->observer != NULL) { /* the norm before its SiLU is never computed alone */
        group_norm(ctx, p.skips[0].x, h, NULL, &u->conv_norm_out, c->norm_num_groups, c->norm_eps, ACT_NONE);
        observe_features(ctx, "conv_norm_out", p.skips[0]);
    }
    group_norm(ctx, h.x, h, NULL, &u->conv_norm_out, c->norm_num_groups, c->norm_eps, ACT_SILU);
    struct features result = {out, x.n, x.h, x.w, c->out_channels};
    conv3x3(ctx, result, h, &u->conv_out, CONV_SAME, (struct conv_options){0}); /* [n,h,w,4] */
    arena_release(ctx->arena, mark);
}
