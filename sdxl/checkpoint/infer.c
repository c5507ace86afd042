#include "sdxl/checkpoint/infer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sdxl/checkpoint/config.h"

enum { SDXL_HEAD_WIDTH = 64, SD15_HEADS = 8, CLIP_HEAD_WIDTH = 64, GROUPS = 32 };

/* The part of a file that is looked at. */
struct part {
    const struct tensor_file *file;
    const char *prefix;
    struct error *e;
};

static const struct tensor *find(const struct part *p, const char *format, va_list args)
{
    char name[256];
    int length = snprintf(name, sizeof name, "%s", p->prefix);
    if (length < 0 || (size_t)length >= sizeof name)
        return NULL;
    vsnprintf(name + length, sizeof name - (size_t)length, format, args);
    return tensor_file_find(p->file, name);
}

__attribute__((format(printf, 2, 3))) static bool has(const struct part *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct tensor *t = find(p, format, args);
    va_end(args);
    return t != NULL;
}

/* Dimension d of a tensor of at least so many; a failure if there is none. */
__attribute__((format(printf, 4, 5))) static status extent(const struct part *p, int d, int64_t *out,
                                                           const char *format, ...)
{
    char name[192];
    va_list args;
    va_start(args, format);
    const struct tensor *t = find(p, format, args);
    va_end(args);
    if (t != NULL && t->rank > d && t->shape[d] > 0) {
        *out = t->shape[d];
        return OK;
    }
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return fail(p->e, ERR_FORMAT, "%s: tensor \"%s%s\" is missing or misshapen: the file is incomplete",
                p->file->path, p->prefix, name);
}

static status odd(const struct part *p, const char *what)
{
    return fail(p->e, ERR_FORMAT, "%s: its %s: this is not put together as models of its kind are; give the folder "
                "with its config.json files with `config`", p->file->path, what);
}

/* A JSON list of numbers. */
static void append_numbers(struct text *json, const char *key, const int64_t *numbers, int count)
{
    text_append(json, "  \"%s\": [", key);
    for (int i = 0; i < count; i++)
        text_append(json, "%s%" PRId64, i > 0 ? ", " : "", numbers[i]);
    text_append(json, "],\n");
}

static void append_types(struct text *json, const char *key, const bool *attention, int count, const char *with,
                         const char *without)
{
    text_append(json, "  \"%s\": [", key);
    for (int i = 0; i < count; i++)
        text_append(json, "%s\"%s\"", i > 0 ? ", " : "", attention != NULL && attention[i] ? with : without);
    text_append(json, "],\n");
}

/* ----------------------------------------------------------------------------------------------------------- UNet */

struct shape_of_unet {
    int levels, layers;
    int64_t width[MAX_LEVELS], depth[MAX_LEVELS], heads[MAX_LEVELS];
    bool down_attention[MAX_LEVELS], up_attention[MAX_LEVELS];
};

static int64_t count_blocks(const struct part *p, const char *module)
{
    int64_t depth = 0;
    while (depth <= MAX_TRANSFORMER_DEPTH &&
           has(p, "%s.transformer_blocks.%d.attn1.to_q.weight", module, (int)depth))
        depth++;
    return depth;
}

/* Down the input blocks, one after the other: each is a resnet with or without a transformer, or a downsampler that
 * ends its level. */
static status walk_down(const struct part *p, struct shape_of_unet *u)
{
    char module[64];
    int layers = 0, first = 0;
    u->levels = 1;
    for (int i = 1;; i++) {
        int level = u->levels - 1;
        if (has(p, "input_blocks.%d.0.op.weight", i)) {
            first = first > 0 ? first : layers;
            if (layers == 0 || layers != first || u->levels == MAX_LEVELS)
                return odd(p, "levels have different numbers of layers");
            layers = 0;
            u->levels++;
            continue;
        }
        if (!has(p, "input_blocks.%d.0.in_layers.2.weight", i))
            break;
        TRY(extent(p, 0, &u->width[level], "input_blocks.%d.0.in_layers.2.weight", i));
        snprintf(module, sizeof module, "input_blocks.%d.1", i);
        u->depth[level] = count_blocks(p, module);
        u->down_attention[level] = u->depth[level] > 0;
        layers++;
    }
    u->layers = first > 0 ? first : layers;
    return layers == u->layers && layers > 0 ? OK : odd(p, "levels have different numbers of layers");
}

/* What the way down leaves open: the depth in the middle, and which levels have transformers on the way up. */
static status look_up(const struct part *p, struct shape_of_unet *u)
{
    int last = u->levels - 1;
    int64_t middle = count_blocks(p, "middle_block.1");
    if (middle == 0 || (u->down_attention[last] && u->depth[last] != middle))
        return odd(p, "middle block has no transformer, or one of another depth than its level's");
    u->depth[last] = middle;
    for (int order = 0; order < u->levels; order++) {
        char module[64];
        snprintf(module, sizeof module, "output_blocks.%d.1", order * (u->layers + 1));
        int64_t depth = count_blocks(p, module);
        u->up_attention[order] = depth > 0;
        if (depth > 0 && u->depth[last - order] > 0 && depth != u->depth[last - order])
            return odd(p, "levels are not as deep on the way up as on the way down");
        if (depth > 0)
            u->depth[last - order] = depth;
    }
    for (int i = 0; i < u->levels; i++)
        u->depth[i] = u->depth[i] > 0 ? u->depth[i] : 1;
    return OK;
}

