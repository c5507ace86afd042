/* Reading safetensors files; the format is drawn in tensor/safetensors.h.
 *
 * Opening costs one parse of the header and two sorts, nothing per byte of data: by offset, so that overlaps and
 * holes show up between neighbours, then by name, for lookup. The surprise: data is aligned only if the writer was
 * kind. Old writers did not pad the header, so a float can start at an odd address, where C forbids to read it. Such
 * tensors, and only they, are copied once into aligned memory. */
#include "tensor/safetensors_format.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are used as stored, and stored little endian");

/* Where a tensor's bytes are, counted from the end of the header. */
struct span {
    size_t begin, end;
    size_t item; /* index in safetensors.items */
};

static int compare_spans(const void *left, const void *right)
{
    const struct span *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) /* an empty tensor may share its offset with the one that follows */
        return a->end < b->end ? -1 : 1;
    return a->item < b->item ? -1 : 1;
}

static int compare_names(const void *left, const void *right)
{
    const struct named_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

/* Reading one file */

static enum dtype dtype_of(const char *text)
{
    for (int d = 0; d < DTYPE_OTHER; d++)
        if (strcmp(text, dtype_name((enum dtype)d)) == 0)
            return (enum dtype)d;
    return DTYPE_OTHER;
}

/* One member of the header, {"dtype": .., "shape": .., "data_offsets": ..}. `room` is the number of data bytes. */
static status read_entry(const char *path, const struct json *entry, size_t room, struct tensor *t, struct span *span,
                         struct error *e)
{
    const char *name = entry->key;
    if (!safetensors_name_ok(name))
        return fail(e, ERR_FORMAT, "%s: a tensor's name contains control characters", path);
    const struct json *shape = json_get(entry, "shape"), *offsets = json_get(entry, "data_offsets");
    const char *dtype = json_string(json_get(entry, "dtype"), NULL);
    if (dtype == NULL || shape == NULL || shape->kind != JSON_ARRAY || offsets == NULL || offsets->kind != JSON_ARRAY)
        return fail(e, ERR_FORMAT, "%s: tensor '%.200s': needs a dtype, a shape and data_offsets", path, name);
    t->dtype = shape->count > TENSOR_MAX_RANK ? DTYPE_OTHER : dtype_of(dtype);
    for (const struct json *d = shape->child; d != NULL; d = d->next) {
        if (d->kind != JSON_NUMBER || !d->is_integer)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s': a dimension of its shape is not an integer", path, name);
        if (t->dtype != DTYPE_OTHER)
            t->shape[t->rank++] = d->integer;
    }
    size_t bytes = 0;
    char text[160];
    if (!shape_bytes(t->dtype, t->rank, t->shape, &bytes))
        return fail(e, ERR_FORMAT, "%s: tensor '%.200s': the shape %s is negative or too large", path, name,
                    shape_text(t->rank, t->shape, text, sizeof text));

    const struct json *begin = json_at(offsets, 0), *end = json_at(offsets, 1);
    if (offsets->count != 2 || begin->kind != JSON_NUMBER || !begin->is_integer || end->kind != JSON_NUMBER ||
        !end->is_integer || begin->integer < 0 || end->integer < begin->integer)
        return fail(e, ERR_FORMAT, "%s: tensor '%.200s': data_offsets are not two ordered positions", path, name);
    if ((uint64_t)end->integer > room)
        return fail(e, ERR_FORMAT, "%s: tensor '%.200s': ends at byte %" PRId64 " of the data, but there are only "
                    "%zu: the file is incomplete, fetch it again", path, name, end->integer, room);
    *span = (struct span){.begin = (size_t)begin->integer, .end = (size_t)end->integer};
    if (t->dtype == DTYPE_OTHER) { /* how many bytes it should have, nobody knows */
        t->rank = 1;
        t->shape[0] = end->integer - begin->integer;
        return OK;
    }
    if (span->end - span->begin != bytes)
        return fail(e, ERR_FORMAT, "%s: tensor '%.200s': occupies %zu bytes, but %s of %s take %zu", path, name,
                    span->end - span->begin, shape_text(t->rank, t->shape, text, sizeof text), dtype_name(t->dtype),
                    bytes);
    return OK;
}

/* Sorts the spans and sees that they tile the data exactly: every byte belongs to one tensor. */
static status check_spans(const char *path, const struct named_tensor *items, struct span *spans, size_t count,
                          size_t room, struct error *e)
{
    if (count > 0)
        qsort(spans, count, sizeof *spans, compare_spans);
    size_t covered = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = items[spans[i].item].name;
        if (spans[i].begin < covered)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' overlaps tensor '%.200s'", path, name,
                        items[spans[i - 1].item].name);
        if (spans[i].begin > covered)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' begins at byte %zu of the data, but the %zu bytes before "
                        "it belong to no tensor", path, name, spans[i].begin, spans[i].begin - covered);
        covered = spans[i].end;
    }
    if (covered < room)
        return fail(e, ERR_FORMAT, "%s: the last %zu bytes belong to no tensor", path, room - covered);
    return OK;
}

