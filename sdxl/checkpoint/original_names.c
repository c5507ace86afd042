#include "sdxl/checkpoint/original_names.h"

#include <stdio.h>
#include <string.h>

/* One word for another, at the beginning of what is left of a name. */
struct word {
    const char *ours, *original;
};

/* Writes the rest of a name: the first word of the table that it begins with is replaced, what follows is kept. */
static bool replace(char *out, size_t size, const struct word *words, const char *rest)
{
    for (; words->ours != NULL; words++) {
        size_t length = strlen(words->ours);
        if (strncmp(rest, words->ours, length) == 0) {
            int written = snprintf(out, size, "%s%s", words->original, rest + length);
            return written >= 0 && (size_t)written < size;
        }
    }
    return false;
}

/* ----------------------------------------------------------------------------------------------------------- UNet */

static const struct word resnet_words[] = {
    {"norm1.", "in_layers.0."},          {"conv1.", "in_layers.2."}, {"norm2.", "out_layers.0."},
    {"conv2.", "out_layers.3."},         {"time_emb_proj.", "emb_layers.1."},
    {"conv_shortcut.", "skip_connection."}, {NULL, NULL},
};

static const struct word as_it_is[] = {{"", ""}, {NULL, NULL}};

static const struct word unet_ends[] = {
    {"conv_in.", "input_blocks.0.0."},
    {"time_embedding.linear_1.", "time_embed.0."},
    {"time_embedding.linear_2.", "time_embed.2."},
    {"time_embedding.cond_proj.", "time_embed.cond_proj."},
    {"add_embedding.linear_1.", "label_emb.0.0."},
    {"add_embedding.linear_2.", "label_emb.0.2."},
    {"mid_block.attentions.0.", "middle_block.1."},
    {"conv_norm_out.", "out.0."},
    {"conv_out.", "out.2."},
    {NULL, NULL},
};

/* "down_blocks.1.resnets.0.rest": block 1, index 0; `rest` is what follows. */
static bool numbered(const char *name, const char *format, int *block, int *index, const char **rest)
{
    int length = 0;
    if (sscanf(name, format, block, index, &length) != 2 || length == 0 || *block < 0 || *block > 99 || *index < 0 ||
        *index > 99)
        return false;
    *rest = name + length;
    return true;
}

/* Blocks are numbered through: a level has its layers and then its sampler; block 0 of the way down is conv_in. */
static bool unet_name(const struct original_names *n, const char *name, char *out, size_t size)
{
    int per_level = n->layers_per_block + 1, block, index, used;
    const char *rest;
    char place[64];
    const struct word *words = as_it_is;
    if (numbered(name, "down_blocks.%d.resnets.%d.%n", &block, &index, &rest)) {
        snprintf(place, sizeof place, "input_blocks.%d.0.", 1 + block * per_level + index);
        words = resnet_words;
    } else if (numbered(name, "down_blocks.%d.attentions.%d.%n", &block, &index, &rest)) {
        snprintf(place, sizeof place, "input_blocks.%d.1.", 1 + block * per_level + index);
    } else if (numbered(name, "down_blocks.%d.downsamplers.%d.conv.%n", &block, &index, &rest)) {
        snprintf(place, sizeof place, "input_blocks.%d.0.op.", (block + 1) * per_level);
    } else if (numbered(name, "up_blocks.%d.resnets.%d.%n", &block, &index, &rest)) {
        snprintf(place, sizeof place, "output_blocks.%d.0.", block * per_level + index);
        words = resnet_words;
    } else if (numbered(name, "up_blocks.%d.attentions.%d.%n", &block, &index, &rest)) {
        snprintf(place, sizeof place, "output_blocks.%d.1.", block * per_level + index);
    } else if (numbered(name, "up_blocks.%d.upsamplers.%d.conv.%n", &block, &index, &rest)) {
        if (block >= MAX_LEVELS)
            return false;
        snprintf(place, sizeof place, "output_blocks.%d.%d.conv.", (block + 1) * per_level - 1,
                 n->up_attention[block] ? 2 : 1);
    } else if (sscanf(name, "mid_block.resnets.%d.%n", &index, &used) == 1 && (index == 0 || index == 1)) {
        snprintf(place, sizeof place, "middle_block.%d.", 2 * index);
        rest = name + strlen("mid_block.resnets.0.");
        words = resnet_words;
    } else {
        return replace(out, size, unet_ends, name);
    }
    size_t length = strlen(place);
    if (length >= size)
        return false;
    memcpy(out, place, length + 1);
    return replace(out + length, size - length, words, rest);
}

/* ------------------------------------------------------------------------------------------------------------ VAE */

static const struct word vae_resnet_words[] = {{"conv_shortcut.", "nin_shortcut."}, {"", ""}, {NULL, NULL}};

static const struct word vae_middle[] = {
    {"mid_block.resnets.0.", "mid.block_1."},
    {"mid_block.resnets.1.", "mid.block_2."},
    {"mid_block.attentions.0.group_norm.", "mid.attn_1.norm."},
    {"mid_block.attentions.0.to_q.", "mid.attn_1.q."},
    {"mid_block.attentions.0.to_k.", "mid.attn_1.k."},
    {"mid_block.attentions.0.to_v.", "mid.attn_1.v."},
    {"mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."},
    {"conv_norm_out.", "norm_out."},
    {"conv_in.", "conv_in."},
    {"conv_out.", "conv_out."},
    {NULL, NULL},
};

