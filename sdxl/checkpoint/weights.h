/* The weights of one part of a model (a UNet, an autoencoder, a text encoder): tensors by diffusers' names, wherever
 * they lie.
 *
 *   a file of the part's own     weights_open   safetensors, shards, PyTorch's .bin: names are looked up as they are
 *   a part of a single file      weights_of     names are turned into those of the original layout
 *                                               (original_names.h), and what was fused becomes a view of rows
 *
 * Binding (bind.h) asks for tensors here and nowhere else, so it does not know what it binds from. What has been asked
 * for and taken is remembered: `bound` is the list of all tensors a part consists of, under diffusers' names. */
#ifndef SDXL_WEIGHTS_H
#define SDXL_WEIGHTS_H

#include "sdxl/checkpoint/lora.h"
#include "sdxl/checkpoint/original_names.h"
#include "tensor/tensor_file.h"
#include "tensor/text.h"

struct weights {
    const struct tensor_file *file;  /* NULL: closed */
    struct original_names names;     /* of a single file; .part NONE: the names are diffusers' */
    bool *used;                      /* [file->count] taken by somebody: weights_take */
    struct named_tensor *bound;      /* [bound_count] in the order of binding, then (bind_finish) sorted by name */
    size_t bound_count, bound_room;
    const struct lora_part *loras; /* read while binding, or NULL: there are none */
    /* private */
    struct tensor_file *own_file;
    bool *own_used;
    void *copies; /* of tensors that must be turned: a list */
};

/* Opens a file of a part's own. The caller closes it; after a failure there is nothing to close. */
status weights_open(const char *path, struct weights *w, struct error *e);

/* The view of one part of a file that somebody else opened and closes later than this. used: [file->count], shared by
 * the parts of a file, or NULL. */
status weights_of(const struct tensor_file *file, bool *used, struct original_names names, struct weights *w,
                  struct error *e);

void weights_close(struct weights *w); /* fine on a zeroed struct, and twice */

/* The tensor of that name: true, and *t is a view that lasts as long as w. False: there is none. *place (may be NULL):
 * where in file->items. A transposed one is a copy, made when it is asked for; *t has no data where memory lacks. */
bool weights_find(struct weights *w, const char *name, struct tensor *t, size_t *place);

/* Notes that `t` has been bound under `name`, and the tensor at `place` is of use. False: out of memory. */
bool weights_take(struct weights *w, const char *name, const struct tensor *t, size_t place);

/* Appends a line about the tensors of a file that nothing has used, if there are any; bookkeeping that every exporter
 * leaves in (position_ids, logit_scale, denoiser.sigmas) is passed over. Lines are separated by '\n'. */
void weights_note_unused(const struct tensor_file *file, const bool *used, struct text *notes);

/* Appends a line if much of a file could not be mapped and takes memory instead. */
enum { WEIGHTS_COPIED_MUCH = 1 << 20 };
void weights_note_copied(const struct tensor_file *file, struct text *notes);

#endif
