#include "storydiff/page/page_text.h"

#include <stdlib.h>

static int count_lines(const struct page_plan *plan, int page)
{
    int count = page == 0 ? plan->title.count : 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (plan->panels[i].page == page && plan->panels[i].caption.width > 0)
            count += plan->panels[i].lettering.count;
    return count;
}

/* Appends the lines of one block of letters. */
static void add_lines(const struct font *font, const struct lettering *l, struct rect box, enum lettering_align align,
                      struct page_line *lines, int *count)
{
    for (int k = 0; k < l->count; k++) {
        struct page_line *line = &lines[(*count)++];
        *line = (struct page_line){l->lines[k].text, l->lines[k].length, l->cut && k == l->count - 1, .size = l->size,
                                   .width = l->lines[k].width};
        lettering_place(font, l, k, box, align, &line->x, &line->baseline);
    }
}

status page_lines(const struct page_story *story, const struct page_plan *plan, int page, struct page_line **lines,
                  int *count, struct error *e)
{
    int n = 0;
    *count = count_lines(plan, page);
    *lines = calloc((size_t)*count + 1, sizeof **lines);
    if (*lines == NULL)
        return fail(e, ERR_MEMORY, "no memory for the captions of page %d", page + 1);
    if (page == 0)
        add_lines(story->font, &plan->title, plan->title_box, LETTERING_CENTER, *lines, &n);
    for (int64_t i = 0; i < plan->count; i++) {
        const struct page_panel *panel = &plan->panels[i];
        if (panel->page == page && panel->caption.width > 0)
            add_lines(story->font, &panel->lettering, page_letters(plan, panel), page_alignment(story), *lines, &n);
    }
    return OK;
}
