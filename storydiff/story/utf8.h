/* UTF-8, one code point at a time (RFC 3629): lettering walks the caller's own text and keeps pointers into it. */
#ifndef STORYDIFF_UTF8_H
#define STORYDIFF_UTF8_H

#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xFFFD };

/* The code point at *text, which must not be at the end; *text moves past it. What is not UTF-8 (a stray
 * byte, an overlong form, a surrogate, a cut sequence) reads as U+FFFD, one byte at a time; it never reads beyond
 * the terminating zero. */
uint32_t utf8_next(const char **text);

#endif
