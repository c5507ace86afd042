/* How much memory a run needs for itself: its anonymous pages, without those of the weights, which are mapped files
 * and come and go as the system likes.
 *
 * Linux keeps a high-water mark of both together, but none of anonymous pages alone. So the run looks for itself,
 * when it holds most: an arena's pages stay from their first use until it is closed, so the end of a pass, and the
 * moment when a picture is decoded and the decoder's arena is still open, miss nothing of sampling and decoding. */
#ifndef STORYDIFF_MEMORY_H
#define STORYDIFF_MEMORY_H

#include "sdxl/model.h"

struct memory_watch {
    size_t most; /* bytes; 0: nobody has looked, or the system does not say (no /proc) */
};

/* Raises `most` to what this process holds now, in memory or swapped out. `w` may be NULL. */
void memory_look(struct memory_watch *w);

/* What this process may still take, in bytes. */
struct memory_limit {
    size_t hard;     /* no more: `ulimit`, the control group, or all of the machine's memory and swap */
    size_t soft;     /* free or droppable on the machine right now */
    const char *why; /* which of them `hard` is */
};
struct memory_limit memory_left(void);

/* Bytes of all weights of a model: what is mapped. */
size_t memory_of_weights(const struct model *m);

#endif
