/* A script as it is being typed: what is wrong, and where; or who is in which panel, and how its caption reads. Opens
 * no model: a moment's work, done on every pause of the typing.
 *
 * The studio takes from a script what a stranger may say, since any program on this machine may send one: settings
 * whose value is a path (models, fonts, files of styles) are refused unless the value is a name of the catalog's. */
#ifndef STUDIO_CHECK_H
#define STUDIO_CHECK_H

#include "storydiff/comic/settings.h"
#include "storydiff/studio/catalog.h"

/* Whether the studio lets a script give this setting. */
bool check_is_offered(const struct setting *row);

/* What the storydiff process must be told beside the script: paths of what it names. NULL: nothing. Of the catalog's.
 */
struct check_paths {
    const char *model, *font;
};

/* Fails with "story:LINE:COLUMN: what" or without a position. *story is the caller's to free, also after a failure
 * (then it is zeroed). paths may be NULL. */
status check_story(const struct catalog *c, const char *text, size_t length, struct story *story,
                   struct settings *settings, struct check_paths *paths, struct error *e);

/* The same as JSON: {"ok": true, "title": .., "panels": [{"line", "caption", "characters", "role"}], "notices": ".."}
 * or
 * {"ok": false, "line": 3, "column": 1, "key": "seed" or "", "message": ".."}; line 0: of no line. */
void check_append(const struct catalog *c, const char *text, size_t length, struct text *out);

/* "story:3:14: what" in its parts: the line, or 0, and what comes after; *column may be NULL. */
const char *check_position(const char *message, int *line, int *column);

#endif
