/* A model, opened as one thing, whatever form it has (sdxl/checkpoint/parts.h): a folder in the diffusers layout,
 *
 *   model_index.json
 *   tokenizer/      text_encoder/       unet/        vae/        scheduler/
 *   tokenizer_2/    text_encoder_2/     (SDXL alone has these two)
 *
 * or a single file in the original layout.
 *
 * Weights are mapped, not read: opening takes milliseconds, memory is the page cache. */
#ifndef SDXL_MODEL_H
#define SDXL_MODEL_H

#include "sdxl/checkpoint/parts.h"
#include "sdxl/hints.h"
#include "sdxl/text/clip.h"
#include "sdxl/sampling/scheduler_config.h"
#include "sdxl/text/tokenizer.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/taesd.h"
#include "sdxl/vae/vae.h"

/* What a model is. SD 1.5 has one tokenizer and one text encoder; the second ones stay zero. */
enum model_family { MODEL_SD15, MODEL_SDXL };

struct model {
    char path[4096];
    enum model_family family;
    struct model_hints hints;
    bool force_zeros_for_empty_prompt; /* an absent negative prompt is zeros, not the encoding of "" */
    struct tokenizer *tokenizer, *tokenizer_2;
    struct clip text_encoder, text_encoder_2;
    struct unet unet;
    struct vae vae;
    struct taesd taesd; /* has_decoder false: there is none */
    bool draft;         /* taesd decodes the pictures, not only previews */
    struct scheduler_config scheduler;
    struct lora *loras; /* [lora_count], what is added to its weights */
    int lora_count;
    struct model_parts parts; /* private: the files of what is not in a folder */
};

/* Opens every part and checks that they fit together: widths of text states and pooled vector, latent channels,
 * vocabulary. The message of a failure names the file and says what is wrong or missing. */
status model_open(struct model *m, const char *path, struct error *e);

/* The same with parts from elsewhere, whose paths must outlive the model, and LoRAs: one that has nothing for this
 * model is refused. */
status model_open_from(struct model *m, const char *path, const struct model_sources *sources, struct error *e);
void model_close(struct model *m); /* fine on a zeroed struct */

/* Appends lines about its files, LoRAs among them: tensors that nothing uses (weights_note_unused), what takes memory
 * because it could not be mapped (weights_note_copied), and what it says of itself that means nothing (hints.h). */
void model_note(const struct model *m, struct text *notes);

/* Says why a stage gave values that are no numbers: "unet: 'conv_in.weight' of FILE has infinities or NaNs", or that
 * the weights are all finite and something overflowed. Reads all weights until one is found: seconds. Returns
 * ERR_FORMAT. stage: "step 3 of 50, panel 2". */
status model_fail_not_finite(const struct model *m, const char *stage, struct error *e);
/* Appends a line for each part: the file that its weights come from, and the format of that. */
void model_list_files(const struct model *m, struct text *lines);

/* The multiple of pixels that width and height must be for a whole number of tokens wherever consistent self-attention
 * looks: at every level with transformers on the way up. Without it, multiples of a latent are enough (vae_factor). */
int64_t model_size_multiple(const struct model *m);

#endif
