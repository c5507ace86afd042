/* Every kernel of SDXL at the shapes it has there: one row per distinct layer of the UNet, the VAE's decoder and the
 * two text encoders, and for consistent self-attention the key sets of a story.
 *
 * Sizes follow from the picture's: a feature map has one pixel for `stride` x `stride` of the picture's. The test of
 * this table walks the model's own binding tables and sees that no layer is missing and none is made up. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include <stdbool.h>

#include "nn/conv.h"

enum case_kind { CASE_LINEAR, CASE_CONV, CASE_ATTENTION, CASE_GROUP_NORM, CASE_LAYER_NORM };

/* Which keys a query sees. The story is the usual one: four id panels a character, half of their tokens sampled. */
enum case_keys {
    KEYS_OWN,
    KEYS_PAST,       /* own, causally */
    KEYS_TEXT,       /* 77 tokens */
    KEYS_ALL_PANELS, /* own and all of four id panels: before sampling starts */
    KEYS_WRITE_PASS, /* own and half of three others, in row lists */
    KEYS_READ_PASS,  /* own and half of four, in row lists */
};

struct bench_case {
    enum case_kind kind;
    const char *name; /* model, level, layer */
    int calls;        /* in one forward pass of one sample; 0: only in stories */
    int64_t stride;   /* of the output; 0: `rows` says how many rows there are */
    int64_t rows;
    int64_t K, N;     /* width of a row in and out; 3x3 convolutions: channels; GEGLU: N is the output's */
    int64_t concat;   /* how many of K come from a second input */
    enum activation activation;
    bool residual;    /* a residual is added */
    enum conv_kind conv;
    int64_t heads;    /* attention: K = N = heads * d */
    enum case_keys keys;
};

extern const struct bench_case bench_cases[];
extern const int bench_case_count;

/* A case for a picture of px x px pixels. */
struct case_size {
    int64_t rows;   /* of the output, and of the queries */
    int64_t h, w, in_h, in_w; /* feature maps */
    int64_t keys;
    double flops;   /* of the plain algorithm: a multiply-add is two; norms: 0 */
    double bytes;   /* inputs, outputs and f16 weights, each moved once */
};
struct case_size case_size(const struct bench_case *c, int64_t px);

/* What was promised for it: percent of the arithmetic peak, or of the copy bandwidth for norms; 0: nothing. */
double case_bar(const struct bench_case *c, const struct case_size *size);

#endif
