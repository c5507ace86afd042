/* Storages and the tensors in them; the format is drawn in tensor/torchfile.h. */
#include "tensor/torchfile_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

status torch_broken(const struct torch_reader *r, const char *what)
{
    if (r->tensor != NULL)
        return fail(r->e, ERR_FORMAT, "%s: tensor '%.*s': %s: the file is damaged or incomplete, fetch it again",
                    r->file->path, (int)(r->tensor_length < 200 ? r->tensor_length : 200), r->tensor, what);
    return fail(r->e, ERR_FORMAT, "%s: %s: the file is damaged or incomplete, fetch it again", r->file->path, what);
}

/* Memory that lasts as long as the file. */
static status new_block(struct torch_reader *r, size_t size, unsigned char **block)
{
    struct torchfile *f = r->file;
    if (f->block_count == r->block_room) {
        size_t room = 2 * r->block_room + 16;
        void **blocks = realloc(f->blocks, room * sizeof *blocks);
        if (blocks == NULL)
            return fail(r->e, ERR_MEMORY, "%s: out of memory", f->path);
        f->blocks = blocks;
        r->block_room = room;
    }
    *block = aligned_alloc(ALIGNMENT, size / ALIGNMENT * ALIGNMENT + ALIGNMENT);
    if (*block == NULL)
        return fail(r->e, ERR_MEMORY, "%s: no memory for %zu bytes of weights", f->path, size);
    f->blocks[f->block_count++] = *block;
    return OK;
}

/* ------------------------------------------------------------------------------------------------------- storages */

static const struct {
    const char *name;
    enum dtype dtype;
} storage_types[] = {
    {"torch.FloatStorage", DTYPE_F32}, {"torch.HalfStorage", DTYPE_F16}, {"torch.BFloat16Storage", DTYPE_BF16},
    {"torch.DoubleStorage", DTYPE_F64}, {"torch.LongStorage", DTYPE_I64}, {"torch.IntStorage", DTYPE_I32},
    {"torch.ShortStorage", DTYPE_I16}, {"torch.CharStorage", DTYPE_I8}, {"torch.ByteStorage", DTYPE_U8},
    {"torch.BoolStorage", DTYPE_BOOL},
};

/* ('storage', torch.FloatStorage, 'KEY', 'cpu', elements), and in the older form the view of a view, or None. */
status torch_storage_id(const struct torch_reader *r, pickle_ref id, struct torch_storage *s)
{
    const struct pickle *p = &r->pickle;
    pickle_ref parts[6] = {0};
    const struct pickle_node *node = &p->nodes[id];
    if (node->kind != PICKLE_PERSISTENT || node->count < 5 || node->count > 6)
        return torch_broken(r, "there is no storage");
    for (size_t i = 0; i < node->count; i++)
        parts[i] = pickle_member(p, id, i);
    const struct pickle_node *key = &p->nodes[parts[2]], *elements = &p->nodes[parts[4]];
    if (!pickle_is(p, parts[0], PICKLE_STRING, "storage") || key->kind != PICKLE_STRING ||
        elements->kind != PICKLE_INT || elements->integer < 0 || key->integer > 200)
        return torch_broken(r, "a storage that is described in an unknown way");
    if (node->count == 6 && p->nodes[parts[5]].kind != PICKLE_NONE)
        return fail(r->e, ERR_FORMAT, "%s: has storages that are views of others, as only PyTorch before 0.4 wrote "
                    "them: convert it to safetensors", r->file->path);
    *s = (struct torch_storage){.key = key->string, .key_length = (size_t)key->integer, .dtype = DTYPE_OTHER,
                          .elements = (size_t)elements->integer};
    for (size_t i = 0; i < sizeof storage_types / sizeof *storage_types; i++)
        if (pickle_is(p, parts[1], PICKLE_GLOBAL, storage_types[i].name))
            s->dtype = storage_types[i].dtype;
    size_t bytes;
    if (s->dtype == DTYPE_OTHER || !shape_bytes(s->dtype, 1, (int64_t[]){elements->integer}, &bytes))
        return torch_broken(r, "a storage of an unknown format or impossible size");
    return OK;
}

