/* The writer: stb_image_write makes the file, zlib compresses it (stb_image_impl.c), and behind its header go the
 * chunks that stb_image_write knows nothing of:
 *
 *   signature, IHDR                                                               stb_image_write's first 33 bytes
 *   sRGB  rendering intent 0, perceptual: what the numbers mean
 *   iTXt  key 0, compressed?, method 0, language 0, translated key 0, text        one per text
 *   IDAT, IEND                                                                    the rest of its file
 *
 * The buffer is sized for the worst case beforehand, so putting bytes cannot fail. */
#include "storydiff/picture/png.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

#include "tensor/file.h"

enum {
    CHUNK_OVERHEAD = 12,
    TEXT_OVERHEAD = CHUNK_OVERHEAD + 79 + 5,
    TEXT_WORTH_COMPRESSING = 512, /* shorter texts stay readable with `strings` */
    HEADER = 8 + CHUNK_OVERHEAD + 13,
    SRGB = CHUNK_OVERHEAD + 1,
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

/* What stb_image_write's file becomes. */
struct file {
    const struct png_text *texts;
    size_t count, space; /* space: of the chunks between header and picture, at most */
    unsigned char *bytes;
    size_t size; /* 0 if there was no memory */
};

static void take_file(void *self, void *data, int length)
{
    struct file *f = self;
    const size_t size = (size_t)length;
    f->bytes = malloc(size + f->space);
    if (f->bytes == NULL)
        return;
    memcpy(f->bytes, data, HEADER);
    unsigned char *p = f->bytes + HEADER;
    p[8] = 0;
    p = close_chunk(p, "sRGB", 1);
    for (size_t i = 0; i < f->count; i++)
        p = put_text(p, &f->texts[i]);
    memcpy(p, (unsigned char *)data + HEADER, size - HEADER);
    f->size = (size_t)(p - f->bytes) + size - HEADER;
}

status png_encode(const struct image *image, const struct png_text *texts, size_t count, unsigned char **bytes,
                  size_t *size, struct error *e)
{
    struct file f = {.texts = texts, .count = count, .space = SRGB};
    *bytes = NULL;
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bound = 0;
        TRY(text_bound(&texts[i], &bound, e));
        f.space += bound;
    }
    stbi_write_png_to_func(take_file, &f, image->width, image->height, 3, image->rgb, image->width * 3);
    if (f.size == 0)
        return fail(e, ERR_MEMORY, "no memory for a PNG file of %d x %d pixels", image->width, image->height);
    *bytes = f.bytes;
    *size = f.size;
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