static bool is_aligned(const unsigned char *data, enum dtype dtype)
{
    return (uintptr_t)data % dtype_size(dtype) == 0;
}

/* Points the tensors at their bytes: in the map, or in an aligned copy if the map has them at an odd address. An
 * empty tensor points at the map's start, because NULL would say that there is no such tensor. */
static status place_tensors(struct safetensors *file, size_t shard, const char *path, const unsigned char *data,
                            const struct span *spans, size_t count, struct error *e)
{
    size_t total = 0; /* does not overflow: the file's size, and 64 bytes a tensor for rounding */
    for (size_t i = 0; i < count; i++)
        if (!is_aligned(data + spans[i].begin, file->items[spans[i].item].tensor.dtype))
            total += safetensors_align(spans[i].end - spans[i].begin);
    unsigned char *copy = NULL;
    file->copied += total;
    if (total > 0) {
        copy = file->copies[shard] = aligned_alloc(SAFETENSORS_ALIGNMENT, total);
        if (copy == NULL)
            return fail(e, ERR_MEMORY, "%s: no memory for aligned copies of its tensors (%zu bytes)", path, total);
    }
    for (size_t i = 0; i < count; i++) {
        struct tensor *t = &file->items[spans[i].item].tensor;
        const unsigned char *bytes = data + spans[i].begin;
        size_t size = spans[i].end - spans[i].begin;
        t->data = size == 0 ? file->maps[shard].data : bytes;
        if (size == 0 || is_aligned(bytes, t->dtype))
            continue;
        t->data = memcpy(copy, bytes, size);
        copy += safetensors_align(size);
    }
    return OK;
}

static status check_metadata(const char *path, const struct json *metadata, struct error *e)
{
    bool strings = metadata->kind == JSON_OBJECT || metadata->kind == JSON_NULL;
    for (const struct json *v = metadata->child; strings && v != NULL; v = v->next)
        strings = v->kind == JSON_STRING;
    return strings ? OK : fail(e, ERR_FORMAT, "%s: %s is not an object of strings", path, SAFETENSORS_METADATA);
}

/* The header's JSON, from the mapped file. */
static status parse_header(const char *path, const struct file_map *map, const struct json **header, size_t *length,
                           struct error *e)
{
    static const char lfs[] = "version https://git-lfs.github.com";
    if (map->size >= sizeof lfs - 1 && memcmp(map->data, lfs, sizeof lfs - 1) == 0)
        return fail(e, ERR_FORMAT, "%s: is a Git LFS pointer, not the weights themselves: run `git lfs pull`", path);
    if (map->size < SAFETENSORS_LENGTH_BYTES)
        return fail(e, ERR_FORMAT, "%s: %zu bytes are too few for a safetensors file", path, map->size);
    uint64_t stated = 0;
    for (int i = 0; i < SAFETENSORS_LENGTH_BYTES; i++)
        stated |= (uint64_t)map->data[i] << (8 * i);
    if (stated > SAFETENSORS_HEADER_MAX)
        return fail(e, ERR_FORMAT, "%s: its header would be %" PRIu64 " bytes long, more than %d: this is not a "
                    "safetensors file", path, stated, SAFETENSORS_HEADER_MAX);
    if (stated > map->size - SAFETENSORS_LENGTH_BYTES)
        return fail(e, ERR_FORMAT, "%s: its header is %" PRIu64 " bytes long, but the file only %zu: the file is "
                    "incomplete, fetch it again", path, stated, map->size);
    *length = (size_t)stated;
    status result = json_parse("header", (const char *)map->data + SAFETENSORS_LENGTH_BYTES, *length, header, e);
    if (result != OK) {
        fail_context(e, "%s", path);
        return result;
    }
    if ((*header)->kind != JSON_OBJECT)
        return fail(e, ERR_FORMAT, "%s: its header is not a JSON object", path);
    return OK;
}

