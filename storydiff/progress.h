/* The line that says how far it is: step, panel, seconds left. Rewritten in place on a terminal; elsewhere, a line now and
 * then. */
#ifndef STORYDIFF_PROGRESS_H
#define STORYDIFF_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include "storydiff/comic.h"

struct progress {
    FILE *out;
    const struct comic *comic;
    bool terminal;
    double start, last;  /* seconds: of the first pass seen, of the last line printed */
    double done;         /* work done since start, in panels */
    bool shown;
};

void progress_start(struct progress *p, const struct comic *c, FILE *out);

/* To be called after each pass: matches draw_watch.pass_done. */
void progress_pass_done(void *self, int step, int pass);

/* Ends the line on a terminal. */
void progress_end(struct progress *p);

#endif
