/* The writer. A PNG file is a signature and chunks, all numbers big endian:
 *
 *   length 4 | type 4 | data | CRC-32 of type and data 4
 *
 *   IHDR  width 4, height 4, depth 8, color type 2 (RGB), compression 0, filter 0, interlace 0
 *   sRGB  rendering intent 0: what the numbers mean
 *   iTXt  key 0, compressed?, method 0, language 0, translated key 0, text        one per text
 *   IDAT  zlib stream of the rows, each as filter byte and filtered bytes
 *   IEND
 *
 * The buffer is sized for the worst case beforehand, so putting bytes cannot fail. */
#include "storydiff/picture/png.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "storydiff/picture/png_filter.h"
#include "tensor/file.h"

enum {
    CHUNK_OVERHEAD = 12,
    TEXT_OVERHEAD = CHUNK_OVERHEAD + 79 + 5,
    TEXT_WORTH_COMPRESSING = 512, /* shorter texts stay readable with `strings` */
    FIXED_CHUNKS = 8 + 25 + 13 + CHUNK_OVERHEAD + CHUNK_OVERHEAD,
    CHUNK_MAX = INT32_MAX,
};

static unsigned char *put_u32(unsigned char *p, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *p++ = (unsigned char)(value >> shift);
    return p;
}

/* Writes length, type and checksum around data that already lies at `begin` + 8. Returns the end of the chunk. */
static unsigned char *close_chunk(unsigned char *begin, const char type[5], size_t length)
{
    put_u32(begin, (uint32_t)length);
    memcpy(begin + 4, type, 4);
    return put_u32(begin + 8 + length, (uint32_t)crc32(0, begin + 4, (uInt)(length + 4)));
}

/* How a filter does: bytes near 0, from either side, compress well. */
static uint64_t cost(const uint8_t *filtered, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += (uint64_t)abs((int8_t)filtered[i]);
    return sum;
}

/* scratch: PNG_FILTERS rows of 1 + size bytes, and one row of zeros. Returns the best: filter byte and row. */
static const uint8_t *filter_row(const uint8_t *row, const uint8_t *above, size_t size, uint8_t *scratch)
{
    const uint8_t *best = NULL;
    uint64_t least = UINT64_MAX;
    for (int filter = PNG_NONE; filter < PNG_FILTERS; filter++) {
        uint8_t *candidate = scratch + (size_t)filter * (1 + size);
        candidate[0] = (uint8_t)filter;
        png_filter_apply((enum png_filter)filter, row, above, size, 3, candidate + 1);
        uint64_t sum = cost(candidate + 1, size);
        if (sum < least) {
            least = sum;
            best = candidate;
        }
    }
    return best;
}

/* Compresses all rows to out[0..*size); *size comes in as the space there is: deflateBound of it all. */
static status deflate_rows(const struct image *image, unsigned char *out, size_t *size, struct error *e)
{
    const size_t stride = (size_t)image->width * 3;
    uint8_t *scratch = calloc(PNG_FILTERS + 1, 1 + stride);
    z_stream z = {0};
    if (scratch == NULL || deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK) {
        free(scratch);
        return fail(e, ERR_MEMORY, "no memory to compress an image");
    }
    z.next_out = out;
    z.avail_out = (uInt)*size;
    const uint8_t *above = scratch + PNG_FILTERS * (1 + stride);
    int result = Z_OK;
    for (int y = 0; y < image->height && result == Z_OK; y++) {
        const uint8_t *row = image->rgb + (size_t)y * stride;
        z.next_in = (z_const Bytef *)filter_row(row, above, stride, scratch);
        z.avail_in = (uInt)(1 + stride);
        result = deflate(&z, y + 1 < image->height ? Z_NO_FLUSH : Z_FINISH);
        above = row;
    }
    *size = z.total_out;
    deflateEnd(&z);
    free(scratch);
    if (result != Z_STREAM_END)
        return fail(e, ERR_MEMORY, "zlib could not compress an image (%d)", result);
    return OK;
}

