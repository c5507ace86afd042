/* The golden runner: recorded outputs of the reference code against ours.
 *
 * `build/golden DIR` walks a folder whose top folders are kinds of cases (rng, schedulers, clip, ...) and runs each
 * case with the function of its kind. Nothing about the cases is compiled in: shapes, seeds, prompts and steps come
 * from the files. Every compared tensor is one line; the exit status says whether all passed. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/context.h"
#include "tensor/safetensors.h"

enum { CLOSEST_LINES = 5 };

struct golden {
    int passed, failed, skipped, files;
    const char *clip; /* folder of the CLIP vocabulary */
    bool quiet;       /* no lines for what passes */
    int threads;
    struct {
        double used; /* error / limit: beyond 1 it failed */
        char line[256];
    } closest[CLOSEST_LINES]; /* those with the least room left, the closest first */
};

/* Largest error allowed. LIMIT_RANDN is absolute, the others are relative. */
extern const double LIMIT_EXACT, LIMIT_RANDN, LIMIT_STEP, LIMIT_LAYER, LIMIT_TRAJECTORY;

/* What an error is measured by. */
enum measure {
    OF_LARGEST, /* the largest magnitude of the recorded tensor */
    OF_STEP,    /* the largest magnitude within its entry of the first dimension: sigmas fall from 14 to 0.03 */
    ABSOLUTE,
};

/* The layout of what is compared: recordings of images are channels first, ours channels last. */
enum layout { AS_IS, CHANNELS_FIRST };

/* Compares `ours` (count floats) with a recorded tensor of any format, OF_LARGEST, and reports a line.
 * CHANNELS_FIRST: the last three dimensions of the recording are c, h, w while ours are h, w, c. */
void golden_compare(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                    const float *ours, int64_t count, enum layout layout, double limit);

/* The same for doubles, in the recording's layout, by any measure. */
void golden_compare_doubles(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                            const double *ours, int64_t count, enum measure measure, double limit);

/* The same for 8-bit images: no pixel off by more than 2, 99.5 % within 1. */
void golden_compare_image(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                          const unsigned char *ours, int64_t count);

/* A line for something that is not a tensor: prompts, a flag. */
void golden_check(struct golden *g, const char *where, const char *name, bool ok, const char *detail);

/* A line for `count` things that passed and are too many for one each; what did not pass is for golden_check. */
void golden_passed(struct golden *g, const char *where, const char *name, int count, const char *detail);

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

/* An observer that compares what it sees with recordings named "<prefix><name>". golden_watch_finish ends it and
 * reports a failure for each recording of that prefix that was never seen: a module was renamed, or never ran. */
struct watch {
    struct golden *g;
    const char *where, *prefix;
    const struct safetensors *file;
    const char *const *except; /* names that no module has (inputs), a NULL after the last; NULL: none */
    bool *seen;                /* private: one per tensor of the file */
};
struct observer golden_watch(struct watch *w);
void golden_watch_finish(struct watch *w);

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
void golden_weights(struct golden *g, const char *folder);
void golden_taesd(struct golden *g, const char *folder);
void golden_lora(struct golden *g, const char *folder);
void golden_single_file(struct golden *g, const char *folder);

#endif
