/* Comic pages: panels, captions and a font in; finished pages out.
 *
 *   four      pages of up to four panels, 2 x 2, each with its caption in a white band below, as the
 *             paper's figures have it. On the last page one panel, or the third of three, stands in the middle of its
 *             row. All keep their size.
 *   classic   one tall page that mixes rows of two and three with a large panel beside two small ones, each
 *             caption in a box in a corner, or at an edge, of its panel: where the picture is emptiest (page_place.c).
 *             A box that would cover more than a third of its picture goes below it, and so do those of its row; a
 *             large panel and its two small ones are then a row of three.
 *
 * All panels of a story have one shape, so blocks of panels can fill the page's width exactly without cropping
 * anything: faces stay whole. Panels whose short side is under 384 pixels are drawn larger by a whole factor, since
 * letters under 14 pixels cannot be read. Sizes follow from that short side s: gutters are s / 24 wide, margins one and
 * a half gutters, borders s / 128. One size of letters serves all captions: from s / 24 down to s / 36, never under
 * 14 pixels, the largest at which every caption is at most a quarter as high as its picture. What is longer even then
 * is cut when it is as high as its picture. A title stands above the first page's panels in letters of s / 14. The same
 * input gives the same bytes. */
#ifndef STORYDIFF_PAGE_H
#define STORYDIFF_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "storydiff/page/font.h"
#include "storydiff/picture/image.h"
#include "storydiff/page/lettering.h"
#include "tensor/status.h"

enum page_kind { PAGE_FOUR, PAGE_CLASSIC, PAGE_KINDS, PAGE_NONE = PAGE_KINDS };
extern const char *const page_kind_names[]; /* "four", "classic", "none", NULL */

/* Where a caption goes in the layout classic. Others have all of them below. */
enum page_place {
    PLACE_TOP_LEFT,
    PLACE_TOP_RIGHT,
    PLACE_TOP,
    PLACE_BOTTOM_LEFT,
    PLACE_BOTTOM_RIGHT,
    PLACE_BOTTOM,
    PLACE_BELOW, /* outside of the picture */
};

/* What is to be laid out. Everything belongs to the caller and outlives the plan. */
struct page_story {
    enum page_kind kind;
    int64_t count;               /* of panels, at least 1 */
    int width, height;           /* of every panel, 16 to 8192, at most 8 : 1 */
    const char *const *captions; /* [count], UTF-8; an entry may be NULL or "": no caption */
    const struct font *font;     /* may be NULL if there are no captions and no title */
    const char *title;           /* UTF-8; may be NULL or "" */
    const enum page_place *places; /* [count]; NULL: top left, as long as nobody has seen the pictures */
};

struct page_panel {
    int page;
    struct rect frame;   /* to the outer edge of the black border */
    struct rect picture; /* within it; the panel is resized to this */
    struct rect caption; /* its area, without its border; width 0 if there is none */
    enum page_place place;
    struct lettering lettering;
};

struct page_size {
    int width, height;
};

struct page_plan {
    struct page_panel *panels; /* [count] */
    struct page_size *pages;   /* [page_count] */
    int64_t count;
    int page_count;
    int border, padding; /* of a frame; between a caption's letters and its edge */
    int text_size;
    struct lettering title; /* no lines if there is none */
    struct rect title_box;  /* on the first page; the title's lines are centred in it */
};

/* Where everything goes; draws nothing, so that a story can be checked before an hour of drawing. A caption or title
 * too long even at the smallest letters is cut (panels[i].lettering.cut). Refuses shapes outside the limits above and
 * pages larger than an image may be. The caller frees the plan. */
status page_layout(const struct page_story *story, struct page_plan *plan, struct error *e);
void page_plan_free(struct page_plan *plan); /* fine on a zeroed struct, and twice */

/* Where a caption's letters are within its white area, and how its lines are set. */
struct rect page_letters(const struct page_plan *plan, const struct page_panel *panel);
enum lettering_align page_alignment(const struct page_story *story);

/* The plan for these pictures: as page_layout's, but in the layout classic every caption where its picture is emptiest.
 * panels: [count], all of the story's size. Has as many pages as the plan without them. The caller frees it. */
status page_layout_for(const struct page_story *story, const struct image *panels, struct page_plan *plan,
                       struct error *e);

/* Draws a plan. panels: [count], all of the story's size. *pages: [plan->page_count] new images, freed by the
 * caller with page_images_free. */
status page_draw(const struct page_story *story, const struct page_plan *plan, const struct image *panels,
                 struct image **pages, struct error *e);
void page_images_free(struct image *pages, int count); /* NULL is fine */

#endif
