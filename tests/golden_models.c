/* The three networks, whole and layer by layer. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/clip.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/vae.h"
#include "storydiff/picture/image.h"
#include "tests/golden.h"

/* A recorded tensor, or a failure named after it. */
static const struct tensor *need(const struct safetensors *io, const char *name, struct error *e)
{
    const struct tensor *t = safetensors_find(io, name);
    if (t == NULL)
        fail(e, ERR_FORMAT, "%s: no tensor \"%s\"", io->path, name);
    return t;
}

/* ---------------------------------------------------------------------------------------------------------- CLIP */

struct clip_case {
    const struct clip *clip;
    int32_t *ids;
    int64_t n;
    float *penultimate, *pooled;
};

static void encode_text(void *arg, const struct context *ctx)
{
    const struct clip_case *c = arg;
    clip_encode(ctx, c->clip, c->ids, c->n, c->penultimate, c->pooled);
}

static status run_clip(struct golden *g, const char *folder, const struct clip *clip, const struct safetensors *io,
                       struct error *e)
{
    const struct tensor *ids = need(io, "input_ids", e);
    if (ids == NULL)
        return e->code;
    int64_t count = tensor_count(ids), width = clip->config.hidden_size;
    int64_t projected = clip->config.projection_dim > 0 ? clip->config.projection_dim : width;
    struct clip_case c = {.clip = clip, .n = ids->shape[0]};
    c.ids = malloc((size_t)count * sizeof *c.ids);
    for (int64_t i = 0; i < count; i++)
        c.ids[i] = (int32_t)((const int64_t *)ids->data)[i];
    c.penultimate = malloc((size_t)(count * width) * sizeof(float));
    c.pooled = malloc((size_t)(c.n * projected) * sizeof(float));
    static const char *const others[] = {"input_ids", "text_embeds", NULL};
    struct watch watch = {.g = g, .where = folder, .prefix = "", .file = io, .except = others};
    struct observer observer = golden_watch(&watch);
    status s = clip_check_ids(clip, c.ids, count, e);
    if (s == OK)
        s = golden_run(g, encode_text, &c, &observer, e);
    golden_watch_finish(&watch);
    if (s == OK) {
        char name[32];
        snprintf(name, sizeof name, "hidden_states.%d", clip->config.layers - 1);
        golden_compare_recorded(g, (struct golden_recording){io, name, "penultimate", 0}, c.penultimate,
                                count * width, AS_IS, LIMIT_LAYER);
        golden_compare_recorded(g, golden_recording(io, "text_embeds"), c.pooled, c.n * projected, AS_IS,
                                LIMIT_LAYER);
    }
    free(c.ids);
    free(c.penultimate);
    free(c.pooled);
    return s;
}

void golden_clip(struct golden *g, const char *folder)
{
    char path[4200], model[4096] = "";
    struct clip_config config;
    struct clip clip = {0};
    struct safetensors io = {0};
    struct error e = {0};
    status s = golden_model(g, folder, "", model, &e);
    snprintf(path, sizeof path, "%s/config.json", model);
    if (s == OK)
        s = clip_config_read(path, &config, &e);
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    if (s == OK)
        s = clip_open(&clip, path, &config, &e);
    snprintf(path, sizeof path, "%s/io.safetensors", folder);
    if (s == OK)
        s = safetensors_open(path, &io, &e);
    if (s == OK)
        s = run_clip(g, folder, &clip, &io, &e);
    if (s != OK)
        golden_error(g, folder, &e);
    safetensors_close(&io);
    clip_close(&clip);
}

/* ---------------------------------------------------------------------------------------------------------- UNet */

struct unet_case {
    const struct unet *unet;
    struct unet_input in;
    struct unet_options options;
    float *out;
};

static void predict(void *arg, const struct context *ctx)
{
    const struct unet_case *c = arg;
    unet_forward(ctx, c->unet, c->out, &c->in, c->options);
}

