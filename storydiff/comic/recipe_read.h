/* A recipe that was read from a picture or a saved state, as settings again: what it takes to go on, or to draw the
 * same once more, without repeating the story. */
#ifndef STORYDIFF_RECIPE_READ_H
#define STORYDIFF_RECIPE_READ_H

#include "storydiff/comic/settings.h"
#include "tensor/json.h"

/* The key of the text chunk in PNG files. */
extern const char RECIPE_KEY[];

/* Zeroed: there is none. */
struct recipe {
    char source[256];          /* "outputs/panel-01.png", for messages */
    const struct json *values; /* an object of strings */
    char *story;               /* its text, cut at line ends */
    char *loras;               /* likewise */
    bool of_run;               /* of an unfinished run, not of a picture */
};

/* status of a text that is no recipe: ERR_FORMAT. The caller frees it. */
status recipe_parse(const char *source, const char *text, struct recipe *r, struct error *e);
void recipe_free(struct recipe *r); /* fine on a zeroed struct */

/* The recipe in the output folder: of the unfinished run, or of the first panel there. None is no failure: then *r is
 * zeroed. */
status recipe_in_folder(const char *folder, struct recipe *r, struct error *e);

/* Of any picture of ours; without a recipe, a failure. */
status recipe_of_picture(const char *path, struct recipe *r, struct error *e);

/* Of one panel in the folder, number from 1; likewise. */
status recipe_of_panel(const char *folder, int number, struct recipe *r, struct error *e);

/* A value, or NULL. */
const char *recipe_value(const struct recipe *r, const char *key);

/* Gives `s` everything that the recipe says and that no person has given. Texts point into the recipe, which outlives
 * the settings. A style that is not one of ours, and a model that is found by its folder alone, come from the person:
 * the message says so. */
status recipe_settings(struct recipe *r, struct settings *s, struct error *e);

/* The seed of a panel, from 0: what the recipe says of it, or else the seed of all; of panel -1 the latter. */
uint64_t recipe_seed(const struct recipe *r, int panel);

#endif
