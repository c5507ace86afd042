#include "sdxl/checkpoint/recognise.h"

#include <string.h>

static const struct {
    const char *name, *advice;
} kinds[CHECKPOINT_KINDS] = {
    [CHECKPOINT_UNKNOWN] = {"no model that this program knows", NULL},
    [CHECKPOINT_SDXL] = {"an SDXL model", NULL},
    [CHECKPOINT_SD15] = {"an SD 1.5 model", NULL},
    [CHECKPOINT_SDXL_REFINER] = {"an SDXL refiner", "give the base model: a refiner only improves its pictures"},
    [CHECKPOINT_SDXL_INPAINTING] = {"an SDXL inpainting model", "give the model that it was made from"},
    [CHECKPOINT_SD15_INPAINTING] = {"an SD 1.5 inpainting model", "give the model that it was made from"},
    [CHECKPOINT_PIX2PIX] = {"an InstructPix2Pix model", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_SD2] = {"an SD 2 model", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_VIDEO] = {"a video model", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_SD3] = {"an SD 3 model", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_FLUX] = {"a Flux model", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_TRANSFORMER] = {"a diffusion transformer", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_LORA] = {"a LoRA", "give a model with `model`, and the LoRA with `lora`"},
    [CHECKPOINT_LYCORIS] = {"a LyCORIS network (LoHa, LoKr)", "only plain LoRAs can be used"},
    [CHECKPOINT_VAE] = {"a VAE", "give a model with `model`, and the VAE with `vae`"},
    [CHECKPOINT_VAE_DIFFUSERS] = {"a VAE", "give a model with `model`, and the VAE with `vae`"},
    [CHECKPOINT_TAESD] = {"a tiny autoencoder (TAESD)", "give a model with `model`, and this with `taesd`"},
    [CHECKPOINT_UNET_DIFFUSERS] = {"the UNet of a diffusers folder", "give the whole folder, the one with "
                                                                      "model_index.json"},
    [CHECKPOINT_TEXT_ENCODER] = {"a text encoder", "give the whole model"},
    [CHECKPOINT_T5] = {"a T5 text encoder", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_CONTROLNET] = {"a ControlNet", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_EMBEDDING] = {"a textual inversion", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_PHOTOMAKER] = {"a PhotoMaker adapter", "give an SDXL model"},
    [CHECKPOINT_IP_ADAPTER] = {"an IP-Adapter", "give an SDXL or SD 1.5 model"},
    [CHECKPOINT_UPSCALER] = {"an upscaler", "give an SDXL or SD 1.5 model"},
};

const char *checkpoint_name(enum checkpoint_kind kind)
{
    return kinds[kind].name;
}

const char *checkpoint_advice(enum checkpoint_kind kind)
{
    return kinds[kind].advice;
}

