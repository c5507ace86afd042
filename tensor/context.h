/* What every computation is handed: where to put intermediate values, how many threads, whom to tell what ran. */
#ifndef TENSOR_CONTEXT_H
#define TENSOR_CONTEXT_H

#include "tensor/arena.h"
#include "tensor/profile.h"

/* Sees intermediate tensors by their module's name, as in the checkpoint: for --dump and for comparing with another
 * implementation. The values are gone when the call returns. */
struct observer {
    void (*see)(void *self, const char *name, const float *data, int rank, const int64_t *shape);
    void *self;
};

/* What the products of linear layers and of 3x3 convolutions are made of. PRECISION_INT8: both operands are rounded to
 * 8 bits, with a scale for every INT8_BLOCK values of a row (tensor/int8_kernel.h); convolutions only where that is
 * faster than Winograd's in float32 (nn/conv_int8.h). */
enum precision { PRECISION_FLOAT32, PRECISION_INT8 };
extern const char *const precision_names[]; /* "float32", .., NULL */

struct context {
    struct arena *arena;
    int threads;                     /* >= 1; the result does not depend on it */
    struct profile *profile;         /* NULL: nobody asks */
    const struct observer *observer; /* NULL: nobody looks */
    enum precision precision;        /* of the layers called with it; float32 unless somebody chose */
};

/* The same for a layer that must stay in float32. */
static inline struct context context_float32(const struct context *ctx)
{
    struct context exact = *ctx;
    exact.precision = PRECISION_FLOAT32;
    return exact;
}

static inline void observe(const struct context *ctx, const char *name, const float *data, int rank,
                           const int64_t *shape)
{
    if (ctx->observer != NULL && !arena_measuring(ctx->arena))
        ctx->observer->see(ctx->observer->self, name, data, rank, shape);
}

/* A computation that takes its working memory from ctx->arena and gives it back. It may be run dry. */
struct work {
    void (*run)(void *self, const struct context *ctx);
    void *self;
    const char *purpose; /* "the VAE": for the message if the system refuses the memory */
};

/* Working memory in bytes: a dry run on a measuring arena (tensor/arena.h). Of `outer`, threads and observer count;
 * its profile counts the arithmetic, and its arena is not used. */
size_t work_measure(const struct context *outer, struct work work);

/* Runs it in an arena of its own, of just that size. */
status work_run(const struct context *outer, struct work work, struct error *e);

#endif
