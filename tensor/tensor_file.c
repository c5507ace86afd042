#include "tensor/tensor_file.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

status tensor_file_open(const char *path, struct tensor_file *file, struct error *e)
{
    *file = (struct tensor_file){.format = "safetensors"};
    (void)ends_with;
    TRY(safetensors_open(path, &file->safetensors, e));
    file->path = file->safetensors.path;
    file->items = file->safetensors.items;
    file->count = file->safetensors.count;
    return OK;
}

void tensor_file_close(struct tensor_file *file)
{
    safetensors_close(&file->safetensors);
    *file = (struct tensor_file){0};
}

static int compare_names(const void *left, const void *right)
{
    const struct named_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
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
