/* From prompts to what the UNet is told: text states and a pooled vector per prompt, sizes and crops.
 *
 *   prompt -- tokenizer   -- text_encoder   -- penultimate states [T, C1] \
 *          \- tokenizer_2 -- text_encoder_2 -- penultimate states [T, C2]  } side by side: [T, C1 + C2]
 *                                           \- pooled, projected [P]
 *
 * SD 1.5 has the first row alone, with the last states after the final norm instead, and no pooled vector (P = 0).
 * T is 77 times the number of windows. The pooled vector is the first window's. Reference: encode_prompt of
 * diffusers' StableDiffusionXLPipeline, which knows one window only. */
#ifndef SDXL_CONDITIONING_H
#define SDXL_CONDITIONING_H

#include "sdxl/model.h"
#include "sdxl/text/prompt_weights.h"

/* How prompts are read. */
enum prompt_weights {
    WEIGHTS_OFF,     /* brackets are text: what the reference does */
    WEIGHTS_ON,      /* prompt_weights.h; the states of a window keep their mean */
    WEIGHTS_NO_NORM, /* without that */
};
extern const char *const prompt_weights_names[]; /* "off", .., NULL */
struct prompt_reading {
    enum long_prompt long_prompt;
    enum prompt_weights weights; /* a prompt that has none, and no break, is read as with WEIGHTS_OFF */
};

struct conditioning {
    float *states; /* [count, tokens, width] */
    float *pooled; /* [count, pooled_width] */
    int64_t count, tokens, width, pooled_width;
};

/* Encodes `count` prompts, so that all have the same number of windows (shorter ones get empty windows). A NULL
 * prompt is an absent one: zeros if the model says force_zeros_for_empty_prompt, else the encoding of "". ctx gives
 * threads, profile and observer; memory is its own. Fails for lack of memory alone. The caller frees. */
status conditioning_encode(const struct context *ctx, const struct model *m, const char *const *prompts,
                           int64_t count, struct prompt_reading reading, struct conditioning *out, struct error *e);
void conditioning_free(struct conditioning *c); /* fine on a zeroed struct */

/* The windows that text encoder 0 or 1 reads a prompt in. With weights the second one has those of the first tokenizer,
 * padded its own way: id 0 after the first end token (as in the web UI). The caller frees *out. */
status conditioning_windows(const struct model *m, int encoder, const char *prompt, struct prompt_reading reading,
                            struct token_windows *out, struct error *e);

/* How many tokens a prompt has, and how many of them are left out (0 unless truncating): by the tokenizer that makes
 * more of it. To SDXL's second one each "!" is a token of its own, as it pads with it. */
status conditioning_count_tokens(const struct model *m, const char *prompt, struct prompt_reading reading,
                                 size_t *total, size_t *cut, struct error *e);

/* SDXL's micro-conditioning (Podell et al. 2023, section 2.2): original size = target size, nothing cropped.
 * time_ids: original h, w; crop top, left; target h, w, in pixels. */
void conditioning_time_ids(int64_t height, int64_t width, float time_ids[6]);

#endif
