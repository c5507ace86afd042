/* Drawing a comic: sampling with a state saved after every step, decoding, laying out pages.
 *
 * What appears in the output folder, each file complete from the moment it has its name:
 *   panel-01.png ..          the panels, with the recipe inside
 *   page-01.png ..           the comic, likewise
 *   preview.png              with --preview_every
 *   unfinished.safetensors   the state of a run that is not finished; removed at the end
 * Finished results are never overwritten unless asked for; panels that --only redraws are kept under another name. */
#ifndef STORYDIFF_DRAW_H
#define STORYDIFF_DRAW_H

#include <signal.h>

#include "storydiff/comic.h"

/* Whom to tell, and when to stop. Members may be NULL. */
struct draw_watch {
    void (*pass_done)(void *self, int step, int pass); /* of lockstep */
    void (*notice)(void *self, const char *line);
    void *self;
    const volatile sig_atomic_t *stop; /* becomes nonzero: finish the step, save, return ERR_STOPPED */
};

struct draw_result {
    char first_page[4200]; /* "" without pages */
    int panels, pages;     /* written */
    bool was_finished;     /* --resume found everything done */
};

/* Checks the output folder before anything is computed: fails if results or an unfinished run are there and neither
 * --resume nor --overwrite says what to do, or if the unfinished run has other settings. */
status draw_check_output(const struct comic *c, struct draw_result *result, struct error *e);

/* Draws. comic_encode must have been called. ctx: threads, profile, observer. */
status draw_comic(const struct comic *c, const struct context *ctx, const struct draw_watch *watch,
                  struct draw_result *result, struct error *e);

#endif
