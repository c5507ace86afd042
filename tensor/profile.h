/* What ran: calls, seconds, arithmetic and traffic per kind of operation. Filled by every kernel, also (without
 * seconds) while measuring, so that the cost of a run is known before it starts. */
#ifndef TENSOR_PROFILE_H
#define TENSOR_PROFILE_H

#include <stdint.h>

enum op { OP_LINEAR, OP_CONV, OP_ATTENTION, OP_NORM, OP_OTHER, OP_COUNT };

struct profile {
    struct profile_row {
        int64_t calls;
        double seconds, flops, bytes; /* a multiply-add is two flops */
    } rows[OP_COUNT];
};

const char *op_name(enum op op);

double seconds_now(void); /* a monotonic clock */

/* Adds one call that began at `start`; `p` may be NULL. */
void profile_add(struct profile *p, enum op op, double start, double flops, double bytes);

#endif
