/* The output folder: what a run finds there, and what it leaves.
 *
 *   panel-01.png ..          the panels, with the recipe inside
 *   page-01.png ..           the comic, likewise
 *   panel-03.before-1.png    a panel that --only has redrawn, as it was before; pages likewise
 *   comic.pdf, comic.cbz     all pages, as --format wants them
 *   preview.png              with --preview_every
 *   unfinished.safetensors   the state of a run that is not finished; removed at the end
 *   drawing.lock             while somebody draws (output_lock.h); left by a killed run
 *
 * Each file is complete from the moment it has its name. Results are never replaced unless asked for. */
#ifndef STORYDIFF_OUTPUT_H
#define STORYDIFF_OUTPUT_H

#include "storydiff/comic/comic.h"
#include "storydiff/comic/output_lock.h"

enum output_file { OUTPUT_PANEL, OUTPUT_PAGE, OUTPUT_PDF, OUTPUT_CBZ, OUTPUT_PREVIEW, OUTPUT_STATE };

struct output_path {
    char text[4200];
};

/* number: of a panel or page, from 1. */
status output_path(const struct comic *c, enum output_file file, int number, struct output_path *path,
                   struct error *e);

/* Takes the folder for this run, before anything is computed. Fails if another run has it, if results or an unfinished
 * run are there and neither `resume` nor `overwrite` says what to do, if `resume` finds other settings, or if the pages
 * would show a panel of another comic beside those that `only` draws: what differs is named.
 *
 * *finished: `resume` found everything done. notices: what the person should know, a line each. The folder is made, and
 * what is going to be drawn is written down there. The caller drops the lock in any case. */
status output_open(const struct comic *c, struct output_lock *lock, bool *finished, struct text *notices,
                   struct error *e);

/* Before --only or --pages_only begins: copies of the panels and pages that it will replace, unless --overwrite says
 * that they are not wanted. Doing it twice makes no second copies. */
status output_keep(const struct comic *c, struct error *e);

/* The numbered panels and pages, whichever story they are of. */
void output_remove_results(const struct comic *c);

/* What a killed run was just writing. */
void output_remove_leftovers(const struct comic *c);

#endif
