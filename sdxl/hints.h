/* What a model says about itself: which settings suit it, and what it was trained to draw. SDXL draws anything at any
 * size; a model that does not would draw nonsense without a word, so it may list what it knows. In model_index.json:
 *
 *   "_storydiff": {
 *     "note": "random weights, pictures are noise",    shown whenever the model is used
 *     "sampling_steps": 12, "guidance_scale": 2, "eta": 1,    defaults where a person gives none: the steps with its
 *                                      own scheduler or one of its kind (for few steps, or for many), eta with DDIM
 *     "pixels": 256,                   width and height of the panels that it knows
 *     "figures": 1,                    how many figures a panel may have
 *     "nobody": false,                 whether a panel may be without any
 *     "words": ["boy", "beach", ..]    what a prompt may say, in lower case, articles and prepositions aside
 *   }
 *
 * diffusers ignores the key. Each member may be left out; what is left out says nothing. */
#ifndef SDXL_HINTS_H
#define SDXL_HINTS_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/json.h"

struct model_hints {
    char note[256];                    /* "" if there is none */
    int sampling_steps, pixels, figures; /* 0: not given */
    double guidance_scale, eta;        /* 0: not given */
    bool somebody;                     /* "nobody" is false */
    char *words;                       /* "\nbeach\nboy\n", or NULL: not given */
    char unknown[64];                  /* a member that none of these is: "" or the first of them */
};

/* Reads the value of "_storydiff", which may be NULL. Refused, with `path` and the member: values of another kind than
 * above, or out of range; words that are not single ones. The caller frees the hints. */
status model_hints_read(const char *path, const struct json *value, struct model_hints *hints, struct error *e);
void model_hints_free(struct model_hints *hints); /* fine on a zeroed struct */

/* Whether `word` of `length` bytes is one of the words, in whichever case; true where none are given. */
bool model_hints_know(const struct model_hints *hints, const char *word, size_t length);

#endif