bool checkpoint_has(const struct tensor_file *file, const char *prefix)
{
    size_t low = 0, high = file->count, length = strlen(prefix);
    while (low < high) { /* the first name that is not smaller */
        size_t middle = (low + high) / 2;
        if (strcmp(file->items[middle].name, prefix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < file->count && strncmp(file->items[low].name, prefix, length) == 0;
}

static bool any_contains(const struct tensor_file *file, const char *const *words)
{
    for (; *words != NULL; words++)
        for (size_t i = 0; i < file->count; i++)
            if (strstr(file->items[i].name, *words) != NULL)
                return true;
    return false;
}

static bool any_begins(const struct tensor_file *file, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++)
        if (checkpoint_has(file, *prefixes))
            return true;
    return false;
}

/* A dimension of a tensor, or -1. */
static int64_t dimension(const struct tensor_file *file, const char *name, int d)
{
    const struct tensor *t = tensor_file_find(file, name);
    return t != NULL && t->rank > d ? t->shape[d] : -1;
}

/* A UNet in the original layout. What it takes tells which it is: the channels of its input, the width of its text,
 * the added vector (pooled text and sizes). */
static enum checkpoint_kind recognise_unet(const struct tensor_file *file)
{
    static const char *const frames[] = {".time_stack.", ".temporal_transformer.", "time_mixer", NULL};
    int64_t in = dimension(file, "model.diffusion_model.input_blocks.0.0.weight", 1);
    int64_t text = dimension(file, "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1);
    int64_t added = dimension(file, "model.diffusion_model.label_emb.0.0.weight", 1);
    if (any_contains(file, frames))
        return CHECKPOINT_VIDEO;
    if (added > 0) {
        if (checkpoint_has(file, "conditioner.embedders.0.model.") || (text == 1280 && added == 2560))
            return CHECKPOINT_SDXL_REFINER;
        return in == 9 ? CHECKPOINT_SDXL_INPAINTING : in == 8 ? CHECKPOINT_PIX2PIX : CHECKPOINT_SDXL;
    }
    if (text == 1024 || checkpoint_has(file, "cond_stage_model.model."))
        return CHECKPOINT_SD2;
    return in == 9 ? CHECKPOINT_SD15_INPAINTING : in == 8 ? CHECKPOINT_PIX2PIX : CHECKPOINT_SD15;
}

static const struct rule {
    enum checkpoint_kind kind;
    enum { BEGINS, CONTAINS } how;
    const char *const *words;
} rules[] = {
    {CHECKPOINT_PHOTOMAKER, BEGINS, (const char *const[]){"id_encoder.", NULL}},
    {CHECKPOINT_IP_ADAPTER, BEGINS, (const char *const[]){"ip_adapter.", "image_proj.", NULL}},
    {CHECKPOINT_LYCORIS, CONTAINS, (const char *const[]){"hada_w1", "lokr_w1", ".oft_", NULL}},
    {CHECKPOINT_LORA, CONTAINS,
     (const char *const[]){"lora_down", "lora_up", ".lora_A.", ".lora_B.", ".lora.down", "lora_linear_layer",
                           "_lora.down.", NULL}},
    {CHECKPOINT_CONTROLNET, BEGINS,
     (const char *const[]){"control_model.", "controlnet_cond_embedding.", "input_hint_block.", NULL}},
    {CHECKPOINT_SD3, CONTAINS, (const char *const[]){"joint_blocks.0.", ".attn.norm_added_q", NULL}},
    {CHECKPOINT_FLUX, CONTAINS, (const char *const[]){"double_blocks.0.", "single_transformer_blocks.0.", NULL}},
    {CHECKPOINT_TRANSFORMER, BEGINS,
     (const char *const[]){"model.diffusion_model.blocks.", "model.diffusion_model.transformer_blocks.",
                           "model.diffusion_model.layers.", "transformer_blocks.0.", "blocks.0.", NULL}},
    {CHECKPOINT_UNET_DIFFUSERS, BEGINS, (const char *const[]){"down_blocks.0.resnets.0.", NULL}},
    {CHECKPOINT_VAE, BEGINS,
     (const char *const[]){"first_stage_model.decoder.", "decoder.mid.block_1.", "decoder.up.0.", NULL}},
    {CHECKPOINT_VAE_DIFFUSERS, BEGINS, (const char *const[]){"decoder.mid_block.resnets.0.", NULL}},
    {CHECKPOINT_TAESD, BEGINS,
     (const char *const[]){"decoder.layers.1.", "encoder.layers.0.", "taesd_decoder.", "3.conv.0.", "1.conv.0.", NULL}},
    {CHECKPOINT_T5, BEGINS, (const char *const[]){"encoder.block.0.layer.0.SelfAttention.", NULL}},
    {CHECKPOINT_TEXT_ENCODER, BEGINS,
     (const char *const[]){"text_model.embeddings.", "transformer.resblocks.0.", "conditioner.embedders.",
                           "cond_stage_model.", NULL}},
    {CHECKPOINT_EMBEDDING, BEGINS,
     (const char *const[]){"emb_params", "string_to_param.", "string_to_token.", "clip_l", "clip_g", NULL}},
    {CHECKPOINT_UPSCALER, BEGINS, (const char *const[]){"conv_first.", "model.0.weight", "params_ema.", NULL}},
};

enum checkpoint_kind checkpoint_recognise(const struct tensor_file *file)
{
    if (tensor_file_find(file, "model.diffusion_model.input_blocks.0.0.weight") != NULL)
        return recognise_unet(file);
    for (const struct rule *rule = rules; rule < rules + sizeof rules / sizeof *rules; rule++)
        if (rule->how == BEGINS ? any_begins(file, rule->words) : any_contains(file, rule->words))
            return rule->kind;
    return CHECKPOINT_UNKNOWN;
}
