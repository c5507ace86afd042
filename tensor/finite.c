#include "tensor/finite.h"

#include <string.h>

/* An exponent of all ones is an infinity or a NaN. Without a branch the compiler makes a loop over vectors of this. */
bool all_finite(const float *x, int64_t n)
{
    enum { BLOCK = 4096 };
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t last = smaller(first + BLOCK, n);
        uint32_t bad = 0;
        for (int64_t i = first; i < last; i++) {
            uint32_t bits;
            memcpy(&bits, x + i, sizeof bits);
            bad |= (bits & 0x7f800000u) == 0x7f800000u;
        }
        if (bad != 0)
            return false;
    }
    return true;
}

bool tensor_finite(const struct tensor *t)
{
    enum { BLOCK = 4096 };
    float values[BLOCK];
    int64_t count = tensor_count(t);
    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16)
        return true;
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t n = smaller(BLOCK, count - first);
        tensor_read(t, first, n, values);
        if (!all_finite(values, n))
            return false;
    }
    return true;
}
