/* The recipe of a picture: everything that made it, as text. It is written into every PNG, and into the saved state
 * of a run, where it guards against going on with other settings. No private paths. */
#ifndef STORYDIFF_RECIPE_H
#define STORYDIFF_RECIPE_H

#include "storydiff/comic/comic.h"

/* The key of the text chunk in PNG files. */
extern const char RECIPE_KEY[];

/* A state also says which panels it is for. A picture does not: drawn with --only or with all others, it has the same
 * bytes. */
enum recipe_use { RECIPE_OF_PICTURE, RECIPE_OF_STATE };

/* Appends one JSON object, {"program": .., "model": .., "story": .., "seed": .., ..}: every value a string. What was
 * not given, and is not the same as an empty text, is not there. */
void recipe_append(struct text *out, const struct comic *c, enum recipe_use use);

/* OK if both describe the same run. Otherwise fails and names the first setting that differs, with both values;
 * `source` says where the saved one is from. */
status recipe_same(const char *source, const char *saved, const char *ours, struct error *e);

#endif
