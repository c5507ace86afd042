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
#include "storydiff/page/page.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum block { END, ROW_OF_1 = 1, ROW_OF_2, ROW_OF_3, FEATURE, HALF_ROW /* one of the size of two, in the middle */ };

/* classic, by the number of panels: 1 to 4 as in `few`. From 5 on: what `opening` has for count modulo 5; then
 * ROW_OF_2, FEATURE, five panels together, as often as they fit; then what `closing` has. The large panel changes
 * sides from one feature to the next, and no panel is as wide as the page, which would fill a whole screen. */
static const enum block few[5][3] = {{END}, {ROW_OF_1}, {ROW_OF_2}, {ROW_OF_1, ROW_OF_2}, {ROW_OF_1, ROW_OF_3}};
static const enum block opening[5][4] = {
    {END}, {FEATURE, FEATURE}, {END}, {FEATURE}, {FEATURE, ROW_OF_3, FEATURE}};
static const enum block closing[5][2] = {{END}, {END}, {ROW_OF_2}, {END}, {END}};

enum side { LEFT, RIGHT };

enum {
    PANELS_MAX = 1 << 16,
    PANEL_MIN = 16,
    PANEL_MAX = 8192,
    ASPECT_MAX = 8,
    SHORT_SIDE = 384, /* what a panel is enlarged to at least */
    TEXT_MIN = 14,
    TITLE_MIN = 20,
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
    enum side side; /* of the next feature's large panel */
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
        .border = side / 128,
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

/* Places one panel's frame and picture, and breaks its caption into lines for that width. Letters shrink until all are
 * within a quarter of their picture's height; what does not shrink any more is cut at all of it. */
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
    if (p->lettering.height > picture / 4)
        l->crowded = true;
    return lettering_cut(l->story->font, &p->lettering, room, picture - 2 * pad, e);
}

/* Panels first .. next - 1, which stand in a row, get bands of one height under their pictures, but for those without a
 * caption. Returns that height with its border. */
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
        if (p->lettering.count == 0)
            continue;
        p->place = PLACE_BELOW;
        p->caption = (struct rect){p->picture.x, p->picture.y + p->picture.height + b, p->picture.width, band};
        p->frame.height += band + b;
    }
    return band + b;
}

/* classic: a box around the letters, in a corner of the picture or at an edge; one that is nearly as wide becomes a
 * strip. */
static struct rect box_of(const struct layout *l, const struct page_panel *p, enum page_place place)
{
    const struct rect in = p->picture;
    struct rect box = {in.x, in.y, p->lettering.width + 2 * l->m.padding, p->lettering.height + l->m.padding};
    if (box.width + l->m.gutter > in.width)
        box.width = in.width;
    if (place == PLACE_TOP_RIGHT || place == PLACE_BOTTOM_RIGHT)
        box.x += in.width - box.width;
    if (place == PLACE_TOP || place == PLACE_BOTTOM)
        box.x += (in.width - box.width) / 2;
    if (place == PLACE_BOTTOM_LEFT || place == PLACE_BOTTOM_RIGHT || place == PLACE_BOTTOM)
        box.y += in.height - box.height;
    return box;
}

/* Whether a caption of panels first .. next - 1 has to leave its picture. */
static bool any_below(const struct layout *l, int64_t first)
{
    for (int64_t i = first; i < l->next; i++) {
        const struct page_panel *p = &l->plan->panels[i];
        const struct rect box = box_of(l, p, PLACE_TOP_LEFT);
        const int64_t covers = (int64_t)(box.width + 2 * l->m.border) * (box.height + 2 * l->m.border);
        const bool asked = l->story->places != NULL && l->story->places[i] == PLACE_BELOW;
        if (p->lettering.count > 0 && (asked || covers * 3 > (int64_t)p->picture.width * p->picture.height))
            return true;
    }
    return false;
}

static void place_boxes(struct layout *l, int64_t first)
{
    for (int64_t i = first; i < l->next; i++) {
        struct page_panel *p = &l->plan->panels[i];
        p->place = l->story->places != NULL ? l->story->places[i] : PLACE_TOP_LEFT;
        if (p->lettering.count > 0)
            p->caption = box_of(l, p, p->place);
    }
}

