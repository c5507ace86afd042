#include "tools/torch_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tensor/text.h"

enum { LOCAL_BYTES = 30, ALIGNMENT = 64, FLAG_DESCRIPTOR = 8, VERSION_ZIP64 = 45 };

struct torch_entry {
    char name[48];
    uint64_t offset; /* of its local header */
    uint64_t size;
    uint32_t crc;
};

static void put(struct text *t, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        text_append_bytes(t, (const char[]){(char)(value >> (8 * i))}, 1);
}

static void put_bytes(struct text *t, const char *bytes)
{
    text_append_bytes(t, bytes, strlen(bytes));
}

/* ---------------------------------------------------------------------------------------------------------- the
 * pickle */

static const char *storage_of(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32: return "FloatStorage";
    case DTYPE_F16: return "HalfStorage";
    case DTYPE_BF16: return "BFloat16Storage";
    case DTYPE_F64: return "DoubleStorage";
    case DTYPE_I64: return "LongStorage";
    case DTYPE_I32: return "IntStorage";
    case DTYPE_U8: return "ByteStorage";
    default: return NULL;
    }
}

static void pickle_text(struct text *t, const char *text)
{
    put_bytes(t, "X");
    put(t, strlen(text), 4);
    put_bytes(t, text);
}

static void pickle_number(struct text *t, int64_t number)
{
    put_bytes(t, "\x8a\x08"); /* LONG1 of eight bytes */
    put(t, (uint64_t)number, 8);
}

/* ('storage', torch.HalfStorage, key, 'cpu', elements), offset 0, shape, strides, False, OrderedDict() */
static void pickle_tensor(struct text *t, const struct tensor *tensor, size_t key)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", key);
    put_bytes(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle_text(t, "storage");
    put_bytes(t, "ctorch\n");
    put_bytes(t, storage_of(tensor->dtype));
    put_bytes(t, "\n");
    pickle_text(t, digits);
    pickle_text(t, "cpu");
    pickle_number(t, tensor_count(tensor));
    put_bytes(t, "tQK");
    put(t, 0, 1);
    put_bytes(t, "(");
    for (int d = 0; d < tensor->rank; d++)
        pickle_number(t, tensor->shape[d]);
    put_bytes(t, "t(");
    for (int d = 0; d < tensor->rank; d++) {
        int64_t stride = 1;
        for (int i = d + 1; i < tensor->rank; i++)
            stride *= tensor->shape[i];
        pickle_number(t, stride);
    }
    put_bytes(t, "t\x89"
                 "ccollections\nOrderedDict\n)RtR");
}

static void pickle_all(struct text *t, const struct named_tensor *items, size_t count)
{
    put_bytes(t, "\x80\x02"
                 "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < count; i++) {
        pickle_text(t, items[i].name);
        pickle_tensor(t, &items[i].tensor, i);
    }
    put_bytes(t, "u.");
}

/* --------------------------------------------------------------------------------------------------------- the
 * archive */

static status write_text(struct torch_writer *w, const struct text *t, struct error *e)
{
    if (t->failed) {
        torch_discard(w);
        return fail(e, ERR_MEMORY, "%s: out of memory", w->file.path);
    }
    w->at += t->length;
    return file_append(&w->file, t->data, t->length, e);
}

/* The local header, with so long an extra field that the data begins at a multiple of 64. Sizes and checksum follow
 * the data, and stand in the directory. */
static status begin_entry(struct torch_writer *w, const char *name, struct error *e)
{
    struct torch_entry *entry = &w->entries[w->entry_count++];
    *entry = (struct torch_entry){.offset = w->at, .crc = (uint32_t)crc32(0, NULL, 0)};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    size_t length = strlen(name), fixed = (size_t)(w->at % ALIGNMENT) + LOCAL_BYTES + length + 4;
    size_t padding = (ALIGNMENT - fixed % ALIGNMENT) % ALIGNMENT;
    struct text t = {0};
    put_bytes(&t, "PK\3\4");
    put(&t, VERSION_ZIP64, 2);
    put(&t, FLAG_DESCRIPTOR, 2);
    put(&t, 0, 2 + 2 + 2 + 4 + 4 + 4); /* stored; no time, no date; checksum and sizes later */
    put(&t, length, 2);
    put(&t, padding + 4, 2);
    put_bytes(&t, name);
    put_bytes(&t, "FB");
    put(&t, padding, 2);
    for (size_t i = 0; i < padding; i++)
        put_bytes(&t, "Z");
    status s = write_text(w, &t, e);
    text_free(&t);
    return s;
}

static status append_entry(struct torch_writer *w, const void *data, size_t size, struct error *e)
{
    struct torch_entry *entry = &w->entries[w->entry_count - 1];
    TRY(file_append(&w->file, data, size, e));
    for (size_t done = 0; done < size;) {
        size_t piece = size - done < 1u << 30 ? size - done : 1u << 30;
        entry->crc = (uint32_t)crc32(entry->crc, (const Bytef *)data + done, (uInt)piece);
        done += piece;
    }
    entry->size += size;
    w->at += size;
    return OK;
}

static status end_entry(struct torch_writer *w, struct error *e)
{
    const struct torch_entry *entry = &w->entries[w->entry_count - 1];
    struct text t = {0};
    put_bytes(&t, "PK\7\10");
    put(&t, entry->crc, 4);
    put(&t, entry->size, 4);
    put(&t, entry->size, 4);
    status s = write_text(w, &t, e);
    text_free(&t);
    return s;
}

