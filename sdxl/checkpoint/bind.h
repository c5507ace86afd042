/* Binding: from the names in a checkpoint to the members of a struct.
 *
 * A model's tensors are listed in tables, one row per tensor: its name below the module, the member that will hold
 * the view, the shape in symbols. Loading, shape checks, the report of what is missing, misshapen or left over, and
 * the list of what a model consists of (for making one up) all walk the same tables.
 *
 *   static const struct binding norm[] = {{"weight", offsetof(struct norm, weight), "c"}, ...};
 *   bind_rows(b, "conv_norm_out", norm, 2, &unet->conv_norm_out, (int64_t[DIMS]){['c'] = 320}); */
#ifndef SDXL_BIND_H
#define SDXL_BIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "sdxl/checkpoint/weights.h"

/* shape: a letter stands for a dimension given by the caller, a digit for itself. "oi" is also met by [o, i, 1, 1], and
 * "oi11" by [o, i]: a 1x1 convolution and a linear layer are the same thing, and files differ in which they call it. */
struct binding {
    const char *name;
    size_t offset; /* of a struct tensor */
    const char *shape;
    const char *other_name; /* what older checkpoints call it, or NULL */
    bool optional;
};

enum { DIMS = 128 }; /* dimension values, indexed by letter */
enum { MODULE_NAME = 96 };

/* Hears of every tensor that the tables name, in their order and with the shape that diffusers saves. The name is gone
 * when the call returns. */
struct tensor_visitor {
    void (*visit)(void *self, const char *name, int rank, const int64_t *shape);
    void *self;
};

struct binder {
    struct weights *weights;              /* NULL: nothing is bound, the visitor hears what would be */
    const struct tensor_visitor *visitor; /* only without weights */
    size_t problems;
    struct error first; /* the first problem */
};

/* Fills the members of `object`. Problems are collected, not returned: bind_finish reports them. */
void bind_rows(struct binder *b, const char *module, const struct binding *rows, size_t count, void *object,
               const int64_t dims[DIMS]);

/* The layers everything is made of: shapes "c"; "oi", "o"; "oi11", "o"; "oi33", "o". */
void norm_bind(struct norm *norm, struct binder *b, const char *name, int64_t c);
void linear_bind(struct linear *linear, struct binder *b, const char *name, int64_t in, int64_t out);
void pointwise_bind(struct linear *linear, struct binder *b, const char *name, int64_t in, int64_t out);
void conv_bind(struct conv *conv, struct binder *b, const char *name, int64_t in, int64_t out);

/* Fails if a tensor was missing, had another shape or a format that is no float of at most 32 bits. The message names
 * the file, the first such tensor, wanted and found shape, and how many more there are. Tensors that no table names are
 * no mistake: weights_note_unused tells of them. */
status bind_finish(struct binder *b, struct error *e);

/* "module.part": the name of a part of a module, in a buffer of MODULE_NAME. Cut to fit, never overrun;
 * returns out. */
char *module_name(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
