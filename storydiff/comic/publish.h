/* Pictures into files: panels and pages as PNG with their texts inside, all pages as one PDF and one CBZ. */
#ifndef STORYDIFF_PUBLISH_H
#define STORYDIFF_PUBLISH_H

#include "storydiff/comic/draw.h"

/* A panel's PNG. */
status publish_panel(const struct comic *c, int panel, const struct image *image,
                     const struct draw_watch *watch, struct error *e);

/* Lays out and writes the pages in every wanted format. panels: [panel_count]. Counts in `result`. */
status publish_pages(const struct comic *c, const struct image *panels,
                     const struct draw_watch *watch, struct draw_result *result, struct error *e);

#endif
