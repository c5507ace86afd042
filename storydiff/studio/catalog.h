/* What a person can choose from on this machine: models and fonts by names that the studio gives them. A request names
 * one of them; where it lies is said to the storydiff process alone. */
#ifndef STUDIO_CATALOG_H
#define STUDIO_CATALOG_H

#include "tensor/status.h"
#include "tensor/text.h"

struct catalog_item {
    char *name;  /* "", of models: the one that is taken without a name */
    char *path;  /* NULL: storydiff finds it by its name */
    char *label; /* what to show */
};

struct catalog {
    struct catalog_item *models, *fonts;
    int model_count, font_count;
    struct text missing; /* JSON: [{"name": .., "how": ..}] well-known models that are not here, and how to get them */
};

/* folders: [count] given by --models; each may be a model or hold models. What cannot be read is left out. */
status catalog_open(struct catalog *c, const char *const *folders, int count, struct error *e);
void catalog_free(struct catalog *c);

/* By name, or NULL. */
const struct catalog_item *catalog_model(const struct catalog *c, const char *name);
const struct catalog_item *catalog_font(const struct catalog *c, const char *name);

/* Appends everything that a page must know to make its controls, as JSON: {"version", "models", "missing", "fonts",
 * "styles", "samplers", "settings", "examples"}. */
void catalog_append(const struct catalog *c, struct text *out);

#endif
