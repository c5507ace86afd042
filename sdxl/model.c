#include "sdxl/model.h"
#include "tensor/finite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static status open_loras(struct model *m, const struct model_sources *sources, struct error *e)
{
    if (sources->lora_count == 0)
        return OK;
    m->loras = calloc((size_t)sources->lora_count, sizeof *m->loras);
    if (m->loras == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for %d LoRAs", sources->lora_count);
    for (; m->lora_count < sources->lora_count; m->lora_count++)
        TRY(lora_open(&m->loras[m->lora_count], &sources->loras[m->lora_count], e));
    return OK;
}

/* LoRAs are read while a part is bound, and forgotten by its weights afterwards. */
static status open_clip(struct clip *clip, struct model *m, enum checkpoint_part part, struct error *e)
{
    struct clip_config config;
    struct weights weights;
    struct lora_part loras = {.items = m->loras, .count = m->lora_count, .part = part};
    TRY(parts_clip(&m->parts, part, &config, &weights, e));
    weights.loras = &loras;
    TRY(clip_bind(clip, &weights, &config, e));
    clip->weights.loras = NULL;
    return OK;
}

static status open_unet(struct model *m, struct error *e)
{
    struct unet_config config;
    struct weights weights;
    struct lora_part loras = {.items = m->loras, .count = m->lora_count, .part = PART_UNET};
    TRY(parts_unet(&m->parts, &config, &weights, e));
    loras.original = original_unet(&config);
    weights.loras = &loras;
    TRY(unet_bind(&m->unet, &weights, &config, e));
    m->unet.weights.loras = NULL;
    return OK;
}

static status open_vae(struct vae *vae, struct model_parts *parts, struct error *e)
{
    struct vae_config config;
    struct weights weights;
    TRY(parts_vae(parts, &config, &weights, e));
    return vae_bind(vae, &weights, &config, e);
}

/* A vocabulary that is not the second encoder's own pads as the first's does: the second pads with "!". */
static status open_tokenizer(struct tokenizer **tokenizer, const struct model_parts *parts, enum checkpoint_part part,
                             struct error *e)
{
    char path[4400];
    bool borrowed;
    TRY(parts_tokenizer(parts, part, path, sizeof path, &borrowed, e));
    const struct tokenizer_options second = {.pad_token = "!"};
    return tokenizer_open(path, borrowed && part == PART_TEXT_ENCODER_2 ? &second : NULL, tokenizer, e);
}

static status open_taesd(struct model *m, const char *path, struct error *e)
{
    if (path == NULL)
        return OK;
    TRY(taesd_open(&m->taesd, path, e));
    if (!m->taesd.has_decoder)
        return fail(e, ERR_FORMAT, "%s: the encoder half of a tiny autoencoder; the decoder is in a file of its own",
                    path);
    if (m->taesd.latent_channels != m->vae.config.latent_channels || vae_factor(&m->vae.config) != TAESD_FACTOR)
        return fail(e, ERR_FORMAT, "%s: a tiny autoencoder for latents of %lld channels, 1/%d as large as the picture; "
                                   "the model's have %lld, 1/%lld", path, (long long)m->taesd.latent_channels,
                    TAESD_FACTOR, (long long)m->vae.config.latent_channels, (long long)vae_factor(&m->vae.config));
    return OK;
}

static status open_scheduler(struct scheduler_config *scheduler, const struct model_parts *parts, struct error *e)
{
    struct text json;
    char name[4400];
    status s = parts_describe(parts, DESCRIBES_SCHEDULER, &json, name, sizeof name, e);
    if (s == OK)
        s = scheduler_config_parse(name, json.data, json.length, scheduler, e);
    text_free(&json);
    return s;
}

/* What model_index.json says, and what the model says of itself there. */
static status read_index(struct model *m, const char *path, const struct json *root, struct error *e)
{
    const char *class = json_string(json_get(root, "_class_name"), "");
    status s = model_hints_read(path, json_get(root, "_storydiff"), &m->hints, e);
    m->family = strcmp(class, "StableDiffusionPipeline") == 0 ? MODEL_SD15 : MODEL_SDXL;
    if (s == OK && m->family == MODEL_SDXL && strcmp(class, "StableDiffusionXLPipeline") != 0)
        s = fail(e, ERR_FORMAT,
                 "%s: \"_class_name\" is \"%s\": stories need a StableDiffusionXLPipeline or, for SD 1.5, a "
                 "StableDiffusionPipeline", path, class);
    bool zeros = m->family == MODEL_SDXL && json_bool(json_get(root, "force_zeros_for_empty_prompt"), true);
    m->force_zeros_for_empty_prompt = zeros;
    return s;
}

static status open_index(struct model *m, struct error *e)
{
    struct text text;
    char name[4400];
    const struct json *root = NULL;
    status s = parts_describe(&m->parts, DESCRIBES_MODEL, &text, name, sizeof name, e);
    if (s == OK)
        s = json_parse(name, text.data, text.length, &root, e);
    if (s == OK)
        s = read_index(m, name, root, e);
    json_free(root);
    text_free(&text);
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

/* SDXL's UNet takes a pooled vector of the second encoder; SD 1.5's takes none. */
static status check_family(const struct model *m, struct error *e)
{
    const struct unet_config *u = &m->unet.config;
    if (m->family == MODEL_SD15 && u->text_time)
        return fail(e, ERR_FORMAT,
                    "%s: unet/config.json has \"addition_embed_type\": \"text_time\", as SDXL has it, but "
                    "model_index.json describes a StableDiffusionPipeline", m->path);
    if (m->family == MODEL_SDXL && !u->text_time)
        return fail(e, ERR_FORMAT,
                    "%s: unet/config.json has no \"addition_embed_type\": \"text_time\": not an SDXL model", m->path);
    return OK;
}

static status check_fit(const struct model *m, struct error *e)
{
    const struct unet_config *u = &m->unet.config;
    int64_t states = m->text_encoder.config.hidden_size + m->text_encoder_2.config.hidden_size;
    int64_t pooled = u->projection_class_embeddings_input_dim - 6 * u->addition_time_embed_dim;
    TRY(check_family(m, e));
    if (u->in_channels == 2 * m->vae.config.latent_channels + 1) /* latents, masked latents, a mask */
        return fail(e, ERR_FORMAT, "%s: its UNet is an inpainting model's: give the model that it was made from",
                    m->path);
    if (m->family == MODEL_SDXL && states != u->cross_attention_dim &&
        u->cross_attention_dim == m->text_encoder_2.config.hidden_size)
        return fail(e, ERR_FORMAT,
                    "%s: its UNet reads the second text encoder alone, as SDXL's refiner: give the base model",
                    m->path);
    if (states != u->cross_attention_dim)
        return fail(e, ERR_FORMAT, "%s: the text encoders give %lld values a token, the UNet wants %lld", m->path,
                    (long long)states, (long long)u->cross_attention_dim);
    if (m->family == MODEL_SDXL && m->text_encoder_2.config.projection_dim != pooled)
        return fail(e, ERR_FORMAT, "%s: text_encoder_2 gives a pooled vector of %lld values, the UNet wants %lld",
                    m->path, (long long)m->text_encoder_2.config.projection_dim, (long long)pooled);
    if (m->vae.config.latent_channels != u->in_channels || u->in_channels != u->out_channels)
        return fail(e, ERR_FORMAT, "%s: the VAE has latents of %lld channels, the UNet reads %lld and writes %lld",
                    m->path, (long long)m->vae.config.latent_channels, (long long)u->in_channels,
                    (long long)u->out_channels);
    TRY(check_vocabulary(m->tokenizer, &m->text_encoder, m, e));
    return m->family == MODEL_SDXL ? check_vocabulary(m->tokenizer_2, &m->text_encoder_2, m, e) : OK;
}

static status open_parts(struct model *m, const struct model_sources *sources, struct error *e)
{
    struct model_parts *p = &m->parts;
    TRY(parts_open(m->path, sources, p, e));
    TRY(open_loras(m, sources, e));
    TRY(open_index(m, e));
    TRY(open_tokenizer(&m->tokenizer, p, PART_TEXT_ENCODER, e));
    TRY(open_clip(&m->text_encoder, m, PART_TEXT_ENCODER, e));
    if (m->family == MODEL_SDXL) {
        TRY(open_tokenizer(&m->tokenizer_2, p, PART_TEXT_ENCODER_2, e));
        TRY(open_clip(&m->text_encoder_2, m, PART_TEXT_ENCODER_2, e));
    }
    TRY(open_unet(m, e));
    TRY(open_vae(&m->vae, p, e));
    TRY(open_taesd(m, sources->taesd, e));
    m->draft = sources->draft && m->taesd.has_decoder;
    TRY(open_scheduler(&m->scheduler, p, e));
    for (int i = 0; i < m->lora_count; i++)
        TRY(lora_finish(&m->loras[i], NULL, e));
    return check_fit(m, e);
}

status model_open_from(struct model *m, const char *path, const struct model_sources *sources, struct error *e)
{
    *m = (struct model){0};
    if (strlen(path) >= sizeof m->path)
        return fail(e, ERR_ARGUMENT, "%.100s...: the path of the model is too long", path);
    strcpy(m->path, path);
    status s = open_parts(m, sources, e);
    if (s != OK)
        model_close(m);
    return s;
}

status model_open(struct model *m, const char *path, struct error *e)
{
    return model_open_from(m, path, &(const struct model_sources){0}, e);
}

void model_close(struct model *m)
{
    tokenizer_close(m->tokenizer);
    tokenizer_close(m->tokenizer_2);
    clip_close(&m->text_encoder);
    clip_close(&m->text_encoder_2);
    unet_close(&m->unet);
    vae_close(&m->vae);
    taesd_close(&m->taesd);
    scheduler_config_free(&m->scheduler);
    model_hints_free(&m->hints);
    parts_close(&m->parts);
    for (int i = 0; i < m->lora_count; i++)
        lora_close(&m->loras[i]);
    free(m->loras);
    *m = (struct model){0};
}

void model_note(const struct model *m, struct text *notes)
{
    const struct weights *const parts[] = {&m->text_encoder.weights, &m->text_encoder_2.weights, &m->unet.weights,
                                           &m->vae.weights};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]->own_file != NULL) {
            weights_note_unused(parts[i]->file, parts[i]->used, notes);
            weights_note_copied(parts[i]->file, notes);
        }
    if (m->parts.model.file != NULL)
        weights_note_copied(&m->parts.model.file->file, notes);
    parts_note_unused(&m->parts, notes);
    if (m->hints.unknown[0] != '\0')
        text_append(notes, "%smodel_index.json: \"%s\" in \"_storydiff\" means nothing to this program",
                    notes->length > 0 ? "\n" : "", m->hints.unknown);
    for (int i = 0; i < m->lora_count; i++)
        lora_finish(&m->loras[i], notes, NULL);
}

