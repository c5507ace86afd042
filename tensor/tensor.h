/* A tensor is a view: a pointer, a number format, a shape. It owns nothing.
 *
 * Weights are views into mapped files and stay in the format they were stored in (never converted as a
 * whole); activations are float32 in the arena. Rows are contiguous, the last dimension is the fastest. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first three are what weights are computed with. The others are met in files: a tensor of theirs can be listed,
 * copied and left alone. DTYPE_OTHER: a format nobody here has heard of, as so many bytes. */
enum dtype {
    DTYPE_F32, DTYPE_F16, DTYPE_BF16,
    DTYPE_F64, DTYPE_I64, DTYPE_I32, DTYPE_U8, DTYPE_BOOL,
    DTYPE_I16, DTYPE_I8, DTYPE_U64, DTYPE_U32, DTYPE_U16, DTYPE_F8_E4M3, DTYPE_F8_E5M2, DTYPE_OTHER,
    DTYPE_COUNT
};

enum { TENSOR_MAX_RANK = 6 };

struct low_rank;

struct tensor {
    const void *data; /* NULL: there is no such tensor (an absent bias) */
    enum dtype dtype;
    int rank;
    int64_t shape[TENSOR_MAX_RANK]; /* shape[0] is the slowest; unused entries are 0 */
    const struct low_rank *delta;   /* what is added to it (low_rank.h), or NULL: the data is all */
};

/* The smaller of two extents: what is left of a dimension for its last block. */
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many blocks of `by` it takes to cover n, which is not negative. */
static inline int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

size_t dtype_size(enum dtype dtype);      /* bytes of one element */
const char *dtype_name(enum dtype dtype); /* as safetensors spells it: "F32", "BF16", ... */

/* Number of elements; the shape must have been checked with shape_bytes before. A rank-0 tensor has one. */
int64_t tensor_count(const struct tensor *t);

/* The number of bytes of a shape, with overflow-safe arithmetic. False if a dimension is negative or the product
 * does not fit: use it on every shape that comes from a file. */
bool shape_bytes(enum dtype dtype, int rank, const int64_t *shape, size_t *bytes);

/* Writes "[320, 4, 3, 3]" into `text` (always terminated) and returns `text`. */
char *shape_text(int rank, const int64_t *shape, char *text, size_t size);

/* True if the tensor has exactly this shape. */
bool tensor_is(const struct tensor *t, int rank, const int64_t *shape);

/* out[i] = float(element first + i), for count elements of any of the float formats (F32, F16, BF16, F64). Exact
 * except for F64, which rounds, and for a delta, which is added. This is the one way numbers get out of a weight. */
void tensor_read(const struct tensor *t, int64_t first, int64_t count, float *out);

/* Asks memory for those elements before they are read. */
static inline void tensor_prefetch(const struct tensor *t, int64_t first, int64_t count)
{
    const char *begin = (const char *)t->data + (size_t)first * dtype_size(t->dtype);
    const char *end = begin + (size_t)count * dtype_size(t->dtype);
    for (const char *at = begin; at < end; at += 64)
        __builtin_prefetch(at);
}

/* Half precision (IEEE 754 binary16) and bfloat16. To float is exact; from float rounds to nearest, ties to even;
 * overflow goes to infinity; a NaN stays a quiet NaN; subnormals are kept. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t b);
uint16_t f32_to_bf16(float f);

#endif