status infer_unet(const struct tensor_file *file, const char *prefix, enum checkpoint_kind kind, struct text *json,
                  struct error *e)
{
    const struct part p = {file, prefix, e};
    struct shape_of_unet u = {0};
    bool xl = kind == CHECKPOINT_SDXL;
    int64_t in, out, text, added = 0, guidance = 0;
    TRY(walk_down(&p, &u));
    TRY(look_up(&p, &u));
    TRY(extent(&p, 1, &in, "input_blocks.0.0.weight"));
    TRY(extent(&p, 0, &out, "out.2.weight"));
    TRY(extent(&p, 1, &text, "middle_block.1.transformer_blocks.0.attn2.to_k.weight"));
    if (xl)
        TRY(extent(&p, 1, &added, "label_emb.0.0.weight"));
    if (has(&p, "time_embed.cond_proj.weight"))
        TRY(extent(&p, 1, &guidance, "time_embed.cond_proj.weight"));
    for (int i = 0; i < u.levels; i++) {
        if (u.width[i] % GROUPS != 0 || (xl && u.width[i] % SDXL_HEAD_WIDTH != 0))
            return odd(&p, "widths are not multiples of 32 (SDXL: 64)");
        u.heads[i] = xl ? u.width[i] / SDXL_HEAD_WIDTH : SD15_HEADS;
    }
    text_append(json, "{\n  \"_class_name\": \"UNet2DConditionModel\",\n  \"act_fn\": \"silu\",\n");
    if (xl)
        text_append(json, "  \"addition_embed_type\": \"text_time\",\n  \"addition_time_embed_dim\": 256,\n"
                          "  \"projection_class_embeddings_input_dim\": %" PRId64 ",\n"
                          "  \"use_linear_projection\": true,\n", added);
    if (guidance > 0)
        text_append(json, "  \"time_cond_proj_dim\": %" PRId64 ",\n", guidance);
    append_numbers(json, "attention_head_dim", u.heads, u.levels);
    append_numbers(json, "block_out_channels", u.width, u.levels);
    append_numbers(json, "transformer_layers_per_block", u.depth, u.levels);
    append_types(json, "down_block_types", u.down_attention, u.levels, "CrossAttnDownBlock2D", "DownBlock2D");
    append_types(json, "up_block_types", u.up_attention, u.levels, "CrossAttnUpBlock2D", "UpBlock2D");
    text_append(json, "  \"cross_attention_dim\": %" PRId64 ",\n  \"downsample_padding\": 1,\n"
                      "  \"flip_sin_to_cos\": true,\n  \"freq_shift\": 0,\n  \"in_channels\": %" PRId64 ",\n"
                      "  \"layers_per_block\": %d,\n  \"mid_block_scale_factor\": 1,\n  \"norm_eps\": 1e-05,\n"
                      "  \"norm_num_groups\": %d,\n  \"out_channels\": %" PRId64 ",\n  \"sample_size\": %d\n}\n",
                text, in, u.layers, GROUPS, out, xl ? 128 : 64);
    return OK;
}

/* ------------------------------------------------------------------------------------------------------------ VAE */

status infer_vae(const struct tensor_file *file, const char *prefix, bool diffusers, enum checkpoint_kind kind,
                 struct text *json, struct error *e)
{
    const struct part p = {file, prefix, e};
    const char *blocks = diffusers ? "down_blocks" : "down", *layer = diffusers ? "resnets" : "block";
    int64_t width[MAX_LEVELS], latent;
    int levels = 0, layers = 0;
    TRY(extent(&p, 1, &latent, "decoder.conv_in.weight"));
    while (levels < MAX_LEVELS && has(&p, "encoder.%s.%d.%s.0.conv1.weight", blocks, levels, layer)) {
        TRY(extent(&p, 0, &width[levels], "encoder.%s.%d.%s.0.conv1.weight", blocks, levels, layer));
        if (width[levels] % GROUPS != 0)
            return odd(&p, "VAE's widths are not multiples of 32");
        levels++;
    }
    while (layers <= MAX_LAYERS_PER_BLOCK && has(&p, "encoder.%s.0.%s.%d.conv1.weight", blocks, layer, layers))
        layers++;
    if (levels == 0)
        TRY(extent(&p, 0, &width[0], "encoder.%s.0.%s.0.conv1.weight", blocks, layer));
    text_append(json, "{\n  \"_class_name\": \"AutoencoderKL\",\n  \"act_fn\": \"silu\",\n");
    append_numbers(json, "block_out_channels", width, levels);
    append_types(json, "down_block_types", NULL, levels, "", "DownEncoderBlock2D");
    append_types(json, "up_block_types", NULL, levels, "", "UpDecoderBlock2D");
    text_append(json, "  \"in_channels\": 3,\n  \"latent_channels\": %" PRId64 ",\n  \"layers_per_block\": %d,\n"
                      "  \"norm_num_groups\": %d,\n  \"out_channels\": 3,\n  \"sample_size\": %d,\n"
                      "  \"scaling_factor\": %s\n}\n",
                latent, layers, GROUPS, kind == CHECKPOINT_SD15 ? 512 : 1024,
                kind == CHECKPOINT_SD15 ? "0.18215" : "0.13025");
    return OK;
}

