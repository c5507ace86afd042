/* Views, their sizes, and the number formats.
 *
 *   binary16   1 sign   5 exponent (bias 15)   10 fraction
 *   bfloat16   1 sign   8 exponent (bias 127)   7 fraction: the upper half of a float32 */
#include "tensor/tensor.h"

#include "tensor/low_rank.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const struct {
    const char *name;
    size_t size;
} formats[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2}, [DTYPE_F64] = {"F64", 8},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4}, [DTYPE_U8] = {"U8", 1},     [DTYPE_BOOL] = {"BOOL", 1},
    [DTYPE_I16] = {"I16", 2}, [DTYPE_I8] = {"I8", 1},   [DTYPE_U64] = {"U64", 8},   [DTYPE_U32] = {"U32", 4},
    [DTYPE_U16] = {"U16", 2}, [DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [DTYPE_F8_E5M2] = {"F8_E5M2", 1},
    [DTYPE_OTHER] = {"an unknown format", 1},
};

size_t dtype_size(enum dtype dtype)
{
    return formats[dtype].size;
}

const char *dtype_name(enum dtype dtype)
{
    return formats[dtype].name;
}

/* [huge, huge, 0] is empty, and the product of the first two must not be formed. */
static bool has_zero(int rank, const int64_t *shape)
{
    for (int i = 0; i < rank; i++)
        if (shape[i] == 0)
            return true;
    return false;
}

int64_t tensor_count(const struct tensor *t)
{
    int64_t count = has_zero(t->rank, t->shape) ? 0 : 1;
    for (int i = 0; i < t->rank && count > 0; i++)
        count *= t->shape[i];
    return count;
}

bool shape_bytes(enum dtype dtype, int rank, const int64_t *shape, size_t *bytes)
{
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0)
            return false;
    size_t product = has_zero(rank, shape) ? 0 : dtype_size(dtype);
    for (int i = 0; i < rank && product > 0; i++)
        if (__builtin_mul_overflow(product, (size_t)shape[i], &product) || product > PTRDIFF_MAX)
            return false;
    *bytes = product;
    return true;
}

char *shape_text(int rank, const int64_t *shape, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
    return text;
}

bool tensor_is(const struct tensor *t, int rank, const int64_t *shape)
{
    if (t->rank != rank)
        return false;
    for (int i = 0; i < rank; i++)
        if (t->shape[i] != shape[i])
            return false;
    return true;
}

static float float_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu;
    if (exponent == 31)
        return float_from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact in float32 */
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

/* Drops the `shift` low bits of a magnitude, rounding to nearest, ties to even. */
static uint32_t round_shift(uint32_t value, int shift)
{
    uint32_t kept = value >> shift, rest = value & ((1u << shift) - 1), half = 1u << (shift - 1);
    return kept + (rest > half || (rest == half && (kept & 1)));
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits = bits_from_float(f), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN: keep the top of its payload, make it quiet */
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x47800000u) /* 2^16 and above, infinity too */
        return (uint16_t)(sign | 0x7c00u);
    int exponent = (int)(magnitude >> 23) - 127;
    if (exponent >= -14) /* rounding may carry into the exponent, up to infinity: that is right */
        return (uint16_t)(sign | round_shift(magnitude - ((127u - 15u) << 23), 13));
    if (exponent < -25)
        return (uint16_t)sign;
    uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | round_shift(significand, -exponent - 1)); /* in units of 2^-24 */
}

float bf16_to_f32(uint16_t b)
{
    return float_from_bits((uint32_t)b << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t bits = bits_from_float(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)round_shift(bits, 16);
}

#if defined(__x86_64__)
/* Eight at a time where the CPU converts by itself. */
__attribute__((target("avx,f16c"))) static int64_t f16_read_f16c(const uint16_t *in, int64_t count, float *out)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in + i))));
    return i;
}

/* Clang 14 cannot ask for F16C; but every CPU with AVX2 has it. */
static int64_t f16_read_fast(const uint16_t *in, int64_t count, float *out)
{
    return __builtin_cpu_supports("avx2") ? f16_read_f16c(in, count, out) : 0;
}
#else
static int64_t f16_read_fast(const uint16_t *in, int64_t count, float *out)
{
    (void)in, (void)count, (void)out;
    return 0;
}
#endif

static void f16_read(const uint16_t *in, int64_t count, float *out)
{
    for (int64_t i = f16_read_fast(in, count, out); i < count; i++)
        out[i] = f16_to_f32(in[i]);
}

static void read_data(const struct tensor *t, int64_t first, int64_t count, float *out)
{
    switch (t->dtype) {
    case DTYPE_F32:
        memcpy(out, (const float *)t->data + first, (size_t)count * sizeof *out);
        break;
    case DTYPE_F16: f16_read((const uint16_t *)t->data + first, count, out); break;
    case DTYPE_BF16:
        for (int64_t i = 0; i < count; i++)
            out[i] = bf16_to_f32(((const uint16_t *)t->data)[first + i]);
        break;
    case DTYPE_F64:
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)((const double *)t->data)[first + i];
        break;
    default: /* integer tensors are not numbers to compute with: binding refuses them */
        memset(out, 0, (size_t)count * sizeof *out);
    }
}

void tensor_read(const struct tensor *t, int64_t first, int64_t count, float *out)
{
    read_data(t, first, count, out);
    if (t->delta != NULL)
        low_rank_add(t->delta, first, count, out);
}
