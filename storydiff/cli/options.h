/* The command line: the settings of a comic (storydiff/comic/settings.h), each as an option, and those of the
 * program.
 *
 * Options are those of the reference's command line, so that its users feel at home, and ours. Dashes and underscores
 * are the same: --output_dir, --output-dir. What is parsed is what --help prints. */
#ifndef STORYDIFF_OPTIONS_H
#define STORYDIFF_OPTIONS_H

#include <stdio.h>

#include "storydiff/comic/settings.h"

struct options {
    struct settings settings;
    const char *dump;
    int64_t progress_fd; /* -1: none */
    bool dry_run, consistency, profile, verbose, version, help;
};

/* Every option at its default. */
struct options options_default(void);

/* Reads argv[1] .. argv[argc-1] into `o`. Texts point into argv. Unknown options (with the nearest known one),
 * missing or malformed values and numbers out of range are refused in one line. */
status options_parse(int argc, char **argv, struct options *o, struct error *e);

/* Appends the command that goes on with a stopped run: the same words quoted for the shell, with --resume and without
 * --overwrite. options_parse has accepted them. */
void options_resume_command(int argc, char **argv, struct text *out);

/* All options with their defaults, and three examples. */
void options_help(FILE *out);

#endif
