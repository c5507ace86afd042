/* The spatial transformer (Rombach et al. 2022): diffusers' Transformer2DModel, the attention of the UNet.
 *
 *   x [n,h,w,c] -- norm -- proj_in -- transformer_blocks -- proj_out -- + -- x      tokens = h w: the same memory
 *       \______________________________________________________________/
 *
 *   BasicTransformerBlock:  x += attn1(norm1 x);  x += attn2(norm2 x, text);  x += ff(norm3 x)
 *
 * Members are named as the tensors of the checkpoint; `name` is the module's full name there. The surprise: eps of
 * `norm` is 1e-6 and in no config, the layer norms' 1e-5. */
#ifndef SDXL_TRANSFORMER_H
#define SDXL_TRANSFORMER_H

#include "nn/attention.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "sdxl/checkpoint/bind.h"

/* Attention: the four projections of to_q, to_k, to_v, to_out.0. */
struct attention_weights {
    char name[MODULE_NAME];
    struct linear to_q, to_k, to_v, to_out;
};

/* BasicTransformerBlock. */
struct transformer_block {
    struct norm norm1, norm2, norm3;
    struct attention_weights attn1, attn2; /* self-attention, cross-attention */
    struct linear ff_proj, ff_out;         /* ff.net.0.proj (GEGLU), ff.net.2 */
    char ff_name[MODULE_NAME];
    int up_layer;    /* number among the self-attentions of the up blocks, in order of execution; -1 elsewhere */
    int64_t text_at; /* where its K and V lie in the text keys of a prompt, in floats per token (unet_text_keys) */
};

/* Transformer2DModel: group norm, into tokens, `depth` blocks, back, plus the input. */
struct transformer {
    char name[MODULE_NAME];
    struct norm norm;
    struct linear proj_in, proj_out;
    struct transformer_block *transformer_blocks; /* [depth], owned by the UNet */
    int depth;
    int64_t channels, heads, groups;
};

/* `blocks` has room for `depth` of them. first_up_layer: up_layer of the first block, -1 outside of the up blocks.
 * linear_projection: proj_in and proj_out are saved as matrices, otherwise as 1x1 convolutions. */
void transformer_bind(struct transformer *t, struct binder *b, const char *name, int64_t channels, int64_t heads,
                      int64_t cross_attention_dim, int64_t groups, bool linear_projection,
                      struct transformer_block *blocks, int depth, int first_up_layer);

/* What a self-attention of the up blocks is about to do. Arrays belong to the forward pass. */
struct attention_site {
    int layer;           /* transformer_block.up_layer */
    int64_t n, h, w, c;  /* of the hidden states */
    const float *hidden; /* norm1's output [n, h*w, c] */
    const float *k, *v;  /* to_k, to_v of it [n, h*w, c] */
};

/* Lets somebody else decide what the tokens of the up blocks attend to. NULL members of a hook are not allowed; a
 * NULL hook means ordinary self-attention. This is all that the model knows about stories. */
enum { HOOK_KEY_SETS = 64 };
struct attention_hook {
    void *self;
    /* Once per layer, when K and V of all samples are there. */
    void (*enter)(void *self, const struct context *ctx, const struct attention_site *site);
    /* What sample i attends to: fills at most HOOK_KEY_SETS sets, returns how many (at least one, with a key). */
    int (*key_sets)(void *self, const struct attention_site *site, int64_t sample, struct key_set *sets);
};

/* The text that the samples of a batch attend to. It does not change while they are denoised, so neither do its K and
 * V in any layer: whoever calls more than once has them computed by unet_text_keys and hands them in. */
struct text_input {
    const float *states; /* [n, tokens, cross_attention_dim] */
    int64_t tokens;
    const float *const *keys; /* [n]: a prompt's text keys, or NULL: computed on the way. NULL: none has any */
};

/* x: [n, h, w, channels], in place. hook may be NULL. */
void transformer_forward(const struct context *ctx, const struct transformer *t, struct features x,
                         const struct text_input *text, const struct attention_hook *hook);

/* K and V of the cross-attention: states [tokens, cross_attention_dim] -> k, v [tokens, channels]. */
void text_keys(const struct context *ctx, const struct transformer_block *block, float *k, float *v,
               const float *states, int64_t tokens);

#endif
