/* A growing text: what is printed, and what is written as JSON. */
#ifndef TENSOR_TEXT_H
#define TENSOR_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Append-only, always terminated, starts as {0}. After a failed
 * allocation it stays as it was, whatever is appended, and `failed` is set: check once at the end. Free with
 * text_free, which leaves {0}. */
struct text {
    char *data; /* NULL while empty */
    size_t length, capacity;
    bool failed;
};
void text_append(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_append_bytes(struct text *t, const char *bytes, size_t length);
void text_free(struct text *t);

/* Appends a JSON string with its quotes and escapes. What is not UTF-8 becomes U+FFFD (tensor/utf8.h): what is written
 * can always be read again. */
void text_append_json_string(struct text *t, const char *utf8);

#endif
