/* As much of Unicode 14 as CLIP's tokenizer looks at: UTF-8, a few categories, lower case, normalisation form C.
 *
 * Text is worked on as an array of code points. The tables are Python's (tools/make_unicode_tables.py), because ids
 * must not depend on whose idea of a letter is newer. */
#ifndef SDXL_UNICODE_H
#define SDXL_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

/* A growing array. Zeroed is empty. The owner frees it. */
struct code_points {
    uint32_t *data;
    size_t count, capacity;
};

status code_points_append(struct code_points *text, uint32_t c, struct error *e);
void code_points_free(struct code_points *text); /* and leaves it empty */

/* Appends `length` bytes of UTF-8. What is not UTF-8 becomes U+FFFD (tensor/utf8.h). */
status unicode_decode(const char *utf8, size_t length, struct code_points *out, struct error *e);

enum unicode_flag {
    UNICODE_LETTER = 1,          /* category L* */
    UNICODE_NUMBER = 2,          /* N* */
    UNICODE_CONTROL = 4,         /* C*: control, format, private use, and also everything unassigned in Unicode 14 */
    UNICODE_SPACE = 8,           /* White_Space: what \s matches; tab, line feed and their like are CONTROL too */
    UNICODE_CASED = 16,          /* before a final sigma, and not case-ignorable */
    UNICODE_CASE_IGNORABLE = 32, /* looked through when searching for one */
};

/* The flags of a code point, or'ed; UNICODE_CONTROL beyond U+10FFFF. */
unsigned unicode_flags(uint32_t c);

/* A CJK ideograph in the sense of BERT's and CLIP's tokenizers: some blocks, kana and hangul not among them. */
bool unicode_is_ideograph(uint32_t c);

/* Append the lower case (Python's str.lower, with U+0130 and the final sigma) or the normalisation form C (Unicode
 * Standard Annex 15) of the whole of `text`. `out` must be another array. They fail for want of memory only. */
status unicode_lower(const struct code_points *text, struct code_points *out, struct error *e);
status unicode_nfc(const struct code_points *text, struct code_points *out, struct error *e);

#endif
