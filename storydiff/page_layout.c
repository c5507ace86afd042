/* The geometry of a page.
 *
 * A page is a pile of blocks, each as wide as the page's content C. With every panel of shape W x H (r = H / W) and a
 * gutter g, the outer widths in a block follow from C alone:
 *
 *   row of k          k equal panels: each (C - (k - 1) g) / k
 *   feature           one large panel L beside two small ones S, stacked:
 *                         L + g + S = C                         widths
 *                         h(L) = 2 h(S) + g                     heights, h(w) = (w - 2 b) r + 2 b, border b
 *                     so  S = (C - g + 2 b) / 3 - (2 b + g) / (3 r)
 *
 * Rounding to whole pixels stretches a picture by less than one of them. */
#include "storydiff/page.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum block { ROW_OF_1, ROW_OF_2, ROW_OF_3, LARGE_LEFT, LARGE_RIGHT };

static const int block_panels[] = {[ROW_OF_1] = 1, [ROW_OF_2] = 2, [ROW_OF_3] = 3, [LARGE_LEFT] = 3, [LARGE_RIGHT] = 3};

enum {
    PANEL_MIN = 16,
    PANEL_MAX = 8192,
    ASPECT_MAX = 8,
    SHORT_SIDE = 384, /* what a panel is enlarged to at least */
    TEXT_MIN = 14,
    FOUR = 4,
};

/* Measures that all pages of one attempt share, in pixels. */
struct metrics {
    int border, gutter, margin;
    int content; /* C */
    int text_size, padding;
};

/* An attempt at a layout with letters of one size. */
struct layout {
    const struct page_story *story;
    struct page_plan *plan;
    struct metrics m;
    int64_t y;      /* where the next block of this page begins */
    int64_t next;   /* the next panel to place */
    bool crowded;   /* some caption takes more of its picture than it should */
};

static int short_side(const struct page_story *s)
{
    const int side = s->width < s->height ? s->width : s->height;
    return side >= SHORT_SIDE ? side : (SHORT_SIDE + side - 1) / side * side;
}

static int at_least(int value, int least)
{
    return value > least ? value : least;
}

static struct metrics metrics_for(const struct page_story *s, int text_size)
{
    const int side = short_side(s), factor = side / (s->width < s->height ? s->width : s->height);
    struct metrics m = {
        .border = at_least(side / 160, 2),
        .gutter = side / 24,
        .text_size = text_size,
        .padding = text_size / 2,
    };
    m.margin = m.gutter * 3 / 2;
    const int panel = s->width * factor + 2 * m.border;
    m.content = s->count == 1 ? panel : 2 * panel + m.gutter;
    return m;
}

static int picture_height(const struct layout *l, int frame_width)
{
    const int64_t width = frame_width - 2 * l->m.border;
    return (int)at_least((int)((width * l->story->height + l->story->width / 2) / l->story->width), 1);
}

static const char *caption_of(const struct page_story *s, int64_t panel)
{
    const char *caption = s->captions[panel];
    return caption != NULL ? caption : "";
}

/* Shares of a picture's height that a caption may take: willingly, and at the smallest size before it is cut. */
static int willing_height(const struct layout *l, int picture_height)
{
    return l->story->kind == PAGE_FOUR ? picture_height / 4 : picture_height * 3 / 10;
}

static int most_height(const struct layout *l, int picture_height)
{
    return l->story->kind == PAGE_FOUR ? picture_height : picture_height / 2;
}

/* Places one panel's frame and picture, and breaks its caption into lines for that width. */
static status place_panel(struct layout *l, int64_t x, int64_t y, int width, int picture, struct error *e)
{
    const int b = l->m.border, pad = l->m.padding;
    struct page_panel *p = &l->plan->panels[l->next];
    p->page = l->plan->page_count - 1;
    p->frame = (struct rect){(int)x, (int)y, width, picture + 2 * b};
    p->picture = (struct rect){(int)x + b, (int)y + b, width - 2 * b, picture};

    const char *caption = caption_of(l->story, l->next++);
    if (*caption == '\0')
        return OK;
    const int room = p->picture.width - 2 * pad;
    TRY(lettering_set(l->story->font, caption, l->m.text_size, room, &p->lettering, e));
    if (p->lettering.height > willing_height(l, picture))
        l->crowded = true;
    lettering_cut(l->story->font, &p->lettering, room, most_height(l, picture) - 2 * pad);
    return OK;
}

