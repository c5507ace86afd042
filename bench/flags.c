#include "bench/flags.h"

#include <stdlib.h>

bool parse_number(const char *text, int most, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < 1 || value > most)
        return false;
    *out = (int)value;
    return true;
}

bool parse_sizes(const char *text, int64_t px[MOST_SIZES], int *count)
{
    for (*count = 0; *count < MOST_SIZES; text++) {
        char *end;
        long size = strtol(text, &end, 10);
        if (end == text || size < 64 || size > 4096 || size % 32 != 0)
            return false;
        px[(*count)++] = size;
        text = end;
        if (*text != ',')
            return *text == '\0';
    }
    return false;
}
