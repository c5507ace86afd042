/* The pointwise functions in the forms of each instruction set. Private to tensor/activation*.c and the tests.
 *
 * The portable form is the definition: in double, rounded once, one value at a time. The vector forms
 * (activation_vector.h) have their own exp and erf, listed here so that their error can be tested apart from what is
 * built on them. */
#ifndef TENSOR_ACTIVATION_FORMS_H
#define TENSOR_ACTIVATION_FORMS_H

#include <stdint.h>

#include "tensor/cpu.h"

/* Each works on x[0..n) in place. A result depends on its x alone: not on n, nor on the place in the row or in
 * memory. */
struct activation_form {
    const char *name;
    void (*exp)(float *x, int64_t n);
    void (*erf)(float *x, int64_t n);
    void (*silu)(float *x, int64_t n);
    void (*gelu)(float *x, int64_t n);
    void (*quick_gelu)(float *x, int64_t n);
};

extern const struct activation_form activation_portable;
#if defined(__x86_64__)
extern const struct activation_form activation_avx2, activation_avx512;
#endif

/* The form that a family uses; the CPU must have the family. */
const struct activation_form *activation_form(enum cpu_family family);

#endif