/* -------------------------------------------------------------------------------------------------- text encoders */

status infer_clip(const struct tensor_file *file, const char *prefix, bool open_clip, struct text *json,
                  struct error *e)
{
    const struct part p = {file, prefix, e};
    const char *layer = open_clip ? "transformer.resblocks" : "encoder.layers";
    const char *first = open_clip ? "mlp.c_fc.weight" : "mlp.fc1.weight";
    int64_t vocabulary, width, positions, inner, projected = 0;
    int layers = 0;
    TRY(extent(&p, 0, &vocabulary, open_clip ? "token_embedding.weight" : "embeddings.token_embedding.weight"));
    TRY(extent(&p, 1, &width, open_clip ? "token_embedding.weight" : "embeddings.token_embedding.weight"));
    TRY(extent(&p, 0, &positions, open_clip ? "positional_embedding" : "embeddings.position_embedding.weight"));
    TRY(extent(&p, 0, &inner, "%s.0.%s", layer, first));
    if (open_clip)
        TRY(extent(&p, 1, &projected, "text_projection"));
    while (layers < 1000 && has(&p, "%s.%d.%s", layer, layers, first))
        layers++;
    if (width % CLIP_HEAD_WIDTH != 0)
        return odd(&p, "text encoder's width is not a multiple of 64");
    text_append(json, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"clip_text_model\",\n"
                      "  \"vocab_size\": %" PRId64 ",\n  \"hidden_size\": %" PRId64 ",\n"
                      "  \"intermediate_size\": %" PRId64 ",\n  \"projection_dim\": %" PRId64 ",\n"
                      "  \"num_hidden_layers\": %d,\n  \"num_attention_heads\": %" PRId64 ",\n"
                      "  \"max_position_embeddings\": %" PRId64 ",\n  \"hidden_act\": \"%s\",\n"
                      "  \"layer_norm_eps\": 1e-05\n}\n",
                open_clip ? "CLIPTextModelWithProjection" : "CLIPTextModel", vocabulary, width, inner,
                open_clip ? projected : width, layers, width / CLIP_HEAD_WIDTH, positions,
                open_clip ? "gelu" : "quick_gelu");
    return OK;
}

/* --------------------------------------------------------------------------------------------------- what is left */

void infer_scheduler(const struct tensor_file *file, enum checkpoint_kind kind, struct text *json)
{
    const char *prediction = tensor_file_find(file, "v_pred") != NULL ? "v_prediction" : "epsilon";
    const char *zero = tensor_file_find(file, "ztsnr") != NULL ? "true" : "false";
    bool xl = kind == CHECKPOINT_SDXL;
    text_append(json, "{\n  \"_class_name\": \"%s\",\n  \"beta_end\": 0.012,\n  \"beta_schedule\": \"scaled_linear\",\n"
                      "  \"beta_start\": 0.00085,\n  \"clip_sample\": false,\n  \"num_train_timesteps\": 1000,\n"
                      "  \"prediction_type\": \"%s\",\n  \"rescale_betas_zero_snr\": %s,\n"
                      "  \"set_alpha_to_one\": false,\n  \"skip_prk_steps\": true,\n  \"steps_offset\": 1,\n"
                      "  \"timestep_spacing\": \"leading\"\n}\n",
                xl ? "EulerDiscreteScheduler" : "PNDMScheduler", prediction, zero);
}

void infer_index(enum checkpoint_kind kind, struct text *json)
{
    bool xl = kind == CHECKPOINT_SDXL;
    text_append(json, "{\n  \"_class_name\": \"%s\",\n  \"scheduler\": [\"diffusers\", \"%s\"],\n"
                      "  \"text_encoder\": [\"transformers\", \"CLIPTextModel\"],\n%s"
                      "  \"tokenizer\": [\"transformers\", \"CLIPTokenizer\"],\n%s"
                      "  \"unet\": [\"diffusers\", \"UNet2DConditionModel\"],\n"
                      "  \"vae\": [\"diffusers\", \"AutoencoderKL\"]\n}\n",
                xl ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline",
                xl ? "EulerDiscreteScheduler" : "PNDMScheduler",
                xl ? "  \"force_zeros_for_empty_prompt\": true,\n"
                     "  \"text_encoder_2\": [\"transformers\", \"CLIPTextModelWithProjection\"],\n" : "",
                xl ? "  \"tokenizer_2\": [\"transformers\", \"CLIPTokenizer\"],\n" : "");
}
