/* exp, erf and what is built on them, for registers of any width. Included once by each instruction set's file, which
 * has defined, with the attribute TARGET:
 *
 *   vec, WIDTH                 a register of WIDTH floats
 *   vec_set(a)                 a in every lane
 *   vec_load(p, n)             p[0], .., p[n - 1] and zeros, for n < WIDTH; else WIDTH values
 *   vec_store(p, v, n)         likewise
 *   vec_fma(a, b, c)           a * b + c, rounded once
 *   vec_min(a, b), vec_max(a, b)   b where either is NaN: every limit below has x second, and lets a NaN through
 *   vec_round(a)               to the nearest integer, ties to even
 *   vec_scale(a, n)            a * 2^n, rounded once, for integers -150 <= n <= 128
 *
 * Each of these is exact or correctly rounded, so all instruction sets give the same bits. */
#include "tensor/activation_forms.h"

/* e^x = 2^n e^r with n the integer nearest x / ln 2, so |r| <= ln 2 / 2. The surprise is r: x - n ln 2 cancels, so ln
 * 2 is subtracted in two parts, the first so short that n times it is exact. e^r = 1 + r + r^2 q(r), q of degree 4
 * with the smallest largest relative error (3.2e-9). At the limits the result is infinity and 0, and denormal numbers
 * are rounded as others are. Error: at most 1.02 ulp. */
TARGET static inline vec vec_exp(vec x)
{
    x = vec_max(vec_set(-104.0f), vec_min(vec_set(89.0f), x));
    vec n = vec_round(x * vec_set(0x1.715476p+0f));
    vec r = vec_fma(n, vec_set(-0x1.62e4p-1f), x);
    r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), r);
    vec q = vec_set(0x1.6a496p-10f);
    q = vec_fma(q, r, vec_set(0x1.1239ap-7f));
    q = vec_fma(q, r, vec_set(0x1.5558b4p-5f));
    q = vec_fma(q, r, vec_set(0x1.555492p-3f));
    q = vec_fma(q, r, vec_set(0x1.fffffcp-2f));
    vec p = vec_fma(r * r, q, r);
    return vec_scale(vec_set(1.0f) + p, n);
}

/* c[0] + c[1] t + .. + c[5] t^5, in pairs (Estrin 1960): the longest chain, and so the sum of roundings, is half of
 * Horner's. */
TARGET static inline vec vec_degree_5(const float *c, vec t)
{
    vec t2 = t * t;
    vec low = vec_fma(vec_set(c[1]), t, vec_set(c[0]));
    vec middle = vec_fma(vec_set(c[3]), t, vec_set(c[2]));
    vec high = vec_fma(vec_set(c[5]), t, vec_set(c[4]));
    return vec_fma(vec_fma(high, t2, middle), t2, low);
}

/* erf z = z P(z^2) / Q(z^2), both of degree 5, with the smallest largest relative error on [0, 3.93] (2.1e-8; 2.2e-8
 * with the coefficients as floats). Beyond, erf is within half an ulp of 1. All coefficients have one sign, so
 * nothing cancels. Error: at most 5.3 ulp, 3.2e-7: near 1 each rounding of P and of Q may be an ulp. */
TARGET static inline vec vec_erf(vec z)
{
    static const float P[] = {0x1.d3b488p+0f, 0x1.3d9496p-2f,  0x1.5ea958p-4f,
                              0x1.94125ap-8f, 0x1.e3538ep-12f, 0x1.b842acp-19f};
    static const float Q[] = {0x1.9e7e32p+0f, 0x1.a10d60p-1f,  0x1.7bde92p-3f,
                              0x1.8f5e40p-6f, 0x1.f0e3f2p-10f, 0x1.00eadcp-14f};
    z = vec_max(vec_set(-3.93f), vec_min(vec_set(3.93f), z));
    vec t = z * z, erf = z * vec_degree_5(P, t) / vec_degree_5(Q, t);
    return vec_max(vec_set(-1.0f), vec_min(vec_set(1.0f), erf));
}

/* Error: at most 2.4 ulp; below -87, where e^-x leaves the floats before the result does, 2.7e-37. */
TARGET static inline vec vec_silu(vec x)
{
    return x / (vec_set(1.0f) + vec_exp(vec_set(-1.0f) * x));
}

/* Error: that of SiLU, and 1.2e-7 |x| of the result for -1.702 x being rounded. */
TARGET static inline vec vec_quick_gelu(vec x)
{
    return x / (vec_set(1.0f) + vec_exp(vec_set(-1.702f) * x));
}

/* x (1 + erf) / 2 with one rounding; where erf is near -1, its error remains: at most
 * 1.9e-7 |x|. */
TARGET static inline vec vec_gelu(vec x)
{
    vec half = vec_set(0.5f) * x;
    return vec_fma(half, vec_erf(x * vec_set(0x1.6a09e6p-1f)), half);
}

/* The last, incomplete register goes through the same arithmetic. */
TARGET static inline __attribute__((always_inline)) void map(float *x, int64_t n, vec (*f)(vec))
{
    for (int64_t i = 0; i < n; i += WIDTH)
        vec_store(x + i, f(vec_load(x + i, n - i)), n - i);
}

TARGET static void exp_row(float *x, int64_t n)
{
    map(x, n, vec_exp);
}
TARGET static void erf_row(float *x, int64_t n)
{
    map(x, n, vec_erf);
}
TARGET static void silu_row(float *x, int64_t n)
{
    map(x, n, vec_silu);
}
TARGET static void gelu_row(float *x, int64_t n)
{
    map(x, n, vec_gelu);
}
TARGET static void quick_gelu_row(float *x, int64_t n)
{
    map(x, n, vec_quick_gelu);
}
