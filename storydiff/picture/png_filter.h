/* PNG's five row filters (ISO/IEC 15948, 9.2): a prediction of each byte from its neighbours is subtracted.
 *
 *      c b      c: up left    b: above      none 0,  sub a,  up b,  average (a + b) / 2,
 *      a x      a: left       x: this one   paeth: the one of a, b, c that is nearest to a + b - c
 *
 * "Left" is the same channel of the pixel to the left: `bpp` bytes back. Beyond the edge all are 0. Arithmetic is
 * modulo 256, except the average's sum, which has 9 bits: that is the surprise. */
#ifndef STORYDIFF_PNG_FILTER_H
#define STORYDIFF_PNG_FILTER_H

#include <stddef.h>
#include <stdint.h>

enum png_filter { PNG_NONE, PNG_SUB, PNG_UP, PNG_AVERAGE, PNG_PAETH, PNG_FILTERS };

/* out = row - prediction; `above` is the row before, or zeros for the first. Each has `size` bytes. */
void png_filter_apply(enum png_filter filter, const uint8_t *row, const uint8_t *above, size_t size, size_t bpp,
                      uint8_t *out);

/* row += prediction, in place; `above` is already restored. */
void png_filter_undo(enum png_filter filter, uint8_t *row, const uint8_t *above, size_t size, size_t bpp);

#endif
