/* What a model was not made for is said before it is drawn: words that it never saw, a panel without anybody or with
 * too many, another size. Only models that list what they know (sdxl/hints.h) have such limits. */
#ifndef STORYDIFF_COMIC_LIMITS_H
#define STORYDIFF_COMIC_LIMITS_H

#include "storydiff/comic/comic.h"

/* Appends a line for each kind of limit that the comic exceeds, naming words and panels. Of words, those of the panels'
 * prompts count before they are styled; articles, pronouns, prepositions and the like do not. */
void comic_note_limits(const struct comic *c, struct text *notes);

#endif
