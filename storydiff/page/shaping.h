/* What is not done for a script, to be said. Letters stand one after the other, in the order in which they are read
 * (bidi.h), Arabic ones joined (arabic.h). A font's own programs (its table GSUB), which move vowels before consonants
 * and merge letters in the scripts of India and South East Asia, are not run. */
#ifndef STORYDIFF_SHAPING_H
#define STORYDIFF_SHAPING_H

#include <stdint.h>

#include "storydiff/page/font.h"

/* The script of a code point that this font cannot show as its readers expect, or NULL: scripts that need more than the
 * above, and Arabic where the font has the letters, but not their joined shapes. */
const char *shaping_missing(const struct font *font, uint32_t code);

#endif
