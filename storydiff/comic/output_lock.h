/* One run at a time in an output folder, and a run that was killed before it could save anything is remembered.
 *
 *   drawing.lock     the number of the process that draws here, and the recipe of what it was told to draw
 *
 * The process holds the file locked (flock), so that a file left behind by a killed run locks nobody out. It is written
 * before anything else happens to the folder: if nothing else was saved, it says what --resume should begin. */
#ifndef STORYDIFF_OUTPUT_LOCK_H
#define STORYDIFF_OUTPUT_LOCK_H

#include <stdbool.h>

#include "tensor/status.h"

struct output_lock {
    int fd; /* 0: not locked */
    char path[4200];
    char *begun; /* the recipe that a killed run left here, or NULL */
};

/* Takes the folder, which must exist. Refused if another process has it: the message says which. The caller gives it
 * back. */
status output_lock_take(struct output_lock *lock, const char *folder, struct error *e);

/* Writes down, synced to disk, what this run is going to draw. */
status output_lock_begin(struct output_lock *lock, const char *recipe, struct error *e);

/* Gives the folder back. OUTPUT_DONE removes the file; OUTPUT_LEFT leaves what was begun to be gone on with. */
enum output_end { OUTPUT_DONE, OUTPUT_LEFT };
void output_lock_drop(struct output_lock *lock, enum output_end end); /* fine on a zeroed struct */

#endif
