#include "tools/synthetic_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/clip.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/vae.h"
#include "tensor/file.h"
#include "tools/layout.h"
#include "tools/synthetic_numbers.h"
#include "tools/torch_writer.h"

/* ---------------------------------------------------------------------------------------------- what to write */

/* The tensors of a part, collected from the binding tables. */
struct list {
    struct named_tensor *items; /* names are the list's own; no data */
    size_t count, room;
    int64_t parameters;
    enum dtype dtype;
    bool failed; /* out of memory */
};

static void collect(void *self, const char *name, int rank, const int64_t *shape)
{
    struct list *list = self;
    if (list->count == list->room) {
        size_t room = 2 * list->room + 64;
        struct named_tensor *items = realloc(list->items, room * sizeof *items);
        list->failed = list->failed || items == NULL;
        if (items == NULL)
            return;
        list->items = items;
        list->room = room;
    }
    char *copy = strdup(name);
    list->failed = list->failed || copy == NULL;
    if (copy == NULL)
        return;
    struct named_tensor *item = &list->items[list->count++];
    *item = (struct named_tensor){copy, {.dtype = list->dtype, .rank = rank}};
    memcpy(item->tensor.shape, shape, (size_t)rank * sizeof *shape);
    list->parameters += tensor_count(&item->tensor);
}

static void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((char *)list->items[i].name);
    free(list->items);
}

static status list_unet(const char *config_path, const struct tensor_visitor *visitor, struct error *e)
{
    struct unet_config config;
    TRY(unet_config_read(config_path, &config, e));
    return unet_list(&config, visitor, e);
}

static status list_vae(const char *config_path, const struct tensor_visitor *visitor, struct error *e)
{
    struct vae_config config;
    TRY(vae_config_read(config_path, &config, e));
    return vae_list(&config, visitor, e);
}

static status list_clip(const char *config_path, const struct tensor_visitor *visitor, struct error *e)
{
    struct clip_config config;
    TRY(clip_config_read(config_path, &config, e));
    return clip_list(&config, visitor, e);
}

static const struct part {
    const char *folder, *tokenizer, *weights, *bin;
    status (*list)(const char *config_path, const struct tensor_visitor *visitor, struct error *e);
} parts[] = {
    {"text_encoder", "tokenizer", "model.safetensors", "pytorch_model.bin", list_clip},
    {"text_encoder_2", "tokenizer_2", "model.safetensors", "pytorch_model.bin", list_clip},
    {"unet", NULL, "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", list_unet},
    {"vae", NULL, "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", list_vae},
};

enum { PARTS = sizeof parts / sizeof *parts };

/* ----------------------------------------------------------------------------------------------- files of weights */

static status append(void *self, const void *bytes, size_t size, struct error *e)
{
    return file_append(self, bytes, size, e);
}

static status write_safetensors(struct synthetic_numbers *g, const char *path, const struct list *list,
                                struct error *e)
{
    struct file_writer w;
    TRY(safetensors_create(path, list->items, list->count, NULL, &w, e));
    for (size_t i = 0; i < list->count; i++)
        TRY(synthetic_numbers_emit(g, &list->items[i], append, &w, e));
    return file_commit(&w, e);
}

static status append_torch(void *self, const void *bytes, size_t size, struct error *e)
{
    return torch_append(self, bytes, size, e);
}

static status write_torch(struct synthetic_numbers *g, const char *path, const struct list *list, struct error *e)
{
    struct torch_writer w;
    TRY(torch_create(path, list->items, list->count, &w, e));
    for (size_t i = 0; i < list->count; i++) {
        status s = synthetic_numbers_emit(g, &list->items[i], append_torch, &w, e);
        if (s != OK) {
            torch_discard(&w);
            return s;
        }
    }
    return torch_commit(&w, e);
}

/* A tensor in memory, to be turned. */
struct held {
    unsigned char *bytes;
    size_t at;
};

static status hold(void *self, const void *bytes, size_t size, struct error *e)
{
    struct held *held = self;
    (void)e;
    memcpy(held->bytes + held->at, bytes, size);
    held->at += size;
    return OK;
}

