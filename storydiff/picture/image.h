/* Pictures as people see them: 8 bits per channel, red green blue, row by row from the top, no padding.
 *
 * An image owns its pixels. Everything here is integer arithmetic (the one float is rounded on the way in), so a page
 * has the same bytes on every machine. Drawing clips: a rectangle may lie partly or wholly outside. */
#ifndef STORYDIFF_IMAGE_H
#define STORYDIFF_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

enum {
    IMAGE_MAX_SIDE = 65535,
    IMAGE_MAX_PIXELS = 1 << 28, /* 768 MiB of rgb; a larger picture is a mistake or an attack */
};

struct image {
    uint8_t *rgb; /* [height, width, 3] */
    int width, height;
};

struct rect {
    int x, y, width, height; /* pixels x..x+width-1, y..y+height-1 */
};

struct color {
    uint8_t r, g, b;
};

/* Sides in 1..IMAGE_MAX_SIDE and no more than IMAGE_MAX_PIXELS. */
bool image_size_fits(int64_t width, int64_t height);

/* A black image, which the caller frees. Refuses sides outside 1..IMAGE_MAX_SIDE and more than IMAGE_MAX_PIXELS. */
status image_new(int64_t width, int64_t height, struct image *image, struct error *e);
void image_free(struct image *image); /* fine on a zeroed struct, and twice */

/* A new image, which the caller frees, from a file's bytes; `name` says in messages which file it is. PNG of any kind,
 * JPEG. Alpha is laid on white, 16 bits become 8; color profiles, gamma, and the way a camera was held (Exif) are
 * ignored. Everything read comes from a stranger: ERR_FORMAT where a PNG is cut, altered, or not of the size that it
 * promises, where a JPEG cannot be decoded, and where either is larger than an image may be. */
status image_decode(const char *name, const unsigned char *bytes, size_t size, struct image *image, struct error *e);
status image_read(const char *path, struct image *image, struct error *e);

/* rgb: [height, width, 3] float, the decoder's output, nominally in [-1, 1]. The new image has
 *   round_half_even(255 * clamp(x / 2 + 0.5, 0, 1))
 * in float arithmetic, as diffusers' VaeImageProcessor.postprocess and numpy's round do; a NaN becomes 0. */
status image_from_float(const float *rgb, int64_t width, int64_t height, struct image *image, struct error *e);

/* A new image of the given size. Each axis goes its own way: smaller is the exact area average, larger is
 * Catmull-Rom (sharper than bilinear, passes through the pixels), equal is untouched. */
status image_resize(const struct image *image, int64_t width, int64_t height, struct image *out, struct error *e);

void image_fill(struct image *image, struct rect area, struct color color);

/* Copies all of `source` with its top left corner to (x, y). */
void image_paste(struct image *image, int x, int y, const struct image *source);

/* One pixel, blended: coverage 0 leaves it, 255 replaces it. Rounds to nearest. */
void image_blend(struct image *image, int x, int y, struct color color, uint8_t coverage);

#endif
