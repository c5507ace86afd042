#include "storydiff/picture/png_chunks.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#include "storydiff/picture/image.h"

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool is_type(const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        if (!((p[i] >= 'A' && p[i] <= 'Z') || (p[i] >= 'a' && p[i] <= 'z')))
            return false;
    return true;
}

bool png_chunk_is(const struct png_chunk *chunk, const char *type)
{
    return strcmp(chunk->type, type) == 0;
}

status png_chunks_next(struct png_chunks *in, struct png_chunk *chunk, struct error *e)
{
    const unsigned char *p = in->bytes + in->position;
    const size_t left = in->size - in->position;
    if (left < 12)
        return fail(e, ERR_FORMAT, "%s: the PNG file is cut off at byte %zu", in->name, in->position);
    const size_t length = get_u32(p);
    if (!is_type(p + 4))
        return fail(e, ERR_FORMAT, "%s: byte %zu is not the start of a PNG chunk", in->name, in->position);
    if (length > INT32_MAX || length > left - 12)
        return fail(e, ERR_FORMAT, "%s: the PNG chunk %.4s at byte %zu claims %zu bytes, %zu are left", in->name,
                    p + 4, in->position, length, left - 12);
    if (crc32(0, p + 4, (uInt)(length + 4)) != get_u32(p + 8 + length))
        return fail(e, ERR_FORMAT, "%s: the PNG chunk %.4s at byte %zu is damaged (checksum)", in->name, p + 4,
                    in->position);
    *chunk = (struct png_chunk){.data = p + 8, .length = length};
    memcpy(chunk->type, p + 4, 4);
    in->position += 12 + length;
    return OK;
}

bool is_png(const unsigned char *bytes, size_t size)
{
    return size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1A\n", 8) == 0;
}

/* Table 11.1: which depths a color type may have; bit d for d bits. */
static bool is_kind(int depth, int color_type)
{
    const int deep = 1 << 8 | 1 << 16, shallow = 1 << 1 | 1 << 2 | 1 << 4;
    const int depths[7] = {shallow | deep, 0, deep, shallow | 1 << 8, deep, 0, deep};
    return color_type < 7 && depth <= 16 && (depths[color_type] >> depth & 1) != 0;
}

status png_chunks_open(struct png_chunks *in, struct png_header *header, struct error *e)
{
    struct png_chunk chunk;
    if (!is_png(in->bytes, in->size))
        return fail(e, ERR_FORMAT, "%s: not a PNG file", in->name);
    in->position = 8;
    TRY(png_chunks_next(in, &chunk, e));
    if (!png_chunk_is(&chunk, "IHDR") || chunk.length != 13)
        return fail(e, ERR_FORMAT, "%s: the PNG file does not begin with a header (IHDR of 13 bytes)", in->name);
    const unsigned char *d = chunk.data;
    *header = (struct png_header){get_u32(d), get_u32(d + 4), d[8], d[9], d[12] == 1};
    if (!image_size_fits(header->width, header->height))
        return fail(e, ERR_FORMAT, "%s: the PNG claims %" PRIu32 " x %" PRIu32 " pixels; sides up to %d and %d "
                    "million pixels are read", in->name, header->width, header->height, IMAGE_MAX_SIDE,
                    IMAGE_MAX_PIXELS / 1000000);
    if (!is_kind(header->depth, header->color_type))
        return fail(e, ERR_FORMAT, "%s: there is no PNG of %d bits and color type %d", in->name, header->depth,
                    header->color_type);
    if (d[10] != 0 || d[11] != 0 || d[12] > 1)
        return fail(e, ERR_FORMAT, "%s: unknown PNG compression %d, filter method %d or interlacing %d", in->name,
                    d[10], d[11], d[12]);
    return OK;
}
