/* From latents to pictures: the VAE for the real one, or the tiny decoder for a draft; a linear map, or the tiny
 * decoder, for a glimpse. */
#ifndef STORYDIFF_RENDER_H
#define STORYDIFF_RENDER_H

#include "sdxl/model.h"
#include "storydiff/picture/image.h"
#include "storydiff/comic/memory.h"

/* Decodes latents (with the tiny decoder if the model says draft), of size n h w c, one sample after the other, so
 * that memory is that of one picture. decoded: [n, f h, f w, 3], the VAE's output before clamping, or NULL. images: n
 * new images that the caller frees, or NULL. ctx gives threads, profile and observer; memory is its own. On failure
 * no image is left. */
status render_latents(const struct context *ctx, const struct model *m, struct features latents, float *decoded,
                      struct image *images, struct error *e);

/* The same, and `memory` looks when it holds most: after each picture. */
status render_latents_watched(const struct context *ctx, const struct model *m, struct features latents,
                              float *decoded, struct image *images, struct memory_watch *memory, struct error *e);

/* Memory and arithmetic of decoding one panel of h x w latents. */
size_t render_measure(const struct model *m, int64_t h, int64_t w, int threads, struct profile *profile);

/* What a latent value looks like, on average: rgb = base + sum over channels of z[c] * color[c]. Found by decoding a
 * few flat latents, so it fits any model. */
enum { PREVIEW_MAX_CHANNELS = 16 };
struct preview_map {
    int64_t channels;
    float base[3], color[PREVIEW_MAX_CHANNELS][3];
};
status preview_map_make(const struct context *ctx, const struct model *m, struct preview_map *map, struct error *e);

/* A picture of 8h x 8w pixels from one latent [h, w, c] by the model's tiny decoder, which it must have; the caller
 * frees it. */
status preview_tiny(const struct context *ctx, const struct model *m, const float *latent, int64_t h, int64_t w,
                    struct image *image, struct error *e);

/* A picture of h x w pixels from one latent [h, w, c]; the caller frees it. */
status preview_image(const struct preview_map *map, const float *latent, int64_t h, int64_t w, struct image *image,
                     struct error *e);

#endif
