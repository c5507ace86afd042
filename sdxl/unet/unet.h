/* The UNet that predicts the noise in a latent, or what its config's prediction_type says instead (Ronneberger et al.
 * 2015; Rombach et al. 2022; SDXL: Podell et al. 2023).
 *
 *   sample [n,h,w,4] -- conv_in -- down_blocks -- mid_block -- up_blocks -- conv_norm_out -- SiLU -- conv_out -- out
 *                                      \___________ skips ________/
 *
 * Reference: diffusers UNet2DConditionModel. Block types, widths, heads and depths come from the config: SD 1.5, SDXL
 * and its small relatives are the same code. */
#ifndef SDXL_UNET_H
#define SDXL_UNET_H

#include "sdxl/blocks/resnet.h"
#include "sdxl/checkpoint/config.h"
#include "sdxl/unet/freeu.h"
#include "sdxl/unet/transformer.h"

/* A level of the way down or up. */
struct unet_block {
    char name[MODULE_NAME];
    struct resnet resnets[MAX_LAYERS_PER_BLOCK + 1];
    struct transformer attentions[MAX_LAYERS_PER_BLOCK + 1]; /* depth 0: none */
    int layers;
    struct conv sampler; /* downsamplers.0.conv or upsamplers.0.conv; no weight data: none */
    char sampler_name[MODULE_NAME];
};

struct unet {
    struct unet_config config;
    struct conv conv_in;
    struct linear time_embedding[2], add_embedding[2]; /* linear_1, linear_2 */
    struct linear cond_proj; /* time_embedding.cond_proj, no bias: [c0, time_cond_proj_dim]; no data: none */
    struct unet_block down_blocks[MAX_LEVELS];
    struct unet_block mid_block; /* two resnets, one transformer between them */
    struct unet_block up_blocks[MAX_LEVELS];
    struct norm conv_norm_out;
    struct conv conv_out;
    int up_layers; /* self-attentions in the up blocks */
    struct weights weights;
    /* private */
    struct transformer_block *transformer_blocks; /* of all transformers, in order of execution */
    int transformer_block_count;
    int64_t text_width; /* floats of text keys per token */
};

/* Opens the weights and binds them. The file stays mapped until unet_close. Messages name the tensor at fault. */
status unet_open(struct unet *u, const char *weights_path, const struct unet_config *config, struct error *e);

/* The same from weights that are open: they are the UNet's from now on, whether this succeeds or not. */
status unet_bind(struct unet *u, struct weights *weights, const struct unet_config *config, struct error *e);
void unet_close(struct unet *u); /* fine on a zeroed struct */

/* Names every tensor that such a UNet has. Only a lack of memory fails. */
status unet_list(const struct unet_config *config, const struct tensor_visitor *visitor, struct error *e);

struct unet_input {
    struct features sample;   /* [n, h, w, in_channels] */
    double timestep;          /* one for all samples; may be fractional */
    double guidance_scale;    /* read with time_cond_proj_dim alone */
    struct text_input text;   /* its states are the reference's encoder_hidden_states */
    const float *text_embeds; /* [n, P], P = projection_class_embeddings_input_dim - 6 addition_time_embed_dim */
    const float *time_ids;    /* [n, 6]: original h, w; crop top, left; target h, w (pixels) */
};

/* Deep features kept from step to step (DeepCache: Ma et al. 2023). From one step to the next most of what the inner
 * blocks compute hardly changes, and they are nearly all of the arithmetic. So their result, the output of the second
 * to last up block, is kept, and on some steps only the outermost level runs, on what was kept. */
enum unet_deep {
    DEEP_COMPUTE, /* all blocks, nothing kept */
    DEEP_KEEP,    /* all blocks, and deep = the output of the second to last up block */
    DEEP_USE,     /* the outermost level alone, on `deep` */
};

struct unet_options {
    const struct attention_hook *hook; /* NULL: ordinary self-attention */
    const struct freeu *freeu;         /* NULL: off */
    enum precision precision; /* of the transformers' linear layers, but for the text's K and V, and of the resnets' 3x3
                               * convolutions where 8 bits are faster (nn/conv_int8.h). All else is float32 */
    enum unet_deep deep_use;
    float *deep; /* [n, h, w, unet_deep_channels]; not with DEEP_COMPUTE */
};

/* out: [n, h, w, out_channels]. h and w are any positive sizes. Temporary memory comes from the arena. */
void unet_forward(const struct context *ctx, const struct unet *u, float *out, const struct unet_input *in,
                  struct unet_options options);

/* Channels of the output of the second to last up block; 0: the UNet has a single level, and nothing to keep. */
int64_t unet_deep_channels(const struct unet_config *config);

/* The text keys of one prompt: K and V of all cross-attentions, [layer][k, v][tokens, channels]; 51 MB for SDXL's 77
 * tokens. states: [tokens, cross_attention_dim]; keys: unet_text_keys_size floats. */
int64_t unet_text_keys_size(const struct unet *u, int64_t tokens);
void unet_text_keys(const struct context *ctx, const struct unet *u, float *keys, const float *states,
                    int64_t tokens);

/* Width of the time embedding: 4 c0. */
int64_t unet_time_width(const struct unet_config *config);

/* Latent rows and columns at a level: each level halves, rounding up. */
int64_t unet_level_size(int64_t size, int level);

#endif
