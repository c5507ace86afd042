#include "storydiff/page/font.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <stb/stb_truetype.h>

#include "storydiff/page/font_check.h"
#include "storydiff/page/font_kern.h"
#include "tensor/utf8.h"
#include "tensor/file.h"

/* One file. */
struct face {
    char path[4096];
    struct file_map map;
    struct font_tables tables;
    stbtt_fontinfo info;
    int ascent, line; /* font units */
};

struct font {
    struct face *faces[FONT_FACES_MOST];
    int count;
};

/* A glyph of the font: the face in its upper bits, the face's own glyph below. */
enum { FACE_SHIFT = 16 };

/* Debian and Ubuntu, Fedora, Arch. */
static const char *const default_paths[] = {
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf",
};

static const char *default_path(void)
{
    for (size_t i = 0; i < sizeof default_paths / sizeof default_paths[0]; i++)
        if (file_exists(default_paths[i]))
            return default_paths[i];
    return NULL;
}

/* hhea: ascent, descent (negative), gap. A font may lie; a line is held between 1 and 4 em. */
static void read_line_metrics(struct face *face)
{
    int ascent, descent, gap;
    stbtt_GetFontVMetrics(&face->info, &ascent, &descent, &gap);
    const int em = face->tables.units_per_em, line = ascent - descent + gap;
    face->ascent = ascent < em / 2 ? em / 2 : ascent > 2 * em ? 2 * em : ascent;
    face->line = line < em ? em : line > 4 * em ? 4 * em : line;
}

static status open_checked(struct face *face, struct error *e)
{
    TRY(file_map(face->path, &face->map, e));
    struct font_tables *tables = &face->tables;
    TRY(font_check(face->path, face->map.data, face->map.size, tables, e));
    if (!stbtt_InitFont(&face->info, face->map.data, (int)tables->start))
        return fail(e, ERR_FORMAT, "%s: the font has no Unicode character map or no outlines", face->path);
    const uint32_t cmap = (uint32_t)(tables->cmap.data - face->map.data);
    TRY(font_check_map(tables, (uint32_t)face->info.index_map - cmap, e));
    read_line_metrics(face);
    return OK;
}

static void face_close(struct face *face)
{
    if (face == NULL)
        return;
    file_unmap(&face->map);
    free(face);
}

static status face_open(const char *path, struct face **face, struct error *e)
{
    const size_t length = strlen(path);
    struct face *f = calloc(1, sizeof *f);
    status s = OK;
    *face = NULL;
    if (f == NULL)
        return fail(e, ERR_MEMORY, "no memory for a font");
    if (length >= sizeof f->path) {
        s = fail(e, ERR_ARGUMENT, "the font's path is too long (%zu bytes)", length);
    } else {
        memcpy(f->path, path, length + 1);
        s = open_checked(f, e);
    }
    if (s != OK)
        face_close(f);
    else
        *face = f;
    return s;
}

status font_open(const char *path, struct font **font, struct error *e)
{
    *font = NULL;
    if (path == NULL)
        path = default_path();
    if (path == NULL)
        return fail(e, ERR_IO, "no font for the captions: %s is missing; install fonts-dejavu-core or pass "
                    "`font` FILE.ttf", default_paths[0]);
    struct font *f = calloc(1, sizeof *f);
    if (f == NULL)
        return fail(e, ERR_MEMORY, "no memory for a font");
    status s = font_add(f, path, e);
    if (s != OK) {
        font_close(f);
        return s;
    }
    *font = f;
    return OK;
}

status font_add(struct font *font, const char *path, struct error *e)
{
    if (font->count == FONT_FACES_MOST)
        return fail(e, ERR_ARGUMENT, "%s: more than %d fonts", path, FONT_FACES_MOST);
    TRY(face_open(path, &font->faces[font->count], e));
    font->count++;
    return OK;
}

void font_close(struct font *font)
{
    for (int i = 0; font != NULL && i < font->count; i++)
        face_close(font->faces[i]);
    free(font);
}

int font_count(const struct font *font)
{
    return font->count;
}

const char *font_path(const struct font *font, int i)
{
    return font->faces[i]->path;
}

