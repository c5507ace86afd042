/* Feature maps and tokens, channels last.
 *
 * An image [n, h, w, c] and its tokens [n, h*w, c] are the same memory, so convolutions, norms, attention and linear
 * layers hand it to each other without a transpose. The memory belongs to the arena. */
#ifndef NN_FEATURES_H
#define NN_FEATURES_H

#include "tensor/context.h"

struct features {
    float *x; /* [n, h, w, c] */
    int64_t n, h, w, c;
};

static inline int64_t features_rows(struct features f) { return f.n * f.h * f.w; }
static inline int64_t features_count(struct features f) { return f.n * f.h * f.w * f.c; }

static inline struct features features_new(struct arena *arena, int64_t n, int64_t h, int64_t w, int64_t c)
{
    return (struct features){arena_floats(arena, n * h * w * c), n, h, w, c};
}

static inline void observe_features(const struct context *ctx, const char *name, struct features f)
{
    observe(ctx, name, f.x, 4, (int64_t[]){f.n, f.h, f.w, f.c});
}

#endif
