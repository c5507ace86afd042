/* What is in a file: of a model, folder or single file, the parts with their tensors, parameters and bytes, what would
 * not bind and what would not be used; of any other file of tensors, what it is; of a picture, how it was made. */
#ifndef TOOLS_INSPECTION_H
#define TOOLS_INSPECTION_H

#include "sdxl/checkpoint/parts.h"

enum inspection_form { INSPECTION_TEXT, INSPECTION_JSON };

struct inspection {
    const char *path;
    struct model_sources sources;
    enum inspection_form form;
    bool tensors; /* list every tensor: JSON always does */
};

/* Appends the report. Fails if nothing at all can be said about the path; *whole: a model, and all of it would bind. */
status inspect(const struct inspection *i, struct text *out, bool *whole, struct error *e);

#endif
