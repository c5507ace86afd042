#include "sdxl/vae/taesd.h"

#include <math.h>

/* ------------------------------------------------------------------------------------------------------ binding */

static const struct binding conv_rows[] = {
    {"weight", offsetof(struct conv, weight), "oi33", NULL, false},
    {"bias", offsetof(struct conv, bias), "o", NULL, false},
};

/* The number of the next layer, and how a layer is called. */
struct numbering {
    const char *prefix;
    int next;
};

static void bind_conv(struct binder *b, struct numbering *n, struct conv *conv, int64_t in, int64_t out, bool bias)
{
    char name[MODULE_NAME];
    bind_rows(b, module_name(name, "%s%d", n->prefix, n->next++), conv_rows, bias ? 2 : 1, conv,
              (int64_t[DIMS]){['i'] = in, ['o'] = out});
}

static void bind_block(struct binder *b, struct numbering *n, struct taesd_block *block, int64_t width)
{
    char name[MODULE_NAME];
    for (int i = 0; i < 3; i++)
        conv_bind(&block->conv[i], b, module_name(name, "%s%d.conv.%d", n->prefix, n->next, 2 * i), width, width);
    n->next++;
}

/* ReLU and enlargement count as layers, and have no tensors. */
static void bind_decoder(struct taesd *t, struct binder *b, struct numbering n)
{
    static const int counts[TAESD_LEVELS] = {3, 3, 3, 1};
    struct taesd_coder *c = &t->decoder;
    bind_conv(b, &n, &c->conv[0], t->latent_channels, t->width, true);
    n.next++; /* ReLU */
    for (int i = 0; i < TAESD_LEVELS; i++) {
        c->block_count[i] = counts[i];
        for (int k = 0; k < counts[i]; k++)
            bind_block(b, &n, &c->blocks[i][k], t->width);
        bool last = i == TAESD_LEVELS - 1;
        n.next += !last; /* enlargement */
        bind_conv(b, &n, &c->conv[i + 1], t->width, last ? 3 : t->width, last);
    }
}

static void bind_encoder(struct taesd *t, struct binder *b, struct numbering n)
{
    static const int counts[TAESD_LEVELS] = {1, 3, 3, 3};
    struct taesd_coder *c = &t->encoder;
    for (int i = 0; i < TAESD_LEVELS; i++) {
        c->block_count[i] = counts[i];
        bind_conv(b, &n, &c->conv[i], i == 0 ? 3 : t->width, t->width, i == 0);
        for (int k = 0; k < counts[i]; k++)
            bind_block(b, &n, &c->blocks[i][k], t->width);
    }
    bind_conv(b, &n, &c->conv[TAESD_LEVELS], t->width, t->latent_channels, true);
}

/* The shape [out, in, 3, 3] of a layer's weight. */
static bool layer_shape(struct taesd *t, const char *name, int64_t *out, int64_t *in)
{
    struct tensor weight;
    if (!weights_find(&t->weights, name, &weight, NULL) || weight.rank != 4)
        return false;
    *out = weight.shape[0];
    *in = weight.shape[1];
    return true;
}

/* Sizes, which no config tells, from the layer next to the latents. */
static bool measure(struct taesd *t)
{
    int64_t out, in;
    if (layer_shape(t, "decoder.layers.0.weight", &out, &in) || layer_shape(t, "1.weight", &out, &in)) {
        t->width = out;
        t->latent_channels = in;
        return true;
    }
    if (layer_shape(t, "14.weight", &out, &in) || layer_shape(t, "encoder.layers.14.weight", &out, &in)) {
        t->width = in;
        t->latent_channels = out;
        return true;
    }
    return false;
}

static status bind_all(struct taesd *t, struct error *e)
{
    static const struct numbering decoders[] = {{"decoder.layers.", 0}, {"", 1}};
    static const struct numbering encoders[] = {{"encoder.layers.", 0}, {"", 0}};
    struct binder b = {.weights = &t->weights};
    int64_t out, in;
    bool diffusers = layer_shape(t, "decoder.layers.0.weight", &out, &in) ||
                     layer_shape(t, "encoder.layers.0.weight", &out, &in);
    const char *of_decoder = diffusers ? "decoder.layers.0.weight" : "1.weight";
    const char *of_encoder = diffusers ? "encoder.layers.0.weight" : "0.weight";
    t->has_decoder = layer_shape(t, of_decoder, &out, &in);
    t->has_encoder = layer_shape(t, of_encoder, &out, &in);
    if (!measure(t) || t->width < 1 || t->latent_channels < 1)
        return fail(e, ERR_FORMAT,
                    "%s: not a tiny autoencoder (TAESD, TAESDXL): there is neither \"decoder.layers.0.weight\" nor "
                    "\"1.weight\"", t->weights.file->path);
    if (t->has_decoder)
        bind_decoder(t, &b, decoders[!diffusers]);
    if (t->has_encoder)
        bind_encoder(t, &b, encoders[!diffusers]);
    return bind_finish(&b, e);
}

status taesd_open(struct taesd *t, const char *path, struct error *e)
{
    *t = (struct taesd){0};
    TRY(weights_open(path, &t->weights, e));
    status s = bind_all(t, e);
    if (s != OK)
        taesd_close(t);
    return s;
}

void taesd_close(struct taesd *t)
{
    weights_close(&t->weights);
    *t = (struct taesd){0};
}

/* ------------------------------------------------------------------------------------------------------ forward */

/* Loops over values, in tasks. */
struct loop {
    float *to;
    const float *from;
    int64_t count, tasks;
    void (*run)(float *to, const float *from, int64_t n);
};

