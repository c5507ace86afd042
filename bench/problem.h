/* A case of the table made concrete: random inputs, f16 weights, room for the result; run by our kernels and checked
 * against the definition before anybody times it. */
#ifndef BENCH_PROBLEM_H
#define BENCH_PROBLEM_H

#include "bench/cases.h"
#include "nn/attention.h"
#include "nn/norm.h"

enum { PROBLEM_SETS = 5, NORM_GROUPS = 32 };
static const float norm_eps = 1e-5f;

struct problem {
    const struct bench_case *c;
    struct case_size size;
    int threads;
    enum precision precision; /* of our kernel; float32 when opened */
    float *x, *concat;        /* [rows, K - concat], [rows, concat] or NULL; attention: queries [rows, K] */
    float *residual;          /* [rows, N] or NULL */
    float *y;                 /* [rows, N]: the result */
    struct tensor weight;     /* F16: [N, K], GEGLU [2N, K]; [N, K, 3, 3]; norms [K]; attention: none */
    struct tensor bias;       /* F16, as many as the weight has rows; norms [K] */
    float *weight_f32;        /* the same numbers, for peers and the reference */
    float *bias_f32;
    float *k, *v;             /* attention: [sets, rows or 77, K] */
    int32_t *chosen;          /* the row lists of all sets */
    struct key_set sets[PROBLEM_SETS];
    int set_count;
    struct arena arena;
};

/* Everything is made from one seed. The caller closes it; after a failure there is nothing to close. */
status problem_open(struct problem *p, const struct bench_case *c, int64_t px, int threads, struct error *e);
void problem_close(struct problem *p);

/* Our kernel: inputs -> y. Repeatable. */
void problem_run(struct problem *p);

/* The input as one matrix [rows, K], for libraries that want it so; the caller frees. NULL: out of memory. */
float *problem_joined_input(const struct problem *p);

/* What a result may hold: the layer's output, or (peers) the bare product without bias, activation and residual,
 * [rows, N] or with GEGLU [rows, 2N]. */
enum result_kind { RESULT_WHOLE, RESULT_PRODUCT };

/* Compares sampled elements of a result with the definition, computed in double (bench/reference.h). Fails if one is
 * off by more than rounding explains: *error is the largest difference over the root mean square of the wanted
 * values. */
status problem_check(const struct problem *p, const char *whose, const float *result, enum result_kind kind,
                     double *error, struct error *e);

#endif
