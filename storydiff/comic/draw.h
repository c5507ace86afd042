/* Drawing a comic into its folder: a state saved after every step, pictures, pages. What appears where is in
 * output.h. */
#ifndef STORYDIFF_DRAW_H
#define STORYDIFF_DRAW_H

#include "storydiff/comic/comic.h"
#include "storydiff/comic/drawing.h"

struct draw_result {
    int panels, pages;     /* written */
};

/* The preview is one sheet of all panels, row by row, so many of them in a row: as nearly square as may be. */
int draw_preview_columns(int panels);

/* Draws. output_open must have agreed. ctx: threads, profile, observer. */
status draw_comic(const struct comic *c, const struct comic_request *request, const struct context *ctx,
                  const struct draw_watch *watch, struct draw_result *result, struct error *e);

/* Lays out the pages again, from the panels that lie in the folder and with the captions that the story has now.
 * output_open has compared their recipes. A panel that is not there is a failure that says which. */
status draw_pages_only(const struct comic *c, const struct draw_watch *watch, struct draw_result *result,
                       struct error *e);

#endif
