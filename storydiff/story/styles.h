/* Styles: templates that wrap a panel's prompt.
 *
 *   prompt            the template, with every `{prompt}` replaced by the panel's own prompt
 *   negative prompt   the style's, a blank, the user's
 *
 * "(No style)" is the empty template `{prompt}`, so it leaves a prompt as it is and puts a blank before the negative
 * one. The conventions are the reference's (apply_style in StoryDiffusion's app); the names are those its users know,
 * the wording is our own. The surprise: the reference's app wraps the negative prompt once per
 * character, each time around the result of the last; here it is wrapped once. */
#ifndef STORYDIFF_STYLES_H
#define STORYDIFF_STYLES_H

#include <stddef.h>

#include "tensor/json.h"
#include "tensor/status.h"

struct style {
    const char *name, *prompt, *negative_prompt; /* never NULL */
};

struct styles {
    const struct style *items;
    size_t count;
    /* private, NULL for the built-in ones */
    struct style *own;
    const struct json *document;
};

extern const char STYLE_DEFAULT[]; /* "Comic book" */

/* Limits of a file of styles: entries, and bytes of a name and of a prompt. */
enum { STYLES_MAX = 1000, STYLES_MAX_NAME = 64, STYLES_MAX_PROMPT = 4096 };

/* The built-in table; nothing to free. */
struct styles styles_builtin(void);

/* Reads a JSON file, [{"name": .., "prompt": .., "negative_prompt": ..}, ..]; negative_prompt may be missing. The
 * table holds the file's styles, then those built-in ones whose names the file does not use, so that "(No style)" is
 * always there. Refused, with a message that names the file and the entry (from 1) or line and column: other members
 * or types, a prompt without `{prompt}`, names given twice (capitals do not count) or empty, control characters, too
 * much of anything. The caller frees the table; after a failure there is nothing to free. */
status styles_load(const char *path, struct styles *styles, struct error *e);
void styles_free(struct styles *styles); /* fine on a zeroed or built-in table, and twice */

/* Finds a style by its name; capitals do not count. The message for an unknown one suggests the nearest and lists
 * all. *style belongs to the table. */
status styles_find(const struct styles *styles, const char *name, const struct style **style, struct error *e);

/* The wrapped texts, malloced: the caller frees them. `user` may be NULL or "". */
status style_prompt(const struct style *style, const char *prompt, char **wrapped, struct error *e);
status style_negative_prompt(const struct style *style, const char *user, char **wrapped, struct error *e);

#endif
