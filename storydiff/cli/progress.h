/* The line that says how far it is: step, panel, seconds left. Rewritten in place on a terminal; elsewhere, a line
 * now and then. */
#ifndef STORYDIFF_PROGRESS_H
#define STORYDIFF_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include "storydiff/csa/lockstep.h"

struct progress {
    FILE *out;
    const struct lockstep_request *request;
    const char *label; /* before what is said */
    bool terminal, shown; /* terminal: one that can rewrite a line */
    double start, last; /* seconds: of progress_start; of the last line printed, or the same */
    double done;        /* work done since start, in calls of the UNet, a sample each */
};

/* label: opens every line, "" for none; referenced, not copied. */
void progress_start(struct progress *p, const struct lockstep_request *request, const char *label, FILE *out);

/* Seconds until all steps are done, judged by those since progress_start, after this pass (which has been counted). */
double progress_seconds_left(const struct progress *p, int step, int half, int pass);

/* To be called after each pass: counts it. */
void progress_pass_done(struct progress *p, int step, int half, int pass);

/* To be called before the picture of a panel is decoded. */
void progress_decodes(struct progress *p, int panel);

/* Ends the line on a terminal. Fine on a zeroed struct. */
void progress_end(struct progress *p);

#endif
