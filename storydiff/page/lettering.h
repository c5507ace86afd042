/* Lettering: a caption broken into lines and drawn.
 *
 * Lines are broken greedily, as many words as fit; then the width is narrowed as far as the number of lines allows,
 * so that a caption has no single last word (the block is balanced). A line may end at a space, after a hyphen or
 * dash between letters, at a soft hyphen (U+00AD), which is then drawn, and between Chinese and Japanese characters
 * except where their typography forbids it (no line begins with 。 or ends with 「). A word wider than the line is
 * broken between letters, in the alphabets of Europe with a hyphen. '\n' ends a line.
 *
 * Letters stand in the order of the page: Hebrew and Arabic from right to left (bidi.h), Arabic ones joined (arabic.h).
 * A caption whose first letter is of those is set to the right. */
#ifndef STORYDIFF_LETTERING_H
#define STORYDIFF_LETTERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storydiff/page/font.h"
#include "storydiff/picture/image.h"
#include "tensor/status.h"

/* A glyph of a line, in the order of reading. */
struct lettering_glyph {
    int glyph;
    uint32_t code;
    uint8_t level;      /* of bidi.h */
    size_t end;         /* of its letter in the line's text, in bytes */
    int64_t x, advance; /* the pen from the line's left end; how far it moves: in 1/64 pixel */
};

/* A line is a piece of the caller's text; between two lines only spaces and the line break are left out. */
struct lettering_line {
    const char *text;
    size_t length;
    int width;   /* pixels, rounded up */
    bool hyphen; /* one is drawn behind the text */
    struct lettering_glyph *glyphs;
    int glyph_count;
};

struct lettering {
    struct lettering_line *lines;
    int count;
    int size;           /* pixels per em */
    int width, height;  /* of the block */
    bool right_to_left; /* its lines are set to the right unless they are centred */
    int harsh;          /* breaks within words that no hyphen shows */
    bool cut;           /* lettering_cut left something out: the last line ends in "..." */
    int dropped;        /* lines that were cut off */
};

enum lettering_align { LETTERING_LEFT, LETTERING_CENTER };

/* Breaks `text`, which must outlive the result, into lines of at most `width` pixels (a single letter may be wider).
 * Nothing, or only spaces, has no lines and height 0. The caller frees it with lettering_free. */
status lettering_set(const struct font *font, const char *text, int size, int width, struct lettering *lettering,
                     struct error *e);
void lettering_free(struct lettering *lettering); /* fine on a zeroed struct, and twice */

/* Keeps the lines that fit into `height` pixels, at least one; if some do not, the last kept one is
 * shortened to end in "..." within `width`. */
status lettering_cut(const struct font *font, struct lettering *lettering, int width, int height, struct error *e);

/* Where a line of the block begins when it is drawn: its left edge and its baseline, in pixels. */
void lettering_place(const struct font *font, const struct lettering *lettering, int line, struct rect box,
                     enum lettering_align align, int *x, int *baseline);

/* Draws the block vertically centred in `box`. Letters outside the image are clipped. */
status lettering_draw(const struct font *font, const struct lettering *lettering, struct image *image,
                      struct rect box, enum lettering_align align, struct color color, struct error *e);

#endif
