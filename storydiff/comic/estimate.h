/* How long a known amount of arithmetic will take here: each kind of operation is run for a moment at the sizes of
 * the UNet's last level (cut to a size that is quick), and its speed is taken for all of it. */
#ifndef STORYDIFF_ESTIMATE_H
#define STORYDIFF_ESTIMATE_H

#include "storydiff/csa/lockstep.h"

/* Seconds for the work in `cost`. Takes about half a second. */
status estimate_seconds(const struct lockstep_request *r, const struct profile *cost, int threads, double *seconds,
                        struct error *e);

#endif
