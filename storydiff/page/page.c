/* Drawing a plan: paper, frames, pictures, captions, in that order. */
#include "storydiff/page/page.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const page_kind_names[] = {[PAGE_FOUR] = "four", [PAGE_CLASSIC] = "classic", [PAGE_NONE] = "none", NULL};

static const struct color paper = {255, 255, 255}, ink = {17, 17, 17};
static const struct color caption_paper[PAGE_KINDS] = {
    [PAGE_FOUR] = {255, 255, 255},
    [PAGE_CLASSIC] = {255, 247, 214}, /* the yellowed boxes of old comic books */
};

static struct rect grown(struct rect r, int by)
{
    return (struct rect){r.x - by, r.y - by, r.width + 2 * by, r.height + 2 * by};
}

struct rect page_letters(const struct page_plan *plan, const struct page_panel *panel)
{
    return grown(panel->caption, -plan->padding);
}

enum lettering_align page_alignment(const struct page_story *story)
{
    return story->kind == PAGE_FOUR ? LETTERING_CENTER : LETTERING_LEFT;
}

static status draw_picture(const struct image *panel, const struct rect *place, struct image *page, struct error *e)
{
    if (panel->width == place->width && panel->height == place->height) {
        image_paste(page, place->x, place->y, panel);
        return OK;
    }
    struct image scaled;
    TRY(image_resize(panel, place->width, place->height, &scaled, e));
    image_paste(page, place->x, place->y, &scaled);
    image_free(&scaled);
    return OK;
}

/* A black rectangle under the white one is its border. */
static status draw_caption(const struct page_story *story, const struct page_plan *plan,
                           const struct page_panel *panel, struct image *page, struct error *e)
{
    if (panel->caption.width == 0)
        return OK;
    image_fill(page, grown(panel->caption, plan->border), ink);
    image_fill(page, panel->caption, caption_paper[story->kind]);
    return lettering_draw(story->font, &panel->lettering, page, page_letters(plan, panel), page_alignment(story), ink,
                          e);
}

static status draw_panel(const struct page_story *story, const struct page_plan *plan, int64_t i,
                         const struct image *picture, struct image *page, struct error *e)
{
    const struct page_panel *panel = &plan->panels[i];
    if (picture->width != story->width || picture->height != story->height)
        return fail(e, ERR_ARGUMENT, "panel %" PRId64 " has %d x %d pixels, the story's have %d x %d", i + 1,
                    picture->width, picture->height, story->width, story->height);
    image_fill(page, panel->frame, ink);
    TRY(draw_picture(picture, &panel->picture, page, e));
    return draw_caption(story, plan, panel, page, e);
}

static status draw_all(const struct page_story *story, const struct page_plan *plan, const struct image *panels,
                       struct image *pages, struct error *e)
{
    for (int i = 0; i < plan->page_count; i++) {
        TRY(image_new(plan->pages[i].width, plan->pages[i].height, &pages[i], e));
        image_fill(&pages[i], (struct rect){0, 0, pages[i].width, pages[i].height}, paper);
    }
    TRY(lettering_draw(story->font, &plan->title, &pages[0], plan->title_box, LETTERING_CENTER, ink, e));
    for (int64_t i = 0; i < plan->count; i++)
        TRY(draw_panel(story, plan, i, &panels[i], &pages[plan->panels[i].page], e));
    return OK;
}

status page_draw(const struct page_story *story, const struct page_plan *plan, const struct image *panels,
                 struct image **pages, struct error *e)
{
    *pages = NULL;
    struct image *drawn = calloc((size_t)plan->page_count, sizeof *drawn);
    if (drawn == NULL)
        return fail(e, ERR_MEMORY, "no memory for %d pages", plan->page_count);
    status s = draw_all(story, plan, panels, drawn, e);
    if (s != OK) {
        page_images_free(drawn, plan->page_count);
        return s;
    }
    *pages = drawn;
    return OK;
}

void page_images_free(struct image *pages, int count)
{
    for (int i = 0; pages != NULL && i < count; i++)
        image_free(&pages[i]);
    free(pages);
}