static status write_turned(struct synthetic_numbers *g, const struct named_tensor *source, struct file_writer *w,
                           struct error *e)
{
    const struct tensor *t = &source->tensor;
    size_t size = dtype_size(t->dtype), rows = (size_t)t->shape[0], columns = (size_t)t->shape[1];
    struct held held = {malloc(rows * columns * size), 0};
    unsigned char *turned = malloc(rows * columns * size);
    status s = held.bytes && turned ? synthetic_numbers_emit(g, source, hold, &held, e)
                                    : fail(e, ERR_MEMORY, "no memory to turn \"%s\"", source->name);
    for (size_t i = 0; s == OK && i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(turned + (j * rows + i) * size, held.bytes + (i * columns + j) * size, size);
    if (s == OK)
        s = file_append(w, turned, rows * columns * size, e);
    free(held.bytes);
    free(turned);
    return s;
}

static status write_layout(struct synthetic_numbers *g, const char *path, const struct layout *l, struct error *e)
{
    struct file_writer w;
    TRY(safetensors_create(path, l->items, l->count, (const char *const[]){"format", "pt", NULL}, &w, e));
    for (size_t i = 0; i < l->count; i++) {
        const struct layout_row *row = &l->rows[i];
        status s = row->transposed ? write_turned(g, row->sources[0], &w, e) : OK;
        for (int p = 0; s == OK && !row->transposed && p < row->source_count; p++)
            s = synthetic_numbers_emit(g, row->sources[p], append, &w, e);
        if (s != OK) {
            file_discard(&w);
            return s;
        }
    }
    return file_commit(&w, e);
}

/* --------------------------------------------------------------------------------------------------- the folder */

struct path {
    char text[4096];
};

static status join(struct path *out, const char *folder, const char *name, struct error *e)
{
    return path_join(out->text, sizeof out->text, folder, name, e);
}

/* folder/part/name */
static status join_part(struct path *out, const char *folder, const char *part, const char *name, struct error *e)
{
    struct path within;
    TRY(join(&within, folder, part, e));
    return join(out, within.text, name, e);
}

/* A file from one folder into another, which is made if need be. */
static status copy(const char *from, const char *to, const char *name, struct error *e)
{
    struct path source, copied;
    struct file_map map;
    TRY(join(&source, from, name, e));
    TRY(join(&copied, to, name, e));
    TRY(file_make_directory(to, e));
    TRY(file_map(source.text, &map, e));
    status s = file_write(copied.text, map.data, map.size, e);
    file_unmap(&map);
    return s;
}

static status copy_tokenizer(const struct synthetic_model *m, const char *out, const char *name, struct error *e)
{
    static const char *const files[] = {"vocab.json", "merges.txt"};
    static const char *const optional[] = {"special_tokens_map.json", "tokenizer_config.json"};
    struct path own, to, file;
    TRY(join(&own, m->blueprint, name, e));
    TRY(join(&to, out, name, e));
    const char *from = file_is_directory(own.text) ? own.text : m->tokenizer;
    for (size_t i = 0; i < 2; i++)
        TRY(copy(from, to.text, files[i], e));
    for (size_t i = 0; i < 2; i++) {
        TRY(join(&file, from, optional[i], e));
        if (file_exists(file.text))
            TRY(copy(from, to.text, optional[i], e));
    }
    return OK;
}

/* The tensors of a part, by its config. */
static status list_part(const struct synthetic_model *m, const struct part *part, const char *config,
                        struct list *list, struct error *e)
{
    list->dtype = m->dtype;
    TRY(part->list(config, &(struct tensor_visitor){collect, list}, e));
    if (list->failed)
        return fail(e, ERR_MEMORY, "%s: no memory for the list of its tensors", config);
    if (m->begins != NULL)
        m->begins(m->self, part->folder, list->count, list->parameters);
    return OK;
}

/* Whether the blueprint has a part: SD 1.5 has one text encoder. */
static status find_config(const struct synthetic_model *m, const struct part *part, struct path *config, bool *there,
                          struct error *e)
{
    TRY(join_part(config, m->blueprint, part->folder, "config.json", e));
    *there = file_exists(config->text);
    return OK;
}

static status write_weights(const struct synthetic_model *m, struct synthetic_numbers *g, const struct part *part,
                            const char *config, struct error *e)
{
    struct list list = {0};
    struct path path;
    bool bin = m->form == SYNTHETIC_BIN;
    TRY(join_part(&path, m->out, part->folder, bin ? part->bin : part->weights, e));
    status s = list_part(m, part, config, &list, e);
    if (s == OK)
        s = bin ? write_torch(g, path.text, &list, e) : write_safetensors(g, path.text, &list, e);
    list_free(&list);
    return s;
}

static status write_part(const struct synthetic_model *m, struct synthetic_numbers *g, const struct part *part,
                         struct error *e)
{
    struct path from, to, config;
    bool there;
    TRY(find_config(m, part, &config, &there, e));
    if (!there)
        return OK;
    TRY(join(&from, m->blueprint, part->folder, e));
    TRY(join(&to, m->out, part->folder, e));
    TRY(copy(from.text, to.text, "config.json", e));
    if (part->tokenizer != NULL)
        TRY(copy_tokenizer(m, m->out, part->tokenizer, e));
    return write_weights(m, g, part, config.text, e);
}

static status write_folder(const struct synthetic_model *m, struct synthetic_numbers *g, struct error *e)
{
    struct path from, to;
    TRY(copy(m->blueprint, m->out, "model_index.json", e));
    TRY(join(&from, m->blueprint, "scheduler", e));
    TRY(join(&to, m->out, "scheduler", e));
    TRY(copy(from.text, to.text, "scheduler_config.json", e));
    for (size_t i = 0; i < PARTS; i++)
        TRY(write_part(m, g, &parts[i], e));
    return OK;
}

/* -------------------------------------------------------------------------------------------------- a single file */

static status names_of(const struct part *part, const char *config, bool two_encoders, struct original_names *names,
                       struct error *e)
{
    struct unet_config unet;
    struct vae_config vae;
    if (part->list == list_unet) {
        TRY(unet_config_read(config, &unet, e));
        *names = original_unet(&unet);
    } else if (part->list == list_vae) {
        TRY(vae_config_read(config, &vae, e));
        *names = original_vae(&vae);
    } else {
        bool second = strcmp(part->folder, "text_encoder_2") == 0;
        *names = original_clip(second ? PART_TEXT_ENCODER_2 : PART_TEXT_ENCODER, second);
        if (!two_encoders)
            snprintf(names->prefix, sizeof names->prefix, "cond_stage_model.transformer.");
    }
    return OK;
}

static status collect_all(const struct synthetic_model *m, struct list lists[PARTS], struct layout *layout,
                          struct error *e)
{
    struct path config;
    struct original_names names;
    bool there, two_encoders;
    TRY(find_config(m, &parts[1], &config, &two_encoders, e));
    for (size_t i = 0; i < PARTS; i++) {
        TRY(find_config(m, &parts[i], &config, &there, e));
        if (!there)
            continue;
        TRY(list_part(m, &parts[i], config.text, &lists[i], e));
        TRY(names_of(&parts[i], config.text, two_encoders, &names, e));
        TRY(layout_add_original(layout, &names, lists[i].items, lists[i].count, e));
    }
    return layout_finish(layout, e);
}

/* The tokenizer goes where the program looks: into a folder beside, that is called as the file without its ending. */
static status write_single(const struct synthetic_model *m, struct synthetic_numbers *g, struct error *e)
{
    struct list lists[PARTS] = {{0}};
    struct layout layout = {0};
    struct path beside;
    const char *dot = strrchr(m->out, '.');
    snprintf(beside.text, sizeof beside.text, "%.*s", dot != NULL ? (int)(dot - m->out) : 4000, m->out);
    status s = collect_all(m, lists, &layout, e);
    if (s == OK)
        s = write_layout(g, m->out, &layout, e);
    if (s == OK)
        s = copy_tokenizer(m, beside.text, "tokenizer", e);
    layout_free(&layout);
    for (size_t i = 0; i < PARTS; i++)
        list_free(&lists[i]);
    return s;
}

status synthetic_model_write(const struct synthetic_model *m, struct error *e)
{
    struct synthetic_numbers *g = NULL;
    if (m->dtype != DTYPE_F16 && m->dtype != DTYPE_BF16 && m->dtype != DTYPE_F32)
        return fail(e, ERR_ARGUMENT, "weights are written as F16, BF16 or F32, not as %s", dtype_name(m->dtype));
    TRY(synthetic_numbers_new(m->seed, &g, e));
    status s = m->form == SYNTHETIC_SINGLE ? write_single(m, g, e) : write_folder(m, g, e);
    synthetic_numbers_free(g);
    return s;
}
