/* Kerning: by how much a glyph stands nearer to the one before it (A V). */
#ifndef STORYDIFF_FONT_KERN_H
#define STORYDIFF_FONT_KERN_H

#include "storydiff/page/font_check.h"

/* In font units, mostly negative; 0 where the font says nothing about the pair. From GPOS if that has a feature 'kern',
 * else from the table kern, as HarfBuzz does. Reads nothing outside of the two tables, whatever is in them. */
int font_kerning(const struct font_tables *tables, int left, int right);

#endif
