/* The order of letters where scripts written from right to left (Hebrew, Arabic) meet others: Unicode's bidirectional
 * algorithm, UAX 9 of Unicode 15.
 *
 *   level   of a character: even is read left to right, odd right to left. A Hebrew word in an English sentence has
 *           level 1, a number in that word level 2
 *   order   of a line on the page: every stretch of a level and those above it is turned around, the highest first
 *
 *   text    he said  S H A L O M !          levels  0 0 0 0 0 0 0 0  1 1 1 1 1 1  0
 *   page    he said  M O L A H S !
 *
 * All rules but X1 to X8: the invisible characters that open and close embeddings, overrides and isolates are skipped,
 * not obeyed, which leaves what people type into captions. */
#ifndef STORYDIFF_BIDI_H
#define STORYDIFF_BIDI_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/status.h"

/* The level of a paragraph: 1 if the first of its letters that has a direction is read right to left, else 0. */
int bidi_base(const uint32_t *codes, int count);

/* The level of each character of a paragraph: rules W1 to I2, and L1 for tabs and the blanks at its end. */
status bidi_levels(const uint32_t *codes, int count, int base, uint8_t *levels, struct error *e);

/* order[i] is the index of the character that stands i-th from the left of a line: rules L2 and L3, so a mark stands
 * after the letter that carries it, to be drawn over it. codes, levels: [count] of that line. */
void bidi_order(const uint32_t *codes, const uint8_t *levels, int count, int *order);

/* What is drawn for a character at an odd level: ) for (. Most are their own mirror. Rule L4. */
uint32_t bidi_mirrored(uint32_t code);

/* Marks that combine with the letter before them: those of UAX 9's class NSM in scripts that are not Indic. */
bool bidi_is_mark(uint32_t code);

#endif
