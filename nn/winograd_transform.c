/*        |4  0 -5  0  1  0|        | 1/4     0     0 |
 *        |0 -4 -4  1  1  0|        |-1/6  -1/6  -1/6 |          |1  1  1  1  1  0|
 *  B^T = |0  4 -4 -1  1  0|    G = |-1/6   1/6  -1/6 |    A^T = |0  1 -1  2 -2  0|
 *        |0 -2 -1  2  1  0|        | 1/24  1/12  1/6 |          |0  1  1  4  4  0|
 *        |0  2 -1 -2  1  0|        | 1/24 -1/12  1/6 |          |0  1 -1  8 -8  1|
 *        |0  4  0 -5  0  1|        | 0       0     1 |
 *
 * (Lavin & Gray 2016, section 4.3: interpolation at 0, 1, -1, 2, -2 and infinity.) */
#include "nn/winograd_transform.h"

#include <stdbool.h>
#include <string.h>

#include "tensor/cpu.h"

/* For functions that are written once, with vector types, and compiled for each instruction set. AVX-512 is to use its
 * whole vectors, which compilers avoid unless told. */
#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2")))
#if defined(__clang__)
#define TARGET_AVX512 __attribute__((target("avx512f,avx512vl"), min_vector_width(512)))
#else
#define TARGET_AVX512 __attribute__((target("avx512f,avx512vl,prefer-vector-width=512")))
#endif
#endif

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

/* LANES columns side by side: one register of AVX-512, two of AVX2, four of SSE. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* `whole`: all LANES columns exist; else `n`, and the others are zeros. */
INLINE void load(lanes *x, const float *from, bool whole, int64_t n)
{
    *x = (lanes){0};
    memcpy(x, from, whole ? sizeof *x : (size_t)n * sizeof(float));
}

INLINE void store(float *to, const lanes *x, bool whole, int64_t n)
{
    memcpy(to, x, whole ? sizeof *x : (size_t)n * sizeof(float));
}

/* y = B^T x of six values, `s` and `t` apart */
INLINE void input_6(const lanes *x, int s, lanes *y, int t)
{
    lanes a = x[4 * s] - 4 * x[2 * s], b = x[3 * s] - 4 * x[s], c = x[4 * s] - x[2 * s], d = 2 * (x[3 * s] - x[s]);
    y[0] = 4 * x[0] - 5 * x[2 * s] + x[4 * s];
    y[t] = a + b;
    y[2 * t] = a - b;
    y[3 * t] = c + d;
    y[4 * t] = c - d;
    y[5 * t] = 4 * x[s] - 5 * x[3 * s] + x[5 * s];
}

INLINE void input_part(const float *const in[36], int64_t first, float *out, int64_t stride, bool whole, int64_t n)
{
    lanes d[36], t[36];
#pragma GCC unroll 36
    for (int i = 0; i < 36; i++)
        load(&d[i], in[i] + first, whole, n);
#pragma GCC unroll 6
    for (int column = 0; column < 6; column++)
        input_6(&d[column], 6, &t[column], 6);
#pragma GCC unroll 6
    for (int row = 0; row < 6; row++)
        input_6(&t[6 * row], 1, &d[6 * row], 1);
#pragma GCC unroll 36
    for (int i = 0; i < 36; i++)
        store(out + i * stride + first, &d[i], whole, n);
}

/* y = G x of three values */
INLINE void filter_3(const lanes *x, int s, lanes *y, int t)
{
    lanes ends = x[0] + x[2 * s], wide = x[0] + 4 * x[2 * s];
    y[0] = x[0] * (1.0f / 4);
    y[t] = -(ends + x[s]) * (1.0f / 6);
    y[2 * t] = -(ends - x[s]) * (1.0f / 6);
    y[3 * t] = (wide + 2 * x[s]) * (1.0f / 24);
    y[4 * t] = (wide - 2 * x[s]) * (1.0f / 24);
    y[5 * t] = x[2 * s];
}

INLINE void filter_part(const float *in, int64_t in_stride, float *out, int64_t stride, bool whole, int64_t n)
{
    lanes g[9], t[18], u[36];
#pragma GCC unroll 36
    for (int i = 0; i < 9; i++)
        load(&g[i], in + i * in_stride, whole, n);
#pragma GCC unroll 6
    for (int column = 0; column < 3; column++)
        filter_3(&g[column], 3, &t[column], 3);
#pragma GCC unroll 6
    for (int row = 0; row < 6; row++)
        filter_3(&t[3 * row], 1, &u[6 * row], 1);
#pragma GCC unroll 36
    for (int i = 0; i < 36; i++)
        store(out + i * stride, &u[i], whole, n);
}

/* y = A^T x of six values */
INLINE void output_6(const lanes *x, int s, lanes *y, int t)
{
    lanes a = x[s] + x[2 * s], b = x[s] - x[2 * s], c = x[3 * s] + x[4 * s], d = x[3 * s] - x[4 * s];
    y[0] = x[0] + a + c;
    y[t] = b + 2 * d;
    y[2 * t] = a + 4 * c;
    y[3 * t] = b + 8 * d + x[5 * s];
}

INLINE void output_part(const float *in, int64_t stride, float *out, int64_t out_stride, bool whole, int64_t n)
{
    lanes m[36], t[24], y[16];
#pragma GCC unroll 36
    for (int i = 0; i < 36; i++)
        load(&m[i], in + i * stride, whole, n);
#pragma GCC unroll 6
    for (int column = 0; column < 6; column++)
        output_6(&m[column], 6, &t[column], 6);
#pragma GCC unroll 6
    for (int row = 0; row < 4; row++)
        output_6(&t[6 * row], 1, &y[4 * row], 1);
#pragma GCC unroll 36
    for (int i = 0; i < 16; i++)
        store(out + i * out_stride, &y[i], whole, n);
}

INLINE void input_body(const float *const in[36], int64_t n, float *out, int64_t stride)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        input_part(in, i, out, stride, true, LANES);
    if (i < n)
        input_part(in, i, out, stride, false, n - i);
}

INLINE void filter_body(const float *in, int64_t n, float *out, int64_t stride)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        filter_part(in + i, n, out + i, stride, true, LANES);
    if (i < n)
        filter_part(in + i, n, out + i, stride, false, n - i);
}

INLINE void output_body(const float *in, int64_t stride, int64_t n, float *out)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        output_part(in + i, stride, out + i, n, true, LANES);
    if (i < n)
        output_part(in + i, stride, out + i, n, false, n - i);
}

#define FORM(name, attribute)                                                                                        \
    attribute static void input_##name(const float *const in[36], int64_t n, float *out, int64_t stride)             \
    {                                                                                                                \
        input_body(in, n, out, stride);                                                                              \
    }                                                                                                                \
    attribute static void filter_##name(const float *in, int64_t n, float *out, int64_t stride)                      \
    {                                                                                                                \
        filter_body(in, n, out, stride);                                                                             \
    }                                                                                                                \
    attribute static void output_##name(const float *in, int64_t stride, int64_t n, float *out)                      \
    {                                                                                                                \
        output_body(in, stride, n, out);                                                                             \
    }                                                                                                                \
    static const struct winograd_transforms name = {input_##name, filter_##name, output_##name};

FORM(portable, )
#if defined(__x86_64__)
FORM(avx2, TARGET_AVX2)
FORM(avx512, TARGET_AVX512)
#endif

const struct winograd_transforms *winograd_transforms(void)
{
    switch (cpu_family()) {
#if defined(__x86_64__)
    case CPU_AVX512: return &avx512;
    case CPU_AVX2: return &avx2;
#endif
    default: return &portable;
    }
}
