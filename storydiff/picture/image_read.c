/* Pictures from people, by stb_image: PNG of any kind (palette, 16 bits, gray, interlaced), JPEG.
 *
 * stb_image decodes what it can and trusts what it is told, so who it is told by is checked first: a PNG from end to
 * end (png_check.h), a JPEG for whether it can hold the pixels that it claims. */
#include <stdlib.h>
#include <string.h>

#include <stb/stb_image.h>

#include "storydiff/picture/image.h"
#include "storydiff/picture/png_check.h"
#include "storydiff/picture/png_chunks.h"
#include "tensor/file.h"

/* Every block of 8 x 8 pixels costs a JPEG one bit at least. */
static status check_jpeg(const char *name, const unsigned char *bytes, size_t size, struct error *e)
{
    int width, height, channels;
    if (!stbi_info_from_memory(bytes, (int)size, &width, &height, &channels))
        return fail(e, ERR_FORMAT, "%s: the JPEG cannot be read (%s)", name, stbi_failure_reason());
    if (!image_size_fits(width, height))
        return fail(e, ERR_FORMAT, "%s: the JPEG claims %d x %d pixels; sides up to %d and %d million pixels are read",
                    name, width, height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS / 1000000);
    if ((size_t)width * (size_t)height / (64 * 8) > size)
        return fail(e, ERR_FORMAT, "%s: the JPEG claims %d x %d pixels, its %zu bytes cannot hold them", name, width,
                    height, size);
    return OK;
}

static uint8_t on_white(uint8_t value, uint8_t alpha)
{
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

status image_decode(const char *name, const unsigned char *bytes, size_t size, struct image *image, struct error *e)
{
    *image = (struct image){0};
    const bool png = is_png(bytes, size), jpeg = size >= 3 && memcmp(bytes, "\xFF\xD8\xFF", 3) == 0;
    if (!png && !jpeg)
        return fail(e, ERR_FORMAT, "%s: neither a PNG nor a JPEG file", name);
    if (size > INT32_MAX)
        return fail(e, ERR_FORMAT, "%s: a picture of more than 2 GB is not read", name);
    TRY(png ? png_check(name, bytes, size, e) : check_jpeg(name, bytes, size, e));

    int width, height, channels;
    stbi_uc *rgba = stbi_load_from_memory(bytes, (int)size, &width, &height, &channels, 4);
    if (rgba == NULL)
        return fail(e, ERR_FORMAT, "%s: the %s cannot be read (%s)", name, png ? "PNG" : "JPEG",
                    stbi_failure_reason());
    status s = image_new(width, height, image, e);
    const size_t pixels = s == OK ? (size_t)width * (size_t)height : 0;
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            image->rgb[i * 3 + c] = on_white(rgba[i * 4 + c], rgba[i * 4 + 3]);
    stbi_image_free(rgba);
    return s;
}

status image_read(const char *path, struct image *image, struct error *e)
{
    *image = (struct image){0};
    struct file_map map;
    TRY(file_map(path, &map, e));
    status s = image_decode(path, map.data, map.size, image, e);
    file_unmap(&map);
    return s;
}
