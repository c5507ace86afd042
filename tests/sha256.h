/* SHA-256 (FIPS 180-4): which bytes a file has, in 64 hexadecimal digits. */
#ifndef TESTS_SHA256_H
#define TESTS_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
};

struct sha256 sha256_start(void);
void sha256_add(struct sha256 *h, const void *data, size_t size);

/* Ends the sum. */
struct sha256_text {
    char hex[65];
};
struct sha256_text sha256_finish(struct sha256 *h);

#endif
