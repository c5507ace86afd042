/* The blueprint of a model, read from the config.json files of a diffusers folder.
 *
 * Keys and defaults are diffusers' (0.25) and transformers'. Everything is checked here, once: sizes are positive and
 * bounded, widths divide by heads and groups, and a key that would change the computation in a way this program does
 * not implement is refused by name. After that a config is constant and the forward passes trust it. */
#ifndef SDXL_CONFIG_H
#define SDXL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/activation.h"
#include "tensor/status.h"

enum { MAX_LEVELS = 6, MAX_LAYERS_PER_BLOCK = 4, MAX_TRANSFORMER_DEPTH = 64 };

/* UNet2DConditionModel. Level 0 has the full resolution of the latents; each next one half of it. */
struct unet_config {
    int64_t in_channels, out_channels, sample_size;
    int levels, layers_per_block;
    int64_t block_out_channels[MAX_LEVELS];
    bool down_attention[MAX_LEVELS]; /* CrossAttnDownBlock2D, in the order of the levels */
    bool up_attention[MAX_LEVELS];   /* CrossAttnUpBlock2D, in the order of up_blocks: the lowest resolution first */
    int transformer_layers[MAX_LEVELS];
    int heads[MAX_LEVELS]; /* attention_head_dim: its name says width, it is the number of heads */
    int64_t cross_attention_dim, norm_num_groups;
    float norm_eps;
    bool use_linear_projection; /* only how proj_in and proj_out are saved: as matrices, or as 1x1 convolutions */
    bool text_time; /* addition_embed_type "text_time": SDXL; without it: SD 1.5 */
    int64_t addition_time_embed_dim, projection_class_embeddings_input_dim;
    bool flip_sin_to_cos;
    double freq_shift;
    int64_t time_cond_proj_dim; /* 0: none. Else the UNet is told the guidance scale (LCM) and needs no second half */
};

/* AutoencoderKL */
struct vae_config {
    int64_t in_channels, out_channels, latent_channels, sample_size;
    int levels, layers_per_block;
    int64_t block_out_channels[MAX_LEVELS];
    int64_t norm_num_groups;
    double scaling_factor;
};

/* CLIPTextModel, CLIPTextModelWithProjection */
struct clip_config {
    int64_t vocab_size, hidden_size, intermediate_size, positions;
    int64_t projection_dim; /* 0: no text_projection */
    int64_t eos_token_id;   /* 2: written before transformers 4.30, whatever the vocabulary; clip.h */
    int layers, heads;
    enum activation activation;
    float layer_norm_eps;
};

/* Each reads and checks one file. On failure the message names the file and the key. */
status unet_config_read(const char *path, struct unet_config *config, struct error *e);
status vae_config_read(const char *path, struct vae_config *config, struct error *e);
status clip_config_read(const char *path, struct clip_config *config, struct error *e);

/* The same from a text that is not a file of its own. `name` is for messages. */
status unet_config_parse(const char *name, const char *json, struct unet_config *config, struct error *e);
status vae_config_parse(const char *name, const char *json, struct vae_config *config, struct error *e);
status clip_config_parse(const char *name, const char *json, struct clip_config *config, struct error *e);

/* Pixels per latent: every level but the last halves the resolution. */
int64_t vae_factor(const struct vae_config *config);

#endif
