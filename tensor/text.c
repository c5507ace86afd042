#include "tensor/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    const unsigned char *s = (const unsigned char *)utf8;
    size_t left = strlen(utf8);
    text_append_bytes(t, "\"", 1);
    while (left > 0) {
        size_t bytes = utf8_length(s, left);
        if (bytes == 0)
            text_append(t, "\xef\xbf\xbd");
        else if (*s == '"' || *s == '\\')
            text_append(t, "\\%c", *s);
        else if (*s < 0x20)
            text_append(t, "\\u%04x", *s);
        else
            text_append_bytes(t, (const char *)s, bytes);
        size_t step = bytes == 0 ? 1 : bytes;
        s += step;
        left -= step;
    }
    text_append_bytes(t, "\"", 1);
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

size_t utf8_length(const unsigned char *s, size_t available)
{
    unsigned char first = s[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (available < length)
        return 0;
    unsigned char lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < lowest || s[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}
