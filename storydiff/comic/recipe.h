/* The recipe of a picture: everything that made it, as text. It is written into every PNG, and into the saved state
 * of a run, where it guards against going on with other settings. No private paths in pictures. Reading one back:
 * recipe_read.h. */
#ifndef STORYDIFF_RECIPE_H
#define STORYDIFF_RECIPE_H

#include "storydiff/comic/comic.h"

/* What it is for. Drawn with `only` or with all others, a panel has the same recipe and the same bytes. */
enum recipe_use {
    RECIPE_OF_PANEL, /* its number, and its seed if that is not the story's */
    RECIPE_OF_PAGE,  /* the seeds of all panels that are not the story's */
    RECIPE_OF_STATE, /* the same, which panels it is for, and what else must not change while it is drawn */
};

/* Appends one JSON object, {"program": .., "model": .., "story": .., "seed": .., ..}: every value a string. What was
 * not given, and is not the same as an empty text, is not there. panel: from 0, of RECIPE_OF_PANEL. */
void recipe_append(struct text *out, const struct comic *c, enum recipe_use use, int panel);

/* OK if both describe the same run. Otherwise fails and names the first setting that differs, with both values;
 * `source` says where the saved one is from. */
status recipe_same(const char *source, const char *saved, const char *ours, struct error *e);

/* Whether a panel that lies in the folder, and is not drawn anew, belongs to this comic: same settings, same
 * characters, same line. Fails like recipe_same. *older: it looked at an id panel whose line, or seed, was another. */
status recipe_fits(const struct recipe *saved, const struct comic *c, int panel, bool *older, struct error *e);

/* 8 digits that tell models of one name apart: a checksum of a few bytes of every tensor. */
void recipe_fingerprint(const struct model *m, char digits[16]);

#endif
