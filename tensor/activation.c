#include "tensor/activation.h"

#include <math.h>

#include "tensor/activation_forms.h"

static void exp_row(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)exp(x[i]);
}

static void erf_row(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)erf(x[i]);
}

static void silu(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(x[i] / (1.0 + exp(-(double)x[i])));
}

static void gelu(float *x, int64_t n)
{
    const double sqrt_half = 0.70710678118654752440; /* Phi(x) = erfc(-x / sqrt 2) / 2 */
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(0.5 * x[i] * erfc(-x[i] * sqrt_half));
}

static void quick_gelu(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(x[i] / (1.0 + exp(-1.702 * x[i])));
}

const struct activation_form activation_portable = {"portable", exp_row, erf_row, silu, gelu, quick_gelu};

const struct activation_form *activation_form(enum cpu_family family)
{
    switch (family) {
#if defined(__x86_64__)
    case CPU_AVX512: return &activation_avx512;
    case CPU_AVX2: return &activation_avx2;
#endif
    default: return &activation_portable;
    }
}

void activate(enum activation act, float *x, int64_t n)
{
    const struct activation_form *form = activation_form(cpu_family());
    switch (act) {
    case ACT_SILU: form->silu(x, n); break;
    case ACT_GELU: form->gelu(x, n); break;
    case ACT_QUICK_GELU: form->quick_gelu(x, n); break;
    case ACT_NONE:
    case ACT_GEGLU: break;
    }
}
