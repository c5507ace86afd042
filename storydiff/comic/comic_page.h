/* The part of a comic's plan that is about pages: fonts, captions, title. Both note what a reader would miss. */
#ifndef STORYDIFF_COMIC_PAGE_H
#define STORYDIFF_COMIC_PAGE_H

#include "storydiff/comic/comic.h"

/* c->font and c->captions: the fonts that were named, else the default one, and what is installed for the letters they
 * lack. Notes every script that no font has, and every one that is drawn less well than its readers expect. */
status comic_open_font(struct comic *c, struct error *e);

/* c->pages. Notes captions that are cut, and words that are broken without a hyphen. */
status comic_lay_out(struct comic *c, struct error *e);

#endif
