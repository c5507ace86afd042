#include "sdxl/checkpoint/single_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/checkpoint/infer.h"
#include "tensor/file.h"

const char *const description_files[DESCRIPTIONS] = {
    [DESCRIBES_MODEL] = "model_index.json",
    [DESCRIBES_UNET] = "unet/config.json",
    [DESCRIBES_VAE] = "vae/config.json",
    [DESCRIBES_TEXT_ENCODER] = "text_encoder/config.json",
    [DESCRIBES_TEXT_ENCODER_2] = "text_encoder_2/config.json",
    [DESCRIBES_SCHEDULER] = "scheduler/scheduler_config.json",
};

static const enum description description_of[] = {
    [PART_UNET] = DESCRIBES_UNET,
    [PART_VAE] = DESCRIBES_VAE,
    [PART_TEXT_ENCODER] = DESCRIBES_TEXT_ENCODER,
    [PART_TEXT_ENCODER_2] = DESCRIBES_TEXT_ENCODER_2,
};

/* --------------------------------------------------------------------------------------------- which parts it has */

/* A part is called by one of a few prefixes; the key that follows tells that it is there. */
static const struct place {
    enum checkpoint_part part;
    const char *prefix, *key;
    bool open_clip, no_text_model, diffusers;
} places[] = {
    {PART_UNET, "model.diffusion_model.", "input_blocks.0.0.weight", false, false, false},
    {PART_VAE, "first_stage_model.", "decoder.conv_in.weight", false, false, false},
    {PART_VAE, "", "decoder.mid.block_1.conv1.weight", false, false, false},
    {PART_VAE, "", "decoder.mid_block.resnets.0.conv1.weight", false, false, true},
    {PART_TEXT_ENCODER, "conditioner.embedders.0.transformer.", "text_model.embeddings.token_embedding.weight", false,
     false, false},
    {PART_TEXT_ENCODER, "cond_stage_model.transformer.", "text_model.embeddings.token_embedding.weight", false, false,
     false},
    {PART_TEXT_ENCODER, "cond_stage_model.transformer.", "embeddings.token_embedding.weight", false, true, false},
    {PART_TEXT_ENCODER_2, "conditioner.embedders.1.model.", "token_embedding.weight", true, false, false},
};

static const struct place *find_place(const struct tensor_file *file, enum checkpoint_part part)
{
    for (const struct place *p = places; p < places + sizeof places / sizeof *places; p++) {
        char name[256];
        snprintf(name, sizeof name, "%s%s", p->prefix, p->key);
        if (p->part == part && tensor_file_find(file, name) != NULL)
            return p;
    }
    return NULL;
}

/* -------------------------------------------------------------------------------------------------- descriptions */

static status from_folder(const char *folder, const char *name, struct text *out, struct error *e)
{
    char path[4200];
    struct file_map map;
    TRY(path_join(path, sizeof path, folder, name, e));
    TRY(file_map(path, &map, e));
    text_append_bytes(out, (const char *)map.data, map.size);
    file_unmap(&map);
    return OK;
}

static status infer(struct single_file *f, enum description what, const struct place *place, struct error *e)
{
    struct text *out = &f->descriptions[what];
    char prefix[128] = "";
    if (place != NULL)
        snprintf(prefix, sizeof prefix, "%s%s", place->prefix,
                 place->part == PART_TEXT_ENCODER && !place->no_text_model ? "text_model." : "");
    switch (what) {
    case DESCRIBES_UNET: return infer_unet(&f->file, prefix, f->kind, out, e);
    case DESCRIBES_VAE: return infer_vae(&f->file, prefix, place->diffusers, f->kind, out, e);
    case DESCRIBES_TEXT_ENCODER:
    case DESCRIBES_TEXT_ENCODER_2: return infer_clip(&f->file, prefix, place->open_clip, out, e);
    case DESCRIBES_SCHEDULER: infer_scheduler(&f->file, f->kind, out); return OK;
    default: infer_index(f->kind, out); return OK;
    }
}

static status describe(struct single_file *f, enum description what, const struct place *place, const char *config,
                       struct error *e)
{
    const char *kept = tensor_file_meta(&f->file, description_files[what]);
    struct text *out = &f->descriptions[what];
    if (config != NULL)
        TRY(from_folder(config, description_files[what], out, e));
    else if (kept != NULL)
        text_append(out, "%s", kept);
    else
        TRY(infer(f, what, place, e));
    if (out->failed)
        return fail(e, ERR_MEMORY, "%s: out of memory", f->file.path);
    return out->data != NULL ? OK : fail(e, ERR_FORMAT, "%s: its %s is empty", f->file.path, description_files[what]);
}

/* --------------------------------------------------------------------------------------------------------- naming */

