/* UTF-8, one character at a time (RFC 3629; Unicode 15, table 3-7). Everything that reads text from people or files
 * reads it here: JSON, prompts, stories, captions. */
#ifndef TENSOR_UTF8_H
#define TENSOR_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xFFFD };

/* A code point and its length, 1 to 4 bytes. What is not UTF-8 (a stray byte, an overlong form, a surrogate, a
 * character cut short, beyond U+10FFFF) is not valid and reads as U+FFFD, once for the longest beginning of a
 * character that is there, as Python and Unicode's advice (section 3.9) have it. */
struct utf8 {
    uint32_t code;
    size_t length;
    bool valid;
};

/* The character that opens s; available: bytes, at least 1. */
struct utf8 utf8_read(const char *s, size_t available);

/* The code point at *text, which is not at its terminating zero; *text moves past it and never past the zero. */
uint32_t utf8_next(const char **text);

/* Writes one code point, unterminated, and returns its length. */
size_t utf8_write(uint32_t code, char out[4]);

#endif
