/* Drawing a comic: sampling with a state saved after every step, decoding, laying out pages. What appears where is in
 * output.h. */
#ifndef STORYDIFF_DRAW_H
#define STORYDIFF_DRAW_H

#include <signal.h>

#include "storydiff/comic/comic.h"
#include "storydiff/comic/memory.h"

/* Whom to tell, and when to stop. Members may be NULL. */
struct draw_watch {
    void (*begins)(void *self, int step); /* sampling, with this step: not 0 in a resumed run */
    void (*pass_begins)(void *self, int step, int half, int pass); /* of lockstep, as is the next */
    void (*pass_done)(void *self, int step, int half, int pass);
    void (*decodes)(void *self, int panel);
    void (*notice)(void *self, const char *line);
    void *self;
    struct memory_watch *memory; /* looks while a picture is decoded and a page is drawn */
    const volatile sig_atomic_t *stop; /* becomes nonzero: finish the step, save, return ERR_STOPPED */
};

struct draw_result {
    char first_page[4200]; /* "" without pages */
    int panels, pages;     /* written */
};

/* Draws. comic_encode must have been called, and output_check must have agreed. ctx: threads, profile, observer. */
status draw_comic(const struct comic *c, const struct context *ctx, const struct draw_watch *watch,
                  struct draw_result *result, struct error *e);

#endif
