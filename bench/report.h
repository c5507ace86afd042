/* What the kernel bench found: as lines of a table, as JSON, as a roofline plot (Williams et al. 2009). */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "bench/cases.h"
#include "tensor/status.h"

enum { MOST_PEERS = 3 };

/* One case at one size. All seconds are medians over rounds. */
struct measurement {
    const struct bench_case *c;
    int64_t px;
    struct case_size size;
    double seconds;
    double one_thread;  /* seconds on a single thread */
    double error;       /* of the sampled results, over their root mean square */
    double peak_flops;  /* per second, read in the same rounds */
    double copy_bytes;
    double bar;         /* percent that was promised (case_bar, of float32); 0: nothing */
    struct {
        const char *name;
        double seconds;
    } peers[MOST_PEERS];
    int peer_count;
};

/* A whole run. */
struct report {
    char machine[512]; /* CPU, threads, kernels, libraries, load */
    int threads;
    struct measurement *items;
    int count;
};

/* Percent of the yardstick that counts: arithmetic, or copying for norms. */
double measurement_percent(const struct measurement *m);

/* The shortest time among the peers, 0 without any. */
double measurement_best_peer(const struct measurement *m);

void report_print_head(FILE *out);
void report_print_line(FILE *out, const struct measurement *m);

/* Where all kernels of a network were measured at a size: their times, weighted by calls, as one forward pass. Then
 * how many cases miss their bar, if any has one. */
void report_print_sums(FILE *out, const struct report *r);

status report_write_json(const struct report *r, const char *path, struct error *e);
status report_write_svg(const struct report *r, const char *path, struct error *e);

#endif
