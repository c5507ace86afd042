/* The output folder: what a run finds there, and what it leaves.
 *
 *   panel-01.png ..          the panels, with the recipe inside
 *   page-01.png ..           the comic, likewise
 *   panel-03.before-1.png    a panel that --only has redrawn, as it was before; pages likewise
 *   preview.png              with --preview_every
 *   unfinished.safetensors   the state of a run that is not finished; removed at the end
 *
 * Each file is complete from the moment it has its name. Results are never replaced unless asked for. */
#ifndef STORYDIFF_OUTPUT_H
#define STORYDIFF_OUTPUT_H

#include "storydiff/comic/comic.h"

enum output_file { OUTPUT_PANEL, OUTPUT_PAGE, OUTPUT_PREVIEW, OUTPUT_STATE };

struct output_path {
    char text[4200];
};

/* number: of a panel or page, from 1. */
status output_path(const struct comic *c, enum output_file file, int number, struct output_path *path,
                   struct error *e);

/* Asks, before anything is computed, whether this run may have the folder. Fails if results or an unfinished run are
 * there and neither --resume nor --overwrite says what to do, or if --resume finds other settings, which are named.
 * *finished: --resume found everything done. */
status output_check(const struct comic *c, bool *finished, struct error *e);

/* Before --only begins: copies of the panels and pages that it will replace, unless --overwrite says that they are
 * not wanted. Doing it twice makes no second copies. */
status output_keep(const struct comic *c, struct error *e);

/* The numbered panels and pages, whichever story they are of. */
void output_remove_results(const struct comic *c);

/* What a killed run was just writing. */
void output_remove_leftovers(const struct comic *c);

#endif
