/* Files that this process has mapped, and what may happen to them behind its back.
 *
 * A mapped file that somebody shortens ends the process with SIGBUS where it is read next; one that somebody overwrites
 * in place silently becomes another. (One that is replaced by renaming, as careful programs do, stays what it was.)
 * Both can at least be told: the first in a signal handler, the second by looking from time to time. */
#ifndef TENSOR_MAPPED_H
#define TENSOR_MAPPED_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/status.h"
#include "tensor/text.h"

/* Zeroed: none. */
struct mapped_files {
    struct mapped_file *files; /* private */
    size_t count;
};

/* Notes size and time of change of every file that is mapped for reading now (program and libraries apart). The
 * caller frees it. Where the system does not say (no /proc), there are none. */
status mapped_files_note(struct mapped_files *m, struct error *e);
void mapped_files_free(struct mapped_files *m); /* fine on a zeroed struct */

/* Fails if one of them has been changed in place since; the message names it. */
status mapped_files_same(const struct mapped_files *m, struct error *e);

/* Appends one line: how many they are, how large, when the last was changed, and a checksum over paths, sizes and
 * times. It is another if one of them is replaced or changed, though it be by a single weight. */
void mapped_files_describe(const struct mapped_files *m, struct text *out);

/* The path of the file that is mapped at an address. Safe in a signal handler. False: none, or the system does not
 * say. */
bool mapped_file_at(const void *address, char *path, size_t size);

#endif
