/* The tiny autoencoder, in every file of the case that has a half of it: diffusers' layout, the original's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/vae/taesd.h"
#include "storydiff/picture/image.h"
#include "tests/golden.h"

struct taesd_case {
    struct golden *g;
    const struct taesd *taesd;
    struct features latents, image;
    float *decoded, *encoded;
};

static void run(void *arg, const struct context *ctx)
{
    const struct taesd_case *c = arg;
    if (c->taesd->has_decoder)
        taesd_decode(ctx, c->taesd, c->decoded, c->latents);
    if (c->taesd->has_encoder)
        taesd_encode(ctx, c->taesd, c->encoded, c->image);
}

static void compare_bytes(const struct taesd_case *c, const char *where, const struct tensor *wanted)
{
    int64_t count = features_count(c->image), size = count / c->image.n;
    unsigned char *ours = malloc((size_t)count);
    for (int64_t n = 0; n < c->image.n; n++) {
        struct image image = {0};
        if (image_from_float(c->decoded + n * size, c->image.w, c->image.h, &image, NULL) == OK)
            memcpy(ours + n * size, image.rgb, (size_t)size);
        image_free(&image);
    }
    golden_compare_image(c->g, where, "decoded_uint8", wanted, ours, count);
    free(ours);
}

static status run_io(struct golden *g, const char *where, const struct taesd *taesd, const struct safetensors *io,
                     struct error *e)
{
    const struct tensor *latents = safetensors_find(io, "latents"), *image = safetensors_find(io, "image");
    const struct tensor *decoded = safetensors_find(io, "decoded"), *encoded = safetensors_find(io, "encoded");
    const struct tensor *bytes = safetensors_find(io, "decoded_uint8");
    if (latents == NULL || image == NULL || decoded == NULL || encoded == NULL)
        return fail(e, ERR_FORMAT, "%s: latents, image, decoded or encoded are not there", io->path);
    const int64_t *l = latents->shape, *p = image->shape;
    struct taesd_case c = {
        .g = g,
        .taesd = taesd,
        .latents = {golden_floats(latents, CHANNELS_FIRST), l[0], l[2], l[3], l[1]},
        .image = {golden_floats(image, CHANNELS_FIRST), p[0], p[2], p[3], p[1]},
        .decoded = malloc((size_t)tensor_count(decoded) * sizeof(float)),
        .encoded = malloc((size_t)tensor_count(encoded) * sizeof(float)),
    };
    status s = golden_run(g, run, &c, NULL, e);
    if (s == OK && taesd->has_decoder) {
        golden_compare(g, where, "decoded", decoded, c.decoded, tensor_count(decoded), CHANNELS_FIRST, LIMIT_LAYER);
        if (bytes != NULL)
            compare_bytes(&c, where, bytes);
    }
    if (s == OK && taesd->has_encoder)
        golden_compare(g, where, "encoded", encoded, c.encoded, tensor_count(encoded), CHANNELS_FIRST, LIMIT_LAYER);
    free(c.latents.x), free(c.image.x), free(c.decoded), free(c.encoded);
    return s;
}

static void io_file(struct golden *g, const char *folder, const char *path)
{
    static const char *const files[] = {"diffusion_pytorch_model.safetensors", "taesdxl_decoder.safetensors",
                                        "taesdxl_encoder.safetensors", "taesdxl_decoder.pth", "taesdxl_encoder.pth"};
    struct safetensors io = {0};
    struct error e = {0};
    status s = safetensors_open(path, &io, &e);
    for (size_t i = 0; s == OK && i < sizeof files / sizeof *files; i++) {
        char weights[4096], where[4200];
        struct taesd taesd;
        if (path_join(weights, sizeof weights, folder, files[i], NULL) != OK || !file_exists(weights))
            continue;
        snprintf(where, sizeof where, "%s %s", path, files[i]);
        s = taesd_open(&taesd, weights, &e);
        if (s == OK)
            s = run_io(g, where, &taesd, &io, &e);
        taesd_close(&taesd);
    }
    if (s != OK)
        golden_error(g, path, &e);
    safetensors_close(&io);
}

void golden_taesd(struct golden *g, const char *folder)
{
    golden_files(g, folder, "io", ".safetensors", io_file);
}
