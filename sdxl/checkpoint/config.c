#include "sdxl/checkpoint/config.h"

#include <math.h>
#include <string.h>

#include "tensor/json.h"

/* Far above any model, low enough that no product of a few of them overflows 64 bits. */
enum { MAX_WIDTH = 1 << 16, MAX_VOCABULARY = 1 << 20 };

struct reader {
    const char *path;
    const struct json *root;
    struct error *e;
};

static status read_size(const struct reader *r, const char *key, int64_t fallback, int64_t most, int64_t *out)
{
    const struct json *v = json_get(r->root, key);
    *out = json_int(v, fallback);
    bool given = v != NULL && v->kind != JSON_NULL;
    if ((given && !v->is_integer) || *out < 1 || *out > most)
        return fail(r->e, ERR_FORMAT, "%s: \"%s\" must be a whole number from 1 to %lld", r->path, key,
                    (long long)most);
    return OK;
}

static status read_int(const struct reader *r, const char *key, int64_t fallback, int most, int *out)
{
    int64_t value;
    TRY(read_size(r, key, fallback, most, &value));
    *out = (int)value;
    return OK;
}

/* Absent and null mean the default; any other kind of value than the one expected is refused, never passed over. */
static status check_kind(const struct reader *r, const char *key, bool right, const char *expected)
{
    const struct json *v = json_get(r->root, key);
    if (v == NULL || v->kind == JSON_NULL || right)
        return OK;
    return fail(r->e, ERR_FORMAT, "%s: \"%s\" must be %s", r->path, key, expected);
}

static status read_number(const struct reader *r, const char *key, double fallback, double *out)
{
    const struct json *v = json_get(r->root, key);
    *out = json_double(v, fallback);
    return check_kind(r, key, v != NULL && v->kind == JSON_NUMBER, "a number");
}

static status read_positive(const struct reader *r, const char *key, double fallback, double *out)
{
    TRY(read_number(r, key, fallback, out));
    if (!((float)*out > 0) || isinf((float)*out))
        return fail(r->e, ERR_FORMAT, "%s: \"%s\" must be positive, and a float", r->path, key);
    return OK;
}

static status read_flag(const struct reader *r, const char *key, bool fallback, bool *out)
{
    const struct json *v = json_get(r->root, key);
    *out = json_bool(v, fallback);
    return check_kind(r, key, v != NULL && (v->kind == JSON_TRUE || v->kind == JSON_FALSE), "true or false");
}

static status read_text(const struct reader *r, const char *key, const char *fallback, const char **out)
{
    const struct json *v = json_get(r->root, key);
    *out = json_string(v, fallback);
    return check_kind(r, key, v != NULL && v->kind == JSON_STRING, "a text");
}

/* A list with one entry per level, or one number for all of them. */
static status read_levels(const struct reader *r, const char *key, const struct json *v, int levels, int64_t least,
                          int64_t most, int64_t *out)
{
    bool list = v != NULL && v->kind == JSON_ARRAY;
    for (int i = 0; i < levels; i++) {
        const struct json *item = list ? json_at(v, (size_t)i) : v;
        out[i] = json_int(item, least - 1);
        if ((list && v->count != (size_t)levels) || out[i] < least || out[i] > most)
            return fail(r->e, ERR_FORMAT,
                        "%s: \"%s\" must be a whole number from %lld to %lld, or a list of %d of them", r->path, key,
                        (long long)least, (long long)most, levels);
    }
    return OK;
}

static status read_widths(const struct reader *r, int *levels, int64_t *widths, int64_t *groups)
{
    const struct json *list = json_get(r->root, "block_out_channels");
    size_t count = list != NULL && list->kind == JSON_ARRAY ? list->count : 0;
    if (count < 1 || count > MAX_LEVELS)
        return fail(r->e, ERR_FORMAT, "%s: \"block_out_channels\" must be a list of 1 to %d widths", r->path,
                    MAX_LEVELS);
    *levels = (int)count;
    TRY(read_levels(r, "block_out_channels", list, *levels, 1, MAX_WIDTH, widths));
    TRY(read_size(r, "norm_num_groups", 32, MAX_WIDTH, groups));
    for (int i = 0; i < *levels; i++)
        if (widths[i] % *groups != 0)
            return fail(r->e, ERR_FORMAT,
                        "%s: \"block_out_channels\" has %lld, not a multiple of \"norm_num_groups\" %lld", r->path,
                        (long long)widths[i], (long long)*groups);
    return OK;
}

/* Keys whose other values mean another computation. */
static status refuse_unless_absent(const struct reader *r, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        const struct json *v = json_get(r->root, *keys);
        if (v != NULL && v->kind != JSON_NULL && v->kind != JSON_FALSE)
            return fail(r->e, ERR_FORMAT, "%s: \"%s\" is set: this kind of model is not supported", r->path, *keys);
    }
    return OK;
}