/* Levels are numbered by resolution: the decoder's first up block is the last level. */
static bool vae_coder_name(const struct original_names *n, const char *name, char *out, size_t size)
{
    int block, index;
    const char *rest;
    char place[64];
    const struct word *words = vae_resnet_words;
    if (numbered(name, "down_blocks.%d.resnets.%d.%n", &block, &index, &rest))
        snprintf(place, sizeof place, "down.%d.block.%d.", block, index);
    else if (numbered(name, "down_blocks.%d.downsamplers.%d.%n", &block, &index, &rest))
        snprintf(place, sizeof place, "down.%d.downsample.", block);
    else if (numbered(name, "up_blocks.%d.resnets.%d.%n", &block, &index, &rest))
        snprintf(place, sizeof place, "up.%d.block.%d.", n->levels - 1 - block, index);
    else if (numbered(name, "up_blocks.%d.upsamplers.%d.%n", &block, &index, &rest))
        snprintf(place, sizeof place, "up.%d.upsample.", n->levels - 1 - block);
    else
        return replace(out, size, vae_middle, name);
    size_t length = strlen(place);
    if (length >= size)
        return false;
    memcpy(out, place, length + 1);
    return replace(out + length, size - length, words, rest);
}

static bool vae_name(const struct original_names *n, const char *name, char *out, size_t size)
{
    static const struct word convs[] = {
        {"quant_conv.", "quant_conv."}, {"post_quant_conv.", "post_quant_conv."}, {NULL, NULL}};
    static const char *const coders[] = {"encoder.", "decoder."};
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(coders[i]);
        if (strncmp(name, coders[i], length) == 0 && length < size) {
            memcpy(out, coders[i], length + 1);
            return vae_coder_name(n, name + length, out + length, size - length);
        }
    }
    return replace(out, size, convs, name);
}

/* -------------------------------------------------------------------------------------------------- text encoders */

static const struct word open_clip_words[] = {
    {"text_model.embeddings.token_embedding.", "token_embedding."},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
    {"text_model.final_layer_norm.", "ln_final."},
    {NULL, NULL},
};

static const struct word open_clip_layer_words[] = {
    {"layer_norm1.", "ln_1."}, {"layer_norm2.", "ln_2."},
    {"mlp.fc1.", "mlp.c_fc."}, {"mlp.fc2.", "mlp.c_proj."},
    {"self_attn.out_proj.", "attn.out_proj."}, {NULL, NULL},
};

/* q, k and v of a layer are one matrix of 3 C rows, in this order. */
static bool open_clip_layer(int layer, const char *rest, struct original_tensor *out, size_t prefix)
{
    char *text = out->name + prefix;
    size_t size = sizeof out->name - prefix;
    static const char *const projections[] = {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."};
    int length = snprintf(text, size, "transformer.resblocks.%d.", layer);
    if (length < 0 || (size_t)length >= size)
        return false;
    for (int i = 0; i < 3; i++) {
        size_t word = strlen(projections[i]);
        if (strncmp(rest, projections[i], word) != 0)
            continue;
        out->view = ORIGINAL_THIRD;
        out->third = i;
        int written = snprintf(text + length, size - (size_t)length, "attn.in_proj_%s", rest + word);
        return written >= 0 && (size_t)(length + written) < size;
    }
    return replace(text + length, size - (size_t)length, open_clip_layer_words, rest);
}

static bool open_clip_name(const char *name, struct original_tensor *out, size_t prefix)
{
    int layer, used = 0;
    if (strcmp(name, "text_projection.weight") == 0) {
        out->view = ORIGINAL_TRANSPOSED;
        strcpy(out->name + prefix, "text_projection");
        return true;
    }
    if (sscanf(name, "text_model.encoder.layers.%d.%n", &layer, &used) == 1 && used > 0 && layer >= 0)
        return open_clip_layer(layer, name + used, out, prefix);
    return replace(out->name + prefix, sizeof out->name - prefix, open_clip_words, name);
}

static bool clip_name(const struct original_names *n, const char *name, char *out, size_t size)
{
    static const struct word without[] = {{"text_model.", ""}, {"", ""}, {NULL, NULL}};
    return replace(out, size, n->no_text_model ? without : as_it_is, name);
}

/* ---------------------------------------------------------------------------------------------------------- rules */

static struct original_names rule(enum checkpoint_part part, const char *prefix)
{
    struct original_names n = {.part = part};
    snprintf(n.prefix, sizeof n.prefix, "%s", prefix);
    return n;
}

struct original_names original_unet(const struct unet_config *config)
{
    struct original_names n = rule(PART_UNET, "model.diffusion_model.");
    n.levels = config->levels;
    n.layers_per_block = config->layers_per_block;
    memcpy(n.up_attention, config->up_attention, sizeof n.up_attention);
    return n;
}

struct original_names original_vae(const struct vae_config *config)
{
    struct original_names n = rule(PART_VAE, "first_stage_model.");
    n.levels = config->levels;
    return n;
}

struct original_names original_clip(enum checkpoint_part part, bool open_clip)
{
    struct original_names n = rule(part, part == PART_TEXT_ENCODER_2 ? "conditioner.embedders.1.model."
                                                                     : "conditioner.embedders.0.transformer.");
    n.open_clip = open_clip;
    return n;
}

bool original_name(const struct original_names *n, const char *name, struct original_tensor *out)
{
    size_t prefix = strlen(n->prefix);
    *out = (struct original_tensor){.view = ORIGINAL_WHOLE};
    memcpy(out->name, n->prefix, prefix + 1);
    char *rest = out->name + prefix;
    size_t size = sizeof out->name - prefix;
    if (n->part == PART_UNET)
        return unet_name(n, name, rest, size);
    if (n->part == PART_VAE)
        return vae_name(n, name, rest, size);
    return n->open_clip ? open_clip_name(name, out, prefix) : clip_name(n, name, rest, size);
}
