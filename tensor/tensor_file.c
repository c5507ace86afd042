#include "tensor/tensor_file.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/torchfile.h"

static int compare_names(const void *left, const void *right)
{
    const struct named_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

/* --------------------------------------------------------------------------------------------------- what it is */

/* What people give by mistake, by its first bytes. */
static status refuse_others(const char *path, const struct file_map *map, struct error *e)
{
    static const struct {
        const char *bytes;
        size_t count, at;
        const char *what;
    } others[] = {
        {"GGUF", 4, 0, "a GGUF file (quantized, for llama.cpp and its kin): get the model as safetensors"},
        {"\x89HDF\r\n\x1a\n", 8, 0, "an HDF5 file (Keras, TensorFlow): get the model as safetensors"},
        {"<!DOCTYPE", 9, 0, "a web page, not weights: the download went wrong, perhaps it needs a login"},
        {"<!doctype", 9, 0, "a web page, not weights: the download went wrong, perhaps it needs a login"},
        {"<html", 5, 0, "a web page, not weights: the download went wrong, perhaps it needs a login"},
        {"\x1f\x8b", 2, 0, "packed with gzip: unpack it first"},
        {"7z\xbc\xaf", 4, 0, "a 7z archive: unpack it first"},
        {"Rar!", 4, 0, "a RAR archive: unpack it first"},
        {"ustar", 5, 257, "a tar archive (PyTorch before 0.1.10 wrote such files): get the model as safetensors"},
        {"\x89PNG", 4, 0, "a picture, not weights"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (map->size >= others[i].at + others[i].count &&
            memcmp(map->data + others[i].at, others[i].bytes, others[i].count) == 0)
            return fail(e, ERR_FORMAT, "%s: is %s", path, others[i].what);
    return OK;
}

/* *torch: whether a file is one of PyTorch's. */
static status look(const char *path, bool *torch, struct error *e)
{
    struct file_map map;
    TRY(file_map(path, &map, e));
    *torch = torchfile_is(map.data, map.size);
    status s = refuse_others(path, &map, e);
    file_unmap(&map);
    return s;
}

/* ------------------------------------------------------------------------------------------------ PyTorch's files */

static status open_torch(struct tensor_file *file, const char *path, struct error *e)
{
    struct torchfile *f = calloc(1, sizeof *f);
    struct torchfile **list = realloc(file->torchfiles, (file->torchfile_count + 1) * sizeof *list);
    if (list != NULL)
        file->torchfiles = list;
    if (f == NULL || list == NULL) {
        free(f);
        return fail(e, ERR_MEMORY, "%s: out of memory", path);
    }
    list[file->torchfile_count++] = f;
    return torchfile_open(path, f, e);
}

/* All tensors of all shards, sorted. */
static status merge(struct tensor_file *file, struct error *e)
{
    size_t count = 0;
    for (size_t i = 0; i < file->torchfile_count; i++)
        count += file->torchfiles[i]->count;
    file->items = malloc((count + 1) * sizeof *file->items);
    if (file->items == NULL)
        return fail(e, ERR_MEMORY, "%s: out of memory", file->path);
    for (size_t i = 0; i < file->torchfile_count; i++) {
        memcpy(file->items + file->count, file->torchfiles[i]->items,
               file->torchfiles[i]->count * sizeof *file->items);
        file->count += file->torchfiles[i]->count;
        file->copied += file->torchfiles[i]->copied;
    }
    qsort(file->items, file->count, sizeof *file->items, compare_names);
    for (size_t i = 1; i < file->count; i++)
        if (strcmp(file->items[i - 1].name, file->items[i].name) == 0)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' is in two of its files", file->path, file->items[i].name);
    return OK;
}

/* The path of a shard: a plain name in the folder of the index. */
static status shard_path(const char *index, const struct json *shard, char **out, struct error *e)
{
    const char *name = json_string(shard, ""), *slash = strrchr(index, '/');
    size_t folder = slash != NULL ? (size_t)(slash - index) + 1 : 0, length = strlen(name);
    if (length == 0 || length > 255 || strchr(name, '/') != NULL || name[0] == '.')
        return fail(e, ERR_FORMAT, "%s: a file in its \"weight_map\" is not a plain name in the same folder", index);
    *out = malloc(folder + length + 1);
    if (*out == NULL)
        return fail(e, ERR_MEMORY, "%s: out of memory", index);
    memcpy(*out, index, folder);
    memcpy(*out + folder, name, length + 1);
    return OK;
}

static bool is_open(const struct tensor_file *file, const char *path)
{
    for (size_t i = 0; i < file->torchfile_count; i++)
        if (strcmp(file->torchfiles[i]->path, path) == 0)
            return true;
    return false;
}

static status open_torch_shards(struct tensor_file *file, const struct json *weight_map, struct error *e)
{
    for (const struct json *shard = weight_map->child; shard != NULL; shard = shard->next) {
        char *path;
        TRY(shard_path(file->path, shard, &path, e));
        status s = is_open(file, path) ? OK : open_torch(file, path, e);
        free(path);
        TRY(s);
    }
    TRY(merge(file, e));
    for (const struct json *shard = weight_map->child; shard != NULL; shard = shard->next)
        if (tensor_file_find(file, shard->key) == NULL)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' is in none of its files", file->path, shard->key);
    return OK;
}

/* An index is of the kind of its first shard; one without is for the reader of safetensors to refuse. */
static status open_index(struct tensor_file *file, const struct json *index, bool *torch, struct error *e)
{
    const struct json *weight_map = json_get(index, "weight_map");
    char *first = NULL;
    *torch = false;
    if (weight_map == NULL || weight_map->kind != JSON_OBJECT || weight_map->child == NULL ||
        shard_path(file->path, weight_map->child, &first, NULL) != OK)
        return OK;
    status s = look(first, torch, e);
    free(first);
    TRY(s);
    return *torch ? open_torch_shards(file, weight_map, e) : OK;
}

/* -------------------------------------------------------------------------------------------------- the interface */

static status open_safetensors(struct tensor_file *file, struct error *e)
{
    TRY(safetensors_open(file->path, &file->safetensors, e));
    file->items = file->safetensors.items;
    file->count = file->safetensors.count;
    file->copied = file->safetensors.copied;
    return OK;
}

static status open_any(struct tensor_file *file, struct error *e)
{
    size_t length = strlen(file->path);
    bool torch = false;
    if (length >= 5 && strcmp(file->path + length - 5, ".json") == 0) {
        const struct json *index;
        TRY(json_read(file->path, &index, e));
        status s = open_index(file, index, &torch, e);
        json_free(index);
        TRY(s);
    } else {
        TRY(look(file->path, &torch, e));
        if (torch) {
            TRY(open_torch(file, file->path, e));
            TRY(merge(file, e));
        }
    }
    if (!torch)
        return open_safetensors(file, e);
    file->format = file->torchfiles[0]->legacy ? "PyTorch before 1.6" : "PyTorch";
    return OK;
}

status tensor_file_open(const char *path, struct tensor_file *file, struct error *e)
{
    *file = (struct tensor_file){.format = "safetensors", .path = strdup(path)};
    status s = file->path != NULL ? open_any(file, e) : fail(e, ERR_MEMORY, "%s: out of memory", path);
    if (s != OK)
        tensor_file_close(file);
    return s;
}

void tensor_file_close(struct tensor_file *file)
{
    if (file->torchfile_count > 0)
        free(file->items);
    for (size_t i = 0; i < file->torchfile_count; i++) {
        torchfile_close(file->torchfiles[i]);
        free(file->torchfiles[i]);
    }
    free(file->torchfiles);
    safetensors_close(&file->safetensors);
    free(file->path);
    *file = (struct tensor_file){0};
}

const struct tensor *tensor_file_find(const struct tensor_file *file, const char *name)
{
    if (file->count == 0)
        return NULL;
    const struct named_tensor key = {.name = name};
    const struct named_tensor *item = bsearch(&key, file->items, file->count, sizeof key, compare_names);
    return item != NULL ? &item->tensor : NULL;
}

const char *tensor_file_meta(const struct tensor_file *file, const char *key)
{
    return safetensors_meta(&file->safetensors, key);
}
