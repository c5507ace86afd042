/* The decoder's large feature maps, in bands of rows.
 *
 * At 1024 px the last level works on a map of 1024 x 1024 pixels and 256 channels: 1 GB, and the blocks as they are
 * drawn want three of them at once. But a convolution reaches one row up and one row down, so what lies between two
 * convolutions need never be there as a whole. Only group normalisation looks at everything: it must have seen the
 * last row before it gives out the first. A resnet of two norms is therefore three sweeps over the image,
 *
 *   1. x                                                       counted in by norm1
 *   2. x -- norm1 -- SiLU -- conv1 -- h                        counted in by norm2
 *   3. x -- norm1 -- SiLU -- conv1 -- h -- norm2 -- SiLU -- conv2 -- + -- out, which takes the place of x
 *
 * each from the top down, a band at a time, every step some rows ahead of the next. Whether the second and third
 * sweep find x and h or compute them again is a choice between memory and time: struct vae_memory. No value depends
 * on it: sums are taken in the same order and tiles of convolutions are the same (but for OpenBLAS, whose sums depend
 * on the number of rows). */
#ifndef SDXL_VAE_BANDS_H
#define SDXL_VAE_BANDS_H

#include "sdxl/blocks/resnet.h"

struct vae_memory {
    int64_t whole; /* bytes of feature maps that may be there as a whole at the same time */
    int64_t band;  /* bytes of a band of a map's rows, at least CONV_BAND of them; up to four are in use */
};

/* 512 px, and up to 640: nothing is computed twice. 1024 px of SDXL's decoder: 0.67 GB in all and two fifths more
 * arithmetic. */
extern const struct vae_memory vae_memory_default;

/* The feature map of one picture on its way through the levels. It is the last thing in the arena, so that its memory
 * can grow where it is. With a sampler it is x enlarged twice by that convolution, which is left to whoever reads the
 * map. */
struct vae_map {
    struct features x; /* n = 1 */
    size_t mark;       /* of the arena, before x */
    const struct conv *sampler;
    const char *name; /* of the enlarged map, to observers */
};

/* The map's memory while a resnet makes `out` of x, in floats from where `out` begins. `small` is the map: x itself, or
 * what x is the enlargement of. `out` grows from the start, and what it is made from lies at the end. Then no row of
 * out reaches a row that is still to be read: it would at the last one at the earliest, for both end together.
 *
 *   x is there, or made and not kept:   |out -->          x or small|
 *   x is made and kept:                 |out -->  x -->   |    small|    x, too, grows over what it is made from */
struct vae_layout {
    int64_t size, x, small;
};

/* Shapes as above, n = 1, data not looked at; x.h = small.h or 2 small.h. keep_x: x is there as a whole, as it is
 * without enlargement in any case. band: rows of out (and x) that are made at a time, a multiple of CONV_BAND or all.
 */
struct vae_layout vae_layout(struct features out, struct features x, struct features small, bool keep_x, int64_t band);

/* map = r(map). An observer sees the enlarged map, which is then kept as a whole whatever it takes, and the result.
 */
void vae_bands_resnet(const struct context *ctx, struct vae_map *map, const struct resnet *r,
                      struct vae_memory memory);

/* out = conv(SiLU(norm x)); n = 1 */
void vae_bands_out(const struct context *ctx, struct features out, struct features x, const struct norm *norm,
                   int64_t groups, float eps, const struct conv *conv, struct vae_memory memory);

#endif
