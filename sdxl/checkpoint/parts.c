#include "sdxl/checkpoint/parts.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tensor/file.h"
#include "tensor/json.h"

enum { PATH_BYTES = 4400 };

static const struct {
    const char *folder, *stem, *bin_stem;
    enum description description;
} parts[] = {
    [PART_UNET] = {"unet", "diffusion_pytorch_model", "diffusion_pytorch_model", DESCRIBES_UNET},
    [PART_VAE] = {"vae", "diffusion_pytorch_model", "diffusion_pytorch_model", DESCRIBES_VAE},
    [PART_TEXT_ENCODER] = {"text_encoder", "model", "pytorch_model", DESCRIBES_TEXT_ENCODER},
    [PART_TEXT_ENCODER_2] = {"text_encoder_2", "model", "pytorch_model", DESCRIBES_TEXT_ENCODER_2},
};

/* A link of a cache that leads nowhere is not there. */
static bool is_there(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static status join(char *out, const char *folder, const char *name, struct error *e)
{
    return path_join(out, PATH_BYTES, folder, name, e);
}

/* -------------------------------------------------------------------------------------------- files of a folder */

/* The first weights of the list in parts.h. False: there are none; then `out` is where a link leads nowhere, or "". */
static bool find_weights(const char *folder, enum checkpoint_part part, char *out)
{
    static const struct {
        const char *ending;
        bool bin;
    } forms[] = {
        {".safetensors", false}, {".safetensors.index.json", false},
        {".fp16.safetensors", false}, {".safetensors.index.fp16.json", false},
        {".fp16.safetensors.index.json", false}, {".bf16.safetensors", false},
        {".bin", true}, {".bin.index.json", true}, {".fp16.bin", true},
    };
    char dangling[PATH_BYTES] = "";
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const char *stem = forms[i].bin ? parts[part].bin_stem : parts[part].stem;
        int length = snprintf(out, PATH_BYTES, "%s/%s%s", folder, stem, forms[i].ending);
        if (length > 0 && length < PATH_BYTES && is_there(out))
            return true;
        if (length > 0 && length < PATH_BYTES && file_exists(out))
            strcpy(dangling, out);
    }
    strcpy(out, dangling);
    return false;
}

/* The folder of a part: below a model's, or the one that was named. */
static status part_folder(const struct model_origin *origin, enum checkpoint_part part, char *out, struct error *e)
{
    char config[PATH_BYTES];
    TRY(join(out, origin->path, parts[part].folder, e));
    TRY(join(config, origin->path, "config.json", e));
    if (!file_is_directory(out) && is_there(config))
        TRY(join(out, origin->path, "", e));
    return OK;
}

/* path: where it would be. A cache has links; what they led to may have been deleted. */
static void note_missing(struct text *missing, const char *format, const char *folder, const char *name,
                         const char *path)
{
    text_append(missing, "%s", missing->length > 0 ? ", " : "");
    text_append(missing, format, folder, name);
    if (path[0] != '\0' && file_exists(path))
        text_append(missing, " (there is a link that leads nowhere)");
}

/* Everything that a folder lacks of a part. */
static status look_for_part(const struct model_origin *origin, enum checkpoint_part part, struct text *missing,
                            struct error *e)
{
    char folder[PATH_BYTES], file[PATH_BYTES];
    if (origin->file != NULL)
        return OK;
    TRY(part_folder(origin, part, folder, e));
    TRY(join(file, folder, "config.json", e));
    if (!is_there(file))
        note_missing(missing, "%s/%s", parts[part].folder, "config.json", file);
    if (!find_weights(folder, part, file))
        note_missing(missing, "%s/%s.safetensors", parts[part].folder, parts[part].stem, file);
    return OK;
}

static status look_for_file(const char *folder, const char *name, struct text *missing, struct error *e)
{
    char file[PATH_BYTES];
    TRY(join(file, folder, name, e));
    if (!is_there(file))
        note_missing(missing, "%s%s", name, "", file);
    return OK;
}

