/* MT19937 (Matsumoto & Nishimura 1998, "Mersenne Twister"), and what torch and Python make of its words.
 *
 *   recurrence   x[k+624] = x[k+397] ^ twist(upper bit of x[k], lower 31 bits of x[k+1])     words of 32 bits
 *   uniform      low bits of a word / 2^bits (torch; double: of two words); Python: high bits of two words
 *   normal       Box & Muller 1958: r = sqrt(-2 ln(1 - u)), theta = 2 pi v, the pair r cos(theta), r sin(theta);
 *                of two draws u is the second below 16 values, in blocks the first
 *
 * The surprises: torch has two normals. Below 16 values it draws pairs in double and keeps an odd one for the next
 * small call. From 16 on it fills the output with uniforms and turns each block of 16 in place, value i with value
 * i + 8; when the count is no multiple of 16, the last 16 values are drawn anew, so a few draws are never seen.
 * And there theta is a float product of the float 2 pi, an error of up to 4e-7 that the radius, up to 5.8,
 * multiplies: values computed from the exact theta would be off by up to 2e-6, so the rounding is imitated.
 * Sources: torch/aten ATen/core/MT19937RNGEngine.h, ATen/core/DistributionsHelper.h,
 * ATen/native/cpu/DistributionTemplates.h (normal_fill_AVX2); CPython Modules/_randommodule.c. */
#include "tensor/rng.h"

#include <math.h>

enum { WORDS = 624, SHIFT = 397, BLOCK = 16, HALF_BLOCK = BLOCK / 2 };

static const double TWO_PI = 6.283185307179586476925;

/* The generator */

void mt19937_seed(struct mt19937 *mt, uint32_t seed)
{
    mt->state[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++) {
        uint32_t previous = mt->state[i - 1];
        mt->state[i] = 1812433253u * (previous ^ (previous >> 30)) + i;
    }
    mt->index = WORDS;
}

/* Both passes of mt19937_seed_array walk the state in a circle that leaves out word 0, which repeats the last one. */
static uint32_t next_place(struct mt19937 *mt, uint32_t i)
{
    if (i + 1 < WORDS)
        return i + 1;
    mt->state[0] = mt->state[WORDS - 1];
    return 1;
}

static uint32_t mix(const struct mt19937 *mt, uint32_t i, uint32_t factor)
{
    uint32_t previous = mt->state[i - 1];
    return mt->state[i] ^ ((previous ^ (previous >> 30)) * factor);
}

void mt19937_seed_array(struct mt19937 *mt, const uint32_t *key, int64_t length)
{
    mt19937_seed(mt, 19650218u);
    uint32_t i = 1;
    int64_t digit = 0;
    for (int64_t n = length > WORDS ? length : WORDS; n > 0; n--) {
        mt->state[i] = mix(mt, i, 1664525u) + key[digit] + (uint32_t)digit;
        i = next_place(mt, i);
        digit = digit + 1 < length ? digit + 1 : 0;
    }
    for (int n = WORDS - 1; n > 0; n--) {
        mt->state[i] = mix(mt, i, 1566083941u) - i;
        i = next_place(mt, i);
    }
    mt->state[0] = 0x80000000u; /* never the all-zero state, which would stay zero */
}

static uint32_t twist(uint32_t upper, uint32_t lower)
{
    uint32_t y = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
}

/* Three loops rather than one with remainders: k + 397 wraps round in the second, k + 1 in the last word. */
static void refill(struct mt19937 *mt)
{
    uint32_t *x = mt->state;
    for (int k = 0; k < WORDS - SHIFT; k++)
        x[k] = x[k + SHIFT] ^ twist(x[k], x[k + 1]);
    for (int k = WORDS - SHIFT; k < WORDS - 1; k++)
        x[k] = x[k + SHIFT - WORDS] ^ twist(x[k], x[k + 1]);
    x[WORDS - 1] = x[SHIFT - 1] ^ twist(x[WORDS - 1], x[0]);
    mt->index = 0;
}

uint32_t mt19937_next(struct mt19937 *mt)
{
    if (mt->index >= WORDS)
        refill(mt);
    uint32_t y = mt->state[mt->index++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* torch */

void torch_seed(struct torch_rng *g, uint64_t seed)
{
    mt19937_seed(&g->mt, (uint32_t)seed);
    g->next_normal = 0;
    g->has_next_normal = false;
}

static float uniform(struct mt19937 *mt)
{
    return (float)(mt19937_next(mt) & 0xffffff) * 0x1p-24f;
}

static double uniform_f64(struct mt19937 *mt)
{
    uint64_t high = mt19937_next(mt);
    uint64_t word = high << 32 | mt19937_next(mt);
    return (double)(word & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

void torch_rand(struct torch_rng *g, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = uniform(&g->mt);
}

/* One value of a small randn: a pair is drawn, the cosine is returned, the sine waits for the next call. */
static double small_normal(struct torch_rng *g)
{
    if (g->has_next_normal) {
        g->has_next_normal = false;
        return g->next_normal;
    }
    double u1 = uniform_f64(&g->mt);
    double u2 = uniform_f64(&g->mt);
    double radius = sqrt(-2 * log1p(-u2));
    double theta = TWO_PI * u1;
    g->next_normal = radius * sin(theta);
    g->has_next_normal = true;
    return radius * cos(theta);
}

/* Uniforms to normals in place. Only theta is a float; the functions are evaluated in double so that the result does
 * not depend on which logf or cosf a machine has. 1 - u, not u: the logarithm never sees 0. */
static void normal_block(float x[BLOCK])
{
    for (int i = 0; i < HALF_BLOCK; i++) {
        float theta = (float)TWO_PI * x[i + HALF_BLOCK];
        double radius = sqrt(-2 * log(1.0 - x[i]));
        x[i] = (float)(radius * cos(theta));
        x[i + HALF_BLOCK] = (float)(radius * sin(theta));
    }
}

void torch_randn(struct torch_rng *g, float *out, int64_t n)
{
    if (n < BLOCK) {
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)small_normal(g);
        return;
    }
    torch_rand(g, out, n);
    for (int64_t i = 0; i + BLOCK <= n; i += BLOCK)
        normal_block(out + i);
    if (n % BLOCK != 0) {
        torch_rand(g, out + n - BLOCK, BLOCK);
        normal_block(out + n - BLOCK);
    }
}

/* Python */

void python_seed(struct python_rng *g, int64_t seed)
{
    uint64_t magnitude = seed < 0 ? -(uint64_t)seed : (uint64_t)seed;
    uint32_t digits[2] = {(uint32_t)magnitude, (uint32_t)(magnitude >> 32)};
    mt19937_seed_array(&g->mt, digits, digits[1] != 0 ? 2 : 1); /* leading zero digits do not count; 0 is {0} */
}

double python_random(struct python_rng *g)
{
    uint32_t high = mt19937_next(&g->mt) >> 5, low = mt19937_next(&g->mt) >> 6;
    return (high * 67108864.0 + low) * 0x1p-53;
}
