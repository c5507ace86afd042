#include "storydiff/comic/render.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/finite.h"
#include "tensor/gemm.h"

/* One latent to one picture. */
struct decoding {
    const struct model *m;
    struct features latent;
    float *picture; /* NULL when measuring */
};

static void decode(void *self, const struct context *ctx)
{
    const struct decoding *d = self;
    if (d->m->draft)
        taesd_decode(ctx, &d->m->taesd, d->picture, d->latent);
    else
        vae_decode(ctx, &d->m->vae, d->picture, d->latent);
}

size_t render_measure(const struct model *m, int64_t h, int64_t w, int threads, struct profile *profile)
{
    int64_t f = vae_factor(&m->vae.config);
    struct decoding one = {m, {NULL, 1, h, w, m->vae.config.latent_channels}, NULL};
    return work_measure(&(struct context){.threads = threads, .profile = profile},
                        (struct work){decode, &one, NULL}) +
           (size_t)(f * h * f * w * 3) * sizeof(float);
}

/* All pictures of a batch, one after the other. */
struct rendering {
    const struct model *m;
    struct features latents;
    float *decoded; /* of all, or of one after the other */
    bool keeps_decoded;
    struct image *images;
    struct memory_watch *memory;
    struct error *e;
    status s;
};

static void decode_each(void *self, const struct context *ctx)
{
    struct rendering *r = self;
    int64_t f = vae_factor(&r->m->vae.config), height = f * r->latents.h, width = f * r->latents.w;
    int64_t latent = r->latents.h * r->latents.w * r->latents.c, size = height * width * 3;
    for (int64_t i = 0; i < r->latents.n && r->s == OK; i++) {
        float *out = r->decoded + (r->keeps_decoded ? i * size : 0);
        struct decoding one = {r->m, {r->latents.x + i * latent, 1, r->latents.h, r->latents.w, r->latents.c}, out};
        decode(&one, ctx);
        if (arena_measuring(ctx->arena))
            return; /* all take the same */
        if (!all_finite(out, size))
            r->s = model_fail_not_finite(r->m, "the decoder", r->e);
        else if (r->images != NULL)
            r->s = image_from_float(out, width, height, &r->images[i], r->e);
        memory_look(r->memory);
    }
}

status render_latents(const struct context *ctx, const struct model *m, struct features latents, float *decoded,
                      struct image *images, struct error *e)
{
    return render_latents_watched(ctx, m, latents, decoded, images, NULL, e);
}

status render_latents_watched(const struct context *ctx, const struct model *m, struct features latents,
                              float *decoded, struct image *images, struct memory_watch *memory, struct error *e)
{
    int64_t f = vae_factor(&m->vae.config);
    size_t picture = (size_t)(f * latents.h * f * latents.w * 3) * sizeof(float);
    struct rendering r = {m, latents, decoded != NULL ? decoded : malloc(picture), decoded != NULL, images, memory,
                          e, OK};
    if (images != NULL)
        memset(images, 0, (size_t)latents.n * sizeof *images);
    status s = r.decoded ? gemm_ready(e) : fail(e, ERR_MEMORY, "not enough memory for a decoded picture");
    if (s == OK)
        s = work_run(ctx, (struct work){decode_each, &r, "the VAE"}, e);
    if (s == OK)
        s = r.s;
    for (int64_t i = 0; s != OK && images != NULL && i < latents.n; i++)
        image_free(&images[i]);
    if (decoded == NULL)
        free(r.decoded);
    return s;
}

enum { PROBE = 8 }; /* a flat latent of 8 x 8: its middle is far enough from the border */

/* The colour in the middle of a decoded flat latent. */
static void middle_color(const float *picture, int64_t side, float color[3])
{
    double sum[3] = {0};
    int64_t first = side / 4, last = side - side / 4;
    for (int64_t y = first; y < last; y++)
        for (int64_t x = first; x < last; x++)
            for (int c = 0; c < 3; c++)
                sum[c] += picture[(y * side + x) * 3 + c];
    for (int c = 0; c < 3; c++)
        color[c] = (float)(sum[c] / (double)((last - first) * (last - first)));
}

