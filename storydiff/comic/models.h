/* Where models are: by name in a folder of downloads, by path, or the one that comes with the program. */
#ifndef STORYDIFF_MODELS_H
#define STORYDIFF_MODELS_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/status.h"

/* Whether the model that is taken when none is named has this name. */
bool models_is_default(const char *name);

/* Whether this is a name that models_find looks up: one of the four, or ORG/NAME. */
bool models_knows(const char *name);

/* Finds the folder or file of a model and writes it to `out`, and what to call it (never a private path) to `name`.
 *
 *   path         given: that folder or file; a folder of a Hugging Face cache (models--ORG--NAME) stands for its
 *                snapshot, and ORG/NAME, where there is no such path, for itself below cache_dir
 *   name         one of SDXL, RealVision, Juggernaut, Unstable, or ORG/NAME of the Hugging Face hub, looked for below
 *                cache_dir as models--ORG--NAME/snapshots/REVISION (the one refs/main names first), ORG/NAME or NAME
 *   neither      the folder in $STORYDIFF_MODEL, or else the model that comes with the program: from where that is,
 *                ../storydiff/models/world (a build) or ../share/storydiff/models/world (installed)
 *
 * cache_dir NULL: $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub. A model that is not there: the
 * message says what to download and where to put it. */
status models_find(const char *path, const char *wanted, const char *cache_dir, char *out, size_t size, char *name,
                   size_t name_size, struct error *e);

/* Where the cache has CLIP's vocabulary, for models that come without: in one of the models known by name, SD 1.5, or
 * openai/clip-vit-large-patch14. False: nowhere. */
bool models_find_tokenizer(const char *cache_dir, char *out, size_t size);

#endif