static status look_for_tokenizer(const struct model_parts *p, const char *name, struct text *missing, struct error *e)
{
    static const char *const files[] = {"vocab.json", "merges.txt"};
    if (p->sources.tokenizer != NULL)
        return OK;
    for (int i = 0; i < 2; i++) {
        char within[64];
        snprintf(within, sizeof within, "%s/%s", name, files[i]);
        TRY(look_for_file(p->model.path, within, missing, e));
    }
    char folder[PATH_BYTES], vocab[PATH_BYTES], json[PATH_BYTES];
    TRY(join(folder, p->model.path, name, e));
    TRY(join(vocab, folder, files[0], e));
    TRY(join(json, folder, "tokenizer.json", e));
    if (is_there(json) && !is_there(vocab))
        text_append(missing, " (tokenizer.json, which is there, is not read)");
    return OK;
}

/* All that is missing of a folder, in one message. */
static status look_for_all(const struct model_parts *p, struct text *missing, struct error *e)
{
    TRY(look_for_tokenizer(p, "tokenizer", missing, e));
    if (!p->one_encoder)
        TRY(look_for_tokenizer(p, "tokenizer_2", missing, e));
    TRY(look_for_part(&p->text_encoders, PART_TEXT_ENCODER, missing, e));
    if (!p->one_encoder)
        TRY(look_for_part(&p->text_encoders, PART_TEXT_ENCODER_2, missing, e));
    TRY(look_for_part(&p->model, PART_UNET, missing, e));
    TRY(look_for_part(&p->vae, PART_VAE, missing, e));
    return look_for_file(p->model.path, description_files[DESCRIBES_SCHEDULER], missing, e);
}

static const char hub_prefix[] = "models--"; /* of ORG--NAME, a folder in Hugging Face's cache */

/* ORG/NAME of what stands behind the prefix. */
static void append_repository(struct text *out, const char *hub)
{
    for (; *hub != '/' && *hub != '\0'; hub++) {
        bool slash = hub[0] == '-' && hub[1] == '-';
        text_append_bytes(out, slash ? "/" : hub, 1);
        hub += slash;
    }
}

/* What fetches the rest, if the folder is one of that cache: .../models--ORG--NAME/snapshots/REVISION. */
static void append_command(struct text *out, const char *path)
{
    const char *at = strstr(path, hub_prefix);
    if (at == NULL)
        return;
    text_append(out, ": huggingface-cli download ");
    append_repository(out, at + strlen(hub_prefix));
    text_append(out, " --include model_index.json '*/*.json' '*/*.txt' '*/*.fp16.safetensors' (SDXL: 7 GB in all)");
}

static status check_folder(const struct model_parts *p, struct error *e)
{
    struct text missing = {0}, command = {0};
    status s = look_for_all(p, &missing, e);
    append_command(&command, p->model.path);
    if (s == OK && (missing.length > 0 || missing.failed))
        s = fail(e, ERR_IO, "%s: not all of the model is there; download also %s (weights may as well be "
                 "*.fp16.safetensors, sharded, or *.bin)%s", p->model.path, missing.data ? missing.data : "?",
                 command.data ? command.data : "");
    text_free(&missing);
    text_free(&command);
    return s;
}

