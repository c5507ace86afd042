/* A small strict JSON reader (RFC 8259) for headers and configs.
 *
 * A document is parsed into one block of nodes that the caller frees with json_free. Values are looked up by walking:
 * json_get(object, "key"), json_at(array, i). Walking never fails: a missing value is NULL and every accessor accepts
 * NULL, so `json_int(json_get(json_get(root, "a"), "b"), 7)` is 7 unless the file says otherwise. Both look from the
 * first child on: whoever needs all children follows `child` and `next`, in the order of the file. */
#ifndef TENSOR_JSON_H
#define TENSOR_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"
#include "tensor/text.h"

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    const char *key;         /* the member's name if the parent is an object, else NULL; UTF-8, terminated */
    const char *string;      /* JSON_STRING: UTF-8, terminated (see string_length for strings with \u0000) */
    size_t string_length;
    double number;           /* JSON_NUMBER, the nearest double */
    int64_t integer;         /* JSON_NUMBER written without fraction and exponent, if it fits: is_integer */
    bool is_integer;
    size_t count;            /* JSON_ARRAY, JSON_OBJECT: number of children */
    const struct json *child, *next; /* first child; next sibling */
};

/* Parses text[0..length) completely; `text` need not be terminated, and may be freed afterwards. Strict: no comments,
 * no trailing commas, no duplicate keys, no bytes after the value, valid UTF-8 only, \u escapes with surrogate pairs
 * checked, nesting up to 64 levels, no leading zeros, no NaN, no number too large for a double, no \u0000 in keys, at
 * most 4 Mi values (80 bytes each). Takes O(length log length) time whatever the text, and gives the same in every
 * locale. On success *root is the document (free with json_free). On failure *root is NULL and the message has line,
 * column (in characters; both from 1) and byte offset (from 0): "name:LINE:COLUMN: offset N: what", where `name` says
 * which file it is. */
status json_parse(const char *name, const char *text, size_t length, const struct json **root, struct error *e);

/* The same for a whole file, with a limit of 64 MiB. */
status json_read(const char *path, const struct json **root, struct error *e);

void json_free(const struct json *root); /* NULL is fine */

const struct json *json_get(const struct json *object, const char *key); /* NULL if absent or not an object */
const struct json *json_at(const struct json *array, size_t index);      /* NULL if absent or not an array */

/* The value, or the fallback if it is absent, null or of another kind. 1.0 and 1e3 are no integers. */
int64_t json_int(const struct json *v, int64_t fallback);
double json_double(const struct json *v, double fallback);
bool json_bool(const struct json *v, bool fallback);
const char *json_string(const struct json *v, const char *fallback);

#endif
