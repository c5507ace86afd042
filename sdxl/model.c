#include "sdxl/model.h"

#include <stdio.h>
#include <string.h>

/* The first of the names in model.h that exists. */
static status find_weights(const char *folder, const char *stem, char *out, size_t size, struct error *e)
{
    static const char *const endings[] = {".safetensors", ".fp16.safetensors", ".safetensors.index.json",
                                          ".safetensors.index.fp16.json"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int length = snprintf(out, size, "%s/%s%s", folder, stem, endings[i]);
        if (length < 0 || (size_t)length >= size)
            return fail(e, ERR_ARGUMENT, "%.200s...: the path is too long", folder);
        if (file_exists(out))
            return OK;
    }
    return fail(e, ERR_IO,
                "%s: no %s.safetensors (nor %s.fp16.safetensors). Download it, in safetensors format, to there",
                folder, stem, stem);
}

/* The config and the weights of one part. */
struct part {
    char folder[4200], config[4300], weights[4400];
};

static status find_part(const char *model, const char *name, const char *stem, struct part *part, struct error *e)
{
    TRY(path_join(part->folder, sizeof part->folder, model, name, e));
    TRY(path_join(part->config, sizeof part->config, part->folder, "config.json", e));
    return find_weights(part->folder, stem, part->weights, sizeof part->weights, e);
}

static status open_clip(struct clip *clip, const char *model, const char *name, struct error *e)
{
    struct part part;
    struct clip_config config;
    TRY(find_part(model, name, "model", &part, e));
    TRY(clip_config_read(part.config, &config, e));
    return clip_open(clip, part.weights, &config, e);
}

static status open_unet(struct unet *unet, const char *model, struct error *e)
{
    struct part part;
    struct unet_config config;
    TRY(find_part(model, "unet", "diffusion_pytorch_model", &part, e));
    TRY(unet_config_read(part.config, &config, e));
    return unet_open(unet, part.weights, &config, e);
}

static status open_vae(struct vae *vae, const char *model, struct error *e)
{
    struct part part;
    struct vae_config config;
    TRY(find_part(model, "vae", "diffusion_pytorch_model", &part, e));
    TRY(vae_config_read(part.config, &config, e));
    return vae_open(vae, part.weights, &config, e);
}

static status open_tokenizer(struct tokenizer **tokenizer, const char *model, const char *name, struct error *e)
{
    char folder[4200];
    TRY(path_join(folder, sizeof folder, model, name, e));
    return tokenizer_open(folder, NULL, tokenizer, e);
}

static status open_scheduler(struct scheduler_config *scheduler, const char *model, struct error *e)
{
    char path[4200];
    TRY(path_join(path, sizeof path, model, "scheduler/scheduler_config.json", e));
    return scheduler_config_read(path, scheduler, e);
}

static status read_index(struct model *m, struct error *e)
{
    char path[4200];
    const struct json *root;
    TRY(path_join(path, sizeof path, m->path, "model_index.json", e));
    if (!file_exists(path))
        return fail(e, ERR_IO, "%s: no model_index.json there: a model is a folder in the diffusers layout", m->path);
    TRY(json_read(path, &root, e));
    const char *class = json_string(json_get(root, "_class_name"), "");
    const struct json *hints = json_get(root, "_storydiff");
    status s = OK;
    if (strcmp(class, "StableDiffusionXLPipeline") != 0)
        s = fail(e, ERR_FORMAT, "%s: \"_class_name\" is \"%s\": stories need a StableDiffusionXLPipeline", path,
                 class);
    m->force_zeros_for_empty_prompt = json_bool(json_get(root, "force_zeros_for_empty_prompt"), true);
    snprintf(m->hints.note, sizeof m->hints.note, "%s", json_string(json_get(hints, "note"), ""));
    int64_t steps = json_int(json_get(hints, "sampling_steps"), 0);
    m->hints.sampling_steps = steps > 0 && steps <= 1000 ? (int)steps : 0;
    m->hints.guidance_scale = json_double(json_get(hints, "guidance_scale"), 0);
    double eta = json_double(json_get(hints, "eta"), 0);
    m->hints.eta = eta > 0 && eta <= 1 ? eta : 0;
    json_free(root);
    return s;
}