static status run_unet(struct golden *g, const char *path, const struct unet *unet, const struct safetensors *io,
                       struct error *e)
{
    const struct tensor *sample = need(io, "sample", e), *states = need(io, "encoder_hidden_states", e);
    const struct tensor *timestep = need(io, "timestep", e);
    struct tensor output;
    if (e->code == OK && !golden_recorded_shape(io, "output", &output))
        fail(e, ERR_FORMAT, "%s: no tensor \"output\"", io->path);
    if (e->code != OK)
        return e->code;
    int64_t count = tensor_count(&output);
    float *x = golden_floats(sample, CHANNELS_FIRST), *context = golden_floats(states, AS_IS);
    float *t = golden_floats(timestep, AS_IS), *embeds = golden_floats(safetensors_find(io, "text_embeds"), AS_IS);
    float *sizes = golden_floats(safetensors_find(io, "time_ids"), AS_IS);
    const int64_t *shape = sample->shape;
    struct freeu freeu;
    const char *about = safetensors_meta(io, "about");
    const char *factors = about ? strstr(about, "FreeU s1=") : NULL;
    bool strengthened = factors != NULL && sscanf(factors, "FreeU s1=%f s2=%f b1=%f b2=%f", &freeu.s1, &freeu.s2,
                                                  &freeu.b1, &freeu.b2) == 4;
    struct unet_case c = {
        .unet = unet,
        .in = {.sample = {x, shape[0], shape[2], shape[3], shape[1]},
               .timestep = t[0],
               .text = {.states = context, .tokens = states->shape[1]},
               .text_embeds = embeds,
               .time_ids = sizes},
        .options = {.freeu = strengthened ? &freeu : NULL},
        .out = malloc((size_t)count * sizeof(float)),
    };
    struct watch watch = {.g = g, .where = path, .prefix = "mid.", .file = io};
    struct observer observer = golden_watch(&watch);
    status s = golden_run(g, predict, &c, &observer, e);
    golden_watch_finish(&watch);
    if (s == OK)
        golden_compare_recorded(g, golden_recording(io, "output"), c.out, count, CHANNELS_FIRST, LIMIT_LAYER);
    free(x), free(context), free(t), free(embeds), free(sizes), free(c.out);
    return s;
}

static void unet_file(struct golden *g, const char *folder, const char *path)
{
    char file[4200], model[4096] = "";
    struct unet_config config;
    struct unet unet = {0};
    struct safetensors io = {0};
    struct error e = {0};
    status s = golden_model(g, folder, "", model, &e);
    snprintf(file, sizeof file, "%s/config.json", model);
    if (s == OK)
        s = unet_config_read(file, &config, &e);
    snprintf(file, sizeof file, "%s/diffusion_pytorch_model.safetensors", model);
    if (s == OK)
        s = unet_open(&unet, file, &config, &e);
    if (s == OK)
        s = safetensors_open(path, &io, &e);
    if (s == OK)
        s = run_unet(g, path, &unet, &io, &e);
    if (s != OK)
        golden_error(g, path, &e);
    safetensors_close(&io);
    unet_close(&unet);
}

void golden_unet(struct golden *g, const char *folder)
{
    golden_files(g, folder, "io", ".safetensors", unet_file);
}

/* ----------------------------------------------------------------------------------------------------------- VAE */

struct vae_case {
    const struct vae *vae;
    struct features latents, image;
    float *decoded, *mean, *logvar;
};

static void decode_and_encode(void *arg, const struct context *ctx)
{
    const struct vae_case *c = arg;
    vae_decode(ctx, c->vae, c->decoded, c->latents);
    if (c->image.x != NULL)
        vae_encode(ctx, c->vae, c->mean, c->logvar, c->image);
}

/* std = exp(logvar / 2), sample = mean + std * sample_noise: where recorded. */
static void compare_distribution(struct golden *g, const struct safetensors *io, const struct vae_case *c)
{
    float *noise = golden_floats(safetensors_find(io, "sample_noise"), CHANNELS_FIRST);
    int64_t latents = features_count(c->latents);
    float *ours = malloc((size_t)latents * sizeof *ours);
    for (int64_t i = 0; i < latents; i++)
        ours[i] = expf(0.5f * c->logvar[i]);
    golden_compare_recorded(g, golden_recording(io, "std"), ours, latents, CHANNELS_FIRST, LIMIT_LAYER);
    for (int64_t i = 0; noise != NULL && i < latents; i++)
        ours[i] = c->mean[i] + ours[i] * noise[i];
    if (noise != NULL)
        golden_compare_recorded(g, golden_recording(io, "sample"), ours, latents, CHANNELS_FIRST, LIMIT_LAYER);
    free(noise);
    free(ours);
}

static void compare_bytes(struct golden *g, const struct safetensors *io, const struct vae_case *c, int64_t pixels)
{
    const struct tensor *bytes = safetensors_find(io, "decoded_uint8");
    int64_t n = c->latents.n, factor = vae_factor(&c->vae->config), size = pixels / n;
    if (bytes == NULL)
        return;
    unsigned char *ours = malloc((size_t)pixels);
    for (int64_t i = 0; i < n; i++) {
        struct image image = {0};
        if (image_from_float(c->decoded + i * size, c->latents.w * factor, c->latents.h * factor, &image, NULL) == OK)
            memcpy(ours + i * size, image.rgb, (size_t)size);
        image_free(&image);
    }
    golden_compare_image(g, io->path, "decoded_uint8", bytes, ours, pixels);
    free(ours);
}

