#include "storydiff/page/font_check.h"

#include <string.h>

/* Layouts: the OpenType specification 1.9, one chapter per table. All numbers are big endian. */

enum {
    DIRECTORY_HEADER = 12,
    DIRECTORY_ENTRY = 16, /* tag 4, checksum 4, offset 4, length 4 */
    FILE_MAX = 1 << 29,   /* stb_truetype keeps offsets in int and adds to them */
    COMPONENT_DEPTH = 8,
    COMPONENT_MOST = 256, /* in one glyph, all levels together */
};

static uint16_t u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static int16_t i16(const uint8_t *p)
{
    return (int16_t)u16(p);
}

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Fills in the table if the font has one, which must lie in the file and have at least `least` bytes. */
static status find_table(const struct font_tables *font, const uint8_t *bytes, size_t size, const char *tag,
                         size_t least, struct font_table *table, struct error *e)
{
    const uint8_t *entry = bytes + font->start + DIRECTORY_HEADER;
    const int count = u16(bytes + font->start + 4);
    for (int i = 0; i < count; i++, entry += DIRECTORY_ENTRY) {
        if (memcmp(entry, tag, 4) != 0)
            continue;
        const size_t offset = u32(entry + 8), length = u32(entry + 12);
        if (offset > size || length > size - offset)
            return fail(e, ERR_FORMAT, "%s: the font's table '%s' lies outside the file: it is cut off or damaged",
                        font->path, tag);
        if (offset == 0 || length < least)
            return fail(e, ERR_FORMAT, "%s: the font's table '%s' has %zu bytes, at least %zu are needed", font->path,
                        tag, length, least);
        *table = (struct font_table){bytes + offset, length};
        return OK;
    }
    return OK;
}

static status require_table(const struct font_tables *font, const uint8_t *bytes, size_t size, const char *tag,
                            size_t least, struct font_table *table, struct error *e)
{
    TRY(find_table(font, bytes, size, tag, least, table, e));
    if (table->data == NULL)
        return fail(e, ERR_FORMAT, "%s: the font has no table '%s': it has no outlines that can be drawn", font->path,
                    tag);
    return OK;
}

/* A collection begins "ttcf", version, count, offsets; a font with one of four version tags. */
static status find_font(const char *path, const uint8_t *bytes, size_t size, size_t *start, struct error *e)
{
    *start = 0;
    if (size >= 16 && memcmp(bytes, "ttcf", 4) == 0)
        *start = u32(bytes + 12);
    if (size > FILE_MAX || *start > size || size - *start < DIRECTORY_HEADER)
        return fail(e, ERR_FORMAT, "%s: not a font file", path);
    const uint8_t *p = bytes + *start;
    if (u32(p) != 0x00010000 && memcmp(p, "true", 4) != 0 && memcmp(p, "OTTO", 4) != 0)
        return fail(e, ERR_FORMAT, "%s: not a TrueType or OpenType font (.ttf, .otf, .ttc)", path);
    if ((size_t)u16(p + 4) * DIRECTORY_ENTRY > size - *start - DIRECTORY_HEADER)
        return fail(e, ERR_FORMAT, "%s: the font's directory is longer than the file", path);
    return OK;
}

