/* Whether a font file may be shown to stb_truetype, which does no range checking of the offsets it finds.
 *
 * Checked: the table directory; the size of every table stb_truetype reads from; the character map it chose, with
 * every glyph array it points to; before it is drawn, each TrueType outline with its components. It is not asked
 * about kerning (font_kern.h). Trusted, since checking it would be a second font library: the programs that draw the
 * outlines of OpenType/CFF fonts ("OTTO": .otf, Noto CJK), of which only the table's place is checked. So a stray,
 * cut or altered TrueType file is refused or harmless; take .otf fonts from people whom you trust. */
#ifndef STORYDIFF_FONT_CHECK_H
#define STORYDIFF_FONT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

struct font_table {
    const uint8_t *data; /* NULL: the font has none */
    size_t size;
};

struct font_tables {
    const char *path;
    size_t start; /* of the font in the file: not 0 in a collection (.ttc) */
    struct font_table cmap, head, hhea, hmtx, maxp, loca, glyf, cff, kern, gpos;
    int units_per_em; /* 16 to 16384 */
    int glyphs;
    bool long_offsets; /* loca has 32-bit offsets, not 16-bit halves of them */
};

/* Finds and checks the tables of the first font in a file's bytes. */
status font_check(const char *path, const uint8_t *bytes, size_t size, struct font_tables *tables, struct error *e);

/* Checks the character map at `offset` in cmap, the one that stb_truetype will use. */
status font_check_map(const struct font_tables *tables, size_t offset, struct error *e);

/* True if the TrueType outline of a glyph, and of the glyphs it is composed of, can be read within its table. */
bool font_check_outline(const struct font_tables *tables, int glyph);

#endif
