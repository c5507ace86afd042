/* Writing safetensors files; the format is drawn in tensor/safetensors.h.
 *
 * The header is composed, padded so that the data begins aligned, and read back with the reader's own parser: what is
 * written can be opened. Then everything goes through a file written aside, synced and renamed. */
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>

#include "tensor/safetensors_format.h"

static status check_names(const char *path, const struct named_tensor *items, size_t count, struct error *e)
{
    const char **names = malloc((count + 1) * sizeof *names);
    if (names == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory to write %zu tensors", path, count);
    for (size_t i = 0; i < count; i++)
        names[i] = items[i].name;
    qsort(names, count, sizeof *names, safetensors_compare_strings);
    status result = OK;
    for (size_t i = 0; i < count && result == OK; i++) {
        if (names[i][0] == '\0' || strcmp(names[i], SAFETENSORS_METADATA) == 0 || !safetensors_name_ok(names[i]))
            result = fail(e, ERR_ARGUMENT, "%s: cannot write a tensor whose name is empty, %s or has control "
                          "characters", path, SAFETENSORS_METADATA);
        else if (i > 0 && strcmp(names[i - 1], names[i]) == 0)
            result = fail(e, ERR_ARGUMENT, "%s: cannot write two tensors named '%.200s'", path, names[i]);
    }
    free(names);
    return result;
}

/* False if the shape is impossible. */
static bool data_bytes(const struct tensor *t, size_t *bytes)
{
    return t->rank >= 0 && t->rank <= TENSOR_MAX_RANK && shape_bytes(t->dtype, t->rank, t->shape, bytes);
}

/* Appends the JSON; the data of item i begins where that of item i - 1 ends. */
static status compose_header(struct text *header, const char *path, const struct named_tensor *items, size_t count,
                             const char *const *metadata, struct error *e)
{
    const char *comma = "";
    text_append(header, "{");
    if (metadata != NULL && metadata[0] != NULL) {
        text_append(header, "\"%s\":{", SAFETENSORS_METADATA);
        for (; metadata[0] != NULL; metadata += 2) {
            text_append(header, "%s", comma);
            text_append_json_string(header, metadata[0]);
            text_append(header, ":");
            text_append_json_string(header, metadata[1]);
            comma = ",";
        }
        text_append(header, "}");
    }
    size_t begin = 0, bytes;
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = &items[i].tensor;
        if (!data_bytes(t, &bytes) || bytes > INT64_MAX - begin)
            return fail(e, ERR_ARGUMENT, "%s: cannot write tensor '%.200s': its shape is negative or too large", path,
                        items[i].name);
        text_append(header, "%s", comma);
        text_append_json_string(header, items[i].name);
        text_append(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype));
        for (int d = 0; d < t->rank; d++)
            text_append(header, "%s%" PRId64, d > 0 ? "," : "", t->shape[d]);
        text_append(header, "],\"data_offsets\":[%zu,%zu]}", begin, begin + bytes);
        begin += bytes;
        comma = ",";
    }
    text_append(header, "}");
    size_t unpadded = SAFETENSORS_LENGTH_BYTES + header->length;
    text_append(header, "%*s", (int)(safetensors_align(unpadded) - unpadded), "");
    if (header->failed)
        return fail(e, ERR_MEMORY, "%s: no memory for the header of %zu tensors", path, count);
    if (header->length > SAFETENSORS_HEADER_MAX)
        return fail(e, ERR_ARGUMENT, "%s: cannot write a header of %zu bytes, the format allows %d", path,
                    header->length, SAFETENSORS_HEADER_MAX);
    return OK;
}

/* Reads the header back, so that what is written can be read. JSON is UTF-8: in any other name, bytes have been
 * replaced, and nobody would find the tensor. */
static status check_header(const char *path, const struct text *header, const struct named_tensor *items,
                           size_t count, struct error *e)
{
    const struct json *parsed;
    struct error cause = {0};
    if (json_parse("header", header->data, header->length, &parsed, &cause) != OK)
        return fail(e, cause.code == ERR_MEMORY ? ERR_MEMORY : ERR_ARGUMENT,
                    "%s: cannot write this, nobody could read it: %s", path, cause.message);
    const struct json *entry = parsed->child;
    if (entry != NULL && strcmp(entry->key, SAFETENSORS_METADATA) == 0)
        entry = entry->next;
    size_t same = 0;
    for (; same < count && strcmp(entry->key, items[same].name) == 0; same++)
        entry = entry->next;
    json_free(parsed);
    if (same < count)
        return fail(e, ERR_ARGUMENT, "%s: cannot write tensor number %zu: its name is not UTF-8", path, same);
    return OK;
}

static status write_header(const char *path, const struct text *header, struct file_writer *w, struct error *e)
{
    unsigned char length[SAFETENSORS_LENGTH_BYTES];
    for (int i = 0; i < SAFETENSORS_LENGTH_BYTES; i++)
        length[i] = (unsigned char)((uint64_t)header->length >> (8 * i));
    TRY(file_create(path, w, e));
    TRY(file_append(w, length, sizeof length, e));
    return file_append(w, header->data, header->length, e);
}

status safetensors_create(const char *path, const struct named_tensor *items, size_t count,
                          const char *const *metadata, struct file_writer *w, struct error *e)
{
    struct text header = {0};
    status result = check_names(path, items, count, e);
    if (result == OK)
        result = compose_header(&header, path, items, count, metadata, e);
    if (result == OK)
        result = check_header(path, &header, items, count, e);
    if (result == OK)
        result = write_header(path, &header, w, e);
    text_free(&header);
    return result;
}

status safetensors_write(const char *path, const struct named_tensor *items, size_t count,
                         const char *const *metadata, struct error *e)
{
    size_t bytes;
    for (size_t i = 0; i < count; i++) /* impossible shapes are for compose_header to refuse */
        if (items[i].tensor.data == NULL && data_bytes(&items[i].tensor, &bytes) && bytes > 0)
            return fail(e, ERR_ARGUMENT, "%s: cannot write tensor '%.200s': no data", path, items[i].name);
    struct file_writer w;
    TRY(safetensors_create(path, items, count, metadata, &w, e));
    for (size_t i = 0; i < count; i++) {
        data_bytes(&items[i].tensor, &bytes); /* true: the header has been composed */
        TRY(file_append(&w, items[i].tensor.data, bytes, e));
    }
    return file_commit(&w, e);
}
