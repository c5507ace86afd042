/* The captions of a page, and the title of the first, as text again: where each line of letters stands, for formats
 * whose text can be selected. */
#ifndef STORYDIFF_PAGE_TEXT_H
#define STORYDIFF_PAGE_TEXT_H

#include "storydiff/page/page.h"

struct page_line {
    const char *text; /* a piece of the story's caption, not terminated */
    size_t length;
    bool cut;           /* "..." follows on the page */
    int x, baseline;    /* pixels from the page's left and top edges */
    int size, width;    /* pixels per em; of the whole line */
};

/* *lines: [*count] of the title and of all panels on the page, in the order of the story; the caller frees them with
 * free(). */
status page_lines(const struct page_story *story, const struct page_plan *plan, int page, struct page_line **lines,
                  int *count, struct error *e);

#endif
