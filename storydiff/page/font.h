/* A font: outlines from a TrueType or OpenType file, drawn antialiased by stb_truetype.
 *
 *   em        the square a font is designed in; a text of `size` is drawn with the em scaled to `size` pixels
 *   glyph     a picture in the font; the cmap table says which glyph shows which Unicode code point; glyph 0 is
 *             "missing"
 *   advance   how far the pen moves after a glyph; kerning corrects it for particular pairs (A V)
 *   baseline  the line letters stand on; ascent above and descent below it make a line's height
 *
 * Positions are integers in 1/64 pixel, glyphs are drawn at quarter pixels, so a text is the same everywhere.
 * One glyph per code point: there is no shaping. Right-to-left scripts, joined scripts (Arabic) and scripts that
 * reorder (Devanagari) come out as separate letters, left to right; Latin, Greek, Cyrillic, CJK are right. */
#ifndef STORYDIFF_FONT_H
#define STORYDIFF_FONT_H

#include <stdbool.h>
#include <stdint.h>

#include "storydiff/picture/image.h"
#include "tensor/status.h"

struct font;

enum { FONT_UNITS = 64 }; /* per pixel */

/* Opens a .ttf, .otf, or the first font of a .ttc. A NULL path takes the first that exists of a list that begins with
 * Debian's DejaVuSans.ttf. The caller closes it. The file is checked before stb_truetype, which trusts its input, may
 * see it: see font_check.h for what is checked and what stays trusted. */
status font_open(const char *path, struct font **font, struct error *e);
void font_close(struct font *font); /* NULL is fine */

/* CRC-32 of the file: other letters have another one. */
uint32_t font_checksum(const struct font *font);

/* In whole pixels at this size (rounded up): above the baseline, and from one baseline to the next. */
int font_ascent(const struct font *font, int size);
int font_line_height(const struct font *font, int size);

/* The glyph of a code point, 0 if the font has none. Line breaks and other controls, joiners, variation selectors and
 * the like have nothing to show: see font_is_invisible. */
int font_glyph(const struct font *font, uint32_t code);
bool font_is_invisible(uint32_t code);

/* In 1/64 pixel: the advance of `glyph`, kerned for the glyph after it; `next` is 0 at the end. */
int64_t font_advance(const struct font *font, int glyph, int next, int size);

/* Draws one glyph with its origin at x (1/64 pixel) on the baseline y (whole pixels). A glyph with a damaged outline
 * is left out. Fails only for memory. */
status font_draw(const struct font *font, int glyph, int size, struct image *image, int64_t x, int y,
                 struct color color, struct error *e);

/* The first code point of a UTF-8 text that the font cannot show, or 0. To ask before an hour of drawing. */
uint32_t font_first_missing(const struct font *font, const char *text);

/* Where such a code point's script can be had on Debian. */
struct font_hint {
    uint32_t first, last; /* the Unicode block, or several that follow each other */
    const char *script, *package, *file;
};
const struct font_hint *font_hint(uint32_t code); /* never NULL: the last resort is a font with most symbols */

#endif
