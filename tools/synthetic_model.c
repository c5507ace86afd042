#include "tools/synthetic_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/clip.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/vae.h"
#include "tensor/rng.h"

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
    const char *folder, *tokenizer, *weights;
    status (*list)(const char *config_path, const struct tensor_visitor *visitor, struct error *e);
} parts[] = {
    {"text_encoder", "tokenizer", "model.safetensors", list_clip},
    {"text_encoder_2", "tokenizer_2", "model.safetensors", list_clip},
    {"unet", NULL, "diffusion_pytorch_model.safetensors", list_unet},
    {"vae", NULL, "diffusion_pytorch_model.safetensors", list_vae},
};

/* -------------------------------------------------------------------------------------------------- the numbers */

/* Box and Muller for three billion numbers would take minutes. So 65,536 normal numbers are drawn once, brought to a
 * tensor's scale and format once per tensor, and each element is one of them, chosen by 16 random bits. */
enum { DRAWS = 1 << 16, PIECE = 1 << 19 };

struct generator {
    float normal[DRAWS];
    union {
        uint16_t halves[DRAWS];
        float floats[DRAWS];
    } scaled;
    union {
        uint16_t halves[PIECE];
        float floats[PIECE];
    } piece;
};

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static double deviation(const char *name, const struct tensor *t)
{
    static const char *const arms[] = {"conv2.weight", "to_out.0.weight", "ff.net.2.weight", "proj_out.weight",
                                       "out_proj.weight", "fc2.weight"};
    if (ends_with(name, "embedding.weight"))
        return 0.02;
    double fan_in = (double)tensor_count(t) / (double)t->shape[0];
    for (size_t i = 0; i < sizeof arms / sizeof *arms; i++)
        if (ends_with(name, arms[i]))
            return 0.2 / sqrt(fan_in);
    return 1 / sqrt(fan_in);
}

static void store(enum dtype dtype, float value, size_t at, uint16_t *halves, float *floats)
{
    if (dtype == DTYPE_F32)
        floats[at] = value;
    else
        halves[at] = dtype == DTYPE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
}

/* FNV-1a: a name as 32 bits. */
static uint32_t hash(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

/* Two elements from each word of the generator. */
static void draw(struct generator *g, struct mt19937 *mt, enum dtype dtype, size_t count)
{
    for (size_t i = 0; i < count; i += 2) {
        uint32_t word = mt19937_next(mt), low = word & 0xffff, high = word >> 16;
        size_t second = i + 1 < count ? i + 1 : i;
        if (dtype == DTYPE_F32) {
            g->piece.floats[i] = g->scaled.floats[low];
            g->piece.floats[second] = g->scaled.floats[high];
        } else {
            g->piece.halves[i] = g->scaled.halves[low];
            g->piece.halves[second] = g->scaled.halves[high];
        }
    }
}

static status write_tensor(struct generator *g, const struct named_tensor *item, uint64_t seed, struct file_writer *w,
                           struct error *e)
{
    const struct tensor *t = &item->tensor;
    bool random = t->rank > 1;
    struct mt19937 mt;
    mt19937_seed_array(&mt, (uint32_t[]){(uint32_t)seed, (uint32_t)(seed >> 32), hash(item->name)}, 3);
    if (random) {
        double std = deviation(item->name, t);
        for (size_t i = 0; i < DRAWS; i++)
            store(t->dtype, (float)(std * g->normal[i]), i, g->scaled.halves, g->scaled.floats);
    }
    float constant = ends_with(item->name, "weight") ? 1 : 0; /* of a norm: other vectors are biases */
    for (int64_t left = tensor_count(t); left > 0;) {
        size_t count = left < PIECE ? (size_t)left : PIECE;
        if (random)
            draw(g, &mt, t->dtype, count);
        else
            for (size_t i = 0; i < count; i++)
                store(t->dtype, constant, i, g->piece.halves, g->piece.floats);
        TRY(file_append(w, &g->piece, count * dtype_size(t->dtype), e));
        left -= (int64_t)count;
    }
    return OK;
}

static status write_list(const char *path, const struct list *list, uint64_t seed, struct error *e)
{
    struct generator *g = malloc(sizeof *g);
    if (g == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory to make numbers in", path);
    struct torch_rng normal;
    torch_seed(&normal, seed);
    torch_randn(&normal, g->normal, DRAWS);
    struct file_writer w;
    status s = safetensors_create(path, list->items, list->count, NULL, &w, e);
    for (size_t i = 0; i < list->count && s == OK; i++)
        s = write_tensor(g, &list->items[i], seed, &w, e);
    if (s == OK)
        s = file_commit(&w, e);
    free(g);
    return s;
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

static status copy_tokenizer(const struct synthetic_model *m, const char *name, struct error *e)
{
    static const char *const files[] = {"vocab.json", "merges.txt"};
    static const char *const optional[] = {"special_tokens_map.json", "tokenizer_config.json"};
    struct path own, to, file;
    TRY(join(&own, m->blueprint, name, e));
    TRY(join(&to, m->out, name, e));
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

/* The weights of a part: listed from its config, then written. */
static status write_weights(const struct synthetic_model *m, const struct part *part, const char *config,
                            struct error *e)
{
    struct list list = {.dtype = m->dtype};
    struct path path;
    TRY(join_part(&path, m->out, part->folder, part->weights, e));
    status s = part->list(config, &(struct tensor_visitor){collect, &list}, e);
    if (s == OK && list.failed)
        s = fail(e, ERR_MEMORY, "%s: no memory for the list of its tensors", config);
    if (s == OK) {
        if (m->begins != NULL)
            m->begins(m->self, part->folder, list.count, list.parameters);
        s = write_list(path.text, &list, m->seed, e);
    }
    list_free(&list);
    return s;
}

static status write_part(const struct synthetic_model *m, const struct part *part, struct error *e)
{
    struct path from, to, config;
    TRY(join(&from, m->blueprint, part->folder, e));
    TRY(join(&to, m->out, part->folder, e));
    TRY(join(&config, from.text, "config.json", e));
    if (!file_exists(config.text)) /* SD 1.5 has one text encoder */
        return OK;
    TRY(copy(from.text, to.text, "config.json", e));
    if (part->tokenizer != NULL)
        TRY(copy_tokenizer(m, part->tokenizer, e));
    return write_weights(m, part, config.text, e);
}

status synthetic_model_write(const struct synthetic_model *m, struct error *e)
{
    if (m->dtype != DTYPE_F16 && m->dtype != DTYPE_BF16 && m->dtype != DTYPE_F32)
        return fail(e, ERR_ARGUMENT, "weights are written as F16, BF16 or F32, not as %s", dtype_name(m->dtype));
    struct path from, to;
    TRY(copy(m->blueprint, m->out, "model_index.json", e));
    TRY(join(&from, m->blueprint, "scheduler", e));
    TRY(join(&to, m->out, "scheduler", e));
    TRY(copy(from.text, to.text, "scheduler_config.json", e));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        TRY(write_part(m, &parts[i], e));
    return OK;
}
