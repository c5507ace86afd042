/* config.json for a single file, which has none: what its shapes say, and what its family says where shapes do not.
 *
 *   from shapes    widths, levels, layers, depths, where there is attention, vocabulary, text and latent widths
 *   from family    heads (SDXL: one for 64 channels; SD 1.5: 8), 32 groups, epsilons, activations, scaling factor
 *
 * What comes out is text, as diffusers writes it, and goes through the same reader and the same checks as a file
 * would. A model with other heads or groups than its family's needs its own configs: from a folder, or from the
 * metadata that storydiff-convert leaves in a file (single_file.h). */
#ifndef SDXL_INFER_H
#define SDXL_INFER_H

#include "sdxl/checkpoint/recognise.h"
#include "tensor/text.h"

/* Each appends one JSON object. Fails, naming the file and the tensor, if the part is not in it, or is put together in
 * a way that no config could describe. prefix: of the part's names, "model.diffusion_model." for example. */
status infer_unet(const struct tensor_file *file, const char *prefix, enum checkpoint_kind kind, struct text *json,
                  struct error *e);

/* diffusers: with the names of a folder's vae/. A bare VAE does not know its family: it counts as SDXL's, until the
 * model that it is for says otherwise. */
status infer_vae(const struct tensor_file *file, const char *prefix, bool diffusers, enum checkpoint_kind kind,
                 struct text *json, struct error *e);

/* open_clip: the part has open_clip's names (SDXL's second encoder); without, transformers', below "text_model."
 * unless the prefix says it all. */
status infer_clip(const struct tensor_file *file, const char *prefix, bool open_clip, struct text *json,
                  struct error *e);

/* What a family samples with, where nobody says otherwise: SDXL Euler, SD 1.5 PNDM. A file that has a tensor "v_pred"
 * predicts velocity. */
void infer_scheduler(const struct tensor_file *file, enum checkpoint_kind kind, struct text *json);

/* model_index.json of the family. */
void infer_index(enum checkpoint_kind kind, struct text *json);

#endif
