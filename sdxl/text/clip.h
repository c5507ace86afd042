/* CLIP's text encoders (Radford et al. 2021, section 2.4): a causal transformer over 77 tokens.
 *
 * SD 1.5 reads one: the output of its last layer after the final norm.
 * SDXL reads two of them: the output of the last layer but one, of both, without the final norm, side by side; and
 * one pooled vector of the second: final norm at the end token, times text_projection. Reference: transformers
 * CLIPTextModel, CLIPTextModelWithProjection. Encoder 1 uses quick GELU, encoder 2 the exact one: config.json knows.
 */
#ifndef SDXL_CLIP_H
#define SDXL_CLIP_H

#include "nn/linear.h"
#include "nn/norm.h"
#include "sdxl/checkpoint/bind.h"
#include "sdxl/checkpoint/config.h"

struct clip_layer {
    char name[MODULE_NAME];
    struct norm layer_norm1, layer_norm2;
    struct linear q_proj, k_proj, v_proj, out_proj, fc1, fc2;
};

struct clip {
    struct clip_config config;
    struct tensor token_embedding, position_embedding; /* [vocab_size, C], [positions, C] */
    struct clip_layer *layers;
    struct norm final_layer_norm;
    struct linear text_projection; /* [P, C], no bias; no data: none */
    struct weights weights;
};

/* Opens the weights and binds them. The file stays mapped until clip_close. Messages name the tensor at fault. */
status clip_open(struct clip *c, const char *weights_path, const struct clip_config *config, struct error *e);

/* The same from weights that are open: they are the encoder's from now on, whether this succeeds or not. */
status clip_bind(struct clip *c, struct weights *weights, const struct clip_config *config, struct error *e);
void clip_close(struct clip *c); /* fine on a zeroed struct */

/* Names every tensor that such an encoder has. Only a lack of memory fails. */
status clip_list(const struct clip_config *config, const struct tensor_visitor *visitor, struct error *e);

/* ids: [n, positions], each in [0, vocab_size): clip_check_ids says so. penultimate: [n, positions, C]. pooled: [n,
 * P] with a text_projection, [n, C] without; NULL if not wanted. The end token is the first of eos_token_id in a row;
 * where that is 2 or not among them, the highest id (its first occurrence), as it is in CLIP's own vocabulary. Source:
 * transformers, CLIPTextTransformer.forward. */
void clip_encode(const struct context *ctx, const struct clip *c, const int32_t *ids, int64_t n, float *penultimate,
                 float *pooled);

/* What SD 1.5 reads instead: last_hidden_state, the output of the last layer after final_layer_norm. states: [n,
 * positions, C]. */
void clip_encode_last(const struct context *ctx, const struct clip *c, const int32_t *ids, int64_t n, float *states);

/* Fails, naming the id, if a tokenizer made ids that this encoder has no embedding for. */
status clip_check_ids(const struct clip *c, const int32_t *ids, int64_t count, struct error *e);

#endif
