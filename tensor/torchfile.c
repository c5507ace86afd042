#include "tensor/torchfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/pickle.h"
#include "tensor/zip.h"

enum { ALIGNMENT = 64, MAX_PICKLE = 1 << 28, MAX_NESTING = 16, MAX_NAME = 512, LEGACY_VERSION = 1001 };

/* The first pickle of the older form: PROTO 2, LONG1 of ten bytes, STOP. */
static const unsigned char legacy_magic[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46,
                                             0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

bool torchfile_is(const unsigned char *bytes, size_t size)
{
    return zip_is(bytes, size) || (size >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5);
}

/* A storage: so many elements somewhere in the map, or inflated. */
struct storage {
    const char *key; /* not terminated: in the pickle */
    size_t key_length;
    enum dtype dtype;
    const unsigned char *data;
    size_t elements;
};

struct reader {
    struct torchfile *file;
    struct zip zip; /* of the newer form */
    char prefix[MAX_NAME]; /* "NAME/data/" */
    struct pickle pickle;
    unsigned char *pickled; /* the object's pickle, if it was packed */
    struct storage *storages; /* sorted by key; of the older form all, of the newer those that have been asked for */
    size_t storage_count, storage_room;
    size_t item_room, block_room, names_length, names_room;
    size_t unpacked, copied; /* bytes */
    size_t visited;
    const char *tensor; /* the name, of tensor_length bytes, of the one that is being read, or NULL */
    size_t tensor_length;
    struct error *e;
};

static status broken(const struct reader *r, const char *what)
{
    if (r->tensor != NULL)
        return fail(r->e, ERR_FORMAT, "%s: tensor '%.*s': %s: the file is damaged or incomplete, fetch it again",
                    r->file->path, (int)(r->tensor_length < 200 ? r->tensor_length : 200), r->tensor, what);
    return fail(r->e, ERR_FORMAT, "%s: %s: the file is damaged or incomplete, fetch it again", r->file->path, what);
}

/* Memory that lasts as long as the file. */
static status new_block(struct reader *r, size_t size, unsigned char **block)
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
static status read_storage_id(const struct reader *r, pickle_ref id, struct storage *s)
{
    const struct pickle *p = &r->pickle;
    pickle_ref parts[6] = {0};
    const struct pickle_node *node = &p->nodes[id];
    if (node->kind != PICKLE_PERSISTENT || node->count < 5 || node->count > 6)
        return broken(r, "there is no storage");
    for (size_t i = 0; i < node->count; i++)
        parts[i] = pickle_member(p, id, i);
    const struct pickle_node *key = &p->nodes[parts[2]], *elements = &p->nodes[parts[4]];
    if (!pickle_is(p, parts[0], PICKLE_STRING, "storage") || key->kind != PICKLE_STRING ||
        elements->kind != PICKLE_INT || elements->integer < 0 || key->integer > 200)
        return broken(r, "a storage that is described in an unknown way");
    if (node->count == 6 && p->nodes[parts[5]].kind != PICKLE_NONE)
        return fail(r->e, ERR_FORMAT, "%s: has storages that are views of others, as only PyTorch before 0.4 wrote them: "
                    "convert it to safetensors", r->file->path);
    *s = (struct storage){.key = key->string, .key_length = (size_t)key->integer, .dtype = DTYPE_OTHER,
                          .elements = (size_t)elements->integer};
    for (size_t i = 0; i < sizeof storage_types / sizeof *storage_types; i++)
        if (pickle_is(p, parts[1], PICKLE_GLOBAL, storage_types[i].name))
            s->dtype = storage_types[i].dtype;
    size_t bytes;
    if (s->dtype == DTYPE_OTHER || !shape_bytes(s->dtype, 1, (int64_t[]){elements->integer}, &bytes))
        return broken(r, "a storage of an unknown format or impossible size");
    return OK;
}

static int compare_keys(const struct storage *a, const struct storage *b)
{
    size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = memcmp(a->key, b->key, shorter);
    return order != 0 ? order : (a->key_length > b->key_length) - (a->key_length < b->key_length);
}

/* Where a storage of this key is, or would be. */
static size_t storage_place(const struct reader *r, const struct storage *wanted)
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

static status insert_storage(struct reader *r, size_t place, const struct storage *s)
{
    if (r->storage_count == r->storage_room) {
        size_t room = 2 * r->storage_room + 64;
        struct storage *storages = realloc(r->storages, room * sizeof *storages);
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
static status unpack(struct reader *r, const struct zip_entry *entry, const unsigned char **data)
{
    unsigned char *block;
    if (r->unpacked + entry->size < entry->size ||
        (r->unpacked + entry->size) / TORCHFILE_INFLATE_MOST > r->file->map.size)
        return fail(r->e, ERR_FORMAT, "%s: would unpack to more than %d times its size: refused", r->file->path,
                    TORCHFILE_INFLATE_MOST);
    r->unpacked += entry->size;
    TRY(new_block(r, entry->size, &block));
    *data = block;
    return zip_read(&r->zip, entry, block, r->e);
}

static status load_storage(struct reader *r, struct storage *s)
{
    char name[MAX_NAME + 256];
    if (r->file->legacy)
        return broken(r, "a storage is not in it");
    snprintf(name, sizeof name, "%s%.*s", r->prefix, (int)s->key_length, s->key);
    const struct zip_entry *entry = zip_find(&r->zip, name);
    if (entry == NULL)
        return broken(r, "a storage is not in it");
    if (entry->size != s->elements * dtype_size(s->dtype))
        return fail(r->e, ERR_FORMAT, "%s: %s has %zu bytes, %zu elements of %s take %zu: the file is damaged",
                    r->file->path, name, entry->size, s->elements, dtype_name(s->dtype),
                    s->elements * dtype_size(s->dtype));
    s->data = entry->data;
    return entry->deflated ? unpack(r, entry, &s->data) : OK;
}

/* The storage that a persistent id means. One and the same key must always mean the same. */
static status find_storage(struct reader *r, pickle_ref id, struct storage *out)
{
    TRY(read_storage_id(r, id, out));
    size_t place = storage_place(r, out);
    if (place == r->storage_count || compare_keys(&r->storages[place], out) != 0) {
        TRY(load_storage(r, out));
        return insert_storage(r, place, out);
    }
    const struct storage *known = &r->storages[place];
    if (known->dtype != out->dtype || known->elements != out->elements)
        return broken(r, "two tensors disagree about their storage");
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
static status place_tensor(struct reader *r, const struct storage *s, int64_t offset, const int64_t *strides,
                           struct tensor *t)
{
    int64_t count = tensor_count(t);
    t->data = r->file->map.data; /* for an empty one: not NULL, not to be read */
    if (count == 0)
        return OK;
    if (offset > (int64_t)s->elements || !reach(t, strides, (int64_t)s->elements - offset))
        return broken(r, "it reaches beyond its storage");
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
    TRY(new_block(r, bytes, &block));
    t->data = block;
    if (contiguous)
        memcpy(block, first, bytes);
    else
        gather(block, t, strides, first);
    return OK;
}

/* _rebuild_tensor_v2(storage, offset, shape, strides, ..); the older _rebuild_tensor has no more than these four. */
static status read_tensor(struct reader *r, pickle_ref arguments, struct tensor *t)
{
    const struct pickle *p = &r->pickle;
    struct storage storage;
    int64_t strides[TENSOR_MAX_RANK];
    int rank;
    size_t bytes;
    pickle_ref offset = pickle_member(p, arguments, 1);
    *t = (struct tensor){0};
    if (p->nodes[arguments].count < 4 || p->nodes[offset].kind != PICKLE_INT || p->nodes[offset].integer < 0 ||
        !read_extents(p, pickle_member(p, arguments, 2), t->shape, &t->rank) ||
        !read_extents(p, pickle_member(p, arguments, 3), strides, &rank) || rank != t->rank)
        return broken(r, "it is described in an unknown way");
    TRY(find_storage(r, pickle_member(p, arguments, 0), &storage));
    t->dtype = storage.dtype;
    if (!shape_bytes(t->dtype, t->rank, t->shape, &bytes))
        return broken(r, "its shape is impossible");
    return place_tensor(r, &storage, p->nodes[offset].integer, strides, t);
}

/* ------------------------------------------------------------------------------------------------------ the object */

static status add_item(struct reader *r, const char *name, size_t length, const struct tensor *t)
{
    struct torchfile *f = r->file;
    if (f->count == r->item_room) {
        size_t room = 2 * r->item_room + 64;
        struct named_tensor *items = realloc(f->items, room * sizeof *items);
        if (items == NULL)
            return fail(r->e, ERR_MEMORY, "%s: out of memory", f->path);
        f->items = items;
        r->item_room = room;
    }
    if (r->names_room - r->names_length < length + 1) {
        size_t room = 2 * r->names_room + MAX_NAME;
        char *names = realloc(f->names, room);
        if (names == NULL)
            return fail(r->e, ERR_MEMORY, "%s: out of memory", f->path);
        f->names = names;
        r->names_room = room;
    }
    memcpy(f->names + r->names_length, name, length);
    f->names[r->names_length + length] = '\0';
    f->items[f->count++] = (struct named_tensor){.tensor = *t}; /* its name when all names have found their place */
    r->names_length += length + 1;
    return OK;
}

static bool name_ok(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return length > 0;
}

static status visit(struct reader *r, pickle_ref value, char *name, size_t length, int depth);

static status visit_dict(struct reader *r, pickle_ref dict, char *name, size_t length, int depth)
{
    const struct pickle *p = &r->pickle;
    if (depth > MAX_NESTING)
        return broken(r, "dictionaries in dictionaries without end");
    for (pickle_ref cell = p->nodes[dict].first; cell != 0; cell = p->cells[p->cells[cell].next].next) {
        const struct pickle_node *key = &p->nodes[p->cells[cell].value];
        pickle_ref value = p->cells[p->cells[cell].next].value;
        if (++r->visited > PICKLE_MAX_NODES)
            return broken(r, "dictionaries in dictionaries without end");
        if (key->kind != PICKLE_STRING) /* an optimizer counts its parameters: none of ours */
            continue;
        size_t dot = length > 0, size = (size_t)key->integer;
        if (size >= MAX_NAME - length - dot)
            return broken(r, "a name is too long");
        if (dot)
            name[length] = '.';
        memcpy(name + length + dot, key->string, size);
        TRY(visit(r, value, name, length + dot + size, depth));
    }
    return OK;
}

/* Collects the tensors below a value that is called name[0..length). */
static status visit(struct reader *r, pickle_ref value, char *name, size_t length, int depth)
{
    const struct pickle *p = &r->pickle;
    const struct pickle_node *node = &p->nodes[value];
    struct tensor t;
    if (node->kind == PICKLE_DICT)
        return visit_dict(r, value, name, length, depth + 1);
    if (node->kind != PICKLE_CALL)
        return OK;
    pickle_ref function = pickle_member(p, value, 0), arguments = pickle_member(p, value, 1);
    if (pickle_is(p, function, PICKLE_GLOBAL, "torch._utils._rebuild_parameter")) { /* (tensor, requires_grad, hooks) */
        pickle_ref inner = pickle_member(p, arguments, 0);
        if (depth > MAX_NESTING || p->nodes[inner].kind != PICKLE_CALL)
            return broken(r, "a parameter without a tensor");
        return visit(r, inner, name, length, depth + 1);
    }
    if (!name_ok(name, length))
        return broken(r, "a tensor's name is empty or contains control characters");
    r->tensor = name;
    r->tensor_length = length;
    TRY(read_tensor(r, arguments, &t));
    r->tensor = NULL;
    return add_item(r, name, length, &t);
}

static int compare_names(const void *left, const void *right)
{
    const struct named_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

/* The dictionary that counts. */
static pickle_ref state_dict(const struct pickle *p, pickle_ref root)
{
    for (pickle_ref cell = p->nodes[root].first; cell != 0; cell = p->cells[p->cells[cell].next].next) {
        pickle_ref value = p->cells[p->cells[cell].next].value;
        if (pickle_is(p, p->cells[cell].value, PICKLE_STRING, "state_dict") && p->nodes[value].kind == PICKLE_DICT)
            return value;
    }
    return root;
}

static status read_object(struct reader *r, pickle_ref root)
{
    struct torchfile *f = r->file;
    char name[MAX_NAME];
    if (r->pickle.nodes[root].kind != PICKLE_DICT)
        return fail(r->e, ERR_FORMAT, "%s: what was saved is no dictionary of tensors", f->path);
    TRY(visit(r, state_dict(&r->pickle, root), name, 0, 0));
    if (f->count == 0)
        return fail(r->e, ERR_FORMAT, "%s: there are no tensors in it", f->path);
    const char *next = f->names;
    for (size_t i = 0; i < f->count; i++, next += strlen(next) + 1)
        f->items[i].name = next;
    qsort(f->items, f->count, sizeof *f->items, compare_names);
    for (size_t i = 1; i < f->count; i++)
        if (strcmp(f->items[i - 1].name, f->items[i].name) == 0)
            return fail(r->e, ERR_FORMAT, "%s: two tensors are called '%.200s'", f->path, f->items[i].name);
    return OK;
}

/* -------------------------------------------------------------------------------------------------- the two forms */

static bool entry_ends_with(const struct zip_entry *entry, const char *end)
{
    size_t length = strlen(end);
    return entry->name_length >= length && memcmp(entry->name + entry->name_length - length, end, length) == 0;
}

/* Whether PyTorch's NAME/byteorder, which is not always there, says something else than "little". */
static bool is_big_endian(const struct reader *r, const char *folder)
{
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%.*sbyteorder", (int)(strlen(folder) - strlen("data/")), folder);
    const struct zip_entry *entry = zip_find(&r->zip, name);
    return entry != NULL && !entry->deflated && entry->size == 3 && memcmp(entry->data, "big", 3) == 0;
}

static status open_zip(struct reader *r)
{
    struct torchfile *f = r->file;
    const struct zip_entry *pickled = NULL;
    pickle_ref root;
    size_t used;
    TRY(zip_open(f->path, f->map.data, f->map.size, &r->zip, r->e));
    for (size_t i = 0; i < r->zip.count; i++) {
        const struct zip_entry *entry = &r->zip.entries[i];
        if (entry_ends_with(entry, "/constants.pkl"))
            return fail(r->e, ERR_FORMAT, "%s: is a TorchScript program, not weights", f->path);
        if (entry_ends_with(entry, "/data.pkl") && memchr(entry->name, '/', entry->name_length - 9) == NULL)
            pickled = entry;
    }
    if (pickled == NULL || pickled->name_length > MAX_NAME - 16)
        return fail(r->e, ERR_FORMAT, "%s: is a zip archive, but none that PyTorch wrote: unpack it and give the folder "
                    "or file that is in it", f->path);
    snprintf(r->prefix, sizeof r->prefix, "%.*sdata/", (int)(pickled->name_length - strlen("data.pkl")), pickled->name);
    if (is_big_endian(r, r->prefix))
        return fail(r->e, ERR_FORMAT, "%s: was written on a big-endian machine: convert it to safetensors there",
                    f->path);
    if (pickled->size > MAX_PICKLE)
        return broken(r, "its pickle is too long");
    const unsigned char *bytes = pickled->data;
    if (pickled->deflated)
        TRY(unpack(r, pickled, &bytes));
    TRY(pickle_parse(f->path, bytes, pickled->size, &r->pickle, &root, &used, r->e));
    return read_object(r, root);
}

/* The last pickle's keys, in whose order the storages follow. The object's pickle says what they are. */
static status read_legacy_storages(struct reader *r, const unsigned char *at, size_t room)
{
    struct pickle keys = {0};
    pickle_ref list;
    size_t used;
    status s = pickle_parse(r->file->path, at, room, &keys, &list, &used, r->e);
    if (s == OK && keys.nodes[list].kind != PICKLE_LIST)
        s = broken(r, "the list of its storages is missing");
    /* what each key is, the persistent ids of the object's pickle tell */
    for (pickle_ref id = 1; s == OK && id < r->pickle.node_count; id++) {
        struct storage storage;
        if (r->pickle.nodes[id].kind != PICKLE_PERSISTENT)
            continue;
        s = read_storage_id(r, id, &storage);
        size_t place = s == OK ? storage_place(r, &storage) : 0;
        if (s == OK && (place == r->storage_count || compare_keys(&r->storages[place], &storage) != 0))
            s = insert_storage(r, place, &storage);
    }
    at += used, room -= used;
    for (pickle_ref cell = s == OK ? keys.nodes[list].first : 0; s == OK && cell != 0; cell = keys.cells[cell].next) {
        const struct pickle_node *key = &keys.nodes[keys.cells[cell].value];
        struct storage wanted = {.key = key->string, .key_length = (size_t)key->integer};
        size_t place = key->kind == PICKLE_STRING ? storage_place(r, &wanted) : r->storage_count;
        if (place == r->storage_count || compare_keys(&r->storages[place], &wanted) != 0) {
            s = broken(r, "a storage that no tensor has");
            break;
        }
        struct storage *found = &r->storages[place];
        size_t bytes = found->elements * dtype_size(found->dtype);
        uint64_t elements = 0;
        for (int i = 7; i >= 0 && room >= 8; i--)
            elements = elements << 8 | at[i];
        if (room < 8 || bytes > room - 8 || elements != found->elements) {
            s = broken(r, "it ends before its last storage, or has one of another length");
            break;
        }
        found->data = at + 8;
        at += 8 + bytes, room -= 8 + bytes;
    }
    for (size_t i = 0; s == OK && i < r->storage_count; i++)
        if (r->storages[i].data == NULL)
            s = broken(r, "a storage is not in it");
    pickle_free(&keys);
    return s;
}

static status open_legacy(struct reader *r)
{
    struct torchfile *f = r->file;
    const unsigned char *at = f->map.data;
    size_t room = f->map.size, used;
    pickle_ref root;
    f->legacy = true;
    if (room < sizeof legacy_magic || memcmp(at, legacy_magic, sizeof legacy_magic) != 0)
        return fail(r->e, ERR_FORMAT, "%s: is a pickle, but not one of PyTorch's checkpoints", f->path);
    at += sizeof legacy_magic, room -= sizeof legacy_magic;
    for (int i = 0; i < 3; i++) { /* the version, facts of the machine, the object */
        pickle_free(&r->pickle);
        size_t most = room < MAX_PICKLE ? room : MAX_PICKLE;
        TRY(pickle_parse(f->path, at, most, &r->pickle, &root, &used, r->e));
        const struct pickle_node *node = &r->pickle.nodes[root];
        if (i == 0 && (node->kind != PICKLE_INT || node->integer != LEGACY_VERSION))
            return broken(r, "its version is unknown");
        at += used, room -= used;
    }
    TRY(read_legacy_storages(r, at, room));
    return read_object(r, root);
}

static status open_any(struct reader *r, const char *path)
{
    struct torchfile *f = r->file;
    f->path = strdup(path);
    if (f->path == NULL)
        return fail(r->e, ERR_MEMORY, "%s: out of memory", path);
    TRY(file_map(path, &f->map, r->e));
    return zip_is(f->map.data, f->map.size) ? open_zip(r) : open_legacy(r);
}

status torchfile_open(const char *path, struct torchfile *file, struct error *e)
{
    *file = (struct torchfile){0};
    struct reader r = {.file = file, .e = e};
    status s = open_any(&r, path);
    zip_close(&r.zip);
    pickle_free(&r.pickle);
    free(r.storages);
    if (s != OK)
        torchfile_close(file);
    return s;
}

void torchfile_close(struct torchfile *file)
{
    for (size_t i = 0; i < file->block_count; i++)
        free(file->blocks[i]);
    free(file->blocks);
    free(file->items);
    free(file->names);
    free(file->path);
    file_unmap(&file->map);
    *file = (struct torchfile){0};
}