void model_list_files(const struct model *m, struct text *lines)
{
    const struct {
        const char *name;
        const struct weights *weights;
    } parts[] = {{"text_encoder", &m->text_encoder.weights}, {"text_encoder_2", &m->text_encoder_2.weights},
                 {"unet", &m->unet.weights}, {"vae", &m->vae.weights}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].weights->file != NULL)
            text_append(lines, "%s%s: %s (%s)", lines->length > 0 ? "\n" : "", parts[i].name,
                        parts[i].weights->file->path, parts[i].weights->file->format);
}

int64_t model_size_multiple(const struct model *m)
{
    const struct unet_config *u = &m->unet.config;
    int lowest = 0;
    for (int order = 0; order < u->levels; order++)
        if (u->up_attention[order] && u->levels - 1 - order > lowest)
            lowest = u->levels - 1 - order;
    return vae_factor(&m->vae.config) << lowest;
}

status model_fail_not_finite(const struct model *m, const char *stage, struct error *e)
{
    const struct weights *const parts[] = {&m->text_encoder.weights, &m->text_encoder_2.weights, &m->unet.weights,
                                           &m->vae.weights};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
        for (size_t i = 0; i < parts[p]->bound_count; i++)
            if (!tensor_finite(&parts[p]->bound[i].tensor))
                return fail(e, ERR_FORMAT,
                            "%s: the result is no picture, it has infinities or NaNs: so has '%s' of %s: "
                            "the file is damaged, get it again",
                            stage, parts[p]->bound[i].name, parts[p]->file->path);
    return fail(e, ERR_FORMAT, "%s: the result is no picture, it has infinities or NaNs, though all weights of %s are "
                               "finite: some are so large that sums overflow; the file is damaged or of another kind",
                stage, m->path);
}
