#include "tensor/profile.h"

#include <stddef.h>
#include <time.h>

const char *op_name(enum op op)
{
    static const char *const names[OP_COUNT] = {
        [OP_LINEAR] = "linear", [OP_CONV] = "convolution", [OP_ATTENTION] = "attention",
        [OP_NORM] = "norm",     [OP_OTHER] = "other",
    };
    return names[op];
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void profile_add(struct profile *p, enum op op, double start, double flops, double bytes)
{
    if (p == NULL)
        return;
    struct profile_row *row = &p->rows[op];
    row->calls++;
    row->seconds += seconds_now() - start;
    row->flops += flops;
    row->bytes += bytes;
}