static void run_task(void *arg, int64_t i, int thread)
{
    const struct loop *l = arg;
    struct range r = task_range(l->count, l->tasks, i);
    (void)thread;
    l->run(l->to + r.begin, l->from + r.begin, r.end - r.begin);
}

/* to = run(from), which may be `to` itself */
static void each_value(const struct context *ctx, struct features to, struct features from,
                       void (*run)(float *to, const float *from, int64_t n))
{
    struct loop l = {to.x, from.x, features_count(to), task_count(features_count(to), 1), run};
    if (!arena_measuring(ctx->arena))
        parallel_for(ctx->threads, l.tasks, run_task, &l);
}

static void bound(float *to, const float *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        to[k] = 3 * tanhf(from[k] / 3);
}

static void to_unit(float *to, const float *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        to[k] = (from[k] + 1) / 2;
}

static void from_unit(float *to, const float *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        to[k] = 2 * from[k] - 1;
}

static void rectify(float *to, const float *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        to[k] = from[k] < 0 ? 0 : from[k]; /* a NaN stays one: all_finite is to see it */
}

static void relu(const struct context *ctx, struct features x)
{
    each_value(ctx, x, x, rectify);
}

/* x = relu(conv(relu(conv(relu(conv x)))) + x) */
static void run_block(const struct context *ctx, const struct taesd_block *block, struct features x)
{
    size_t mark = arena_mark(ctx->arena);
    struct features a = features_new(ctx->arena, x.n, x.h, x.w, x.c), b = features_new(ctx->arena, x.n, x.h, x.w, x.c);
    conv3x3(ctx, a, x, &block->conv[0], CONV_SAME, (struct conv_options){0});
    relu(ctx, a);
    conv3x3(ctx, b, a, &block->conv[1], CONV_SAME, (struct conv_options){0});
    relu(ctx, b);
    conv3x3(ctx, x, b, &block->conv[2], CONV_SAME, (struct conv_options){.residual = x.x});
    relu(ctx, x);
    arena_release(ctx->arena, mark);
}

static void run_blocks(const struct context *ctx, const struct taesd_coder *c, int level, struct features x)
{
    for (int k = 0; k < c->block_count[level]; k++)
        run_block(ctx, &c->blocks[level][k], x);
}

static void decode_one(const struct context *ctx, const struct taesd *t, struct features image,
                       struct features latents)
{
    const struct taesd_coder *c = &t->decoder;
    size_t mark = arena_mark(ctx->arena);
    struct features z = features_new(ctx->arena, 1, latents.h, latents.w, latents.c);
    each_value(ctx, z, latents, bound);
    struct features x = features_new(ctx->arena, 1, z.h, z.w, t->width);
    conv3x3(ctx, x, z, &c->conv[0], CONV_SAME, (struct conv_options){0});
    relu(ctx, x);
    run_blocks(ctx, c, 0, x);
    for (int level = 1; level < TAESD_LEVELS; level++) { /* [h, w] to [2h, 2w] */
        struct features larger = features_new(ctx->arena, 1, 2 * x.h, 2 * x.w, t->width);
        conv3x3(ctx, larger, x, &c->conv[level], CONV_UP, (struct conv_options){0});
        x = larger;
        run_blocks(ctx, c, level, x);
    }
    conv3x3(ctx, image, x, &c->conv[TAESD_LEVELS], CONV_SAME, (struct conv_options){0});
    each_value(ctx, image, image, from_unit);
    arena_release(ctx->arena, mark);
}

static void encode_one(const struct context *ctx, const struct taesd *t, struct features latents,
                       struct features image)
{
    const struct taesd_coder *c = &t->encoder;
    size_t mark = arena_mark(ctx->arena);
    struct features unit = features_new(ctx->arena, 1, image.h, image.w, image.c);
    each_value(ctx, unit, image, to_unit);
    struct features x = features_new(ctx->arena, 1, image.h, image.w, t->width);
    conv3x3(ctx, x, unit, &c->conv[0], CONV_SAME, (struct conv_options){0});
    run_blocks(ctx, c, 0, x);
    for (int level = 1; level < TAESD_LEVELS; level++) {
        struct features smaller = features_new(ctx->arena, 1, conv_out_size(CONV_DOWN, x.h),
                                               conv_out_size(CONV_DOWN, x.w), t->width);
        conv3x3(ctx, smaller, x, &c->conv[level], CONV_DOWN, (struct conv_options){0});
        x = smaller;
        run_blocks(ctx, c, level, x);
    }
    conv3x3(ctx, latents, x, &c->conv[TAESD_LEVELS], CONV_SAME, (struct conv_options){0});
    arena_release(ctx->arena, mark);
}

static struct features sample_of(struct features f, int64_t i)
{
    float *x = f.x != NULL ? f.x + i * f.h * f.w * f.c : NULL; /* only measured */
    return (struct features){x, 1, f.h, f.w, f.c};
}

void taesd_decode(const struct context *ctx, const struct taesd *t, float *image, struct features latents)
{
    struct features all = {image, latents.n, TAESD_FACTOR * latents.h, TAESD_FACTOR * latents.w, 3};
    for (int64_t i = 0; i < latents.n; i++)
        decode_one(ctx, t, sample_of(all, i), sample_of(latents, i));
}

void taesd_encode(const struct context *ctx, const struct taesd *t, float *latents, struct features image)
{
    int64_t h = image.h, w = image.w;
    for (int level = 1; level < TAESD_LEVELS; level++) {
        h = conv_out_size(CONV_DOWN, h);
        w = conv_out_size(CONV_DOWN, w);
    }
    struct features all = {latents, image.n, h, w, t->latent_channels};
    for (int64_t i = 0; i < image.n; i++)
        encode_one(ctx, t, sample_of(all, i), sample_of(image, i));
}
