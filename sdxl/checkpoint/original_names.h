/* The original layout: what a tensor of a diffusers folder is called in a single file.
 *
 *   diffusers (unet/)                             a single file
 *   down_blocks.1.resnets.0.norm1.weight          model.diffusion_model.input_blocks.4.0.in_layers.0.weight
 *   up_blocks.0.upsamplers.0.conv.bias            model.diffusion_model.output_blocks.2.2.conv.bias
 *   (vae/) decoder.up_blocks.0.resnets.1.conv1.bias  first_stage_model.decoder.up.3.block.1.conv1.bias
 *   (text_encoder_2/)
 *   text_model.encoder.layers.0.self_attn.k_proj.weight  the second third of the rows of
 *                                     conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight
 *
 * The rule goes from diffusers' names to the others, because those are the ones that binding asks for. In the UNet the
 * original layout numbers blocks through, across levels; in the VAE's decoder it numbers levels from the other end. So
 * a rule needs to know how many there are. Sources: CompVis/stable-diffusion and Stability-AI/generative-models (the
 * modules), diffusers' convert_from_ckpt (the correspondence). */
#ifndef SDXL_ORIGINAL_NAMES_H
#define SDXL_ORIGINAL_NAMES_H

#include <stdbool.h>

#include "sdxl/checkpoint/config.h"

enum checkpoint_part { PART_NONE, PART_UNET, PART_VAE, PART_TEXT_ENCODER, PART_TEXT_ENCODER_2 };

struct original_names {
    enum checkpoint_part part;
    char prefix[64];        /* "model.diffusion_model.", "first_stage_model.", ... */
    int levels;             /* of the UNet or the VAE */
    int layers_per_block;   /* of the UNet */
    bool up_attention[MAX_LEVELS]; /* of the UNet: as in its config */
    bool open_clip;         /* a text encoder as open_clip names its parts: SDXL's second */
    bool no_text_model;     /* a text encoder without the "text_model." in its names, as some tools write it */
};

/* The tensor that holds what is wanted, and which part of it that is. */
struct original_tensor {
    char name[256];
    enum {
        ORIGINAL_WHOLE,
        ORIGINAL_THIRD,      /* rows [third C, (third + 1) C) of the 3 C rows of a fused in_proj */
        ORIGINAL_TRANSPOSED, /* stored as [in, out] */
    } view;
    int third;
};

/* The rules of the parts. */
struct original_names original_unet(const struct unet_config *config);
struct original_names original_vae(const struct vae_config *config);
struct original_names original_clip(enum checkpoint_part part, bool open_clip);

/* False: the original layout has no such tensor. */
bool original_name(const struct original_names *names, const char *name, struct original_tensor *out);

#endif