static status check_vocabulary(const struct tokenizer *t, const struct clip *clip, const struct model *m,
                               struct error *e)
{
    if (tokenizer_size(t) > clip->config.vocab_size || clip->config.positions != TOKEN_WINDOW)
        return fail(e, ERR_FORMAT,
                    "%s: the tokenizer makes %d different ids in windows of %d, a text encoder has %lld "
                    "embeddings and %lld positions: they do not belong together",
                    m->path, tokenizer_size(t), TOKEN_WINDOW, (long long)clip->config.vocab_size,
                    (long long)clip->config.positions);
    return OK;
}

static status check_fit(const struct model *m, struct error *e)
{
    const struct unet_config *u = &m->unet.config;
    int64_t states = m->text_encoder.config.hidden_size + m->text_encoder_2.config.hidden_size;
    int64_t pooled = u->projection_class_embeddings_input_dim - 6 * u->addition_time_embed_dim;
    if (!u->text_time)
        return fail(e, ERR_FORMAT,
                    "%s: unet/config.json has no \"addition_embed_type\": \"text_time\": not an SDXL model", m->path);
    if (states != u->cross_attention_dim)
        return fail(e, ERR_FORMAT, "%s: the text encoders give %lld values a token, the UNet wants %lld", m->path,
                    (long long)states, (long long)u->cross_attention_dim);
    if (m->text_encoder_2.config.projection_dim != pooled)
        return fail(e, ERR_FORMAT, "%s: text_encoder_2 gives a pooled vector of %lld values, the UNet wants %lld",
                    m->path, (long long)m->text_encoder_2.config.projection_dim, (long long)pooled);
    if (m->vae.config.latent_channels != u->in_channels || u->in_channels != u->out_channels)
        return fail(e, ERR_FORMAT, "%s: the VAE has latents of %lld channels, the UNet reads %lld and writes %lld",
                    m->path, (long long)m->vae.config.latent_channels, (long long)u->in_channels,
                    (long long)u->out_channels);
    TRY(check_vocabulary(m->tokenizer, &m->text_encoder, m, e));
    return check_vocabulary(m->tokenizer_2, &m->text_encoder_2, m, e);
}

static status open_parts(struct model *m, struct error *e)
{
    TRY(read_index(m, e));
    TRY(open_tokenizer(&m->tokenizer, m->path, "tokenizer", e));
    TRY(open_tokenizer(&m->tokenizer_2, m->path, "tokenizer_2", e));
    TRY(open_clip(&m->text_encoder, m->path, "text_encoder", e));
    TRY(open_clip(&m->text_encoder_2, m->path, "text_encoder_2", e));
    TRY(open_unet(&m->unet, m->path, e));
    TRY(open_vae(&m->vae, m->path, e));
    TRY(open_scheduler(&m->scheduler, m->path, e));
    return check_fit(m, e);
}

status model_open(struct model *m, const char *path, struct error *e)
{
    *m = (struct model){0};
    if (strlen(path) >= sizeof m->path)
        return fail(e, ERR_ARGUMENT, "%.100s...: the path of the model is too long", path);
    strcpy(m->path, path);
    status s = open_parts(m, e);
    if (s != OK)
        model_close(m);
    return s;
}

void model_close(struct model *m)
{
    tokenizer_close(m->tokenizer);
    tokenizer_close(m->tokenizer_2);
    clip_close(&m->text_encoder);
    clip_close(&m->text_encoder_2);
    unet_close(&m->unet);
    vae_close(&m->vae);
    scheduler_config_free(&m->scheduler);
    *m = (struct model){0};
}

void model_note_unused(const struct model *m, struct text *notes)
{
    const struct weights *const parts[] = {&m->text_encoder.weights, &m->text_encoder_2.weights, &m->unet.weights,
                                           &m->vae.weights};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]->file != NULL)
            weights_note_unused(parts[i]->file, parts[i]->used, notes);
}

int64_t model_size_multiple(const struct model *m)
{
    return vae_factor(&m->vae.config) << (m->unet.config.levels - 1);
}
