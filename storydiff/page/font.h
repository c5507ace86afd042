/* A font: outlines from TrueType or OpenType files, drawn antialiased by stb_truetype. What the first file has no glyph
 * for is looked for in the next ones.
 *
 *   em        the square a font is designed in; a text of `size` is drawn with the em scaled to `size` pixels
 *   glyph     a picture in the font; the cmap table says which glyph shows which Unicode code point; glyph 0 is
 *             "missing"
 *   advance   how far the pen moves after a glyph; kerning corrects it for particular pairs (A V)
 *   baseline  the line letters stand on; ascent above and descent below it make a line's height
 *
 * Positions are integers in 1/64 pixel, glyphs are drawn at quarter pixels, so a text is the same everywhere.
 * One glyph per code point: there is no shaping by the tables of a font. What that leaves to be desired, and which
 * scripts it is, says shaping.h. */
#ifndef STORYDIFF_FONT_H
#define STORYDIFF_FONT_H

#include <stdbool.h>
#include <stdint.h>

#include "storydiff/picture/image.h"
#include "tensor/status.h"

struct font;

enum {
    FONT_UNITS = 64, /* per pixel */
    FONT_FACES_MOST = 32,
};

/* Opens a .ttf, .otf, or the first font of a .ttc. A NULL path takes the first that exists of a list that begins with
 * Debian's DejaVuSans.ttf. The caller closes it. The file is checked before stb_truetype, which trusts its input, may
 * see it: see font_check.h for what is checked and what stays trusted. */
status font_open(const char *path, struct font **font, struct error *e);
void font_close(struct font *font); /* NULL is fine */

/* One more file, for what the others have no glyph for. Refuses more than FONT_FACES_MOST. */
status font_add(struct font *font, const char *path, struct error *e);

/* Adds the installed fonts that have what is missing for these texts, one for each script: of those with most of the
 * letters one that is upright, of normal weight and sans serif if there is one, the first by its path. Looks into the
 * folders of fontconfig, /usr/share/fonts, /usr/local/share/fonts, ~/.local/share/fonts (or $XDG_DATA_HOME/fonts) and
 * ~/.fonts, only if something is missing; files that cannot be read are passed over. Fails only for memory. */
status font_add_installed(struct font *font, const char *const *texts, int count, struct error *e);

/* The files, and the path of each. */
int font_count(const struct font *font);
const char *font_path(const struct font *font, int i);

/* CRC-32 of the files: other letters have another one. */
uint32_t font_checksum(const struct font *font);

/* In whole pixels at this size (rounded up), the most of all files: above the baseline, and from one baseline to the
 * next. */
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

/* Where the script of a code point that no font has can be had on Debian. */
struct font_hint {
    uint32_t first, last; /* the Unicode block, or several that follow each other */
    const char *script, *package, *file;
};
const struct font_hint *font_hint(uint32_t code); /* never NULL: the last resort is a font with most symbols */

#endif
