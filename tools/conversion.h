/* Converting weights: any form that can be read (sdxl/checkpoint/parts.h, tensor/tensor_file.h) to safetensors, a
 * single file or a folder.
 *
 * Tensors go through one after the other, in pieces: the source is mapped, so memory stays small whatever the size.
 * What was written is read back and compared. Files appear whole or not at all. */
#ifndef TOOLS_CONVERSION_H
#define TOOLS_CONVERSION_H

#include <stdint.h>

#include "sdxl/checkpoint/parts.h"

struct conversion {
    const char *in;
    const char *out;       /* ends in ".safetensors": a single file; otherwise a folder, made if need be */
    struct model_sources sources; /* with the LoRAs that are to be merged in */
    enum dtype dtype;      /* F32, F16 or BF16: of all float tensors. OTHER: each as it is */
    bool overwrite;
    /* Hears how many bytes of how many are done; NULL: nobody asks. Verifying counts, too. */
    void (*progress)(void *self, uint64_t done, uint64_t all);
    void *self;
    struct text notes;     /* out: lines that the person should read; the caller frees them */
};

/* Converts. A whole model becomes a single file in the original layout, with the texts of its folder as metadata, or a
 * folder in the diffusers layout. Anything else (a LoRA, a VAE, an embedding) becomes a file with the same names.
 * Refused: an output that is there, without `overwrite`; numbers that do not fit the format asked for. Tensors that a
 * model does not use are left out, with a note. */
status convert(struct conversion *c, struct error *e);

#endif
