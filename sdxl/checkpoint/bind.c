#include "sdxl/checkpoint/bind.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *module_name(char *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out, MODULE_NAME, format, args);
    va_end(args);
    return out;
}

static void problem(struct binder *b, const char *name, const char *wanted, const char *found)
{
    b->problems++;
    fail(&b->first, ERR_FORMAT, "%s: tensor \"%s\" %s, the config asks for %s", b->weights->file->path, name, found,
         wanted);
}

static int wanted_shape(const char *symbols, const int64_t dims[DIMS], int64_t *shape)
{
    int rank = 0;
    for (; symbols[rank] != '\0'; rank++) {
        unsigned char s = (unsigned char)symbols[rank];
        shape[rank] = isdigit(s) ? s - '0' : dims[s];
    }
    return rank;
}

/* A matrix is a 1x1 convolution, and the other way round. */
static bool same_memory(const struct tensor *t, int rank, const int64_t *shape)
{
    int64_t pointwise[4] = {shape[0], shape[1], 1, 1};
    bool matrix = rank == 2 || (rank == 4 && shape[2] == 1 && shape[3] == 1);
    return tensor_is(t, rank, shape) || (matrix && (tensor_is(t, 2, shape) || tensor_is(t, 4, pointwise)));
}

static void full_name(char *out, size_t size, const char *module, const char *name)
{
    snprintf(out, size, "%s%s%s", module, module[0] && name[0] ? "." : "", name);
}

void bind_rows(struct binder *b, const char *module, const struct binding *rows, size_t count, void *object,
               const int64_t dims[DIMS])
{
    for (const struct binding *row = rows; row < rows + count; row++) {
        char name[2 * MODULE_NAME], other[2 * MODULE_NAME], wanted[96], found[128] = "is ";
        int64_t shape[TENSOR_MAX_RANK] = {0};
        int rank = wanted_shape(row->shape, dims, shape);
        full_name(name, sizeof name, module, row->name);
        if (b->weights == NULL) {
            b->visitor->visit(b->visitor->self, name, rank, shape);
            continue;
        }
        struct tensor t;
        size_t place;
        bool found_it = weights_find(b->weights, name, &t, &place);
        if (!found_it && row->other_name != NULL) {
            full_name(other, sizeof other, module, row->other_name);
            found_it = weights_find(b->weights, other, &t, &place);
        }
        if (!found_it && row->optional)
            continue;
        shape_text(rank, shape, wanted, sizeof wanted);
        if (!found_it) {
            problem(b, name, wanted, "is missing");
        } else if (!same_memory(&t, rank, shape)) {
            shape_text(t.rank, t.shape, found + 3, sizeof found - 3);
            problem(b, name, wanted, found);
        } else if (t.dtype != DTYPE_F32 && t.dtype != DTYPE_F16 && t.dtype != DTYPE_BF16) {
            snprintf(found, sizeof found, "is stored as %s", dtype_name(t.dtype));
            problem(b, name, "F32, F16 or BF16", found);
        } else if (b->weights->loras != NULL && lora_add(b->weights->loras, name, &t, &b->first) != OK) {
            b->problems++;
        } else if (t.data == NULL || !weights_take(b->weights, name, &t, place)) {
            b->problems++;
            fail(&b->first, ERR_MEMORY, "%s: out of memory", b->weights->file->path);
        } else {
            memcpy((char *)object + row->offset, &t, sizeof t);
        }
    }
}

static const struct binding norm_rows[] = {
    {"weight", offsetof(struct norm, weight), "c", NULL, false},
    {"bias", offsetof(struct norm, bias), "c", NULL, false},
};

static const struct binding linear_rows[] = {
    {"weight", offsetof(struct linear, weight), "oi", NULL, false},
    {"bias", offsetof(struct linear, bias), "o", NULL, false},
};

static const struct binding pointwise_rows[] = {
    {"weight", offsetof(struct linear, weight), "oi11", NULL, false},
    {"bias", offsetof(struct linear, bias), "o", NULL, false},
};

static const struct binding conv_rows[] = {
    {"weight", offsetof(struct conv, weight), "oi33", NULL, false},
    {"bias", offsetof(struct conv, bias), "o", NULL, false},
};

void norm_bind(struct norm *norm, struct binder *b, const char *name, int64_t c)
{
    bind_rows(b, name, norm_rows, 2, norm, (int64_t[DIMS]){['c'] = c});
}

void linear_bind(struct linear *linear, struct binder *b, const char *name, int64_t in, int64_t out)
{
    bind_rows(b, name, linear_rows, 2, linear, (int64_t[DIMS]){['i'] = in, ['o'] = out});
}

void pointwise_bind(struct linear *linear, struct binder *b, const char *name, int64_t in, int64_t out)
{
    bind_rows(b, name, pointwise_rows, 2, linear, (int64_t[DIMS]){['i'] = in, ['o'] = out});
}

void conv_bind(struct conv *conv, struct binder *b, const char *name, int64_t in, int64_t out)
{
    bind_rows(b, name, conv_rows, 2, conv, (int64_t[DIMS]){['i'] = in, ['o'] = out});
}

static int compare_names(const void *left, const void *right)
{
    const struct named_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

status bind_finish(struct binder *b, struct error *e)
{
    if (b->weights->bound_count > 0)
        qsort(b->weights->bound, b->weights->bound_count, sizeof *b->weights->bound, compare_names);
    if (b->problems == 0)
        return OK;
    if (b->problems == 1)
        return fail(e, b->first.code, "%s", b->first.message);
    return fail(e, b->first.code, "%s (and %zu more such tensors)", b->first.message, b->problems - 1);
}
