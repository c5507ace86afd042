#include "tensor/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/utf8.h"

/* Room for `length` more bytes and the terminator. False from the first failure on: a text with a hole is no text. */
static bool text_reserve(struct text *t, size_t length)
{
    if (t->failed || length < t->capacity - t->length)
        return !t->failed;
    size_t needed = t->length + length + 1;
    size_t capacity = needed < 64 ? 64 : 2 * needed;
    char *data = length < SIZE_MAX / 4 && needed < SIZE_MAX / 4 ? realloc(t->data, capacity) : NULL;
    t->failed = data == NULL;
    if (t->failed)
        return false;
    t->data = data;
    t->capacity = capacity;
    return true;
}

void text_append_bytes(struct text *t, const char *bytes, size_t length)
{
    if (length == 0 || !text_reserve(t, length))
        return;
    memcpy(t->data + t->length, bytes, length);
    t->length += length;
    t->data[t->length] = '\0';
}

void text_append(struct text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length < 0)
        t->failed = true;
    else if (length > 0 && text_reserve(t, (size_t)length))
        t->length += (size_t)vsnprintf(t->data + t->length, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
}

void text_append_json_string(struct text *t, const char *utf8)
{
    text_append_bytes(t, "\"", 1);
    for (size_t left = strlen(utf8); left > 0;) {
        struct utf8 c = utf8_read(utf8, left);
        if (!c.valid)
            text_append(t, "\xef\xbf\xbd");
        else if (c.code == '"' || c.code == '\\')
            text_append(t, "\\%c", *utf8);
        else if (c.code < 0x20)
            text_append(t, "\\u%04x", (unsigned)c.code);
        else
            text_append_bytes(t, utf8, c.length);
        utf8 += c.length;
        left -= c.length;
    }
    text_append_bytes(t, "\"", 1);
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}
