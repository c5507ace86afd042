/* Arabic letters join: each has up to four shapes, alone, at the end, at the beginning and within a word.
 *
 *   typed    U+0628 U+0628 U+0628   three times beh
 *   drawn    U+FE91 U+FE92 U+FE90   its initial, medial and final shape
 *
 * Fonts choose shapes by programs in their table GSUB, which are not run here. But Unicode has the shapes of Arabic,
 * Persian and Urdu as code points of their own (Arabic Presentation Forms, U+FB50 .. U+FEFC), and most fonts with
 * Arabic letters show them. So does the pair of lam and alef, which is one shape. */
#ifndef STORYDIFF_ARABIC_H
#define STORYDIFF_ARABIC_H

#include <stdint.h>

/* A letter's shape when it stands alone, 0 if it has no shapes: whether a font can join letters. */
uint32_t arabic_isolated(uint32_t code);

/* shown[i] <- what is drawn for codes[i]: its shape if it has any, else itself; 0 for an alef that stands in the shape
 * of the lam before it. Marks lie between letters, and do not keep them apart; U+200C does. */
void arabic_join(const uint32_t *codes, int count, uint32_t *shown);

#endif