static status read_entries(struct safetensors *file, size_t shard, const char *path, size_t header_length,
                           struct span *spans, struct error *e)
{
    const unsigned char *data = file->maps[shard].data + SAFETENSORS_LENGTH_BYTES + header_length;
    size_t room = file->maps[shard].size - SAFETENSORS_LENGTH_BYTES - header_length, count = 0;
    for (const struct json *entry = file->headers[shard]->child; entry != NULL; entry = entry->next) {
        if (strcmp(entry->key, SAFETENSORS_METADATA) == 0) {
            TRY(check_metadata(path, entry, e));
            if (shard == 0 && entry->kind == JSON_OBJECT)
                file->metadata = entry;
            continue;
        }
        struct named_tensor *item = &file->items[file->count];
        *item = (struct named_tensor){.name = entry->key};
        TRY(read_entry(path, entry, room, &item->tensor, &spans[count], e));
        spans[count++].item = file->count++;
    }
    TRY(check_spans(path, file->items, spans, count, room, e));
    return place_tensors(file, shard, path, data, spans, count, e);
}

/* Maps file number `shard` and appends its tensors to file->items. What it acquires belongs to `file` at once, so a
 * failure needs no cleaning up here. */
static status read_file(struct safetensors *file, size_t shard, const char *path, struct error *e)
{
    size_t length = 0;
    TRY(file_map(path, &file->maps[shard], e));
    TRY(parse_header(path, &file->maps[shard], &file->headers[shard], &length, e));
    size_t most = file->headers[shard]->count + 1; /* not zero, for the allocators */
    struct named_tensor *items = realloc(file->items, (file->count + most) * sizeof *items);
    if (items == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for %zu tensors", path, most);
    file->items = items;
    struct span *spans = malloc(most * sizeof *spans);
    if (spans == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for %zu tensors", path, most);
    status result = read_entries(file, shard, path, length, spans, e);
    free(spans);
    return result;
}

/* Room for `shards` files, all still empty. */
static status reserve_files(struct safetensors *file, size_t shards, struct error *e)
{
    file->maps = calloc(shards, sizeof *file->maps);
    file->headers = calloc(shards, sizeof *file->headers);
    file->copies = calloc(shards, sizeof *file->copies);
    if (file->maps == NULL || file->headers == NULL || file->copies == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for %zu files", file->path, shards);
    file->shards = shards;
    return OK;
}

/* Reading a sharded one */

/* One line of the index: this tensor is in that file. */
struct place {
    const char *name, *shard;
};

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    return strcmp(a->name, b->name);
}

/* The index must not lead out of its folder. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           safetensors_name_ok(name);
}

/* Fills both arrays with one entry per line: `places` sorted by tensor, `shards` sorted, still with repetitions. */
static status read_places(const char *path, const struct json *weight_map, struct place *places, const char **shards,
                          struct error *e)
{
    size_t count = 0;
    for (const struct json *v = weight_map->child; v != NULL; v = v->next) {
        if (!safetensors_name_ok(v->key))
            return fail(e, ERR_FORMAT, "%s: a tensor's name contains control characters", path);
        if (v->kind != JSON_STRING || strlen(v->string) != v->string_length || !is_plain_name(v->string))
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s': its file is not a plain file name in the same folder",
                        path, v->key);
        places[count] = (struct place){.name = v->key, .shard = v->string};
        shards[count++] = v->string;
    }
    qsort(places, count, sizeof *places, compare_places);
    qsort(shards, count, sizeof *shards, safetensors_compare_strings);
    return OK;
}

/* Reads file number `index`, and sees that the index places each of its tensors there. */
static status read_shard(struct safetensors *file, size_t index, const char *shard, const struct place *places,
                         size_t count, struct error *e)
{
    const char *slash = strrchr(file->path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - file->path) + 1, size = strlen(shard) + 1;
    size_t first = file->count;
    char *path = malloc(folder + size);
    if (path == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for a path", file->path);
    memcpy(path, file->path, folder);
    memcpy(path + folder, shard, size);
    status result = read_file(file, index, path, e);
    free(path);
    TRY(result);
    for (size_t i = first; i < file->count; i++) {
        const char *name = file->items[i].name;
        const struct place key = {.name = name};
        const struct place *place = bsearch(&key, places, count, sizeof key, compare_places);
        if (place == NULL)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' of %.200s is not in the index", file->path, name, shard);
        if (strcmp(place->shard, shard) != 0)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' is in %.200s, but the index says %.200s", file->path,
                        name, shard, place->shard);
    }
    return OK;
}

static status read_shards(struct safetensors *file, const struct json *weight_map, struct place *places,
                          const char **shards, struct error *e)
{
    size_t count = weight_map->count, distinct = 0;
    TRY(read_places(file->path, weight_map, places, shards, e));
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(shards[i], shards[distinct - 1]) != 0)
            shards[distinct++] = shards[i];
    TRY(reserve_files(file, distinct, e));
    for (size_t i = 0; i < distinct; i++)
        TRY(read_shard(file, i, shards[i], places, count, e));
    qsort(file->items, file->count, sizeof *file->items, compare_names);
    for (size_t i = 0; i < count; i++) /* no tensor twice and none unknown: the first difference is a missing one */
        if (i == file->count || strcmp(file->items[i].name, places[i].name) != 0)
            return fail(e, ERR_FORMAT, "%s: tensor '%.200s' is not in %.200s, where the index says it is", file->path,
                        places[i].name, places[i].shard);
    return OK;
}