status font_check(const char *path, const uint8_t *bytes, size_t size, struct font_tables *tables, struct error *e)
{
    struct font_tables *f = tables;
    *f = (struct font_tables){.path = path};
    TRY(find_font(path, bytes, size, &f->start, e));
    TRY(require_table(f, bytes, size, "cmap", 4, &f->cmap, e));
    TRY(require_table(f, bytes, size, "head", 54, &f->head, e));
    TRY(require_table(f, bytes, size, "hhea", 36, &f->hhea, e));
    TRY(require_table(f, bytes, size, "maxp", 6, &f->maxp, e));
    TRY(require_table(f, bytes, size, "hmtx", 4, &f->hmtx, e));
    TRY(find_table(f, bytes, size, "glyf", 1, &f->glyf, e));
    TRY(find_table(f, bytes, size, "kern", 0, &f->kern, e));
    TRY(find_table(f, bytes, size, "GPOS", 0, &f->gpos, e));

    f->units_per_em = u16(f->head.data + 18);
    f->glyphs = u16(f->maxp.data + 4);
    f->long_offsets = u16(f->head.data + 50) == 1;
    const size_t glyphs = (size_t)f->glyphs, long_metrics = u16(f->hhea.data + 34);
    if (f->units_per_em < 16 || f->units_per_em > 16384 || u16(f->head.data + 50) > 1)
        return fail(e, ERR_FORMAT, "%s: the font's table 'head' is damaged", path);
    if (long_metrics < 1 || long_metrics > glyphs || long_metrics * 4 + (glyphs - long_metrics) * 2 > f->hmtx.size)
        return fail(e, ERR_FORMAT, "%s: the font's table 'hmtx' is shorter than its %zu glyphs", path, glyphs);
    if (4 + (size_t)u16(f->cmap.data + 2) * 8 > f->cmap.size)
        return fail(e, ERR_FORMAT, "%s: the font's table 'cmap' is shorter than its list", path);

    if (f->glyf.data == NULL)
        return require_table(f, bytes, size, "CFF ", 4, &f->cff, e);
    TRY(require_table(f, bytes, size, "loca", 4, &f->loca, e));
    if ((glyphs + 1) * (f->long_offsets ? 4 : 2) > f->loca.size)
        return fail(e, ERR_FORMAT, "%s: the font's table 'loca' is shorter than its %zu glyphs", path, glyphs);
    return OK;
}

/* Format 4: arrays of segments (last code, first code, delta, offset into a glyph array), found by a binary search
 * whose three constants stand in the file and are believed by stb_truetype. */
static bool is_segment_map(const uint8_t *map, size_t size)
{
    if (size < 16)
        return false;
    const size_t segments = u16(map + 6) / 2;
    size_t power = 1, log2 = 0;
    for (; power * 2 <= segments; power *= 2)
        log2++;
    if (segments == 0 || 16 + segments * 8 > size || u16(map + 8) / 2 != power || u16(map + 10) != log2 ||
        u16(map + 12) / 2 != segments - power)
        return false;
    const uint8_t *last = map + 14, *first = last + segments * 2 + 2, *offset = first + segments * 4;
    for (size_t i = 0; i < segments; i++) {
        const size_t from = u16(first + i * 2), to = u16(last + i * 2), skip = u16(offset + i * 2);
        const size_t here = (size_t)(offset + i * 2 - map);
        if (skip != 0 && to >= from && here + skip + (to - from) * 2 + 2 > size)
            return false;
    }
    return true;
}

status font_check_map(const struct font_tables *tables, size_t offset, struct error *e)
{
    const struct font_table *cmap = &tables->cmap;
    bool good = false;
    if (offset <= cmap->size && cmap->size - offset >= 6) {
        const uint8_t *map = cmap->data + offset;
        const size_t size = cmap->size - offset;
        switch (u16(map)) {
        case 0: /* one byte per code */
            good = u16(map + 2) >= 6 && u16(map + 2) <= size;
            break;
        case 4:
            good = is_segment_map(map, size);
            break;
        case 6: /* one run of codes */
            good = size >= 10 && 10 + (size_t)u16(map + 8) * 2 <= size;
            break;
        case 12: /* groups of codes, 32-bit */
        case 13:
            good = size >= 16 && u32(map + 12) <= (size - 16) / 12;
            break;
        default: /* formats stb_truetype does not know */
            break;
        }
    }
    if (!good)
        return fail(e, ERR_FORMAT, "%s: the font's character map is damaged or of an unknown kind", tables->path);
    return OK;
}

