/* What a file of weights will have in it: its tensors, and what each is made of.
 *
 *   a folder's file     each tensor as it is, under diffusers' name
 *   a single file       under the original name (sdxl/checkpoint/original_names.h): q, k and v of open_clip one behind
 *                       the other in one, text_projection transposed, the VAE's attention as 1x1 convolutions
 *
 * Whoever writes tensors, converted or made up, walks this list and needs to hold no more than one of them. */
#ifndef TOOLS_LAYOUT_H
#define TOOLS_LAYOUT_H

#include "sdxl/checkpoint/original_names.h"
#include "tensor/safetensors.h"

struct layout_row {
    const struct named_tensor *sources[3]; /* one after the other */
    int source_count;
    bool transposed; /* the only source is rows x columns, what is written columns x rows */
};

struct layout {
    struct named_tensor *items; /* what will be written; names are the layout's own, no data */
    struct layout_row *rows;    /* [count] */
    size_t count, room;
};

/* Adds tensors that keep their names. `sources` must outlive the layout. */
status layout_add(struct layout *l, const struct named_tensor *sources, size_t count, struct error *e);

/* Adds those of one part of a model, under their original names. One that the layout has no name for is refused. */
status layout_add_original(struct layout *l, const struct original_names *names, const struct named_tensor *sources,
                           size_t count, struct error *e);

/* Sorts, wide elements first (so that all data is aligned) and then by name, and sees that what is fused is whole. Call
 * it last, when the formats in `items` are those that will be written. */
status layout_finish(struct layout *l, struct error *e);
void layout_free(struct layout *l); /* fine on a zeroed struct */

#endif