static int compare_keys(const struct torch_storage *a, const struct torch_storage *b)
{
    size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = memcmp(a->key, b->key, shorter);
    return order != 0 ? order : (a->key_length > b->key_length) - (a->key_length < b->key_length);
}

/* Where a storage of this key is, or would be. */
size_t torch_storage_place(const struct torch_reader *r, const struct torch_storage *wanted)
{
    size_t low = 0, high = r->storage_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_keys(&r->storages[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool torch_storage_known(const struct torch_reader *r, size_t place, const struct torch_storage *wanted)
{
    return place < r->storage_count && compare_keys(&r->storages[place], wanted) == 0;
}

status torch_storage_insert(struct torch_reader *r, size_t place, const struct torch_storage *s)
{
    if (r->storage_count == r->storage_room) {
        size_t room = 2 * r->storage_room + 64;
        struct torch_storage *storages = realloc(r->storages, room * sizeof *storages);
        if (storages == NULL)
            return fail(r->e, ERR_MEMORY, "%s: out of memory", r->file->path);
        r->storages = storages;
        r->storage_room = room;
    }
    memmove(&r->storages[place + 1], &r->storages[place], (r->storage_count - place) * sizeof *r->storages);
    r->storages[place] = *s;
    r->storage_count++;
    return OK;
}

/* Weights hardly pack, so what grows a lot is no checkpoint. */
status torch_unpack(struct torch_reader *r, const struct zip_entry *entry, const unsigned char **data)
{
    unsigned char *block;
    if (r->unpacked + entry->size < entry->size ||
        (r->unpacked + entry->size) / TORCHFILE_INFLATE_MOST > r->file->map.size)
        return fail(r->e, ERR_FORMAT, "%s: would unpack to more than %d times its size: refused", r->file->path,
                    TORCHFILE_INFLATE_MOST);
    r->unpacked += entry->size;
    r->file->copied += entry->size;
    TRY(new_block(r, entry->size, &block));
    *data = block;
    return zip_read(&r->zip, entry, block, r->e);
}

static status load_storage(struct torch_reader *r, struct torch_storage *s)
{
    char name[TORCHFILE_NAME + 256];
    if (r->file->legacy)
        return torch_broken(r, "a storage is not in it");
    snprintf(name, sizeof name, "%s%.*s", r->prefix, (int)s->key_length, s->key);
    const struct zip_entry *entry = zip_find(&r->zip, name);
    if (entry == NULL)
        return torch_broken(r, "a storage is not in it");
    if (entry->size != s->elements * dtype_size(s->dtype))
        return fail(r->e, ERR_FORMAT, "%s: %s has %zu bytes, %zu elements of %s take %zu: the file is damaged",
                    r->file->path, name, entry->size, s->elements, dtype_name(s->dtype),
                    s->elements * dtype_size(s->dtype));
    s->data = entry->data;
    return entry->deflated ? torch_unpack(r, entry, &s->data) : OK;
}

/* The storage that a persistent id means. One and the same key must always mean the same. */
static status find_storage(struct torch_reader *r, pickle_ref id, struct torch_storage *out)
{
    TRY(torch_storage_id(r, id, out));
    size_t place = torch_storage_place(r, out);
    if (!torch_storage_known(r, place, out)) {
        TRY(load_storage(r, out));
        return torch_storage_insert(r, place, out);
    }
    const struct torch_storage *known = &r->storages[place];
    if (known->dtype != out->dtype || known->elements != out->elements)
        return torch_broken(r, "two tensors disagree about their storage");
    *out = *known;
    return OK;
}

/* -------------------------------------------------------------------------------------------------------- tensors */

/* A tuple of at most TENSOR_MAX_RANK numbers that are not negative. */
static bool read_extents(const struct pickle *p, pickle_ref ref, int64_t *extents, int *rank)
{
    const struct pickle_node *node = &p->nodes[ref];
    if (node->kind != PICKLE_TUPLE || node->count > TENSOR_MAX_RANK)
        return false;
    *rank = 0;
    for (pickle_ref cell = node->first; cell != 0; cell = p->cells[cell].next) {
        const struct pickle_node *extent = &p->nodes[p->cells[cell].value];
        if (extent->kind != PICKLE_INT || extent->integer < 0)
            return false;
        extents[(*rank)++] = extent->integer;
    }
    return true;
}

/* True if element i of the flattened tensor lies i places behind the first. */
static bool is_contiguous(const struct tensor *t, const int64_t *strides)
{
    int64_t expected = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        if (t->shape[d] != 1 && strides[d] != expected)
            return false;
        expected *= t->shape[d];
    }
    return true;
}

/* The place behind the last element, counted from the first; false: beyond `room`. */
static bool reach(const struct tensor *t, const int64_t *strides, int64_t room)
{
    int64_t last = 0, step;
    for (int d = 0; d < t->rank; d++)
        if (__builtin_mul_overflow(t->shape[d] - 1, strides[d], &step) || __builtin_add_overflow(last, step, &last))
            return false;
    return last < room;
}

/* The elements of a strided tensor, one after the other. */
static void gather(unsigned char *out, const struct tensor *t, const int64_t *strides, const unsigned char *from)
{
    int64_t at[TENSOR_MAX_RANK] = {0}, count = tensor_count(t);
    size_t size = dtype_size(t->dtype);
    for (int64_t i = 0; i < count; i++, out += size) {
        int64_t place = 0;
        for (int d = 0; d < t->rank; d++)
            place += at[d] * strides[d];
        memcpy(out, from + (size_t)place * size, size);
        for (int d = t->rank - 1; d >= 0 && ++at[d] == t->shape[d]; d--)
            at[d] = 0;
    }
}

/* Points t at its bytes: in the map, or at a copy of them in order and aligned. All copies together are at most as
 * large as what they are made from. */
static status place_tensor(struct torch_reader *r, const struct torch_storage *s, int64_t offset,
                           const int64_t *strides, struct tensor *t)
{
    int64_t count = tensor_count(t);
    t->data = r->file->map.data; /* for an empty one: not NULL, not to be read */
    if (count == 0)
        return OK;
    if (offset > (int64_t)s->elements || !reach(t, strides, (int64_t)s->elements - offset))
        return torch_broken(r, "it reaches beyond its storage");
    const unsigned char *first = s->data + (size_t)offset * dtype_size(t->dtype);
    bool contiguous = is_contiguous(t, strides);
    t->data = first;
    if (contiguous && (uintptr_t)first % dtype_size(t->dtype) == 0)
        return OK;
    unsigned char *block;
    size_t bytes = (size_t)count * dtype_size(t->dtype);
    if (count > (int64_t)s->elements || bytes > r->file->map.size + r->unpacked - r->copied)
        return fail(r->e, ERR_FORMAT, "%s: has tensors that repeat the elements of their storage: convert it to "
                    "safetensors", r->file->path);
    r->copied += bytes;
    r->file->copied += bytes;
    TRY(new_block(r, bytes, &block));
    t->data = block;
    if (contiguous)
        memcpy(block, first, bytes);
    else
        gather(block, t, strides, first);
    return OK;
}

/* _rebuild_tensor_v2(storage, offset, shape, strides, ..); the older _rebuild_tensor has no more than these four. */
status torch_tensor(struct torch_reader *r, pickle_ref arguments, struct tensor *t)
{
    const struct pickle *p = &r->pickle;
    struct torch_storage storage;
    int64_t strides[TENSOR_MAX_RANK];
    int rank;
    size_t bytes;
    pickle_ref offset = pickle_member(p, arguments, 1);
    *t = (struct tensor){0};
    if (p->nodes[arguments].count < 4 || p->nodes[offset].kind != PICKLE_INT || p->nodes[offset].integer < 0 ||
        !read_extents(p, pickle_member(p, arguments, 2), t->shape, &t->rank) ||
        !read_extents(p, pickle_member(p, arguments, 3), strides, &rank) || rank != t->rank)
        return torch_broken(r, "it is described in an unknown way");
    TRY(find_storage(r, pickle_member(p, arguments, 0), &storage));
    t->dtype = storage.dtype;
    if (!shape_bytes(t->dtype, t->rank, t->shape, &bytes))
        return torch_broken(r, "its shape is impossible");
    return place_tensor(r, &storage, p->nodes[offset].integer, strides, t);
}