struct expected_text {
    const char *key, *value;
};

static status refuse_unless_equal(const struct reader *r, const struct expected_text *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *found;
        TRY(read_text(r, rows[i].key, rows[i].value, &found));
        if (strcmp(found, rows[i].value) != 0)
            return fail(r->e, ERR_FORMAT, "%s: \"%s\" is \"%s\", only \"%s\" is supported", r->path, rows[i].key,
                        found, rows[i].value);
    }
    return OK;
}

struct expected_number {
    const char *key;
    double value;
};

static status refuse_unless_number(const struct reader *r, const struct expected_number *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double found;
        TRY(read_number(r, rows[i].key, rows[i].value, &found));
        if (found != rows[i].value)
            return fail(r->e, ERR_FORMAT, "%s: \"%s\" is %g, only %g is supported", r->path, rows[i].key, found,
                        rows[i].value);
    }
    return OK;
}

/* down_block_types / up_block_types: which blocks have transformers. */
static status read_block_types(const struct reader *r, const char *key, const char *with, const char *without,
                               int levels, bool *attention)
{
    const struct json *list = json_get(r->root, key);
    if (list == NULL || list->kind != JSON_ARRAY || list->count != (size_t)levels)
        return fail(r->e, ERR_FORMAT, "%s: \"%s\" must be a list of %d block types", r->path, key, levels);
    for (int i = 0; i < levels; i++) {
        const char *type = json_string(json_at(list, (size_t)i), "");
        attention[i] = strcmp(type, with) == 0;
        if (!attention[i] && strcmp(type, without) != 0)
            return fail(r->e, ERR_FORMAT, "%s: \"%s\" has \"%s\", only \"%s\" and \"%s\" are supported", r->path, key,
                        type, with, without);
    }
    return OK;
}

static status check_heads(const struct reader *r, const char *key, const struct unet_config *c)
{
    for (int i = 0; i < c->levels; i++) {
        bool used = c->down_attention[i] || c->up_attention[c->levels - 1 - i] || i == c->levels - 1;
        if (used && c->block_out_channels[i] % c->heads[i] != 0)
            return fail(r->e, ERR_FORMAT, "%s: \"%s\": width %lld of level %d does not divide into %d heads", r->path,
                        key, (long long)c->block_out_channels[i], i, c->heads[i]);
    }
    return OK;
}

static status read_addition(const struct reader *r, struct unet_config *c)
{
    const char *type;
    TRY(read_text(r, "addition_embed_type", NULL, &type));
    if (type == NULL)
        return OK;
    if (strcmp(type, "text_time") != 0)
        return fail(r->e, ERR_FORMAT,
                    "%s: \"addition_embed_type\" is \"%s\", only \"text_time\" or null is supported", r->path, type);
    c->text_time = true;
    TRY(read_size(r, "addition_time_embed_dim", 0, MAX_WIDTH, &c->addition_time_embed_dim));
    TRY(read_size(r, "projection_class_embeddings_input_dim", 0, MAX_WIDTH,
                  &c->projection_class_embeddings_input_dim));
    if (c->addition_time_embed_dim % 2 != 0 ||
        c->projection_class_embeddings_input_dim <= 6 * c->addition_time_embed_dim)
        return fail(
            r->e, ERR_FORMAT,
            "%s: \"projection_class_embeddings_input_dim\" must be the pooled text width and 6 times the even "
            "\"addition_time_embed_dim\"",
            r->path);
    return OK;
}

