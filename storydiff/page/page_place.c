/* Where in its picture a caption hides least.
 *
 * The measure of a place is what happens in the picture under it: the sum over its pixels of
 *
 *   d(x, y) = |p(x + 1, y) - p(x, y)| + |p(x, y + 1) - p(x, y)|      over red, green and blue,  0 where d < QUIET
 *
 * A sky or a wall has next to nothing of it, a face with its eyes and outlines much. Of six places, corners and middles
 * of the upper and lower edge, the first wins that has hardly more than the least: readers look to the top left first.
 * Where even that one has more to the pixel than the whole picture, the caption goes below. Integers only. */
#include <stdlib.h>

#include "storydiff/page/page.h"

enum {
    QUIET = 24,    /* what remains of noise in a flat area: 4 levels in each term of d */
    HARDLY = 2,    /* to the pixel */
};

/* d, and their sum over `area`, which lies in the image. */
static int64_t busyness(const struct image *image, struct rect area)
{
    const size_t row = (size_t)image->width * 3;
    int64_t sum = 0;
    for (int y = area.y; y < area.y + area.height; y++)
        for (int x = area.x; x < area.x + area.width; x++) {
            const uint8_t *p = image->rgb + (size_t)y * row + (size_t)x * 3;
            int d = 0;
            for (int c = 0; c < 3; c++) {
                d += x + 1 < image->width ? abs(p[c + 3] - p[c]) : 0;
                d += y + 1 < image->height ? abs(p[row + (size_t)c] - p[c]) : 0;
            }
            sum += d < QUIET ? 0 : d;
        }
    return sum;
}

/* A caption's box, with its border, in the pixels of the picture that is drawn into `in`. */
static struct rect in_picture(struct rect box, int border, struct rect in, const struct image *image)
{
    const int64_t left = box.x - border - in.x, right = box.x + box.width + border - in.x;
    const int64_t top = box.y - border - in.y, bottom = box.y + box.height + border - in.y;
    const int64_t x0 = left < 0 ? 0 : left * image->width / in.width;
    const int64_t y0 = top < 0 ? 0 : top * image->height / in.height;
    const int64_t x1 = (right * image->width + in.width - 1) / in.width;
    const int64_t y1 = (bottom * image->height + in.height - 1) / in.height;
    const int64_t x2 = x1 < image->width ? x1 : image->width, y2 = y1 < image->height ? y1 : image->height;
    return (struct rect){(int)x0, (int)y0, (int)(x2 - x0), (int)(y2 - y0)};
}

/* The same box elsewhere in its picture. */
static struct rect moved(struct rect box, struct rect in, enum page_place place)
{
    const int right = in.x + in.width - box.width, bottom = in.y + in.height - box.height;
    const int x[] = {in.x, right, (in.x + right) / 2};
    return (struct rect){x[place % 3], place < PLACE_BOTTOM_LEFT ? in.y : bottom, box.width, box.height};
}

static enum page_place place_for(const struct page_panel *p, int border, const struct image *image)
{
    int64_t busy[PLACE_BELOW], least = INT64_MAX, area = 0;
    for (int place = 0; place < PLACE_BELOW; place++) {
        const struct rect box =
            in_picture(moved(p->caption, p->picture, (enum page_place)place), border, p->picture, image);
        busy[place] = busyness(image, box);
        area = (int64_t)box.width * box.height;
        least = busy[place] < least ? busy[place] : least;
    }
    const int64_t all = busyness(image, (struct rect){0, 0, image->width, image->height});
    if (least * image->width * image->height > (all + (int64_t)HARDLY * image->width * image->height) * area)
        return PLACE_BELOW;
    int place = 0;
    while (busy[place] > least + HARDLY * area)
        place++;
    return (enum page_place)place;
}

status page_layout_for(const struct page_story *story, const struct image *panels, struct page_plan *plan,
                       struct error *e)
{
    struct page_story placed = *story;
    TRY(page_layout(story, plan, e));
    if (story->kind != PAGE_CLASSIC)
        return OK;
    enum page_place *places = calloc((size_t)story->count, sizeof *places);
    status s = places != NULL ? OK : fail(e, ERR_MEMORY, "no memory to lay out the captions");
    for (int64_t i = 0; s == OK && i < story->count; i++) {
        const struct page_panel *p = &plan->panels[i];
        if (panels[i].width != story->width || panels[i].height != story->height)
            s = fail(e, ERR_ARGUMENT, "a panel has %d x %d pixels, the story's have %d x %d", panels[i].width,
                     panels[i].height, story->width, story->height);
        else if (p->place == PLACE_BELOW)
            places[i] = PLACE_BELOW;
        else if (p->caption.width > 0)
            places[i] = place_for(p, plan->border, &panels[i]);
    }
    page_plan_free(plan);
    placed.places = places;
    if (s == OK)
        s = page_layout(&placed, plan, e);
    free(places);
    return s;
}