static status read_index(struct safetensors *file, const struct json *index, struct error *e)
{
    const struct json *weight_map = json_get(index, "weight_map");
    if (weight_map == NULL || weight_map->kind != JSON_OBJECT || weight_map->count == 0)
        return fail(e, ERR_FORMAT, "%s: has no \"weight_map\" of tensors to files", file->path);
    struct place *places = malloc(weight_map->count * sizeof *places);
    const char **shards = malloc(weight_map->count * sizeof *shards);
    status result = places != NULL && shards != NULL
                        ? read_shards(file, weight_map, places, shards, e)
                        : fail(e, ERR_MEMORY, "%s: no memory for %zu tensors", file->path, weight_map->count);
    free(shards);
    free(places);
    return result;
}

/* The reader's interface */

static status open_any(struct safetensors *file, const char *path, struct error *e)
{
    size_t length = strlen(path);
    file->path = malloc(length + 1);
    if (file->path == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory to open it", path);
    memcpy(file->path, path, length + 1);
    if (length >= 5 && strcmp(path + length - 5, ".json") == 0) {
        const struct json *index;
        TRY(json_read(path, &index, e));
        status result = read_index(file, index, e);
        json_free(index);
        return result;
    }
    TRY(reserve_files(file, 1, e));
    TRY(read_file(file, 0, path, e));
    if (file->count > 0)
        qsort(file->items, file->count, sizeof *file->items, compare_names);
    return OK;
}

status safetensors_open(const char *path, struct safetensors *file, struct error *e)
{
    *file = (struct safetensors){0};
    status result = open_any(file, path, e);
    if (result != OK)
        safetensors_close(file);
    return result;
}

void safetensors_close(struct safetensors *file)
{
    for (size_t i = 0; i < file->shards; i++) {
        free(file->copies[i]);
        json_free(file->headers[i]);
        file_unmap(&file->maps[i]);
    }
    free(file->copies);
    free(file->headers);
    free(file->maps);
    free(file->items);
    free(file->path);
    *file = (struct safetensors){0};
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    if (file->count == 0)
        return NULL;
    const struct named_tensor key = {.name = name};
    const struct named_tensor *item = bsearch(&key, file->items, file->count, sizeof key, compare_names);
    return item != NULL ? &item->tensor : NULL;
}

const char *safetensors_meta(const struct safetensors *file, const char *key)
{
    return json_string(json_get(file->metadata, key), NULL);
}
