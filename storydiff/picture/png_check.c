/* One pass over the chunks. The picture data is inflated into a scratch of some kilobytes and only counted: a file that
 * inflates to more than its header says (a bomb) is left at the first byte too many. */
#include "storydiff/picture/png_check.h"

#include <inttypes.h>
#include <zlib.h>

#include "storydiff/picture/png_chunks.h"

/* The picture data so far. */
struct rows {
    z_stream z;
    bool ended; /* zlib's stream, its checksum right */
    uint64_t expected;
};

/* Bytes of all rows, each with its filter byte before it, of a picture whose pixels are `bits` wide. */
static uint64_t rows_size(uint64_t width, uint64_t height, uint64_t bits)
{
    return width == 0 ? 0 : height * (1 + (width * bits + 7) / 8);
}

/* 8.2: Adam7's seven pictures, of the pixels from (x, y) on in steps. */
static uint64_t data_size(const struct png_header *h)
{
    static const uint8_t passes[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                         {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}; /* x, y, step of x, of y */
    static const int channels[7] = {1, 0, 3, 1, 2, 0, 4};
    const uint64_t bits = (uint64_t)(channels[h->color_type] * h->depth);
    uint64_t size = 0;
    if (!h->interlaced)
        return rows_size(h->width, h->height, bits);
    for (int i = 0; i < 7; i++) {
        const uint8_t *p = passes[i];
        size += rows_size((h->width + p[2] - 1u - p[0]) / p[2], (h->height + p[3] - 1u - p[1]) / p[3], bits);
    }
    return size;
}

static status inflate_chunk(const char *name, struct rows *rows, const struct png_chunk *chunk, struct error *e)
{
    unsigned char scratch[1 << 14];
    if (rows->ended && chunk->length > 0)
        return fail(e, ERR_FORMAT, "%s: the PNG has bytes after the end of its picture data", name);
    rows->z.next_in = (z_const Bytef *)chunk->data;
    rows->z.avail_in = (uInt)chunk->length;
    do {
        rows->z.next_out = scratch;
        rows->z.avail_out = sizeof scratch;
        const int result = inflate(&rows->z, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR)
            return fail(e, ERR_MEMORY, "%s: no memory to decompress", name);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return fail(e, ERR_FORMAT, "%s: the picture data of the PNG is damaged (%s)", name,
                        rows->z.msg != NULL ? rows->z.msg : "zlib");
        rows->ended = result == Z_STREAM_END;
        if (rows->z.total_out > rows->expected)
            return fail(e, ERR_FORMAT, "%s: the PNG has more picture data than its header says", name);
    } while (!rows->ended && rows->z.avail_out == 0);
    if (rows->z.avail_in > 0)
        return fail(e, ERR_FORMAT, "%s: the PNG has bytes after the end of its picture data", name);
    return OK;
}

static status check_chunks(struct png_chunks *in, struct rows *rows, struct error *e)
{
    bool begun = false, over = false; /* picture chunks stand together */
    for (struct png_chunk chunk = {0}; !png_chunk_is(&chunk, "IEND");) {
        TRY(png_chunks_next(in, &chunk, e));
        if (!png_chunk_is(&chunk, "IDAT")) {
            over = begun;
            continue;
        }
        if (over)
            return fail(e, ERR_FORMAT, "%s: the picture data of the PNG is not in one piece", in->name);
        begun = true;
        TRY(inflate_chunk(in->name, rows, &chunk, e));
    }
    if (in->position != in->size)
        return fail(e, ERR_FORMAT, "%s: %zu bytes follow the end of the PNG", in->name, in->size - in->position);
    if (rows->z.total_out < rows->expected)
        return fail(e, ERR_FORMAT, "%s: the PNG has %lu of the %" PRIu64 " bytes of picture data that its header "
                    "promises", in->name, rows->z.total_out, rows->expected);
    if (!rows->ended)
        return fail(e, ERR_FORMAT, "%s: the picture data of the PNG lacks its end", in->name);
    return OK;
}

status png_check(const char *name, const unsigned char *bytes, size_t size, struct error *e)
{
    struct png_chunks in = {.name = name, .bytes = bytes, .size = size};
    struct png_header header;
    struct rows rows = {0};
    TRY(png_chunks_open(&in, &header, e));
    rows.expected = data_size(&header);
    if (inflateInit(&rows.z) != Z_OK)
        return fail(e, ERR_MEMORY, "%s: no memory to decompress", name);
    status s = check_chunks(&in, &rows, e);
    inflateEnd(&rows.z);
    return s;
}
