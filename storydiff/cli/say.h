/* What the program says on the terminal: one-line messages, and its tables. */
#ifndef STORYDIFF_SAY_H
#define STORYDIFF_SAY_H

#include "tensor/profile.h"
#include "tensor/text.h"

/* One line on standard error, whatever a person or a file has put into it, with settings as options. */
void say_line(const char *prefix, const char *line);

/* The same of each line of a text. */
void say_lines(const char *prefix, const struct text *lines);

/* On standard output: version, CPU, kernels, threads, libraries. */
void say_version(void);

/* Calls, seconds and speed of each kind of operation; the share of the peak is that of bare multiply-adds, measured
 * now. (Winograd's convolutions do less than they are counted for.) And the most memory that the process had. */
void say_profile(const struct profile *profile, int threads);

#endif