status preview_map_make(const struct context *ctx, const struct model *m, struct preview_map *map, struct error *e)
{
    int64_t channels = m->vae.config.latent_channels, side = PROBE * vae_factor(&m->vae.config);
    int64_t probes = 1 + 2 * channels, values = PROBE * PROBE * channels, pixels = side * side * 3;
    if (channels > PREVIEW_MAX_CHANNELS || m->vae.config.out_channels != 3)
        return fail(e, ERR_ARGUMENT, "`preview_every`: previews know latents of up to %d channels",
                    PREVIEW_MAX_CHANNELS);
    *map = (struct preview_map){.channels = channels};
    float *latents = calloc((size_t)(probes * values), sizeof *latents);
    float *decoded = malloc((size_t)(probes * pixels) * sizeof *decoded);
    status s = latents && decoded ? OK : fail(e, ERR_MEMORY, "not enough memory for previews");
    if (s == OK) {
        for (int64_t c = 0; c < channels; c++) /* probes 1 + 2c and 2 + 2c: channel c at +1 and at -1 */
            for (int64_t p = 0; p < PROBE * PROBE; p++) {
                latents[(1 + 2 * c) * values + p * channels + c] = 1;
                latents[(2 + 2 * c) * values + p * channels + c] = -1;
            }
        s = render_latents(ctx, m, (struct features){latents, probes, PROBE, PROBE, channels}, decoded, NULL, e);
    }
    if (s == OK) {
        middle_color(decoded, side, map->base);
        for (int64_t c = 0; c < channels; c++) {
            float plus[3], minus[3];
            middle_color(decoded + (1 + 2 * c) * pixels, side, plus);
            middle_color(decoded + (2 + 2 * c) * pixels, side, minus);
            for (int i = 0; i < 3; i++)
                map->color[c][i] = (plus[i] - minus[i]) / 2;
        }
    }
    free(latents);
    free(decoded);
    return s;
}

struct tiny_decoding {
    const struct taesd *taesd;
    struct features latent;
    float *picture;
};

static void decode_tiny(void *self, const struct context *ctx)
{
    const struct tiny_decoding *d = self;
    taesd_decode(ctx, d->taesd, d->picture, d->latent);
}

status preview_tiny(const struct context *ctx, const struct model *m, const float *latent, int64_t h, int64_t w,
                    struct image *image, struct error *e)
{
    int64_t height = TAESD_FACTOR * h, width = TAESD_FACTOR * w;
    struct tiny_decoding d = {&m->taesd, {(float *)latent, 1, h, w, m->taesd.latent_channels}, NULL};
    d.picture = malloc((size_t)(height * width * 3) * sizeof *d.picture);
    status s = d.picture ? gemm_ready(e) : fail(e, ERR_MEMORY, "not enough memory for a preview");
    if (s == OK)
        s = work_run(ctx, (struct work){decode_tiny, &d, "a preview"}, e);
    if (s == OK)
        s = image_from_float(d.picture, width, height, image, e);
    free(d.picture);
    return s;
}

status preview_image(const struct preview_map *map, const float *latent, int64_t h, int64_t w, struct image *image,
                     struct error *e)
{
    float *rgb = malloc((size_t)(h * w * 3) * sizeof *rgb);
    if (rgb == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for a preview");
    for (int64_t p = 0; p < h * w; p++)
        for (int i = 0; i < 3; i++) {
            rgb[p * 3 + i] = map->base[i];
            for (int64_t c = 0; c < map->channels; c++)
                rgb[p * 3 + i] += latent[p * map->channels + c] * map->color[c][i];
        }
    status s = image_from_float(rgb, w, h, image, e);
    free(rgb);
    return s;
}