/* The models of a folder that is Hugging Face's cache itself: "ORG/NAME, ORG/NAME". */
static void list_cache(const char *path, struct text *names)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (strncmp(name, hub_prefix, strlen(hub_prefix)) == 0) {
            text_append(names, "%s", names->length > 0 ? ", " : "");
            append_repository(names, name + strlen(hub_prefix));
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static status fail_no_model(const char *path, struct error *e)
{
    struct text names = {0};
    list_cache(path, &names);
    status s = names.length > 0
                   ? fail(e, ERR_IO, "%s: a cache of models: name it with `cache_dir`, and one of its models with "
                                  "`sd_model_name`: %.400s", path, names.data)
                   : fail(e, ERR_IO, "%s: no model_index.json there: a model is a folder in the diffusers layout, or a "
                          "single file", path);
    text_free(&names);
    return s;
}

/* Whether the model has one text encoder, as SD 1.5: what model_index.json lists. */
static status count_encoders(struct model_parts *p, struct error *e)
{
    struct text json = {0};
    char name[PATH_BYTES];
    const struct json *root = NULL;
    status s = parts_describe(p, DESCRIBES_MODEL, &json, name, sizeof name, e);
    if (s == OK)
        s = json_parse(name, json.data, json.length, &root, e);
    if (s == OK)
        p->one_encoder = strcmp(json_string(json_get(root, "_class_name"), ""), "StableDiffusionPipeline") == 0;
    json_free(root);
    text_free(&json);
    return s;
}

/* -------------------------------------------------------------------------------------------------------- origins */

static status open_origin(struct model_origin *o, const char *path, const char *config, struct error *e)
{
    *o = (struct model_origin){.path = path};
    if (file_is_directory(path))
        return OK;
    if (!is_there(path))
        return fail(e, ERR_IO, "%s: there is no such file or folder%s", path,
                    file_exists(path) ? ": it is a link that leads nowhere" : "");
    o->file = calloc(1, sizeof *o->file);
    return o->file != NULL ? single_file_open(path, config, o->file, e)
                           : fail(e, ERR_MEMORY, "%s: out of memory", path);
}

static bool is_whole(const struct single_file *f)
{
    return f->kind == CHECKPOINT_SDXL || f->kind == CHECKPOINT_SD15;
}

static status check_file(const struct model_parts *p, struct error *e)
{
    const struct model_origin *o = &p->model;
    if (!is_whole(o->file))
        return fail(e, ERR_FORMAT, "%s: is %s: %s", o->path, checkpoint_name(o->file->kind),
                    checkpoint_advice(o->file->kind));
    if (p->vae.file != NULL && !single_file_has(p->vae.file, PART_VAE))
        return fail(e, ERR_FORMAT, "%s: has no VAE in it: name one with `vae`", p->vae.path);
    for (enum checkpoint_part part = PART_TEXT_ENCODER; part <= PART_TEXT_ENCODER_2; part++)
        if (p->text_encoders.file != NULL && !single_file_has(p->text_encoders.file, part) &&
            (part == PART_TEXT_ENCODER || !p->one_encoder))
            return fail(e, ERR_FORMAT, "%s: has no %s in it: name a model that has with `text_encoders`",
                        p->text_encoders.path, parts[part].folder);
    struct text missing = {0};
    status s = look_for_part(&p->vae, PART_VAE, &missing, e);
    if (s == OK)
        s = look_for_part(&p->text_encoders, PART_TEXT_ENCODER, &missing, e);
    if (s == OK && !p->one_encoder)
        s = look_for_part(&p->text_encoders, PART_TEXT_ENCODER_2, &missing, e);
    if (s == OK && missing.length > 0)
        s = fail(e, ERR_IO, "%s: needs also %s from the folders that `vae` and `text_encoders` name", o->path,
                 missing.data);
    text_free(&missing);
    return s;
}

static status open_parts(struct model_parts *p, const char *path, struct error *e)
{
    char index[PATH_BYTES];
    const struct model_sources *s = &p->sources;
    TRY(open_origin(&p->model, path, s->config, e));
    if (p->model.file == NULL) {
        TRY(join(index, path, description_files[DESCRIBES_MODEL], e));
        if (!is_there(index))
            return fail_no_model(path, e);
    }
    p->vae = p->text_encoders = p->model;
    if (s->vae != NULL)
        TRY(open_origin(&p->vae, s->vae, s->config, e));
    if (s->text_encoders != NULL)
        TRY(open_origin(&p->text_encoders, s->text_encoders, s->config, e));
    if (p->model.file != NULL && !is_whole(p->model.file))
        return check_file(p, e);
    TRY(count_encoders(p, e));
    return p->model.file != NULL ? check_file(p, e) : check_folder(p, e);
}

status parts_open(const char *path, const struct model_sources *sources, struct model_parts *p, struct error *e)
{
    *p = (struct model_parts){.sources = *sources};
    status s = open_parts(p, path, e);
    if (s != OK)
        parts_close(p);
    return s;
}

static void close_origin(struct model_origin *o, const struct single_file *kept)
{
    if (o->file != NULL && o->file != kept) {
        single_file_close(o->file);
        free(o->file);
    }
    o->file = NULL;
}

void parts_close(struct model_parts *p)
{
    close_origin(&p->vae, p->model.file);
    close_origin(&p->text_encoders, p->model.file);
    close_origin(&p->model, NULL);
    *p = (struct model_parts){0};
}

/* ---------------------------------------------------------------------------------------- texts, configs, weights */

static const struct model_origin *origin_of(const struct model_parts *p, enum description what)
{
    if (what == DESCRIBES_VAE)
        return &p->vae;
    return what == DESCRIBES_TEXT_ENCODER || what == DESCRIBES_TEXT_ENCODER_2 ? &p->text_encoders : &p->model;
}

static status describe_file(const struct model_origin *o, enum description what, struct text *json, char *name,
                            size_t size, struct error *e)
{
    const struct text *text = &o->file->descriptions[what];
    if (text->data == NULL)
        return fail(e, ERR_FORMAT, "%s: has no part that its %s could describe", o->path, description_files[what]);
    snprintf(name, size, "%s, its %s", o->path, description_files[what]);
    text_append_bytes(json, text->data, text->length);
    return json->failed ? fail(e, ERR_MEMORY, "%s: out of memory", o->path) : OK;
}

status parts_describe(const struct model_parts *p, enum description what, struct text *json, char *name, size_t size,
                      struct error *e)
{
    const struct model_origin *o = origin_of(p, what);
    struct file_map map;
    *json = (struct text){0};
    if (o->file != NULL)
        return describe_file(o, what, json, name, size, e);
    TRY(path_join(name, size, o->path, description_files[what], e));
    for (enum checkpoint_part part = PART_UNET; part <= PART_TEXT_ENCODER_2; part++)
        if (parts[part].description == what) {
            char folder[PATH_BYTES];
            TRY(part_folder(o, part, folder, e));
            TRY(path_join(name, size, folder, "config.json", e));
        }
    TRY(file_map(name, &map, e));
    text_append_bytes(json, (const char *)map.data, map.size);
    file_unmap(&map);
    if (json->failed)
        return fail(e, ERR_MEMORY, "%s: out of memory", name);
    return json->data != NULL ? OK : fail(e, ERR_FORMAT, "%s: is empty", name);
}

static status open_weights(const struct model_parts *p, enum checkpoint_part part, struct weights *w, struct error *e)
{
    const struct model_origin *o = origin_of(p, parts[part].description);
    char folder[PATH_BYTES], file[PATH_BYTES];
    if (o->file != NULL)
        return single_file_weights(o->file, part, w, e);
    TRY(part_folder(o, part, folder, e));
    if (!find_weights(folder, part, file))
        return fail(e, ERR_IO, "%s: no %s.safetensors there", folder, parts[part].stem);
    return weights_open(file, w, e);
}

status parts_unet(struct model_parts *p, struct unet_config *config, struct weights *w, struct error *e)
{
    struct text json;
    char name[PATH_BYTES];
    status s = parts_describe(p, DESCRIBES_UNET, &json, name, sizeof name, e);
    if (s == OK)
        s = unet_config_parse(name, json.data, config, e);
    text_free(&json);
    return s == OK ? open_weights(p, PART_UNET, w, e) : s;
}

/* A bare VAE does not know whose latents it is for: their scale is that of the model's family. */
static void scale_latents(const struct model_parts *p, struct vae_config *config)
{
    bool bare = p->vae.file != NULL && !is_whole(p->vae.file) &&
                tensor_file_meta(&p->vae.file->file, description_files[DESCRIBES_VAE]) == NULL;
    if (bare)
        config->scaling_factor = p->one_encoder ? 0.18215 : 0.13025;
}

status parts_vae(struct model_parts *p, struct vae_config *config, struct weights *w, struct error *e)
{
    struct text json;
    char name[PATH_BYTES];
    status s = parts_describe(p, DESCRIBES_VAE, &json, name, sizeof name, e);
    if (s == OK)
        s = vae_config_parse(name, json.data, config, e);
    text_free(&json);
    if (s == OK)
        scale_latents(p, config);
    return s == OK ? open_weights(p, PART_VAE, w, e) : s;
}

status parts_clip(struct model_parts *p, enum checkpoint_part part, struct clip_config *config, struct weights *w,
                  struct error *e)
{
    struct text json;
    char name[PATH_BYTES];
    status s = parts_describe(p, parts[part].description, &json, name, sizeof name, e);
    if (s == OK)
        s = clip_config_parse(name, json.data, config, e);
    text_free(&json);
    return s == OK ? open_weights(p, part, w, e) : s;
}

/* ----------------------------------------------------------------------------------------------------- tokenizers */

/* A tokenizer in a place that somebody named: the place itself, or below it. */
static bool tokenizer_at(const char *place, const char *name, char *path, size_t size, bool *own)
{
    char file[PATH_BYTES];
    *own = false;
    if (path_join(path, size, place, name, NULL) != OK || join(file, path, "vocab.json", NULL) != OK)
        return false;
    *own = is_there(file);
    if (*own)
        return true;
    if (path_join(path, size, place, "tokenizer", NULL) == OK && join(file, path, "vocab.json", NULL) == OK &&
        is_there(file))
        return true;
    snprintf(path, size, "%s", place);
    return (join(file, place, "vocab.json", NULL) == OK && is_there(file)) ||
           (is_there(place) && !file_is_directory(place));
}

/* Beside a single file: in its folder, or in the folder that is called as it is without the ending. */
static bool tokenizer_beside(const char *file, const char *name, char *path, size_t size, bool *own)
{
    char place[PATH_BYTES];
    const char *slash = strrchr(file, '/'), *dot = strrchr(slash != NULL ? slash : file, '.');
    if (strlen(file) >= sizeof place)
        return false;
    if (dot != NULL) {
        snprintf(place, sizeof place, "%.*s", (int)(dot - file), file);
        if (file_is_directory(place) && tokenizer_at(place, name, path, size, own))
            return true;
    }
    if (slash != NULL)
        snprintf(place, sizeof place, "%.*s", slash == file ? 1 : (int)(slash - file), file);
    return tokenizer_at(slash != NULL ? place : ".", name, path, size, own);
}

status parts_tokenizer(const struct model_parts *p, enum checkpoint_part part, char *path, size_t size,
                       bool *borrowed, struct error *e)
{
    const char *name = part == PART_TEXT_ENCODER_2 ? "tokenizer_2" : "tokenizer";
    const struct model_sources *s = &p->sources;
    bool own = false, found;
    if (s->tokenizer != NULL) {
        if (!tokenizer_at(s->tokenizer, name, path, size, &own))
            return fail(e, ERR_IO, "%s: no vocabulary there: `tokenizer` takes a folder with vocab.json and merges.txt",
                        s->tokenizer);
        *borrowed = !own;
        return OK;
    }
    if (p->model.file == NULL) {
        *borrowed = false;
        return path_join(path, size, p->model.path, name, e);
    }
    found = (s->config != NULL && tokenizer_at(s->config, name, path, size, &own)) ||
            tokenizer_beside(p->model.path, name, path, size, &own) ||
            (s->other_tokenizer != NULL && tokenizer_at(s->other_tokenizer, name, path, size, &own));
    *borrowed = !own;
    if (found)
        return OK;
    return fail(e, ERR_IO, "%s: single files have no tokenizer in them: get vocab.json and merges.txt from "
                "https://huggingface.co/openai/clip-vit-large-patch14 into one folder, and name it with `tokenizer`, "
                "or put it beside the file as \"tokenizer\"", p->model.path);
}

void parts_note_unused(const struct model_parts *p, struct text *notes)
{
    if (p->model.file != NULL)
        weights_note_unused(&p->model.file->file, p->model.file->used, notes);
}