/* four: panels first .. next - 1 get bands of one height under their pictures, if any of them has a caption.
 * Returns that height with its border. */
static int place_bands(struct layout *l, int64_t first)
{
    int most = 0;
    for (int64_t i = first; i < l->next; i++)
        most = at_least(l->plan->panels[i].lettering.height, most);
    if (most == 0)
        return 0;
    const int band = most + 2 * l->m.padding, b = l->m.border;
    for (int64_t i = first; i < l->next; i++) {
        struct page_panel *p = &l->plan->panels[i];
        p->caption = (struct rect){p->picture.x, p->picture.y + p->picture.height + b, p->picture.width, band};
        p->frame.height += band + b;
    }
    return band + b;
}

/* classic: a box around the letters in the picture's top left corner; one that is nearly as wide becomes a strip. */
static void place_box(const struct layout *l, struct page_panel *p)
{
    const struct lettering *t = &p->lettering;
    if (t->count == 0)
        return;
    int width = t->width + 2 * l->m.padding;
    if (width + l->m.gutter > p->picture.width)
        width = p->picture.width;
    p->caption = (struct rect){p->picture.x, p->picture.y, width, t->height + l->m.padding};
}

static void place_captions(struct layout *l, int64_t first, int *height)
{
    if (l->story->kind == PAGE_FOUR)
        *height += place_bands(l, first);
    else
        for (int64_t i = first; i < l->next; i++)
            place_box(l, &l->plan->panels[i]);
}

static status place_row(struct layout *l, int columns, struct error *e)
{
    const int64_t first = l->next;
    const int panels = l->m.content - (columns - 1) * l->m.gutter; /* shared out, the rest to the first ones */
    const int picture = picture_height(l, panels / columns);
    int64_t x = l->m.margin;
    for (int i = 0; i < columns; i++) {
        const int width = panels / columns + (i < panels % columns);
        TRY(place_panel(l, x, l->y, width, picture, e));
        x += width + l->m.gutter;
    }
    int height = picture + 2 * l->m.border;
    place_captions(l, first, &height);
    l->y += height;
    return OK;
}

static status place_feature(struct layout *l, enum block side, struct error *e)
{
    const int64_t first = l->next, w = l->story->width, h = l->story->height;
    const int b = l->m.border, g = l->m.gutter;
    const int small = (int)(((l->m.content - g + 2 * b) * h - (2 * b + g) * w) / (3 * h));
    const int large = l->m.content - g - small;
    int height = picture_height(l, large) + 2 * b;
    const int upper = (height - g) / 2, lower = height - g - upper;

    const int64_t large_x = l->m.margin + (side == LARGE_LEFT ? 0 : small + g);
    const int64_t small_x = l->m.margin + (side == LARGE_LEFT ? large + g : 0);
    if (side == LARGE_LEFT)
        TRY(place_panel(l, large_x, l->y, large, height - 2 * b, e));
    TRY(place_panel(l, small_x, l->y, small, upper - 2 * b, e));
    if (side == LARGE_RIGHT)
        TRY(place_panel(l, large_x, l->y, large, height - 2 * b, e));
    TRY(place_panel(l, small_x, l->y + upper + g, small, lower - 2 * b, e));
    place_captions(l, first, &height);
    l->y += height;
    return OK;
}

static status begin_page(struct layout *l)
{
    l->plan->page_count++;
    l->y = l->m.margin;
    return OK;
}

static status end_page(struct layout *l, struct error *e)
{
    const int64_t width = l->m.content + 2 * l->m.margin, height = l->y + l->m.margin;
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || width * height > IMAGE_MAX_PIXELS)
        return fail(e, ERR_ARGUMENT, "a page of %" PRId64 " x %" PRId64 " pixels is too large: %s", width, height,
                    l->story->kind == PAGE_CLASSIC ? "choose the layout four, which starts new pages, or smaller panels"
                                                   : "make the panels smaller");
    l->plan->pages[l->plan->page_count - 1] = (struct page_size){(int)width, (int)height};
    return OK;
}
