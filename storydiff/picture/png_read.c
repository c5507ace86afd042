/* The reader: walk the chunks, inflate row by row, undo the filters, turn to RGB.
 *
 * What is promised is bounded by what is there: deflate cannot expand more than 1032 times, so a header that claims
 * more pixels than the compressed bytes can hold is refused before its memory is asked for, and no more is inflated
 * than the rows the header announced. */
#include "storydiff/picture/png.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "storydiff/picture/png_filter.h"
#include "tensor/file.h"

enum {
    DEFLATE_MOST = 1032, /* of one input byte: 258 bytes from 2 bits */
    TEXT_MAX = 16 << 20,
    ANCILLARY = 0x20, /* this bit of the type's first letter (lower case): may be skipped by who does not know it */
};

struct chunk {
    char type[5];
    const unsigned char *data;
    size_t length;
};

/* A cursor over a file's chunks. */
struct chunks {
    const char *name;
    const unsigned char *bytes;
    size_t size, position;
};

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

static status next_chunk(struct chunks *in, struct chunk *chunk, struct error *e)
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
    *chunk = (struct chunk){.data = p + 8, .length = length};
    memcpy(chunk->type, p + 4, 4);
    in->position += 12 + length;
    return OK;
}

static bool is(const struct chunk *chunk, const char *type)
{
    return strcmp(chunk->type, type) == 0;
}

struct header {
    uint32_t width, height;
    size_t bpp; /* bytes per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA */
};

/* Checks the signature and reads IHDR. */
static status open_png(struct chunks *in, struct header *header, struct error *e)
{
    if (in->size < 8 || memcmp(in->bytes, "\x89PNG\r\n\x1A\n", 8) != 0)
        return fail(e, ERR_FORMAT, "%s: not a PNG file", in->name);
    in->position = 8;
    struct chunk chunk;
    TRY(next_chunk(in, &chunk, e));
    if (!is(&chunk, "IHDR") || chunk.length != 13)
        return fail(e, ERR_FORMAT, "%s: the PNG file does not begin with a header (IHDR of 13 bytes)", in->name);

    const unsigned char *d = chunk.data;
    *header = (struct header){.width = get_u32(d), .height = get_u32(d + 4)};
    if (header->width < 1 || header->width > IMAGE_MAX_SIDE || header->height < 1 ||
        header->height > IMAGE_MAX_SIDE || (uint64_t)header->width * header->height > IMAGE_MAX_PIXELS)
        return fail(e, ERR_FORMAT, "%s: the PNG claims %" PRIu32 " x %" PRIu32 " pixels; sides up to %d and %d "
                    "million pixels are read", in->name, header->width, header->height, IMAGE_MAX_SIDE,
                    IMAGE_MAX_PIXELS / 1000000);
    const size_t bytes_of_color_type[7] = {1, 0, 3, 0, 2, 0, 4};
    header->bpp = d[9] < 7 ? bytes_of_color_type[d[9]] : 0;
    if (d[8] != 8 || header->bpp == 0)
        return fail(e, ERR_FORMAT, "%s: %d-bit PNG of color type %d; only 8-bit gray and RGB, with or without alpha, "
                    "are read: save it as 8-bit RGB", in->name, d[8], d[9]);
    if (d[10] != 0 || d[11] != 0)
        return fail(e, ERR_FORMAT, "%s: unknown PNG compression %d or filter method %d", in->name, d[10], d[11]);
    if (d[12] != 0)
        return fail(e, ERR_FORMAT, "%s: interlaced PNG files are not read: save it without interlacing", in->name);
    return OK;
}

/* What the picture chunks feed, and where the rows go. */
struct rows {
    const char *name;
    struct header header;
    z_stream z;
    uint8_t *line, *above; /* filter byte and a row, each 1 + width * bpp */
    uint32_t y;
    struct image *image;
};

