#include "storydiff/picture/image.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool image_size_fits(int64_t width, int64_t height)
{
    return width >= 1 && height >= 1 && width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE &&
           width * height <= IMAGE_MAX_PIXELS;
}

status image_new(int64_t width, int64_t height, struct image *image, struct error *e)
{
    *image = (struct image){0};
    if (!image_size_fits(width, height))
        return fail(e, ERR_ARGUMENT, "an image of %" PRId64 " x %" PRId64 " pixels: sides must be 1 to %d, and at most "
                    "%d million pixels are allowed", width, height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS / 1000000);
    image->rgb = calloc((size_t)(width * height), 3);
    if (image->rgb == NULL)
        return fail(e, ERR_MEMORY, "no memory for an image of %" PRId64 " x %" PRId64 " pixels", width, height);
    image->width = (int)width;
    image->height = (int)height;
    return OK;
}

void image_free(struct image *image)
{
    free(image->rgb);
    *image = (struct image){0};
}

status image_from_float(const float *rgb, int64_t width, int64_t height, struct image *image, struct error *e)
{
    TRY(image_new(width, height, image, e));
    for (int64_t i = 0; i < width * height * 3; i++) {
        float x = rgb[i] / 2 + 0.5f;
        x = x > 0 ? x : 0; /* written so that a NaN, which compares false, becomes 0 */
        x = x < 1 ? x : 1;
        image->rgb[i] = (uint8_t)nearbyintf(255 * x);
    }
    return OK;
}

/* The part of `area` that lies on the image; width or height is 0 or less if there is none. */
static struct rect clip(const struct image *image, struct rect area)
{
    int64_t left = area.x > 0 ? area.x : 0, top = area.y > 0 ? area.y : 0;
    int64_t right = (int64_t)area.x + area.width, bottom = (int64_t)area.y + area.height;
    right = right < image->width ? right : image->width;
    bottom = bottom < image->height ? bottom : image->height;
    if (right <= left || bottom <= top)
        return (struct rect){0};
    return (struct rect){(int)left, (int)top, (int)(right - left), (int)(bottom - top)};
}

static uint8_t *pixel(const struct image *image, int x, int y)
{
    return image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

void image_fill(struct image *image, struct rect area, struct color color)
{
    struct rect visible = clip(image, area);
    for (int y = visible.y; y < visible.y + visible.height; y++) {
        uint8_t *p = pixel(image, visible.x, y);
        for (int x = 0; x < visible.width; x++, p += 3) {
            p[0] = color.r;
            p[1] = color.g;
            p[2] = color.b;
        }
    }
}

void image_paste(struct image *image, int x, int y, const struct image *source)
{
    struct rect visible = clip(image, (struct rect){x, y, source->width, source->height});
    for (int row = visible.y; row < visible.y + visible.height; row++)
        memcpy(pixel(image, visible.x, row), pixel(source, visible.x - x, row - y), (size_t)visible.width * 3);
}

static uint8_t mix(uint8_t under, uint8_t over, int coverage)
{
    return (uint8_t)((over * coverage + under * (255 - coverage) + 127) / 255);
}

void image_blend(struct image *image, int x, int y, struct color color, uint8_t coverage)
{
    if (x < 0 || y < 0 || x >= image->width || y >= image->height)
        return;
    uint8_t *p = pixel(image, x, y);
    p[0] = mix(p[0], color.r, coverage);
    p[1] = mix(p[1], color.g, coverage);
    p[2] = mix(p[2], color.b, coverage);
}