/* What the encoder is given, channels last: `image`, or `image_uint8` as 2 (v / 255) - 1. Neither: nothing. */
static struct features input_image(const struct safetensors *io, struct error *e)
{
    const struct tensor *image = safetensors_find(io, "image"), *bytes = safetensors_find(io, "image_uint8");
    if ((image != NULL && image->rank != 4) || (bytes != NULL && (bytes->rank != 4 || bytes->dtype != DTYPE_U8)))
        fail(e, ERR_FORMAT, "%s: the image is not [N, C, H, W], or in bytes [N, H, W, C]", io->path);
    if (e->code != OK || (image == NULL && bytes == NULL))
        return (struct features){0};
    if (image != NULL)
        return (struct features){golden_floats(image, CHANNELS_FIRST), image->shape[0], image->shape[2],
                                 image->shape[3], image->shape[1]};
    float *x = golden_floats(bytes, AS_IS);
    for (int64_t i = 0; i < tensor_count(bytes); i++)
        x[i] = 2 * (x[i] / 255) - 1;
    return (struct features){x, bytes->shape[0], bytes->shape[1], bytes->shape[2], bytes->shape[3]};
}

static status run_vae(struct golden *g, const char *path, const struct vae *vae, const struct safetensors *io,
                      struct error *e)
{
    const struct tensor *latents = need(io, "latents", e);
    struct features image = input_image(io, e);
    if (e->code != OK)
        return e->code;
    const int64_t *l = latents->shape, f = vae_factor(&vae->config), pixels = l[0] * l[2] * f * l[3] * f * 3;
    size_t small = (size_t)tensor_count(latents) * sizeof(float);
    struct vae_case c = {
        .vae = vae,
        .latents = {golden_floats(latents, CHANNELS_FIRST), l[0], l[2], l[3], l[1]},
        .image = image,
        .decoded = malloc((size_t)pixels * sizeof(float)),
        .mean = malloc(small),
        .logvar = malloc(small),
    };
    struct watch watch = {.g = g, .where = path, .prefix = "mid.", .file = io};
    struct observer observer = golden_watch(&watch);
    bool alike = image.x == NULL || (image.n == l[0] && image.h == l[2] * f && image.w == l[3] * f && image.c == 3);
    status s = alike ? golden_run(g, decode_and_encode, &c, &observer, e)
                     : fail(e, ERR_FORMAT, "%s: image and latents are of different sizes", path);
    golden_watch_finish(&watch);
    if (s == OK &&
        !golden_compare_recorded(g, golden_recording(io, "decoded"), c.decoded, pixels, CHANNELS_FIRST, LIMIT_LAYER))
        s = fail(e, ERR_FORMAT, "%s: no tensor \"decoded\"", path);
    if (s == OK)
        compare_bytes(g, io, &c, pixels);
    if (s == OK && image.x != NULL) {
        int64_t count = features_count(c.latents);
        golden_compare_recorded(g, golden_recording(io, "mean"), c.mean, count, CHANNELS_FIRST, LIMIT_LAYER);
        golden_compare_recorded(g, golden_recording(io, "logvar"), c.logvar, count, CHANNELS_FIRST, LIMIT_LAYER);
        compare_distribution(g, io, &c);
    }
    free(c.latents.x), free(c.image.x), free(c.decoded), free(c.mean), free(c.logvar);
    return s;
}

static void vae_file(struct golden *g, const char *folder, const char *path)
{
    char file[4200], model[4096] = "";
    struct vae_config config;
    struct vae vae = {0};
    struct safetensors io = {0};
    struct error e = {0};
    status s = golden_model(g, folder, "", model, &e);
    snprintf(file, sizeof file, "%s/config.json", model);
    if (s == OK)
        s = vae_config_read(file, &config, &e);
    snprintf(file, sizeof file, "%s/diffusion_pytorch_model.safetensors", model);
    if (s == OK)
        s = vae_open(&vae, file, &config, &e);
    if (s == OK)
        s = safetensors_open(path, &io, &e);
    if (s == OK)
        s = run_vae(g, path, &vae, &io, &e);
    if (s != OK)
        golden_error(g, path, &e);
    safetensors_close(&io);
    vae_close(&vae);
}

void golden_vae(struct golden *g, const char *folder)
{
    golden_files(g, folder, "io", ".safetensors", vae_file);
}
