/* Drawing: one storydiff process at a time, one comic after the other.
 *
 * The queue is on disk, as the states of the comics (library.h), so a studio that was killed finds it again: what was
 * queued is still queued, and what was being drawn goes on. A process is told to stop when its studio dies
 * (PR_SET_PDEATHSIG); the next studio waits until it has, because both hold LIBRARY/drawing.lock. */
#ifndef STUDIO_QUEUE_H
#define STUDIO_QUEUE_H

#include "storydiff/studio/catalog.h"
#include "storydiff/studio/library.h"

/* How far a comic is, while it is drawn. */
struct progress_now {
    char id[COMIC_ID + 1]; /* "": nothing is drawn */
    int step, steps, panels, columns, rows;
    double seconds_left; /* < 0: not known yet */
    int previews;        /* written so far: a preview's number */
    char drawing[64];    /* the panels in work, "[1, 2]" */
    char phase[16];      /* "starting", "sampling", "picture" */
    bool stopping;
    struct text notices; /* one a line; empty in copies */
};

struct queue;

/* Starts the thread that draws. program: the storydiff to start. All outlive the queue. */
status queue_start(struct queue **queue, const struct library *library, const struct catalog *catalog,
                   const char *program, struct error *e);

/* Stops what is being drawn as Ctrl-C does, and waits for it. The comic stays as being drawn: the next studio goes
 * on. */
void queue_end(struct queue *queue);

/* After queue_end, and after the last request: those still ask it. */
void queue_free(struct queue *queue);

/* Whether queue_end has stopped it all: nobody should wait for a comic any more. */
bool queue_has_ended(struct queue *queue);

/* Puts a comic at the end of the queue. Refused if it is there already or being drawn. panels, seed: of TASK_REDRAW. */
status queue_add(struct queue *queue, const char *id, enum comic_task task, const char *panels, const char *seed,
                 struct error *e);

/* Takes it out of the queue, or finishes the step and stops. Asked a second time, ends at once: the last step's state
 * is saved. */
status queue_stop(struct queue *queue, const char *id, struct error *e);

/* A copy; with `notices`, also what the comic's run has said. */
struct progress_now queue_progress(struct queue *queue, struct text *notices);

/* Runs work(self) while no state of any comic changes. */
status queue_locked(struct queue *queue, status (*work)(void *self, struct error *e), void *self, struct error *e);

/* What a dry run of this script says: its lines, joined to a JSON array. Takes seconds; one at a time. */
status queue_plan(struct queue *queue, const char *story, size_t length, struct text *out, struct error *e);

#endif
