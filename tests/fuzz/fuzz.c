#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fuzz_file fuzz_file(const uint8_t *bytes, size_t size)
{
    struct fuzz_file file = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    fuzz_expect(file.fd >= 0 && write(file.fd, bytes, size) == (ssize_t)size, "a file in memory can be made");
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

void fuzz_file_close(struct fuzz_file *file)
{
    close(file->fd);
}

void fuzz_expect(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

void fuzz_check(status s, const struct error *e)
{
    fuzz_expect((s == OK) == (e->code == OK) && (s == OK) == (e->message[0] == '\0'), "a failure has a message");
    for (const char *p = e->message; *p != '\0'; p++)
        fuzz_expect((unsigned char)*p >= ' ' && *p != 0x7f, "a message is one line");
}