static uint8_t on_white(uint8_t value, uint8_t alpha)
{
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

static void row_to_rgb(const uint8_t *row, size_t bpp, int width, uint8_t *rgb)
{
    for (int x = 0; x < width; x++, row += bpp, rgb += 3) {
        uint8_t alpha = bpp == 2 ? row[1] : bpp == 4 ? row[3] : 255;
        for (size_t c = 0; c < 3; c++)
            rgb[c] = on_white(row[bpp < 3 ? 0 : c], alpha);
    }
}

static status finish_row(struct rows *rows, struct error *e)
{
    const size_t stride = (size_t)rows->header.width * rows->header.bpp;
    if (rows->line[0] >= PNG_FILTERS)
        return fail(e, ERR_FORMAT, "%s: row %" PRIu32 " of the PNG has the unknown filter %d", rows->name, rows->y,
                    rows->line[0]);
    png_filter_undo((enum png_filter)rows->line[0], rows->line + 1, rows->above + 1, stride, rows->header.bpp);
    row_to_rgb(rows->line + 1, rows->header.bpp, rows->image->width,
               rows->image->rgb + (size_t)rows->y * (size_t)rows->image->width * 3);
    uint8_t *spare = rows->above;
    rows->above = rows->line;
    rows->line = spare;
    rows->y++;
    rows->z.next_out = rows->line;
    rows->z.avail_out = (uInt)(1 + stride);
    return OK;
}

/* Inflates one IDAT's bytes. After the last row `line` is filled no more: the stream has to end there. */
static status inflate_chunk(struct rows *rows, const struct chunk *chunk, bool *ended, struct error *e)
{
    rows->z.next_in = (z_const Bytef *)chunk->data;
    rows->z.avail_in = (uInt)chunk->length;
    while (!*ended) {
        uInt in_before = rows->z.avail_in, out_before = rows->z.avail_out;
        int result = inflate(&rows->z, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR)
            return fail(e, ERR_MEMORY, "%s: no memory to decompress", rows->name);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return fail(e, ERR_FORMAT, "%s: the picture data of the PNG is damaged in row %" PRIu32 " (%s)",
                        rows->name, rows->y, rows->z.msg != NULL ? rows->z.msg : "zlib");
        *ended = result == Z_STREAM_END;
        if (rows->y == rows->header.height) {
            if (rows->z.avail_out < out_before)
                return fail(e, ERR_FORMAT, "%s: the PNG has more picture data than its header says", rows->name);
        } else if (rows->z.avail_out == 0) {
            TRY(finish_row(rows, e));
            continue;
        }
        if (rows->z.avail_in == in_before || rows->z.avail_in == 0)
            break;
    }
    if (*ended && rows->z.avail_in > 0)
        return fail(e, ERR_FORMAT, "%s: the PNG has bytes after the end of its picture data", rows->name);
    return OK;
}

/* The bytes of all picture chunks together; checks all of the file on the way. */
static status measure_picture(struct chunks in, size_t *total, struct error *e)
{
    *total = 0;
    bool done = false; /* picture chunks stand together */
    for (struct chunk chunk = {0}; !is(&chunk, "IEND");) {
        TRY(next_chunk(&in, &chunk, e));
        if (is(&chunk, "IDAT")) {
            if (done)
                return fail(e, ERR_FORMAT, "%s: the picture data of the PNG is not in one piece", in.name);
            *total += chunk.length;
        } else {
            done = *total > 0;
            if ((chunk.type[0] & ANCILLARY) == 0 && !is(&chunk, "IEND") && !is(&chunk, "PLTE"))
                return fail(e, ERR_FORMAT, "%s: unexpected PNG chunk %s", in.name, chunk.type);
        }
    }
    if (in.position != in.size)
        return fail(e, ERR_FORMAT, "%s: %zu bytes follow the end of the PNG", in.name, in.size - in.position);
    return OK;
}

static status read_rows(struct rows *rows, struct chunks in, struct error *e)
{
    const size_t line = 1 + (size_t)rows->header.width * rows->header.bpp;
    rows->z.next_out = rows->line;
    rows->z.avail_out = (uInt)line;
    bool ended = false;
    for (struct chunk chunk = {0}; !is(&chunk, "IEND");) {
        TRY(next_chunk(&in, &chunk, e));
        if (!is(&chunk, "IDAT"))
            continue;
        if (ended && chunk.length > 0)
            return fail(e, ERR_FORMAT, "%s: the PNG has bytes after the end of its picture data", rows->name);
        TRY(inflate_chunk(rows, &chunk, &ended, e));
    }
    if (rows->y != rows->header.height)
        return fail(e, ERR_FORMAT, "%s: the PNG ends after %" PRIu32 " of %" PRIu32 " rows", rows->name, rows->y,
                    rows->header.height);
    if (!ended)
        return fail(e, ERR_FORMAT, "%s: the picture data of the PNG lacks its end", rows->name);
    return OK;
}

status png_decode(const char *name, const unsigned char *bytes, size_t size, struct image *image, struct error *e)
{
    *image = (struct image){0};
    struct chunks in = {.name = name, .bytes = bytes, .size = size};
    struct rows rows = {.name = name, .image = image};
    TRY(open_png(&in, &rows.header, e));
    size_t packed;
    TRY(measure_picture(in, &packed, e));

    const size_t line = 1 + (size_t)rows.header.width * rows.header.bpp;
    if (line * rows.header.height / DEFLATE_MOST > packed)
        return fail(e, ERR_FORMAT, "%s: the PNG claims %" PRIu32 " x %" PRIu32 " pixels, its %zu bytes cannot hold "
                    "them", name, rows.header.width, rows.header.height, packed);
    TRY(image_new(rows.header.width, rows.header.height, image, e));

    uint8_t *lines = calloc(2, line);
    rows.line = lines;
    rows.above = lines + line;
    status s = OK;
    if (lines == NULL || inflateInit(&rows.z) != Z_OK) {
        s = fail(e, ERR_MEMORY, "%s: no memory to decompress", name);
    } else {
        s = read_rows(&rows, in, e);
        inflateEnd(&rows.z);
    }
    free(lines);
    if (s != OK)
        image_free(image);
    return s;
}

/* *text <- the decompressed bytes. How many they are is nowhere written: the buffer is for the most there can be, and
 * what is not touched costs nothing. */
static status inflate_text(const char *name, const unsigned char *data, size_t length, char **text, struct error *e)
{
    size_t most = length > TEXT_MAX / DEFLATE_MOST ? TEXT_MAX : length * DEFLATE_MOST;
    unsigned char *buffer = malloc(most + 1);
    if (buffer == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory to decompress a text", name);
    uLongf size = most;
    int result = uncompress(buffer, &size, data, length);
    if (result != Z_OK) {
        free(buffer);
        return fail(e, ERR_FORMAT, "%s: a text of the PNG is damaged or longer than %d MiB", name, TEXT_MAX >> 20);
    }
    buffer[size] = '\0';
    *text = (char *)buffer;
    return OK;
}

/* The body of an iTXt chunk after its key; see png_write.c for the fields. */
static status read_text(const char *name, const unsigned char *data, size_t length, char **text, struct error *e)
{
    const unsigned char *end = data + length;
    const unsigned char *language = data + 2, *translated = NULL, *body = NULL;
    if (length >= 2 && data[0] <= 1 && data[1] == 0)
        translated = memchr(language, 0, (size_t)(end - language));
    if (translated != NULL)
        body = memchr(translated + 1, 0, (size_t)(end - translated - 1));
    if (body == NULL)
        return fail(e, ERR_FORMAT, "%s: a text chunk of the PNG is malformed", name);
    body++;
    const size_t size = (size_t)(end - body);
    if (data[0] == 1)
        return inflate_text(name, body, size, text, e);
    if (size > TEXT_MAX)
        return fail(e, ERR_FORMAT, "%s: a text of the PNG is longer than %d MiB", name, TEXT_MAX >> 20);
    *text = malloc(size + 1);
    if (*text == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for a text", name);
    memcpy(*text, body, size);
    (*text)[size] = '\0';
    return OK;
}

status png_decode_text(const char *name, const unsigned char *bytes, size_t size, const char *key, char **text,
                       struct error *e)
{
    *text = NULL;
    const size_t key_size = strlen(key) + 1;
    struct chunks in = {.name = name, .bytes = bytes, .size = size};
    struct header header;
    TRY(open_png(&in, &header, e));
    for (struct chunk chunk = {0}; !is(&chunk, "IEND");) {
        TRY(next_chunk(&in, &chunk, e));
        if (is(&chunk, "iTXt") && chunk.length >= key_size && memcmp(chunk.data, key, key_size) == 0)
            return read_text(name, chunk.data + key_size, chunk.length - key_size, text, e);
    }
    return OK;
}

status png_read(const char *path, struct image *image, struct error *e)
{
    *image = (struct image){0};
    struct file_map map;
    TRY(file_map(path, &map, e));
    status s = png_decode(path, map.data, map.size, image, e);
    file_unmap(&map);
    return s;
}

status png_read_text(const char *path, const char *key, char **text, struct error *e)
{
    *text = NULL;
    struct file_map map;
    TRY(file_map(path, &map, e));
    status s = png_decode_text(path, map.data, map.size, key, text, e);
    file_unmap(&map);
    return s;
}
