/* What reading and writing safetensors files share. Private to tensor/safetensors*.c. */
#ifndef TENSOR_SAFETENSORS_FORMAT_H
#define TENSOR_SAFETENSORS_FORMAT_H

#include <string.h>

#include "tensor/safetensors.h"

enum { SAFETENSORS_LENGTH_BYTES = 8, SAFETENSORS_HEADER_MAX = 100000000, SAFETENSORS_ALIGNMENT = 64 };

#define SAFETENSORS_METADATA "__metadata__"

/* Names end up in messages and on terminals: no line breaks, no escape sequences. */
static inline bool safetensors_name_ok(const char *name)
{
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return false;
    return true;
}

static inline size_t safetensors_align(size_t size)
{
    return (size + SAFETENSORS_ALIGNMENT - 1) / SAFETENSORS_ALIGNMENT * SAFETENSORS_ALIGNMENT;
}

/* For qsort over strings. */
static inline int safetensors_compare_strings(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

#endif
