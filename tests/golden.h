/* The golden runner: recorded outputs of the reference code against ours.
 *
 * `build/golden DIR` walks a folder whose top folders are kinds of cases (rng, schedulers, clip, ...) and runs each case
 * with the function of its kind. Nothing about the cases is compiled in: shapes, seeds, prompts and steps come from the
 * files. Every compared tensor is one line; the exit status says whether all passed. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/context.h"
#include "tensor/safetensors.h"

struct golden {
    int passed, failed, skipped;
    const char *clip; /* folder of the CLIP vocabulary */
    bool quiet;       /* print failures and totals only */
    int threads;
};

/* Largest error allowed, relative to the largest magnitude of the recorded tensor. */
extern const double LIMIT_EXACT, LIMIT_RANDN, LIMIT_STEP, LIMIT_LAYER, LIMIT_TRAJECTORY;

/* The layout of what is compared: recordings of images are channels first, ours channels last. */
enum layout { AS_IS, CHANNELS_FIRST };

/* Compares `ours` (count floats) with a recorded tensor of any format and reports a line. CHANNELS_FIRST: the last three
 * dimensions of the recording are c, h, w while ours are h, w, c. */
void golden_compare(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                    const float *ours, int64_t count, enum layout layout, double limit);

/* The same for 8-bit images: no pixel off by more than 2, 99.5 % within 1. */
void golden_compare_image(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                          const unsigned char *ours, int64_t count);

/* A line for something that is not a tensor: prompts, a flag. */
void golden_check(struct golden *g, const char *where, const char *name, bool ok, const char *detail);
void golden_skip(struct golden *g, const char *where, const char *why);

/* Reports a failure that kept a case from running. */
void golden_error(struct golden *g, const char *where, const struct error *e);

/* A recorded tensor as floats, optionally turned to channels last; malloced, NULL if there is none. */
float *golden_floats(const struct tensor *t, enum layout layout);

/* Calls visit for every file of a folder whose name matches the prefix and suffix, in sorted order. */
void golden_files(struct golden *g, const char *folder, const char *prefix, const char *suffix,
                  void (*visit)(struct golden *g, const char *folder, const char *path));

/* A context with an arena large enough for a measured computation: run(arg, ctx) is called twice, first measuring. */
status golden_run(struct golden *g, void (*run)(void *arg, const struct context *ctx), void *arg,
                  const struct observer *observer, struct error *e);

/* An observer that compares what it sees with recordings named "<prefix><name>". */
struct watch {
    struct golden *g;
    const char *where, *prefix;
    const struct safetensors *file;
};
struct observer golden_watch(struct watch *w);

/* One function per kind of case; `folder` is GOLDEN/<kind>/<case> or GOLDEN/<kind>. */
void golden_rng(struct golden *g, const char *folder);
void golden_schedulers(struct golden *g, const char *folder);
void golden_tokenizer(struct golden *g, const char *folder);
void golden_clip(struct golden *g, const char *folder);
void golden_unet(struct golden *g, const char *folder);
void golden_vae(struct golden *g, const char *folder);
void golden_csa(struct golden *g, const char *folder);
void golden_pipeline(struct golden *g, const char *folder);
void golden_story(struct golden *g, const char *folder);

#endif
