/* The golden runner: recorded outputs of the reference code against ours.
 *
 * `build/golden DIR` walks a folder whose top folders are kinds of cases (rng, schedulers, clip, ...) and runs each
 * case with the function of its kind: a row of the table in golden_main.c. Nothing about the cases is compiled in:
 * shapes, seeds, prompts and steps come from the files. Every compared tensor is one line; the exit status says
 * whether all passed.
 *
 * A long tensor NAME is recorded in part: `part.NAME` has every k-th element, the metadata's `stat.NAME` the k, the
 * shape and the largest magnitude of the whole. `reference_error`, where there is one, says how far the reference's
 * own float32 is from its float64: no limit is below three times that.
 *
 *   golden_main.c     kinds, folders, the forms of the kernels
 *   golden_compare.c  one tensor; the report
 *   golden_watch.c    the layers of a model
 *   golden_made.c     models that are made from a seed
 *   the others        a kind of case each */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/context.h"
#include "tensor/safetensors.h"

enum { CLOSEST_LINES = 5, MADE = 16 };

/* A model folder that is recorded without weights, and where the weights were made. */
struct made {
    char from[4096], to[4096]; /* resolved paths */
};

struct golden {
    int passed, failed, skipped;
    const char *clip;    /* folder of the CLIP vocabulary */
    const char *weights; /* folder of the models that are made */
    const char *only;    /* the only kind to run, or NULL */
    bool quiet;          /* no lines for what passes */
    bool first;          /* of the families: what does not depend on the kernels is run there only */
    int threads;
    int files;              /* of golden_count_files */
    struct made made[MADE]; /* golden_made.c: those that are there and proved */
    struct worst {
        double error; /* of the largest value; the worst since somebody set it back */
        char line[256];
    } worst;
    struct {
        double used; /* error / limit: beyond 1 it failed */
        char line[256];
    } closest[CLOSEST_LINES]; /* those with the least room left, the closest first */
};

/* Largest error allowed. LIMIT_RANDN is absolute, the others are relative. */
extern const double LIMIT_EXACT, LIMIT_RANDN, LIMIT_STEP, LIMIT_LAYER, LIMIT_ATTENTION, LIMIT_TRAJECTORY;

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

/* Ours against a tensor of a file, recorded whole or in part. Reports a line and returns true; false: it is not
 * recorded. `count` values of ours are those from `offset` on of the recording; with CHANNELS_FIRST these are whole
 * samples. */
struct golden_recording {
    const struct safetensors *file;
    const char *name;  /* without "part." */
    const char *label; /* in the line; NULL: the name */
    int64_t offset;
};
static inline struct golden_recording golden_recording(const struct safetensors *file, const char *name)
{
    return (struct golden_recording){file, name, NULL, 0};
}
bool golden_compare_recorded(struct golden *g, struct golden_recording r, const float *ours, int64_t count,
                             enum layout layout, double limit);

/* The shape of a recorded tensor as a whole, without data; rank 0 and no shape: it is not recorded. */
bool golden_recorded_shape(const struct safetensors *file, const char *name, struct tensor *whole);

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

/* An observer that compares what it sees with recordings named "<prefix><name>"; a batch may be seen sample by
 * sample. golden_watch_finish ends it and reports a failure for each recording of that prefix that was not seen as a
 * whole: a module was renamed, or never ran. */
struct watch {
    struct golden *g;
    const char *where, *prefix;
    const struct safetensors *file;
    const char *const *except; /* names that no module has (inputs), a NULL after the last; NULL: none */
    int64_t *seen;             /* private: values, one count per tensor of the file */
};
struct observer golden_watch(struct watch *w);
void golden_watch_finish(struct watch *w);

/* Where the model `relative` to a case's folder really is: there, or where its weights were made, which is done the
 * first time that it is asked for. */
status golden_model(struct golden *g, const char *folder, const char *relative, char out[4096], struct error *e);

/* A kind of case, and how its folder is laid out. */
struct golden_kind {
    const char *name;
    void (*run)(struct golden *g, const char *folder);
    enum { FOLDER_OF_CASES, ONE_CASE } layout;
    enum { ONCE, IN_EVERY_FAMILY, WHEN_ASKED } when; /* WHEN_ASKED: too large for an ordinary run */
};

/* Runs the cases of a folder of that kind. A folder of which nothing is compared is a failure. */
void golden_run_kind(struct golden *g, const struct golden_kind *kind, const char *folder);

/* Files of a folder that hold recordings: io*.safetensors. */
int golden_count_files(struct golden *g, const char *folder);

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
void golden_made(struct golden *g, const char *folder);
void golden_single_file(struct golden *g, const char *folder);

#endif
