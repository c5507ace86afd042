/* Other libraries, given the same problem with every advantage: weights in float32 and packed beforehand where a
 * library can, layouts it likes best, no bias, activation or residual. What they are timed at is the bare product. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "bench/problem.h"

struct peer {
    const char *name;
    void *self;
    void (*run)(void *self);
    const float *(*result)(void *self); /* of the last run: row-major */
    enum result_kind kind;
    void (*close)(void *self);
};

/* Each prepares the problem for a library. False: it has no such operation, or there is no memory for it. The caller
 * closes a peer that was opened. */

/* OpenBLAS, linear layers: with its own threads, or called by ours with a part of the rows each. */
bool openblas_open(struct peer *peer, const struct problem *p);
bool openblas_parts_open(struct peer *peer, const struct problem *p);

/* oneDNN: linear layers, convolutions, attention (product, softmax, product; row lists gathered beforehand) as long
 * as the scores fit 2 GiB, layer norms. For int8: u8 times s8, one scale for each tensor, inputs quantised
 * beforehand. */
bool onednn_open(struct peer *peer, const struct problem *p);

/* Our own float32, beside our int8. */
bool float32_open(struct peer *peer, const struct problem *p);

/* "oneDNN 2.6.3", or that there is none. */
void onednn_version(char *text, size_t size);

#endif