/* ceil(units * size / em) */
static int to_pixels(const struct face *face, int units, int size)
{
    const int em = face->tables.units_per_em;
    return (int)(((int64_t)units * size + em - 1) / em);
}

uint32_t font_checksum(const struct font *font)
{
    uLong crc = 0;
    for (int i = 0; i < font->count; i++)
        crc = crc32_z(crc, font->faces[i]->map.data, font->faces[i]->map.size);
    return (uint32_t)crc;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

int font_ascent(const struct font *font, int size)
{
    int most = 0;
    for (int i = 0; i < font->count; i++)
        most = larger(most, to_pixels(font->faces[i], font->faces[i]->ascent, size));
    return most;
}

int font_line_height(const struct font *font, int size)
{
    int most = 0;
    for (int i = 0; i < font->count; i++)
        most = larger(most, to_pixels(font->faces[i], font->faces[i]->line, size));
    return most;
}

static int glyph_of(const struct face *face, uint32_t code)
{
    if (code > 0x10FFFF)
        return 0;
    const int glyph = stbtt_FindGlyphIndex(&face->info, (int)code);
    return glyph > 0 && glyph < face->tables.glyphs ? glyph : 0;
}

int font_glyph(const struct font *font, uint32_t code)
{
    for (int i = 0; i < font->count; i++) {
        const int glyph = glyph_of(font->faces[i], code);
        if (glyph != 0)
            return i << FACE_SHIFT | glyph;
    }
    return 0;
}

bool font_is_invisible(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xAD || /* controls, soft hyphen */
           (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) || /* joiners, separators */
           (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF || /* word joiner and the like, byte order mark */
           (code >= 0xFE00 && code <= 0xFE0F) || (code >= 0xE0000 && code <= 0xE0FFF); /* variation selectors, tags */
}

static const struct face *face_of(const struct font *font, int *glyph)
{
    const struct face *face = font->faces[*glyph >> FACE_SHIFT];
    *glyph &= (1 << FACE_SHIFT) - 1;
    return face;
}

int64_t font_advance(const struct font *font, int glyph, int next, int size)
{
    const bool same_face = glyph >> FACE_SHIFT == next >> FACE_SHIFT;
    const struct face *face = face_of(font, &glyph);
    int units;
    stbtt_GetGlyphHMetrics(&face->info, glyph, &units, NULL);
    if (next != 0 && same_face)
        units += font_kerning(&face->tables, glyph, next & ((1 << FACE_SHIFT) - 1));
    if (units < 0)
        return 0;
    const int em = face->tables.units_per_em;
    return ((int64_t)units * size * FONT_UNITS + em / 2) / em;
}

static void blend_bitmap(struct image *image, int x, int y, const unsigned char *bitmap, int width, int height,
                         struct color color)
{
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            image_blend(image, x + column, y + row, color, bitmap[(size_t)row * (size_t)width + (size_t)column]);
}

status font_draw(const struct font *font, int glyph, int size, struct image *image, int64_t x, int y,
                 struct color color, struct error *e)
{
    const struct face *face = face_of(font, &glyph);
    if (face->tables.glyf.data != NULL && !font_check_outline(&face->tables, glyph))
        return OK;
    const int64_t quarters = (x * 4 + FONT_UNITS / 2) / FONT_UNITS;
    const float scale = (float)size / (float)face->tables.units_per_em, shift = (float)(quarters & 3) / 4;

    int left, top, right, bottom;
    stbtt_GetGlyphBitmapBoxSubpixel(&face->info, glyph, scale, scale, shift, 0, &left, &top, &right, &bottom);
    const int64_t width = (int64_t)right - left, height = (int64_t)bottom - top;
    const int64_t most = 8 * (int64_t)size; /* a box that large is damage */
    if (width <= 0 || height <= 0 || width > most || height > most)
        return OK;
    unsigned char *bitmap = stbtt_GetGlyphBitmapSubpixel(&face->info, scale, scale, shift, 0, glyph, NULL, NULL, NULL,
                                                         NULL);
    if (bitmap == NULL)
        return fail(e, ERR_MEMORY, "no memory to draw a letter");
    blend_bitmap(image, (int)(quarters >> 2) + left, y + top, bitmap, (int)width, (int)height, color);
    stbtt_FreeBitmap(bitmap, NULL);
    return OK;
}
