/* One drawing, from a request to pictures: all steps of the sampler, then the decoder, one panel after the other.
 *
 * What becomes of it is the sink's: files in a folder (draw.h), or a figure (consistency.h). */
#ifndef STORYDIFF_DRAWING_H
#define STORYDIFF_DRAWING_H

#include <signal.h>

#include "storydiff/comic/memory.h"
#include "storydiff/csa/lockstep.h"
#include "storydiff/picture/image.h"

/* Whom to tell, and when to stop. Members may be NULL. */
struct draw_watch {
    void (*begins)(void *self, int step); /* sampling, with this step: not 0 in a resumed run */
    struct lockstep_watch passes;
    void (*step_saved)(void *self, int step); /* it is done, and so is the sink with it */
    void (*decodes)(void *self, int panel);
    void (*written)(void *self, const char *path); /* a file of the output folder is complete */
    void (*notice)(void *self, const char *line);
    void *self;
    struct memory_watch *memory;       /* looks while a picture is decoded and a page is drawn */
    const volatile sig_atomic_t *stop; /* becomes nonzero: go on to the next step whose state is complete
                                          (lockstep_is_complete), save, return ERR_STOPPED */
};

/* A failure of any of them ends the drawing. */
struct draw_sink {
    status (*step_done)(void *self, const struct lockstep *l, struct error *e); /* may be NULL */
    status (*sampled)(void *self, struct error *e);                             /* may be NULL: all steps are done */
    bool (*wants)(void *self, int panel);                                       /* its picture */
    status (*picture)(void *self, int panel, struct image *image, struct error *e); /* may take it and leave {0} */
    void *self;
};

/* From the step that `l` is at. Its memory is given back before the decoder takes its own; the caller closes it in
 * any case. ctx: threads, profile, observer. */
status drawing_run(struct lockstep *l, const struct context *ctx, const struct draw_watch *watch,
                   const struct draw_sink *sink, struct error *e);

#endif
