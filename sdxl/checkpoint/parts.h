/* A model as it lies on the disk, whatever form it has: a folder in the diffusers layout, or a single file; with parts
 * of it from elsewhere, if somebody says so. What comes out is the same for all: texts that describe, and weights.
 *
 * In a folder, the weights of a part are the first of these that is there (STEM is "diffusion_pytorch_model", or, in
 * text encoders, "model", and "pytorch_model" for .bin):
 *
 *   STEM.safetensors                 STEM.safetensors.index.json             (sharded)
 *   STEM.fp16.safetensors            STEM.safetensors.index.fp16.json        STEM.fp16.safetensors.index.json
 *   STEM.bf16.safetensors
 *   STEM.bin  STEM.bin.index.json    STEM.fp16.bin
 *
 * Full precision comes before half, safetensors before pickles. */
#ifndef SDXL_PARTS_H
#define SDXL_PARTS_H

#include "sdxl/checkpoint/single_file.h"

/* Where parts come from that are not, or not to be, the model's own. NULL: nowhere. */
struct model_sources {
    const char *vae;           /* a VAE's file; a folder with its config.json; a model */
    const char *text_encoders; /* a model: its text_encoder and text_encoder_2; a folder with one config.json */
    const char *tokenizer;     /* a folder with vocab.json and merges.txt; a model's folder; OpenAI's .gz */
    const char *other_tokenizer; /* the same, where neither `tokenizer` nor the model has one */
    const char *config;        /* a model's folder, for a single file that is like no other */
    const struct lora_source *loras; /* [lora_count], applied to what is bound (model.c) */
    int lora_count;
    const char *taesd;          /* a tiny autoencoder's file (model.c) */
    bool draft;                 /* pictures are to be decoded with it */
};

struct model_origin {
    const char *path;
    struct single_file *file; /* NULL: a folder */
};

struct model_parts {
    struct model_origin model, vae, text_encoders;
    struct model_sources sources;
    bool one_encoder; /* SD 1.5 */
};

/* Finds a model, and sees that all files it needs are there: what is missing is named all at once. The texts must
 * outlive the parts. The caller closes them, after all weights; after a failure there is nothing to close. */
status parts_open(const char *path, const struct model_sources *sources, struct model_parts *p, struct error *e);
void parts_close(struct model_parts *p); /* fine on a zeroed struct, and twice */

/* A text and what to call it in messages: a path, or "FILE, its unet/config.json". The caller frees the text. */
status parts_describe(const struct model_parts *p, enum description what, struct text *json, char *name, size_t size,
                      struct error *e);

/* The config of a part and its weights, which are the caller's. */
status parts_unet(struct model_parts *p, struct unet_config *config, struct weights *w, struct error *e);
status parts_vae(struct model_parts *p, struct vae_config *config, struct weights *w, struct error *e);
status parts_clip(struct model_parts *p, enum checkpoint_part part, struct clip_config *config, struct weights *w,
                  struct error *e);

/* Where the vocabulary of a text encoder is. *borrowed: it is not known to be that encoder's own, so the pad token is
 * for the caller to know. */
status parts_tokenizer(const struct model_parts *p, enum checkpoint_part part, char *path, size_t size,
                       bool *borrowed, struct error *e);

/* Appends lines about what nothing has used, once all parts are bound (weights_note_unused). */
void parts_note_unused(const struct model_parts *p, struct text *notes);

#endif
