/* SiLU in double, eight values at a time, rounded once.
 *
 *   e^x = 2^n e^r,  n = round(x log2 e),  r = x - n ln 2 in two parts (Cody & Waite 1980), so |r| <= 0.35;
 *   e^r by its Taylor series up to r^13 / 13!, whose rest is below 1e-17 of it.
 *
 * Every product and sum is rounded on its own, so each instruction set gives the same bits, as gemm_portable.c does;
 * and unlike libm's exp these do not depend on the version of the C library either. */
#include <string.h>

#include "tensor/activation.h"
#include "tensor/activation_forms.h"
#include "tensor/cpu.h"
#include "tensor/targets.h"

enum { LANES = 8, TERMS = 14 };

typedef double doubles __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t integers __attribute__((vector_size(LANES * sizeof(int64_t))));
typedef float floats __attribute__((vector_size(LANES * sizeof(float))));

#define INLINE static inline __attribute__((always_inline))

static const double factorials[TERMS] = {1,    1,     2,      6,       24,       120,       720,
                                         5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800};

/* limit where x is beyond it, on the side that `beyond` marks. */
INLINE void bound(doubles *x, const integers *beyond, double limit)
{
    integers bits, limits;
    doubles all = (doubles){0} + limit;
    memcpy(&bits, x, sizeof bits);
    memcpy(&limits, &all, sizeof limits);
    bits = (bits & ~*beyond) | (limits & *beyond);
    memcpy(x, &bits, sizeof *x);
}

/* x becomes e^x, for x from -700 to 700, where 2^n is a normal number. */
INLINE void exponential(doubles *x)
{
    const double log2_e = 0x1.71547652b82fep+0, ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    const double round = 0x1.8p52; /* a number as large has no fraction: its last bits are the integer */
    doubles shifted = *x * log2_e + round, n = shifted - round, r = *x - n * ln2_high - n * ln2_low;
    doubles sum = (doubles){0} + 1 / factorials[TERMS - 1];
    for (int i = TERMS - 2; i >= 0; i--)
        sum = sum * r + 1 / factorials[i];
    integers bits, exponent;
    memcpy(&exponent, &shifted, sizeof exponent);
    memcpy(&bits, &sum, sizeof bits);
    bits += exponent << 52;
    memcpy(x, &bits, sizeof *x);
}

/* x / (1 + e^-x). e^-x is the square of e^(-x/2), which becomes infinite, or zero, as it should. */
INLINE void silu_of_eight(float *x)
{
    floats in;
    memcpy(&in, x, sizeof in);
    doubles v = __builtin_convertvector(in, doubles), root = v * -0.5;
    integers above = root > 700.0, below = root < -700.0;
    bound(&root, &above, 700);
    bound(&root, &below, -700);
    exponential(&root);
    floats out = __builtin_convertvector(v / (1 + root * root), floats);
    memcpy(x, &out, sizeof out);
}

INLINE void silu_row(float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        silu_of_eight(x + i);
    float rest[LANES] = {0};
    memcpy(rest, x + i, (size_t)(n - i) * sizeof *x);
    silu_of_eight(rest);
    memcpy(x + i, rest, (size_t)(n - i) * sizeof *x);
}

#define FORM(name, attribute) \
    attribute static void name(float *x, int64_t n) { silu_row(x, n); }

FORM(silu_baseline, )
#if defined(__x86_64__)
FORM(silu_avx2, TARGET_AVX2)
FORM(silu_avx512, TARGET_AVX512)
#endif

static void silu(float *x, int64_t n)
{
    switch (cpu_family()) {
#if defined(__x86_64__)
    case CPU_AVX512: silu_avx512(x, n); break;
    case CPU_AVX2: silu_avx2(x, n); break;
#endif
    default: silu_baseline(x, n);
    }
}

void activate_narrow(enum activation act, float *x, int64_t n)
{
    switch (act) {
    case ACT_SILU: silu(x, n); break;
    case ACT_GELU: activation_portable.gelu(x, n); break;
    case ACT_QUICK_GELU: activation_portable.quick_gelu(x, n); break;
    case ACT_NONE:
    case ACT_GEGLU: break;
    }
}
