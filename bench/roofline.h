/* The roofline plot (Williams, Waterman & Patterson 2009): speed over arithmetic intensity, both logarithmic. A
 * kernel cannot be above the slope (bytes it must move at copying speed) nor above the ceiling (the peak of
 * arithmetic); Winograd's convolutions can, because the plain algorithm's flops are counted. */
#ifndef BENCH_ROOFLINE_H
#define BENCH_ROOFLINE_H

#include "bench/report.h"
#include "tensor/text.h"

/* Appends an SVG: our kernels filled, the best peer of each as a ring. Norms, which have no flops to speak of, are
 * left out. */
void roofline_append(struct text *t, const struct report *r);

#endif
