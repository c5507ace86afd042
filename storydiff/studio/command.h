/* The words by which a storydiff process is started for a comic: what its record (library.h) asks for, beside its
 * script. */
#ifndef STUDIO_COMMAND_H
#define STUDIO_COMMAND_H

#include "storydiff/studio/catalog.h"
#include "storydiff/studio/child.h"
#include "storydiff/studio/library.h"

struct command {
    const char *words[CHILD_MAX_WORDS]; /* ends with NULL; points into this struct, the catalog and the record */
    int count;
    char story[COMIC_PATH], folder[COMIC_PATH], log[COMIC_PATH], every[24];
};

/* again: an earlier studio had started it. Fails with the script's mistake, at its line. */
status command_compose(struct command *c, const struct library *l, const struct catalog *catalog, const char *program,
                       const struct comic_record *r, bool again, struct error *e);

/* Whether a run that was interrupted has left something to go on with. */
bool command_has_begun(const struct library *l, const char *id);

#endif
