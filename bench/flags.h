/* The values that both bench programs take on their command lines. */
#ifndef BENCH_FLAGS_H
#define BENCH_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

enum { MOST_SIZES = 8 };

/* A whole number from 1 to `most`. */
bool parse_number(const char *text, int most, int *out);

/* "512,768": sizes of a picture in pixels, each a multiple of 32 from 64 to 4096, at most MOST_SIZES of them. */
bool parse_sizes(const char *text, int64_t px[MOST_SIZES], int *count);

#endif
