/*        |4  0 -5  0  1  0|        | 1/4     0     0 |
 *        |0 -4 -4  1  1  0|        |-1/6  -1/6  -1/6 |          |1  1  1  1  1  0|
 *  B^T = |0  4 -4 -1  1  0|    G = |-1/6   1/6  -1/6 |    A^T = |0  1 -1  2 -2  0|
 *        |0 -2 -1  2  1  0|        | 1/24  1/12  1/6 |          |0  1  1  4  4  0|
 *        |0  2 -1 -2  1  0|        | 1/24 -1/12  1/6 |          |0  1 -1  8 -8  1|
 *        |0  4  0 -5  0  1|        | 0       0     1 |
 *
 * (Lavin & Gray 2016, section 4.3: interpolation at 0, 1, -1, 2, -2 and infinity.) */
#include "nn/winograd_transform.h"

#include "tensor/cpu.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 }; /* channels per round: one register of AVX-512, two of AVX2 */

/* y = B^T x of six values, strided by `s` */
INLINE void input_6(const float *x, int s, float *y, int t)
{
    float a = x[4 * s] - 4 * x[2 * s], b = x[3 * s] - 4 * x[s], c = x[4 * s] - x[2 * s], d = 2 * (x[3 * s] - x[s]);
    y[0] = 4 * x[0] - 5 * x[2 * s] + x[4 * s];
    y[t] = a + b;
    y[2 * t] = a - b;
    y[3 * t] = c + d;
    y[4 * t] = c - d;
    y[5 * t] = 4 * x[s] - 5 * x[3 * s] + x[5 * s];
}

INLINE void input_body(const float *const in[36], int64_t n, float *out, int64_t stride)
{
    for (int64_t first = 0; first < n; first += LANES) {
        int64_t lanes = n - first < LANES ? n - first : LANES;
        float d[36][LANES], t[36][LANES];
        for (int i = 0; i < 36; i++)
            for (int64_t l = 0; l < LANES; l++)
                d[i][l] = l < lanes ? in[i][first + l] : 0;
        for (int column = 0; column < 6; column++)
            for (int l = 0; l < LANES; l++)
                input_6(&d[column][l], 6 * LANES, &t[column][l], 6 * LANES);
        for (int row = 0; row < 6; row++)
            for (int l = 0; l < LANES; l++)
                input_6(&t[6 * row][l], LANES, &d[6 * row][l], LANES);
        for (int i = 0; i < 36; i++)
            for (int64_t l = 0; l < lanes; l++)
                out[i * stride + first + l] = d[i][l];
    }
}

/* y = G x of three values */
INLINE void filter_3(const float *x, int s, float *y, int t)
{
    float ends = x[0] + x[2 * s], wide = x[0] + 4 * x[2 * s];
    y[0] = x[0] * (1.0f / 4);
    y[t] = -(ends + x[s]) * (1.0f / 6);
    y[2 * t] = -(ends - x[s]) * (1.0f / 6);
    y[3 * t] = (wide + 2 * x[s]) * (1.0f / 24);
    y[4 * t] = (wide - 2 * x[s]) * (1.0f / 24);
    y[5 * t] = x[2 * s];
}

INLINE void filter_body(const float *in, int64_t n, float *out, int64_t stride)
{
    for (int64_t first = 0; first < n; first += LANES) {
        int64_t lanes = n - first < LANES ? n - first : LANES;
        float g[9][LANES], t[18][LANES], u[36][LANES];
        for (int i = 0; i < 9; i++)
            for (int64_t l = 0; l < LANES; l++)
                g[i][l] = l < lanes ? in[i * n + first + l] : 0;
        for (int column = 0; column < 3; column++)
            for (int l = 0; l < LANES; l++)
                filter_3(&g[column][l], 3 * LANES, &t[column][l], 3 * LANES);
        for (int row = 0; row < 6; row++)
            for (int l = 0; l < LANES; l++)
                filter_3(&t[3 * row][l], LANES, &u[6 * row][l], LANES);
        for (int i = 0; i < 36; i++)
            for (int64_t l = 0; l < lanes; l++)
                out[i * stride + first + l] = u[i][l];
    }
}

/* y = A^T x of six values */
INLINE void output_6(const float *x, int s, float *y, int t)
{
    float a = x[s] + x[2 * s], b = x[s] - x[2 * s], c = x[3 * s] + x[4 * s], d = x[3 * s] - x[4 * s];
    y[0] = x[0] + a + c;
    y[t] = b + 2 * d;
    y[2 * t] = a + 4 * c;
    y[3 * t] = b + 8 * d + x[5 * s];
}

INLINE void output_body(const float *in, int64_t stride, int64_t n, float *out)
{
    for (int64_t first = 0; first < n; first += LANES) {
        int64_t lanes = n - first < LANES ? n - first : LANES;
        float m[36][LANES], t[24][LANES], y[16][LANES];
        for (int i = 0; i < 36; i++)
            for (int64_t l = 0; l < LANES; l++)
                m[i][l] = l < lanes ? in[i * stride + first + l] : 0;
        for (int column = 0; column < 6; column++)
            for (int l = 0; l < LANES; l++)
                output_6(&m[column][l], 6 * LANES, &t[column][l], 6 * LANES);
        for (int row = 0; row < 4; row++)
            for (int l = 0; l < LANES; l++)
                output_6(&t[6 * row][l], LANES, &y[4 * row][l], LANES);
        for (int i = 0; i < 16; i++)
            for (int64_t l = 0; l < lanes; l++)
                out[i * n + first + l] = y[i][l];
    }
}

#define FORM(name, attribute)                                                                                    \
    attribute static void input_##name(const float *const in[36], int64_t n, float *out, int64_t stride)         \
    {                                                                                                            \
        input_body(in, n, out, stride);                                                                          \
    }                                                                                                            \
    attribute static void filter_##name(const float *in, int64_t n, float *out, int64_t stride)                  \
    {                                                                                                            \
        filter_body(in, n, out, stride);                                                                         \
    }                                                                                                            \
    attribute static void output_##name(const float *in, int64_t stride, int64_t n, float *out)                  \
    {                                                                                                            \
        output_body(in, stride, n, out);                                                                         \
    }                                                                                                            \
    static const struct winograd_transforms name = {input_##name, filter_##name, output_##name};

FORM(portable, )
#if defined(__x86_64__)
FORM(avx2, __attribute__((target("avx2"))))
#if defined(__clang__)
FORM(avx512, __attribute__((target("avx512f,avx512vl"), min_vector_width(512))))
#else
FORM(avx512, __attribute__((target("avx512f,avx512vl,prefer-vector-width=512"))))
#endif
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