static bool is_key(const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < length; i++)
        if (key[i] < ' ' || key[i] > '~')
            return false;
    return length >= 1 && length <= 79 && key[0] != ' ' && key[length - 1] != ' ';
}

/* Worst case of one text's chunk; refuses what no chunk can hold. */
static status text_bound(const struct png_text *text, size_t *bound, struct error *e)
{
    if (!is_key(text->key))
        return fail(e, ERR_ARGUMENT, "a PNG text's key must be 1 to 79 printable characters, not \"%s\"", text->key);
    size_t length = strlen(text->text);
    if (length > CHUNK_MAX / 2)
        return fail(e, ERR_ARGUMENT, "the text \"%s\" is too long for a PNG file (%zu bytes)", text->key, length);
    *bound = TEXT_OVERHEAD + compressBound(length);
    return OK;
}

static unsigned char *put_text(unsigned char *p, const struct png_text *text)
{
    const size_t length = strlen(text->text);
    unsigned char *data = p + 8;
    size_t key = strlen(text->key) + 1;
    memcpy(data, text->key, key);
    unsigned char *flags = data + key, *body = flags + 4;
    memset(flags, 0, 4); /* not compressed, method 0, no language, no translated key */

    uLongf packed = compressBound(length);
    if (length >= TEXT_WORTH_COMPRESSING && compress(body, &packed, (const Bytef *)text->text, length) == Z_OK) {
        flags[0] = 1;
        return close_chunk(p, "iTXt", key + 4 + packed);
    }
    memcpy(body, text->text, length);
    return close_chunk(p, "iTXt", key + 4 + length);
}

static unsigned char *put_header(unsigned char *p, const struct image *image)
{
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    memcpy(p, signature, sizeof signature);
    p += sizeof signature;

    put_u32(put_u32(p + 8, (uint32_t)image->width), (uint32_t)image->height);
    const unsigned char format[5] = {8, 2, 0, 0, 0};
    memcpy(p + 16, format, sizeof format);
    p = close_chunk(p, "IHDR", 13);

    p[8] = 0;
    return close_chunk(p, "sRGB", 1);
}

status png_encode(const struct image *image, const struct png_text *texts, size_t count, unsigned char **bytes,
                  size_t *size, struct error *e)
{
    *bytes = NULL;
    *size = 0;
    const size_t rows = (size_t)image->height * (1 + (size_t)image->width * 3);
    size_t packed = compressBound(rows);
    if (packed > CHUNK_MAX)
        return fail(e, ERR_ARGUMENT, "an image of %d x %d pixels is too large for one PNG chunk", image->width,
                    image->height);
    size_t space = FIXED_CHUNKS + packed;
    for (size_t i = 0; i < count; i++) {
        size_t bound = 0;
        TRY(text_bound(&texts[i], &bound, e));
        space += bound;
    }
    unsigned char *begin = malloc(space);
    if (begin == NULL)
        return fail(e, ERR_MEMORY, "no memory for a PNG file of %zu bytes", space);

    unsigned char *p = put_header(begin, image);
    for (size_t i = 0; i < count; i++)
        p = put_text(p, &texts[i]);
    status s = deflate_rows(image, p + 8, &packed, e);
    if (s != OK) {
        free(begin);
        return s;
    }
    p = close_chunk(p, "IDAT", packed);
    p = close_chunk(p, "IEND", 0);
    *bytes = begin;
    *size = (size_t)(p - begin);
    return OK;
}

status png_write(const char *path, const struct image *image, const struct png_text *texts, size_t count,
                 struct error *e)
{
    unsigned char *bytes;
    size_t size;
    TRY(png_encode(image, texts, count, &bytes, &size, e));
    status s = file_write(path, bytes, size, e);
    free(bytes);
    return s;
}