static status whole_entry(struct torch_writer *w, const char *name, const struct text *content, struct error *e)
{
    TRY(begin_entry(w, name, e));
    TRY(append_entry(w, content->data, content->length, e));
    return end_entry(w, e);
}

/* An offset beyond 4 GB stands in a zip64 field. */
static void put_directory_entry(struct text *t, const struct torch_entry *entry)
{
    bool far = entry->offset >= UINT32_MAX;
    put_bytes(t, "PK\1\2");
    put(t, VERSION_ZIP64, 2);
    put(t, VERSION_ZIP64, 2);
    put(t, FLAG_DESCRIPTOR, 2);
    put(t, 0, 2 + 2 + 2);
    put(t, entry->crc, 4);
    put(t, entry->size, 4);
    put(t, entry->size, 4);
    put(t, strlen(entry->name), 2);
    put(t, far ? 12 : 0, 2);
    put(t, 0, 2 + 2 + 2);
    put(t, 0, 4);
    put(t, far ? UINT32_MAX : entry->offset, 4);
    put_bytes(t, entry->name);
    if (far) {
        put(t, 1, 2);
        put(t, 8, 2);
        put(t, entry->offset, 8);
    }
}

static void put_end(struct text *t, uint64_t directory, uint64_t size, size_t count)
{
    put_bytes(t, "PK\6\6"); /* zip64 end record */
    put(t, 44, 8);
    put(t, VERSION_ZIP64, 2);
    put(t, VERSION_ZIP64, 2);
    put(t, 0, 4);
    put(t, 0, 4);
    put(t, count, 8);
    put(t, count, 8);
    put(t, size, 8);
    put(t, directory, 8);
    put_bytes(t, "PK\6\7"); /* its locator */
    put(t, 0, 4);
    put(t, directory + size, 8);
    put(t, 1, 4);
    put_bytes(t, "PK\5\6"); /* the end */
    put(t, 0, 4);
    put(t, count < UINT16_MAX ? count : UINT16_MAX, 2);
    put(t, count < UINT16_MAX ? count : UINT16_MAX, 2);
    put(t, size < UINT32_MAX ? size : UINT32_MAX, 4);
    put(t, directory < UINT32_MAX ? directory : UINT32_MAX, 4);
    put(t, 0, 2);
}

/* ------------------------------------------------------------------------------------------------------- the
 * interface */

static size_t bytes_of(const struct tensor *t)
{
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

/* Begins the next item's entry; those that are empty end at once. */
static status next_item(struct torch_writer *w, struct error *e)
{
    char name[48];
    for (; w->item < w->item_count; w->item++) {
        snprintf(name, sizeof name, "archive/data/%zu", w->item);
        TRY(begin_entry(w, name, e));
        w->item_left = bytes_of(&w->items[w->item].tensor);
        if (w->item_left > 0)
            return OK;
        TRY(end_entry(w, e));
    }
    return OK;
}

status torch_create(const char *path, const struct named_tensor *items, size_t count, struct torch_writer *w,
                    struct error *e)
{
    *w = (struct torch_writer){.items = items, .item_count = count, .file.fd = -1};
    for (size_t i = 0; i < count; i++)
        if (storage_of(items[i].tensor.dtype) == NULL)
            return fail(e, ERR_ARGUMENT, "%s: tensor \"%s\" of %s cannot be written", path, items[i].name,
                        dtype_name(items[i].tensor.dtype));
    struct text pickle = {0}, version = {0};
    w->entries = calloc(count + 3, sizeof *w->entries);
    pickle_all(&pickle, items, count);
    text_append(&version, "3\n");
    status s = w->entries != NULL && !pickle.failed && !version.failed
                   ? file_create(path, &w->file, e)
                   : fail(e, ERR_MEMORY, "%s: out of memory", path);
    if (s == OK)
        s = whole_entry(w, "archive/data.pkl", &pickle, e);
    if (s == OK)
        s = whole_entry(w, "archive/version", &version, e);
    if (s == OK)
        s = next_item(w, e);
    text_free(&pickle);
    text_free(&version);
    if (s != OK)
        torch_discard(w);
    return s;
}

status torch_append(struct torch_writer *w, const void *data, size_t size, struct error *e)
{
    for (const char *next = data; size > 0;) {
        size_t piece = size < w->item_left ? size : w->item_left;
        if (w->item == w->item_count)
            return fail(e, ERR_ARGUMENT, "%s: more data than tensors", w->file.path);
        TRY(append_entry(w, next, piece, e));
        next += piece, size -= piece, w->item_left -= piece;
        if (w->item_left == 0) {
            TRY(end_entry(w, e));
            w->item++;
            TRY(next_item(w, e));
        }
    }
    return OK;
}

status torch_commit(struct torch_writer *w, struct error *e)
{
    struct text t = {0};
    uint64_t directory = w->at;
    for (size_t i = 0; i < w->entry_count; i++)
        put_directory_entry(&t, &w->entries[i]);
    put_end(&t, directory, t.length, w->entry_count);
    status s = w->item == w->item_count ? write_text(w, &t, e)
                                        : fail(e, ERR_ARGUMENT, "%s: less data than tensors", w->file.path);
    text_free(&t);
    if (s == OK)
        s = file_commit(&w->file, e);
    torch_discard(w);
    return s;
}

void torch_discard(struct torch_writer *w)
{
    file_discard(&w->file);
    free(w->entries);
    w->entries = NULL;
}
