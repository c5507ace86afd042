#include "storydiff/page/font.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <stb/stb_truetype.h>

#include "storydiff/page/font_check.h"
#include "storydiff/page/font_kern.h"
#include "tensor/utf8.h"
#include "tensor/file.h"

struct font {
    char path[4096];
    struct file_map map;
    struct font_tables tables;
    stbtt_fontinfo info;
    int ascent, line; /* font units */
};

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
static void read_line_metrics(struct font *font)
{
    int ascent, descent, gap;
    stbtt_GetFontVMetrics(&font->info, &ascent, &descent, &gap);
    const int em = font->tables.units_per_em, line = ascent - descent + gap;
    font->ascent = ascent < em / 2 ? em / 2 : ascent > 2 * em ? 2 * em : ascent;
    font->line = line < em ? em : line > 4 * em ? 4 * em : line;
}

static status open_checked(struct font *font, struct error *e)
{
    TRY(file_map(font->path, &font->map, e));
    struct font_tables *tables = &font->tables;
    TRY(font_check(font->path, font->map.data, font->map.size, tables, e));
    if (!stbtt_InitFont(&font->info, font->map.data, (int)tables->start))
        return fail(e, ERR_FORMAT, "%s: the font has no Unicode character map or no outlines", font->path);
    const uint32_t cmap = (uint32_t)(tables->cmap.data - font->map.data);
    TRY(font_check_map(tables, (uint32_t)font->info.index_map - cmap, e));
    read_line_metrics(font);
    return OK;
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
    const size_t length = strlen(path);
    status s = OK;
    if (length >= sizeof f->path) {
        s = fail(e, ERR_ARGUMENT, "the font's path is too long (%zu bytes)", length);
    } else {
        memcpy(f->path, path, length + 1);
        s = open_checked(f, e);
    }
    if (s != OK) {
        font_close(f);
        return s;
    }
    *font = f;
    return OK;
}

void font_close(struct font *font)
{
    if (font == NULL)
        return;
    file_unmap(&font->map);
    free(font);
}

/* ceil(units * size / em) */
static int to_pixels(const struct font *font, int units, int size)
{
    const int em = font->tables.units_per_em;
    return (int)(((int64_t)units * size + em - 1) / em);
}

uint32_t font_checksum(const struct font *font)
{
    return (uint32_t)crc32_z(0, font->map.data, font->map.size);
}

int font_ascent(const struct font *font, int size)
{
    return to_pixels(font, font->ascent, size);
}

int font_line_height(const struct font *font, int size)
{
    return to_pixels(font, font->line, size);
}

int font_glyph(const struct font *font, uint32_t code)
{
    if (code > 0x10FFFF)
        return 0;
    int glyph = stbtt_FindGlyphIndex(&font->info, (int)code);
    return glyph > 0 && glyph < font->tables.glyphs ? glyph : 0;
}

bool font_is_invisible(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xAD || /* controls, soft hyphen */
           (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) || /* joiners, separators */
           (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF || /* word joiner and the like, byte order mark */
           (code >= 0xFE00 && code <= 0xFE0F) || (code >= 0xE0000 && code <= 0xE0FFF); /* variation selectors, tags */
}

int64_t font_advance(const struct font *font, int glyph, int next, int size)
{
    int units;
    stbtt_GetGlyphHMetrics(&font->info, glyph, &units, NULL);
    if (next != 0)
        units += font_kerning(&font->tables, glyph, next);
    if (units < 0)
        return 0;
    const int em = font->tables.units_per_em;
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
    if (font->tables.glyf.data != NULL && !font_check_outline(&font->tables, glyph))
        return OK;
    const int64_t quarters = (x * 4 + FONT_UNITS / 2) / FONT_UNITS;
    const float scale = (float)size / (float)font->tables.units_per_em, shift = (float)(quarters & 3) / 4;

    int left, top, right, bottom;
    stbtt_GetGlyphBitmapBoxSubpixel(&font->info, glyph, scale, scale, shift, 0, &left, &top, &right, &bottom);
    const int64_t width = (int64_t)right - left, height = (int64_t)bottom - top;
    const int64_t most = 8 * (int64_t)size; /* a box that large is damage */
    if (width <= 0 || height <= 0 || width > most || height > most)
        return OK;
    unsigned char *bitmap = stbtt_GetGlyphBitmapSubpixel(&font->info, scale, scale, shift, 0, glyph, NULL, NULL, NULL,
                                                         NULL);
    if (bitmap == NULL)
        return fail(e, ERR_MEMORY, "no memory to draw a letter");
    blend_bitmap(image, (int)(quarters >> 2) + left, y + top, bitmap, (int)width, (int)height, color);
    stbtt_FreeBitmap(bitmap, NULL);
    return OK;
}

uint32_t font_first_missing(const struct font *font, const char *text)
{
    while (*text != '\0') {
        uint32_t code = utf8_next(&text);
        if (!font_is_invisible(code) && font_glyph(font, code) == 0)
            return code;
    }
    return 0;
}
