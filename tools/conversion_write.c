#include "tools/conversion_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/file.h"

enum { PIECE = 1 << 18, VALUES = 4096 };

/* ------------------------------------------------------------------------------------------ the bytes of a tensor */

/* Takes bytes that follow each other. */
struct sink {
    status (*take)(struct sink *s, const void *bytes, size_t size, struct error *e);
    struct file_writer *writer;
    const unsigned char *expected; /* of the checking one: what comes next */
};

static status append_bytes(struct sink *s, const void *bytes, size_t size, struct error *e)
{
    return file_append(s->writer, bytes, size, e);
}

static status compare_bytes(struct sink *s, const void *bytes, size_t size, struct error *e)
{
    if (memcmp(s->expected, bytes, size) != 0)
        return fail(e, ERR_IO, "what was written cannot be read back: is the disk failing?");
    s->expected += size;
    return OK;
}

static bool is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

static enum dtype dtype_after(const struct conversion *c, enum dtype dtype)
{
    return is_float(dtype) && c->dtype != DTYPE_OTHER ? c->dtype : dtype;
}

static void told(struct conversion_run *w, size_t bytes)
{
    w->done += bytes;
    if (w->c->progress != NULL)
        w->c->progress(w->c->self, w->done, w->all);
}

/* Floats to a format. False: one does not fit. */
static bool store(enum dtype dtype, const float *in, size_t count, void *out, uint64_t *odd)
{
    uint16_t *halves = out;
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        *odd += !isfinite(in[i]);
        if (dtype == DTYPE_F32)
            ((float *)out)[i] = in[i];
        else if (dtype == DTYPE_BF16)
            halves[i] = f32_to_bf16(in[i]);
        else
            halves[i] = f32_to_f16(in[i]);
        bool infinite = dtype == DTYPE_F16    ? (halves[i] & 0x7fff) == 0x7c00
                        : dtype == DTYPE_BF16 ? (halves[i] & 0x7fff) == 0x7f80
                                              : false;
        fits = fits && !(infinite && isfinite(in[i]));
    }
    return fits;
}

/* Hands a tensor's bytes on, in another format, or with what is added to it. */
static status emit_values(struct conversion_run *w, const char *name, const struct tensor *t, enum dtype dtype,
                          struct sink *sink)
{
    float floats[VALUES], stored[VALUES];
    size_t count = (size_t)tensor_count(t), size = dtype_size(dtype);
    for (size_t at = 0; at < count;) {
        size_t piece = count - at < VALUES ? count - at : VALUES;
        tensor_read(t, (int64_t)at, (int64_t)piece, floats);
        if (!store(dtype, floats, piece, stored, &w->odd))
            return fail(w->e, ERR_ARGUMENT,
                        "tensor \"%s\" has numbers that are too large for %s: choose another --dtype", name,
                        dtype_name(dtype));
        TRY(sink->take(sink, stored, piece * size, w->e));
        told(w, piece * size);
        at += piece;
    }
    return OK;
}

static status emit(struct conversion_run *w, const char *name, const struct tensor *t, struct sink *sink)
{
    enum dtype dtype = dtype_after(w->c, t->dtype);
    if (dtype != t->dtype || t->delta != NULL)
        return emit_values(w, name, t, dtype, sink);
    for (size_t at = 0, bytes = (size_t)tensor_count(t) * dtype_size(dtype); at < bytes;) {
        size_t piece = bytes - at < PIECE ? bytes - at : PIECE;
        TRY(sink->take(sink, (const char *)t->data + at, piece, w->e));
        told(w, piece);
        at += piece;
    }
    return OK;
}

/* out[j, i] = in[i, j]; elements of any size. */
static void turn(unsigned char *out, const unsigned char *in, int64_t rows, int64_t columns, size_t size)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            memcpy(out + (size_t)(j * rows + i) * size, in + (size_t)(i * columns + j) * size, size);
}

static status emit_transposed(struct conversion_run *w, const struct named_tensor *source, struct sink *sink)
{
    const struct tensor *t = &source->tensor;
    enum dtype dtype = dtype_after(w->c, t->dtype);
    int64_t count = tensor_count(t);
    float *values = malloc((size_t)(2 * count) * sizeof *values + 1); /* as they are, and turned */
    if (values == NULL)
        return fail(w->e, ERR_MEMORY, "no memory to turn \"%s\"", source->name);
    struct tensor turned = {
        .data = values + count, .dtype = DTYPE_F32, .rank = 2, .shape = {t->shape[1], t->shape[0]}};
    bool raw = dtype == t->dtype && t->delta == NULL;
    if (raw) {
        turned.dtype = dtype;
        turn((unsigned char *)(values + count), t->data, t->shape[0], t->shape[1], dtype_size(dtype));
    } else {
        tensor_read(t, 0, count, values);
        turn((unsigned char *)(values + count), (unsigned char *)values, t->shape[0], t->shape[1], sizeof *values);
    }
    status s = raw ? emit(w, source->name, &turned, sink) : emit_values(w, source->name, &turned, dtype, sink);
    free(values);
    return s;
}

static status emit_row(struct conversion_run *w, const struct layout_row *row, struct sink *sink)
{
    if (row->transposed)
        return emit_transposed(w, row->sources[0], sink);
    for (int i = 0; i < row->source_count; i++)
        TRY(emit(w, row->sources[i]->name, &row->sources[i]->tensor, sink));
    return OK;
}

/* ------------------------------------------------------------------------------------------------------- one file */

static uint64_t layout_bytes(const struct layout *l)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->count; i++)
        bytes += (uint64_t)tensor_count(&l->items[i].tensor) * dtype_size(l->items[i].tensor.dtype);
    return bytes;
}

static status verify(struct conversion_run *w, const char *path, const struct layout *l)
{
    struct safetensors file;
    TRY(safetensors_open(path, &file, w->e));
    status s = OK;
    for (size_t i = 0; i < l->count && s == OK; i++) {
        const struct tensor *t = safetensors_find(&file, l->items[i].name), *wanted = &l->items[i].tensor;
        if (t == NULL || t->dtype != wanted->dtype || !tensor_is(t, wanted->rank, wanted->shape))
            s = fail(w->e, ERR_IO, "tensor \"%s\" is not as it was written", l->items[i].name);
        else
            s = emit_row(w, &l->rows[i], &(struct sink){.take = compare_bytes, .expected = t->data});
    }
    safetensors_close(&file);
    if (s != OK)
        fail_context(w->e, "%s", path);
    return s;
}

/* Sorted for the formats that will be written. */
status conversion_finish_layout(struct conversion_run *w, struct layout *l)
{
    for (size_t i = 0; i < l->count; i++)
        l->items[i].tensor.dtype = dtype_after(w->c, l->items[i].tensor.dtype);
    TRY(layout_finish(l, w->e));
    w->all += 2 * layout_bytes(l); /* written, and read again */
    return OK;
}

status conversion_write(struct conversion_run *w, const char *path, const struct layout *l, const char *const *metadata)
{
    struct file_writer writer;
    TRY(safetensors_create(path, l->items, l->count, metadata, &writer, w->e));
    for (size_t i = 0; i < l->count; i++) {
        status s = emit_row(w, &l->rows[i], &(struct sink){.take = append_bytes, .writer = &writer});
        if (s != OK) {
            file_discard(&writer);
            return s;
        }
    }
    TRY(file_commit(&writer, w->e));
    return verify(w, path, l);
}