static status read_unet(const struct reader *r, struct unet_config *c)
{
    static const char *const absent[] = {"center_input_sample",
                                         "class_embed_type",
                                         "class_embeddings_concat",
                                         "cross_attention_norm",
                                         "dual_cross_attention",
                                         "encoder_hid_dim",
                                         "encoder_hid_dim_type",
                                         "mid_block_only_cross_attention",
                                         "num_class_embeds",
                                         "only_cross_attention",
                                         "resnet_skip_time_act",
                                         "reverse_transformer_layers_per_block",
                                         "time_embedding_act_fn",
                                         "time_embedding_dim",
                                         "timestep_post_act",
                                         NULL};
    static const struct expected_text equal[] = {{"act_fn", "silu"},
                                                 {"attention_type", "default"},
                                                 {"mid_block_type", "UNetMidBlock2DCrossAttn"},
                                                 {"resnet_time_scale_shift", "default"},
                                                 {"time_embedding_type", "positional"}};
    static const struct expected_number numbers[] = {
        {"conv_in_kernel", 3}, {"conv_out_kernel", 3}, {"downsample_padding", 1}, {"mid_block_scale_factor", 1},
        {"resnet_out_scale_factor", 1}};
    TRY(refuse_unless_absent(r, absent));
    TRY(refuse_unless_equal(r, equal, sizeof equal / sizeof *equal));
    TRY(refuse_unless_number(r, numbers, sizeof numbers / sizeof *numbers));
    TRY(read_widths(r, &c->levels, c->block_out_channels, &c->norm_num_groups));
    TRY(read_block_types(r, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", c->levels, c->down_attention));
    TRY(read_block_types(r, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", c->levels, c->up_attention));
    TRY(read_size(r, "in_channels", 4, MAX_WIDTH, &c->in_channels));
    TRY(read_size(r, "out_channels", 4, MAX_WIDTH, &c->out_channels));
    TRY(read_size(r, "sample_size", 128, MAX_WIDTH, &c->sample_size));
    TRY(read_size(r, "cross_attention_dim", 1280, MAX_WIDTH, &c->cross_attention_dim));
    TRY(read_int(r, "layers_per_block", 2, MAX_LAYERS_PER_BLOCK, &c->layers_per_block));

    int64_t depth[MAX_LEVELS], heads[MAX_LEVELS];
    static const struct json one = {.kind = JSON_NUMBER, .number = 1, .integer = 1, .is_integer = true};
    static const struct json eight = {.kind = JSON_NUMBER, .number = 8, .integer = 8, .is_integer = true};
    const struct json *layers = json_get(r->root, "transformer_layers_per_block");
    const struct json *head_count = json_get(r->root, "num_attention_heads");
    const char *heads_key = "num_attention_heads";
    if (head_count == NULL || head_count->kind == JSON_NULL) {
        heads_key = "attention_head_dim";
        head_count = json_get(r->root, heads_key);
    }
    TRY(read_levels(r, "transformer_layers_per_block", layers ? layers : &one, c->levels, 1, MAX_TRANSFORMER_DEPTH,
                    depth));
    TRY(read_levels(r, heads_key, head_count ? head_count : &eight, c->levels, 1, MAX_WIDTH, heads));
    for (int i = 0; i < c->levels; i++) {
        c->transformer_layers[i] = (int)depth[i];
        c->heads[i] = (int)heads[i];
    }
    double eps;
    TRY(read_positive(r, "norm_eps", 1e-5, &eps));
    c->norm_eps = (float)eps;
    TRY(read_flag(r, "use_linear_projection", false, &c->use_linear_projection));
    TRY(read_flag(r, "flip_sin_to_cos", true, &c->flip_sin_to_cos));
    TRY(read_number(r, "freq_shift", 0, &c->freq_shift));
    if (c->block_out_channels[0] % 2 != 0 || !(c->freq_shift >= 0 && c->freq_shift < 1))
        return fail(r->e, ERR_FORMAT,
                    "%s: the time embedding needs an even first width and a \"freq_shift\" in [0, 1)", r->path);
    TRY(read_addition(r, c));
    const struct json *cond = json_get(r->root, "time_cond_proj_dim");
    if (cond != NULL && cond->kind != JSON_NULL)
        TRY(read_size(r, "time_cond_proj_dim", 0, MAX_WIDTH, &c->time_cond_proj_dim));
    if (c->time_cond_proj_dim % 2 != 0 || c->time_cond_proj_dim == 2)
        return fail(r->e, ERR_FORMAT, "%s: \"time_cond_proj_dim\" must be an even number from 4 on", r->path);
    return check_heads(r, heads_key, c);
}

static status read_vae(const struct reader *r, struct vae_config *c)
{
    static const struct expected_text equal[] = {{"act_fn", "silu"}};
    static const char *const absent[] = {"shift_factor", "latents_mean", "latents_std", NULL};
    TRY(refuse_unless_equal(r, equal, 1));
    TRY(refuse_unless_absent(r, absent));
    TRY(read_widths(r, &c->levels, c->block_out_channels, &c->norm_num_groups));
    static const struct expected_number rgb[] = {{"in_channels", 3}, {"out_channels", 3}};
    TRY(refuse_unless_number(r, rgb, 2));
    c->in_channels = c->out_channels = 3;
    TRY(read_size(r, "latent_channels", 4, MAX_WIDTH, &c->latent_channels));
    TRY(read_size(r, "sample_size", 32, MAX_WIDTH, &c->sample_size));
    TRY(read_int(r, "layers_per_block", 1, MAX_LAYERS_PER_BLOCK, &c->layers_per_block));
    TRY(read_positive(r, "scaling_factor", 0.18215, &c->scaling_factor));
    static const char *const parts[] = {"use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        bool there;
        TRY(read_flag(r, parts[i], true, &there));
        if (!there)
            return fail(r->e, ERR_FORMAT, "%s: \"%s\" is false: such a VAE is not supported", r->path, parts[i]);
    }
    return OK;
}

static status read_clip(const struct reader *r, struct clip_config *c)
{
    TRY(read_size(r, "vocab_size", 49408, MAX_VOCABULARY, &c->vocab_size));
    TRY(read_size(r, "hidden_size", 512, MAX_WIDTH, &c->hidden_size));
    TRY(read_size(r, "intermediate_size", 2048, MAX_WIDTH, &c->intermediate_size));
    TRY(read_size(r, "max_position_embeddings", 77, MAX_WIDTH, &c->positions));
    TRY(read_size(r, "eos_token_id", 49407, MAX_VOCABULARY, &c->eos_token_id));
    TRY(read_int(r, "num_hidden_layers", 12, 128, &c->layers));
    TRY(read_int(r, "num_attention_heads", 8, MAX_WIDTH, &c->heads));
    if (c->layers < 2)
        return fail(r->e, ERR_FORMAT, "%s: \"num_hidden_layers\" must be at least 2: SDXL takes the last but one",
                    r->path);
    if (c->hidden_size % c->heads != 0)
        return fail(r->e, ERR_FORMAT, "%s: \"hidden_size\" %lld does not divide into %d heads", r->path,
                    (long long)c->hidden_size, c->heads);
    const struct json *architectures = json_get(r->root, "architectures");
    TRY(check_kind(r, "architectures", json_string(json_at(architectures, 0), NULL) != NULL, "a list of names"));
    const char *architecture = json_string(json_at(architectures, 0), "CLIPTextModel");
    if (strcmp(architecture, "CLIPTextModelWithProjection") == 0)
        TRY(read_size(r, "projection_dim", 512, MAX_WIDTH, &c->projection_dim));
    else if (strcmp(architecture, "CLIPTextModel") != 0)
        return fail(r->e, ERR_FORMAT,
                    "%s: \"architectures\" has \"%s\", only CLIPTextModel and CLIPTextModelWithProjection "
                    "are supported",
                    r->path, architecture);
    const char *act;
    TRY(read_text(r, "hidden_act", "quick_gelu", &act));
    if (strcmp(act, "quick_gelu") != 0 && strcmp(act, "gelu") != 0)
        return fail(r->e, ERR_FORMAT, "%s: \"hidden_act\" is \"%s\", only \"quick_gelu\" and \"gelu\" are supported",
                    r->path, act);
    c->activation = act[0] == 'q' ? ACT_QUICK_GELU : ACT_GELU;
    double eps;
    TRY(read_positive(r, "layer_norm_eps", 1e-5, &eps));
    c->layer_norm_eps = (float)eps;
    return OK;
}

static status unet_config_from(const char *name, const struct json *root, struct unet_config *config, struct error *e)
{
    const struct reader r = {.path = name, .root = root, .e = e};
    *config = (struct unet_config){0};
    status s = read_unet(&r, config);
    json_free(root);
    return s;
}

status unet_config_read(const char *path, struct unet_config *config, struct error *e)
{
    const struct json *root;
    TRY(json_read(path, &root, e));
    return unet_config_from(path, root, config, e);
}

status unet_config_parse(const char *name, const char *json, struct unet_config *config, struct error *e)
{
    const struct json *root;
    TRY(json_parse(name, json, strlen(json), &root, e));
    return unet_config_from(name, root, config, e);
}

static status vae_config_from(const char *name, const struct json *root, struct vae_config *config, struct error *e)
{
    const struct reader r = {.path = name, .root = root, .e = e};
    *config = (struct vae_config){0};
    status s = read_vae(&r, config);
    json_free(root);
    return s;
}

status vae_config_read(const char *path, struct vae_config *config, struct error *e)
{
    const struct json *root;
    TRY(json_read(path, &root, e));
    return vae_config_from(path, root, config, e);
}

status vae_config_parse(const char *name, const char *json, struct vae_config *config, struct error *e)
{
    const struct json *root;
    TRY(json_parse(name, json, strlen(json), &root, e));
    return vae_config_from(name, root, config, e);
}

static status clip_config_from(const char *name, const struct json *root, struct clip_config *config, struct error *e)
{
    const struct reader r = {.path = name, .root = root, .e = e};
    *config = (struct clip_config){0};
    status s = read_clip(&r, config);
    json_free(root);
    return s;
}

status clip_config_read(const char *path, struct clip_config *config, struct error *e)
{
    const struct json *root;
    TRY(json_read(path, &root, e));
    return clip_config_from(path, root, config, e);
}

status clip_config_parse(const char *name, const char *json, struct clip_config *config, struct error *e)
{
    const struct json *root;
    TRY(json_parse(name, json, strlen(json), &root, e));
    return clip_config_from(name, root, config, e);
}

int64_t vae_factor(const struct vae_config *config)
{
    return (int64_t)1 << (config->levels - 1);
}
