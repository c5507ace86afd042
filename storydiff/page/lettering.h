/* Lettering: a caption broken into lines and drawn.
 *
 * Lines are broken greedily, as many words as fit; then the width is narrowed as far as the number of lines allows,
 * so that a caption has no single last word (the block is balanced). A line may end at a space, after a hyphen or
 * dash between letters, and between Chinese and Japanese characters except where their typography forbids it (no line
 * begins with 。 or ends with 「). A word wider than the line is broken between letters. '\n' ends a line. */
#ifndef STORYDIFF_LETTERING_H
#define STORYDIFF_LETTERING_H

#include <stdbool.h>
#include <stddef.h>

#include "storydiff/page/font.h"
#include "storydiff/picture/image.h"
#include "tensor/status.h"

/* A line is a piece of the caller's text; between two lines only spaces and the line break are left out. */
struct lettering_line {
    const char *text;
    size_t length;
    int width; /* pixels, rounded up */
};

struct lettering {
    struct lettering_line *lines;
    int count;
    int size;          /* pixels per em */
    int width, height; /* of the block */
    bool cut;          /* lettering_cut left something out: the last line ends in "..." */
};

enum lettering_align { LETTERING_LEFT, LETTERING_CENTER };

/* Breaks `text`, which must outlive the result, into lines of at most `width` pixels (a single letter may be wider).
 * Nothing, or only spaces, has no lines and height 0. The caller frees it with lettering_free. */
status lettering_set(const struct font *font, const char *text, int size, int width, struct lettering *lettering,
                     struct error *e);
void lettering_free(struct lettering *lettering); /* fine on a zeroed struct, and twice */

/* Keeps the lines that fit into `height` pixels, at least one; if some do not, the last kept one is
 * shortened to end in "..." within `width`. */
void lettering_cut(const struct font *font, struct lettering *lettering, int width, int height);

/* Where a line of the block begins when it is drawn: its left edge and its baseline, in pixels. */
void lettering_place(const struct font *font, const struct lettering *lettering, int line, struct rect box,
                     enum lettering_align align, int *x, int *baseline);

/* Draws the block vertically centred in `box`. Letters outside the image are clipped. */
status lettering_draw(const struct font *font, const struct lettering *lettering, struct image *image,
                      struct rect box, enum lettering_align align, struct color color, struct error *e);

#endif
