#include "tensor/torchfile_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PICKLE = 1 << 28, MAX_NESTING = 16, LEGACY_VERSION = 1001 };

/* The first pickle of the older form: PROTO 2, LONG1 of ten bytes, STOP. */
static const unsigned char legacy_magic[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46,
                                             0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

bool torchfile_is(const unsigned char *bytes, size_t size)
{
    return zip_is(bytes, size) || (size >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5);
}

/* ----------------------------------------------------------------------------------------------------- the object */

static status add_item(struct torch_reader *r, const char *name, size_t length, const struct tensor *t)
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
        size_t room = 2 * r->names_room + TORCHFILE_NAME;
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

static status visit(struct torch_reader *r, pickle_ref value, char *name, size_t length, int depth);

static status visit_dict(struct torch_reader *r, pickle_ref dict, char *name, size_t length, int depth)
{
    const struct pickle *p = &r->pickle;
    if (depth > MAX_NESTING)
        return torch_broken(r, "dictionaries in dictionaries without end");
    for (pickle_ref cell = p->nodes[dict].first; cell != 0; cell = p->cells[p->cells[cell].next].next) {
        const struct pickle_node *key = &p->nodes[p->cells[cell].value];
        pickle_ref value = p->cells[p->cells[cell].next].value;
        if (++r->visited > PICKLE_MAX_NODES)
            return torch_broken(r, "dictionaries in dictionaries without end");
        if (key->kind != PICKLE_STRING) /* an optimizer counts its parameters: none of ours */
            continue;
        size_t dot = length > 0, size = (size_t)key->integer;
        if (size >= TORCHFILE_NAME - length - dot)
            return torch_broken(r, "a name is too long");
        if (dot)
            name[length] = '.';
        memcpy(name + length + dot, key->string, size);
        TRY(visit(r, value, name, length + dot + size, depth));
    }
    return OK;
}

/* Collects the tensors below a value that is called name[0..length). */
static status visit(struct torch_reader *r, pickle_ref value, char *name, size_t length, int depth)
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
            return torch_broken(r, "a parameter without a tensor");
        return visit(r, inner, name, length, depth + 1);
    }
    if (!name_ok(name, length))
        return torch_broken(r, "a tensor's name is empty or contains control characters");
    r->tensor = name;
    r->tensor_length = length;
    TRY(torch_tensor(r, arguments, &t));
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

static status read_object(struct torch_reader *r, pickle_ref root)
{
    struct torchfile *f = r->file;
    char name[TORCHFILE_NAME];
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
static bool is_big_endian(const struct torch_reader *r, const char *folder)
{
    char name[TORCHFILE_NAME];
    snprintf(name, sizeof name, "%.*sbyteorder", (int)(strlen(folder) - strlen("data/")), folder);
    const struct zip_entry *entry = zip_find(&r->zip, name);
    return entry != NULL && !entry->deflated && entry->size == 3 && memcmp(entry->data, "big", 3) == 0;
}

static status open_zip(struct torch_reader *r)
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
    if (pickled == NULL || pickled->name_length > TORCHFILE_NAME - 16)
        return fail(r->e, ERR_FORMAT, "%s: is a zip archive, but none that PyTorch wrote: unpack it and give the "
                    "folder or file that is in it", f->path);
    snprintf(r->prefix, sizeof r->prefix, "%.*sdata/", (int)(pickled->name_length - strlen("data.pkl")), pickled->name);
    if (is_big_endian(r, r->prefix))
        return fail(r->e, ERR_FORMAT, "%s: was written on a big-endian machine: convert it to safetensors there",
                    f->path);
    if (pickled->size > MAX_PICKLE)
        return torch_broken(r, "its pickle is too long");
    const unsigned char *bytes = pickled->data;
    if (pickled->deflated)
        TRY(torch_unpack(r, pickled, &bytes));
    TRY(pickle_parse(f->path, bytes, pickled->size, &r->pickle, &root, &used, r->e));
    return read_object(r, root);
}

/* The last pickle's keys, in whose order the storages follow. The object's pickle says what they are. */
static status read_legacy_storages(struct torch_reader *r, const unsigned char *at, size_t room)
{
    struct pickle keys = {0};
    pickle_ref list;
    size_t used;
    status s = pickle_parse(r->file->path, at, room, &keys, &list, &used, r->e);
    if (s == OK && keys.nodes[list].kind != PICKLE_LIST)
        s = torch_broken(r, "the list of its storages is missing");
    /* what each key is, the persistent ids of the object's pickle tell */
    for (pickle_ref id = 1; s == OK && id < r->pickle.node_count; id++) {
        struct torch_storage storage;
        if (r->pickle.nodes[id].kind != PICKLE_PERSISTENT)
            continue;
        s = torch_storage_id(r, id, &storage);
        size_t place = s == OK ? torch_storage_place(r, &storage) : 0;
        if (s == OK && !torch_storage_known(r, place, &storage))
            s = torch_storage_insert(r, place, &storage);
    }
    at += used, room -= used;
    for (pickle_ref cell = s == OK ? keys.nodes[list].first : 0; s == OK && cell != 0; cell = keys.cells[cell].next) {
        const struct pickle_node *key = &keys.nodes[keys.cells[cell].value];
        struct torch_storage wanted = {.key = key->string, .key_length = (size_t)key->integer};
        size_t place = key->kind == PICKLE_STRING ? torch_storage_place(r, &wanted) : r->storage_count;
        if (!torch_storage_known(r, place, &wanted)) {
            s = torch_broken(r, "a storage that no tensor has");
            break;
        }
        struct torch_storage *found = &r->storages[place];
        size_t bytes = found->elements * dtype_size(found->dtype);
        uint64_t elements = 0;
        for (int i = 7; i >= 0 && room >= 8; i--)
            elements = elements << 8 | at[i];
        if (room < 8 || bytes > room - 8 || elements != found->elements) {
            s = torch_broken(r, "it ends before its last storage, or has one of another length");
            break;
        }
        found->data = at + 8;
        at += 8 + bytes, room -= 8 + bytes;
    }
    for (size_t i = 0; s == OK && i < r->storage_count; i++)
        if (r->storages[i].data == NULL)
            s = torch_broken(r, "a storage is not in it");
    pickle_free(&keys);
    return s;
}

static status open_legacy(struct torch_reader *r)
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
            return torch_broken(r, "its version is unknown");
        at += used, room -= used;
    }
    TRY(read_legacy_storages(r, at, room));
    return read_object(r, root);
}

static status open_any(struct torch_reader *r, const char *path)
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
    struct torch_reader r = {.file = file, .e = e};
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
