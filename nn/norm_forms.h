/* The inner loops of nn/norm.c, compiled for more than one instruction set. Private to nn/norm*.c and the tests.
 *
 * Loops this plain the compiler vectorises by itself, so a form is the same source (nn/norm_loops.h) under another
 * target. No form fuses multiplication and addition: all give the same bytes. AVX-512 has no form of its own: 16
 * lanes were no faster than 8 (measured; converting to double is what limits). */
#ifndef NN_NORM_FORMS_H
#define NN_NORM_FORMS_H

#include <stdint.h>

#include "tensor/cpu.h"

struct norm_form {
    const char *name;

    /* sum[j] += sum of x[i, j], squares[j] += sum of x[i, j]^2 over i;  x: [rows, c] */
    void (*column_sums)(double *sum, double *squares, const float *x, int64_t rows, int64_t c);

    /* y[j] = (y[j] - mean[j]) * scale[j] + shift[j] */
    void (*affine)(float *y, const float *mean, const float *scale, const float *shift, int64_t c);

    /* y = layer norm of the row y[0..c) */
    void (*layer_row)(float *y, const float *weight, const float *bias, int64_t c, float eps);
};

extern const struct norm_form norm_portable;
#if defined(__x86_64__)
extern const struct norm_form norm_avx2;
#endif

/* The form that a family uses; the CPU must have the family. */
const struct norm_form *norm_form(enum cpu_family family);

#endif
