/* How alike does a character look in its panels? A figure from the finished pictures alone, without any model.
 *
 *   palette    the colours of whoever is in a panel, as a histogram    F = max(0, M - E), scaled to sum 1
 *                M: of the middle three quarters of the columns, E: of an eighth at the left and right edge; sum 1
 *   agreement  of two panels                                           sum over colours of min(F1, F2)
 *   figure     the mean agreement of pairs of panels that show the same character: 0 .. 1
 *
 * Nobody says which pixels are the character's. But it stands between the edges, and what is behind it goes on to
 * the edges, row by row: sky above, ground below. So a colour is the character's as far as the middle has more of it
 * than the edges. A background that changes from row to row only drops out exactly, whatever its colours; what stays
 * in are things beside the character that do not reach the edges, and what is lost are colours it shares with the
 * background.
 *
 * Histogram and intersection are those of Swain & Ballard ("Color Indexing", IJCV 1991), who recognize objects by
 * them from any side: positions do not matter. Theirs are the axes, too, rg = r - g, by = 2b - r - g and wb = r + g +
 * b, and the fewer bins of the last one, since light differs from panel to panel. Ours is the soft binning: a pixel
 * is shared among the eight bins around its colour, so a slightly other shade is a slightly other palette. And a
 * panel of k characters holds the colours of all: its agreement with a panel of one of them is the sum of min(k F,
 * F1), which is 1 if that one's colours have a k-th of the palette.
 *
 * The surprise: the figure means nothing by itself. Styles have colours of their own, and a black suit is easier to
 * keep than a patchwork. It means something beside the same figure for the same story drawn with CSA off, from the
 * same noise, and beside that of panels of different characters. In line art or black and white there is little to
 * compare. */
#ifndef STORYDIFF_CONSISTENCY_H
#define STORYDIFF_CONSISTENCY_H

#include "storydiff/comic/comic.h"
#include "storydiff/comic/drawing.h"
#include "storydiff/picture/image.h"

enum { PALETTE_RG = 16, PALETTE_BY = 16, PALETTE_WB = 8, PALETTE_BINS = PALETTE_RG * PALETTE_BY * PALETTE_WB };

struct palette {
    double share[PALETTE_BINS]; /* sums to 1 */
};

/* Of a picture in which nothing stands out (less than a thousandth of its middle), the palette of its whole middle.
 * A picture narrower than 8 pixels has no edges. */
struct palette palette_of(const struct image *image);

/* 0 .. 1; symmetric where k is 1. k: how many characters `panel` shows, `one` among them. */
double palette_agreement(const struct palette *one, const struct palette *panel, int k);

/* Which pairs a mean is over. */
enum consistency_row {
    CONSISTENCY_ID_PANELS,    /* id panels of one character among themselves: the write pass */
    CONSISTENCY_STORY_PANELS, /* later panels with the id panels of each of their characters: the read pass */
    CONSISTENCY_ALL,          /* both */
    CONSISTENCY_DIFFERENT,    /* id panels of different characters: what style and model alone make alike */
    CONSISTENCY_ROWS,
};

struct consistency {
    struct consistency_mean {
        int pairs;
        double mean; /* 0 without pairs */
    } rows[CONSISTENCY_ROWS];
};

/* palettes: one per panel of the story; those of panels without a character are not looked at. NULL: the pairs are
 * counted, means are 0. */
struct consistency consistency_of(const struct story_plan *plan, const struct palette *palettes);

/* The palettes of the story's panels: of the pictures in the output folder, which must all be there; or of the same
 * story drawn once more with CSA off, from the same noise, of which no file is left. ctx and watch are as for
 * draw_comic. palettes: [panel_count]. */
status consistency_of_results(const struct comic *c, struct palette *palettes, struct error *e);
status consistency_without_csa(const struct comic *c, const struct comic_request *drawn, const struct context *ctx,
                               const struct draw_watch *watch, struct palette *palettes, struct error *e);

/* Appends a table: a row for each kind of pairs that there are, a column for the story as drawn and, if not NULL, one
 * for it without CSA. csa: the name of the first column. */
void consistency_append(struct text *out, const char *csa, const struct consistency *drawn,
                        const struct consistency *without);

#endif