/* The bytes of a glyph's outline, empty for a space; false if they do not lie in the table. */
static bool outline(const struct font_tables *f, int glyph, struct font_table *out)
{
    *out = (struct font_table){0};
    if (glyph < 0 || glyph >= f->glyphs)
        return false;
    const uint8_t *entry = f->loca.data + (size_t)glyph * (f->long_offsets ? 4 : 2);
    const size_t begin = f->long_offsets ? u32(entry) : u16(entry) * 2u;
    const size_t end = f->long_offsets ? u32(entry + 4) : u16(entry + 2) * 2u;
    if (begin > end || end > f->glyf.size || (begin < end && end - begin < 10))
        return false;
    *out = (struct font_table){f->glyf.data + begin, end - begin};
    return true;
}

/* contours 2, box 8, last point of each contour 2, instructions 2 + n, then flags (a bit says that a repeat count
 * follows), then x and y, each 0, 1 or 2 bytes as the flags say. */
static bool is_simple_outline(const struct font_table *glyph, size_t contours)
{
    if (10 + contours * 2 + 2 > glyph->size)
        return false;
    const uint8_t *ends = glyph->data + 10;
    size_t before = 0, points = 0; /* points up to the contour before, and up to this one */
    for (size_t i = 0; i < contours; i++) {
        before = points;
        points = u16(ends + i * 2) + 1u;
        if (points <= before)
            return false;
    }
    size_t at = 10 + contours * 2 + 2 + u16(ends + contours * 2), coordinates = 0;
    uint8_t flags = 0;
    for (size_t i = 0; i < points;) {
        if (at >= glyph->size)
            return false;
        flags = glyph->data[at++];
        size_t repeats = 1;
        if (flags & 8) {
            if (at >= glyph->size)
                return false;
            repeats += glyph->data[at++];
        }
        const size_t x = flags & 2 ? 1 : flags & 16 ? 0 : 2, y = flags & 4 ? 1 : flags & 32 ? 0 : 2;
        repeats = repeats < points - i ? repeats : points - i;
        coordinates += repeats * (x + y);
        i += repeats;
    }
    /* stb_truetype looks one point ahead from a contour that starts off the curve, also where there is none */
    const bool looks_beyond = points - before == 1 && (flags & 1) == 0;
    return !looks_beyond && at <= glyph->size && coordinates <= glyph->size - at;
}

static bool is_outline(const struct font_tables *f, int glyph, int depth, int *components);

/* After the box: flags 2, glyph 2, arguments 2 or 4, scale 0, 2, 4 or 8; a flag says whether another follows. Where
 * the arguments are points to match, not offsets, stb_truetype skips none; nor does this, to see what it will see. */
static bool is_compound_outline(const struct font_tables *f, const struct font_table *glyph, int depth,
                                int *components)
{
    if (depth >= COMPONENT_DEPTH)
        return false;
    size_t at = 10;
    uint16_t flags;
    do {
        if (glyph->size - at < 4 || ++*components > COMPONENT_MOST)
            return false;
        flags = u16(glyph->data + at);
        const int component = u16(glyph->data + at + 2);
        at += 4 + (flags & 2 ? (flags & 1 ? 4 : 2) : 0);
        at += flags & 0x08 ? 2 : flags & 0x40 ? 4 : flags & 0x80 ? 8 : 0;
        if (at > glyph->size || !is_outline(f, component, depth + 1, components))
            return false;
    } while (flags & 0x20);
    return true;
}

static bool is_outline(const struct font_tables *f, int glyph, int depth, int *components)
{
    struct font_table bytes;
    if (!outline(f, glyph, &bytes))
        return false;
    if (bytes.size == 0)
        return true;
    const int contours = i16(bytes.data);
    if (contours < 0)
        return is_compound_outline(f, &bytes, depth, components);
    return contours == 0 || is_simple_outline(&bytes, (size_t)contours);
}

bool font_check_outline(const struct font_tables *tables, int glyph)
{
    int components = 0;
    return is_outline(tables, glyph, 0, &components);
}