/* `columns` panels, or fewer of that size in the middle. */
static status place_row(struct layout *l, int columns, int count, struct error *e)
{
    const int64_t first = l->next;
    const int panels = l->m.content - (columns - 1) * l->m.gutter; /* shared out, the rest to the first ones */
    const int picture = picture_height(l, panels / columns);
    const int left_out = (columns - count) * (panels / columns + l->m.gutter);
    int64_t x = l->m.margin + left_out / 2;
    for (int i = 0; i < count; i++) {
        const int width = panels / columns + (i < panels % columns);
        TRY(place_panel(l, x, l->y, width, picture, e));
        x += width + l->m.gutter;
    }
    l->y += picture + 2 * l->m.border;
    if (l->story->kind == PAGE_FOUR || any_below(l, first))
        l->y += place_bands(l, first);
    else
        place_boxes(l, first);
    return OK;
}

/* Takes back the panels from `first` on. */
static void unplace(struct layout *l, int64_t first)
{
    while (l->next > first) {
        lettering_free(&l->plan->panels[--l->next].lettering);
        l->plan->panels[l->next] = (struct page_panel){0};
    }
}

/* Panels are read in the order in which they are placed: with the large one on the right, readers go down
 * the stack first, since the large panel blocks the way (Cohn 2013, "Navigating Comics"). */
static status place_feature(struct layout *l, struct error *e)
{
    const int64_t first = l->next, w = l->story->width, h = l->story->height;
    const bool crowded = l->crowded;
    const int b = l->m.border, g = l->m.gutter;
    const int small = (int)(((l->m.content - g + 2 * b) * h - (2 * b + g) * w) / (3 * h));
    const int large = l->m.content - g - small;
    const int height = picture_height(l, large) + 2 * b, upper = (height - g) / 2, lower = height - g - upper;

    const int64_t large_x = l->m.margin + (l->side == LEFT ? 0 : small + g);
    const int64_t small_x = l->m.margin + (l->side == LEFT ? large + g : 0);
    if (l->side == LEFT)
        TRY(place_panel(l, large_x, l->y, large, height - 2 * b, e));
    TRY(place_panel(l, small_x, l->y, small, upper - 2 * b, e));
    TRY(place_panel(l, small_x, l->y + upper + g, small, lower - 2 * b, e));
    if (l->side == RIGHT)
        TRY(place_panel(l, large_x, l->y, large, height - 2 * b, e));
    if (any_below(l, first)) { /* bands would pull the two sides apart */
        unplace(l, first);
        l->crowded = crowded;
        return place_row(l, 3, 3, e);
    }
    place_boxes(l, first);
    l->side = l->side == LEFT ? RIGHT : LEFT;
    l->y += height;
    return OK;
}

/* The title, centred over the panels, in half a picture's height at most. */
static status place_title(struct layout *l, struct error *e)
{
    struct page_plan *plan = l->plan;
    const int side = short_side(l->story), size = at_least(side / 14, TITLE_MIN);
    if (l->story->title == NULL || l->story->title[0] == '\0')
        return OK;
    TRY(lettering_set(l->story->font, l->story->title, size, l->m.content, &plan->title, e));
    TRY(lettering_cut(l->story->font, &plan->title, l->m.content, side / 2, e));
    plan->title_box = (struct rect){l->m.margin, (int)l->y, l->m.content, plan->title.height};
    l->y += plan->title.height > 0 ? plan->title.height + l->m.gutter : 0;
    return OK;
}

static status begin_page(struct layout *l, struct error *e)
{
    l->y = l->m.margin;
    return l->plan->page_count++ == 0 ? place_title(l, e) : OK;
}

/* Sets the page's size: one gutter, which came after the last block, is taken back. */
static status end_page(struct layout *l, struct error *e)
{
    const int64_t width = l->m.content + 2 * l->m.margin, height = l->y - l->m.gutter + l->m.margin;
    const char *advice = "make the panels smaller";
    if (l->story->kind == PAGE_CLASSIC)
        advice = "choose the layout four, which starts new pages, or make the panels smaller";
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || width * height > IMAGE_MAX_PIXELS)
        return fail(e, ERR_ARGUMENT, "a page of %" PRId64 " x %" PRId64 " pixels is too large: %s", width, height,
                    advice);
    l->plan->pages[l->plan->page_count - 1] = (struct page_size){(int)width, (int)height};
    return OK;
}

static status place_blocks(struct layout *l, const enum block *blocks, struct error *e)
{
    for (; *blocks != END; blocks++) {
        if (*blocks == FEATURE)
            TRY(place_feature(l, e));
        else if (*blocks == HALF_ROW)
            TRY(place_row(l, 2, 1, e));
        else
            TRY(place_row(l, (int)*blocks, (int)*blocks, e));
        l->y += l->m.gutter;
        if (l->y > IMAGE_MAX_SIDE)
            return end_page(l, e);
    }
    return OK;
}

