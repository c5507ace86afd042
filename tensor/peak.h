/* What this machine can do at most, measured at this moment: the yardsticks of the bench and of --profile.
 *
 *   arithmetic   fused multiply-adds on registers alone, as many independent chains as hide their latency
 *   memory       memcpy from and to memory that no cache holds; bytes read and bytes written both count
 *
 * Clocks change with the weather and the neighbours, so a percentage is only worth something if the yardstick was
 * read within the same minute. */
#ifndef TENSOR_PEAK_H
#define TENSOR_PEAK_H

#include "tensor/status.h"

/* Flops per second (a fused multiply-add is two) on so many threads, with the widest vectors of this CPU. Takes about
 * 10 milliseconds; up to 0.3 seconds where threads have to share cores, or do at first. */
double peak_flops(int threads);

/* The mean of ten readings: within one of them a busy machine may do anything. */
double peak_flops_mean(int threads);

/* As peak_flops, for products of 8-bit integers, as the form in use makes them (cpu_bytes): multiplications and
 * additions a second. 0 for the portable form, which has no such instruction. */
double peak_int8_ops(int threads);

/* "AVX-512", "AVX2", "portable C": what it is measured with. */
const char *peak_isa(void);

/* The two blocks that are copied, 128 MiB each. The caller closes it; closing twice is fine. */
struct peak_copy {
    unsigned char *from, *to;
};
status peak_copy_open(struct peak_copy *p, struct error *e);
void peak_copy_close(struct peak_copy *p);

/* Bytes per second, read and written together. Takes about 20 milliseconds. */
double peak_copy_bytes(const struct peak_copy *p, int threads);

#endif
