/* Fuzzing: each parser of strangers' files as a function of bytes. `make fuzz SECONDS=60` feeds them what libFuzzer
 * makes up, with AddressSanitizer and UBSan watching; `make test` feeds them tests/fuzz/corpus, where every input that
 * once broke something stays.
 *
 * A target does with the bytes what the program would: it opens them and looks at everything that came out. What must
 * hold whatever the bytes are: no crash, bounded memory, and a refusal in one line. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

struct fuzz_target {
    const char *name; /* also of its folder in tests/fuzz/corpus */
    void (*run)(const uint8_t *bytes, size_t size);
};
extern const struct fuzz_target fuzz_targets[]; /* ended by a NULL name */

/* A file of these bytes that has no name in any folder; the path is good until fuzz_file_close. */
struct fuzz_file {
    int fd;
    char path[64];
};
struct fuzz_file fuzz_file(const uint8_t *bytes, size_t size);
void fuzz_file_close(struct fuzz_file *file);

/* Ends the process, saying what does not hold. */
void fuzz_expect(bool holds, const char *what);

/* A failure must have a message of one line, a success none. */
void fuzz_check(status s, const struct error *e);

#endif
