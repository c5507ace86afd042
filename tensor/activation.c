#include "tensor/activation.h"

#include <math.h>

static void silu(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (1.0f + expf(-x[i]));
}

static void gelu(float *x, int64_t n)
{
    const float sqrt_half = 0.70710678118654752440f;
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * sqrt_half));
}

static void quick_gelu(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (1.0f + expf(-1.702f * x[i]));
}

void activate(enum activation act, float *x, int64_t n)
{
    switch (act) {
    case ACT_SILU: silu(x, n); break;
    case ACT_GELU: gelu(x, n); break;
    case ACT_QUICK_GELU: quick_gelu(x, n); break;
    case ACT_NONE:
    case ACT_GEGLU: break;
    }
}
