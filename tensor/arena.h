/* Working memory: a bump allocator with mark and release.
 *
 *   size_t mark = arena_mark(a);
 *   float *h = arena_floats(a, n);      // valid until the release
 *   ...
 *   arena_release(a, mark);
 *
 * The dry run. A measuring arena has no memory: it hands out addresses that must not be touched and records the
 * highest mark. A forward pass run once on a measuring arena goes through all its layers, but every kernel looks at
 * arena_measuring and does nothing; whatever else touches values between two kernels (a copy, a loop) must look, too.
 * At its end the arena knows how much memory the real run needs, and the profile how much arithmetic; nothing of that
 * has to be derived by hand a second time. work_run (tensor/context.h) does both runs. Nothing is allocated in the
 * denoising loop.
 *
 * A run that takes more than was measured is a bug of ours. From there on the arena measures, so nothing is written
 * anywhere, and arena_check after the run says so: whoever opens an arena calls it. Under AddressSanitizer all that
 * is not given out is poisoned. */
#ifndef TENSOR_ARENA_H
#define TENSOR_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

struct arena {
    unsigned char *base; /* NULL: measuring */
    size_t capacity, used, peak;
    bool exceeded; /* more was taken than there is */
};

/* An arena without memory. */
struct arena arena_measure(void);

/* Reserves `capacity` bytes; `purpose` is for the message if the system refuses. Pages cost memory once touched. The
 * caller closes it. */
status arena_open(struct arena *a, size_t capacity, const char *purpose, struct error *e);
void arena_close(struct arena *a);

static inline bool arena_measuring(const struct arena *a)
{
    return a->base == NULL || a->exceeded;
}

/* 64-byte aligned, contents undefined; of no use while measuring. */
void *arena_bytes(struct arena *a, size_t bytes);
float *arena_floats(struct arena *a, int64_t count);

static inline size_t arena_mark(const struct arena *a)
{
    return a->used;
}
void arena_release(struct arena *a, size_t mark);

/* Fails if more was taken than was measured for `purpose`: then what ran since is worth nothing. */
status arena_check(const struct arena *a, const char *purpose, struct error *e);

#endif