/* The rule of a part: what the layout says, with the prefix that this file has. */
static status name_part(struct single_file *f, const struct place *place, struct error *e)
{
    struct original_names *names = &f->names[place->part];
    struct unet_config unet;
    struct vae_config vae;
    switch (place->part) {
    case PART_UNET:
        TRY(single_file_unet(f, &unet, e));
        *names = original_unet(&unet);
        break;
    case PART_VAE:
        TRY(single_file_vae(f, &vae, e));
        *names = original_vae(&vae);
        break;
    default: *names = original_clip(place->part, place->open_clip);
    }
    names->no_text_model = place->no_text_model;
    snprintf(names->prefix, sizeof names->prefix, "%s", place->prefix);
    if (place->diffusers)
        names->part = PART_NONE;
    return OK;
}

static status open_parts(struct single_file *f, const char *config, struct error *e)
{
    bool whole = f->kind == CHECKPOINT_SDXL || f->kind == CHECKPOINT_SD15;
    if (whole) {
        TRY(describe(f, DESCRIBES_MODEL, NULL, config, e));
        TRY(describe(f, DESCRIBES_SCHEDULER, NULL, config, e));
    }
    for (enum checkpoint_part part = PART_UNET; part <= PART_TEXT_ENCODER_2; part++) {
        const struct place *place = find_place(&f->file, part);
        if (place == NULL || (part == PART_TEXT_ENCODER_2 && f->kind == CHECKPOINT_SD15))
            continue;
        TRY(describe(f, description_of[part], place, config, e));
        TRY(name_part(f, place, e));
    }
    return OK;
}

static status refuse(const struct single_file *f, struct error *e)
{
    const char *advice = checkpoint_advice(f->kind);
    if (f->kind == CHECKPOINT_UNKNOWN)
        return fail(e, ERR_FORMAT, "%s: is no model that this program knows (its first tensor is called \"%.200s\"); "
                    "give an SDXL or SD 1.5 model", f->file.path, f->file.count > 0 ? f->file.items[0].name : "");
    return fail(e, ERR_FORMAT, "%s: is %s%s%s", f->file.path, checkpoint_name(f->kind), advice ? ": " : "",
                advice ? advice : "");
}

static status open_file(struct single_file *f, const char *path, const char *config, struct error *e)
{
    TRY(tensor_file_open(path, &f->file, e));
    f->kind = checkpoint_recognise(&f->file);
    f->used = calloc(f->file.count + 1, sizeof *f->used);
    if (f->used == NULL)
        return fail(e, ERR_MEMORY, "%s: out of memory", path);
    if (f->kind != CHECKPOINT_SDXL && f->kind != CHECKPOINT_SD15 && f->kind != CHECKPOINT_VAE &&
        f->kind != CHECKPOINT_VAE_DIFFUSERS)
        return refuse(f, e);
    return open_parts(f, config, e);
}

status single_file_open(const char *path, const char *config, struct single_file *f, struct error *e)
{
    *f = (struct single_file){0};
    status s = open_file(f, path, config, e);
    if (s != OK)
        single_file_close(f);
    return s;
}

void single_file_close(struct single_file *f)
{
    for (int i = 0; i < DESCRIPTIONS; i++)
        text_free(&f->descriptions[i]);
    free(f->used);
    tensor_file_close(&f->file);
    *f = (struct single_file){0};
}

bool single_file_has(const struct single_file *f, enum checkpoint_part part)
{
    return f->descriptions[description_of[part]].data != NULL;
}

status single_file_weights(struct single_file *f, enum checkpoint_part part, struct weights *w, struct error *e)
{
    return weights_of(&f->file, f->used, f->names[part], w, e);
}

/* Messages name the file and what is described: "model.safetensors, its unet/config.json: ..." */
static const char *described(const struct single_file *f, enum description what, char *name, size_t size)
{
    snprintf(name, size, "%s, its %s", f->file.path, description_files[what]);
    return name;
}

status single_file_unet(const struct single_file *f, struct unet_config *config, struct error *e)
{
    char name[4300];
    return unet_config_parse(described(f, DESCRIBES_UNET, name, sizeof name), f->descriptions[DESCRIBES_UNET].data,
                             config, e);
}

status single_file_vae(const struct single_file *f, struct vae_config *config, struct error *e)
{
    char name[4300];
    return vae_config_parse(described(f, DESCRIBES_VAE, name, sizeof name), f->descriptions[DESCRIBES_VAE].data,
                            config, e);
}

status single_file_clip(const struct single_file *f, enum checkpoint_part part, struct clip_config *config,
                        struct error *e)
{
    char name[4300];
    enum description what = description_of[part];
    return clip_config_parse(described(f, what, name, sizeof name), f->descriptions[what].data, config, e);
}
