/* The recipe of a picture: everything that made it, as text. It is written into every PNG, and into the saved state of a
 * run, where it guards against going on with other settings. No private paths. */
#ifndef STORYDIFF_RECIPE_H
#define STORYDIFF_RECIPE_H

#include "storydiff/comic.h"

/* The key of the text chunk in PNG files. */
extern const char RECIPE_KEY[];

/* Appends one JSON object, {"program": .., "model": .., "story": .., "seed": .., ..}: every value a string. */
void recipe_append(struct text *out, const struct comic *c);

/* OK if both describe the same run. Otherwise fails and names the first setting that differs, with both values; `source`
 * says where the saved one is from. */
status recipe_same(const char *source, const char *saved, const char *ours, struct error *e);

#endif