static status layout_four(struct layout *l, struct error *e)
{
    static const enum block of_count[FOUR + 1][3] = {
        {END}, {HALF_ROW}, {ROW_OF_2}, {ROW_OF_2, HALF_ROW}, {ROW_OF_2, ROW_OF_2}};
    static const enum block alone[] = {ROW_OF_1, END};
    while (l->next < l->story->count) {
        const int64_t left = l->story->count - l->next;
        TRY(begin_page(l, e));
        TRY(place_blocks(l, l->story->count == 1 ? alone : of_count[left < FOUR ? left : FOUR], e));
        TRY(end_page(l, e));
    }
    return OK;
}

static status layout_classic(struct layout *l, struct error *e)
{
    static const enum block middle[] = {ROW_OF_2, FEATURE, END};
    const int64_t count = l->story->count, rest = count % 5;
    TRY(begin_page(l, e));
    if (count < 5) {
        TRY(place_blocks(l, few[count], e));
        return end_page(l, e);
    }
    TRY(place_blocks(l, opening[rest], e));
    while (count - l->next >= 5)
        TRY(place_blocks(l, middle, e));
    TRY(place_blocks(l, closing[rest], e));
    return end_page(l, e);
}

static void forget_lettering(struct page_plan *plan)
{
    for (int64_t i = 0; i < plan->count; i++)
        lettering_free(&plan->panels[i].lettering);
    lettering_free(&plan->title);
}

/* Lays everything out anew, with letters of this size. */
static status attempt(const struct page_story *story, int text_size, struct page_plan *plan, bool *crowded,
                      struct error *e)
{
    forget_lettering(plan);
    memset(plan->panels, 0, (size_t)plan->count * sizeof *plan->panels);
    struct layout l = {.story = story, .plan = plan, .m = metrics_for(story, text_size)};
    plan->page_count = 0;
    plan->border = l.m.border;
    plan->padding = l.m.padding;
    plan->text_size = text_size;
    TRY(story->kind == PAGE_FOUR ? layout_four(&l, e) : layout_classic(&l, e));
    *crowded = l.crowded;
    return OK;
}

static status check_story(const struct page_story *s, struct error *e)
{
    if (s->count < 1 || s->count > PANELS_MAX)
        return fail(e, ERR_ARGUMENT, "a page of %" PRId64 " panels: 1 to %d can be laid out", s->count, PANELS_MAX);
    if (s->width < PANEL_MIN || s->height < PANEL_MIN || s->width > PANEL_MAX || s->height > PANEL_MAX ||
        s->width > s->height * ASPECT_MAX || s->height > s->width * ASPECT_MAX)
        return fail(e, ERR_ARGUMENT, "panels of %d x %d pixels: sides from %d to %d, at most %d : 1, can be laid out",
                    s->width, s->height, PANEL_MIN, PANEL_MAX, ASPECT_MAX);
    for (int64_t i = 0; s->font == NULL && i < s->count; i++)
        if (*caption_of(s, i) != '\0')
            return fail(e, ERR_ARGUMENT, "panel %" PRId64 " has a caption, but there is no font", i + 1);
    if (s->font == NULL && s->title != NULL && s->title[0] != '\0')
        return fail(e, ERR_ARGUMENT, "the story has a title, but there is no font");
    return OK;
}

status page_layout(const struct page_story *story, struct page_plan *plan, struct error *e)
{
    *plan = (struct page_plan){0};
    TRY(check_story(story, e));
    plan->panels = calloc((size_t)story->count, sizeof *plan->panels);
    plan->pages = calloc((size_t)story->count, sizeof *plan->pages);
    if (plan->panels == NULL || plan->pages == NULL) {
        page_plan_free(plan);
        return fail(e, ERR_MEMORY, "no memory to lay out %" PRId64 " panels", story->count);
    }
    plan->count = story->count;

    const int side = short_side(story), smallest = at_least(side / 36, TEXT_MIN);
    bool crowded = true;
    status s = OK;
    for (int size = at_least(side / 24, TEXT_MIN); s == OK && crowded && size >= smallest; size--)
        s = attempt(story, size, plan, &crowded, e);
    if (s != OK)
        page_plan_free(plan);
    return s;
}

void page_plan_free(struct page_plan *plan)
{
    forget_lettering(plan);
    free(plan->panels);
    free(plan->pages);
    *plan = (struct page_plan){0};
}
