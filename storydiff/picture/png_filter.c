#include "storydiff/picture/png_filter.h"

#include <stdlib.h>

static int paeth(int a, int b, int c)
{
    int to_a = abs(b - c), to_b = abs(a - c), to_c = abs(a + b - 2 * c);
    if (to_a <= to_b && to_a <= to_c)
        return a;
    return to_b <= to_c ? b : c;
}

static int predict(enum png_filter filter, const uint8_t *row, const uint8_t *above, size_t i, size_t bpp)
{
    int a = i < bpp ? 0 : row[i - bpp], b = above[i], c = i < bpp ? 0 : above[i - bpp];
    switch (filter) {
    case PNG_SUB:
        return a;
    case PNG_UP:
        return b;
    case PNG_AVERAGE:
        return (a + b) / 2;
    case PNG_PAETH:
        return paeth(a, b, c);
    default:
        return 0;
    }
}

void png_filter_apply(enum png_filter filter, const uint8_t *row, const uint8_t *above, size_t size, size_t bpp,
                      uint8_t *out)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(row[i] - predict(filter, row, above, i, bpp));
}

void png_filter_undo(enum png_filter filter, uint8_t *row, const uint8_t *above, size_t size, size_t bpp)
{
    for (size_t i = 0; i < size; i++)
        row[i] = (uint8_t)(row[i] + predict(filter, row, above, i, bpp));
}
