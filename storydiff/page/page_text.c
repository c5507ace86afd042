#include "storydiff/page/page_text.h"

#include <stdlib.h>

static int count_lines(const struct page_plan *plan, int page)
{
    int count = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (plan->panels[i].page == page && plan->panels[i].caption.width > 0)
            count += plan->panels[i].lettering.count;
    return count;
}

status page_lines(const struct page_story *story, const struct page_plan *plan, int page, struct page_line **lines,
                  int *count, struct error *e)
{
    int n = 0;
    *count = count_lines(plan, page);
    *lines = calloc((size_t)*count + 1, sizeof **lines);
    if (*lines == NULL)
        return fail(e, ERR_MEMORY, "no memory for the captions of page %d", page + 1);
    for (int64_t i = 0; i < plan->count; i++) {
        const struct page_panel *panel = &plan->panels[i];
        const struct lettering *l = &panel->lettering;
        if (panel->page != page || panel->caption.width == 0)
            continue;
        const struct rect letters = page_letters(plan, panel);
        for (int k = 0; k < l->count; k++) {
            struct page_line *line = &(*lines)[n++];
            *line = (struct page_line){l->lines[k].text, l->lines[k].length, l->cut && k == l->count - 1, .size = l->size,
                                       .width = l->lines[k].width};
            lettering_place(story->font, l, k, letters, page_alignment(story), &line->x, &line->baseline);
        }
    }
    return OK;
}
