/* A caption as letters: what is drawn for each, where it stands in the order of reading, and where a line may end.
 * Used by lettering.c alone. */
#ifndef STORYDIFF_LETTERS_H
#define STORYDIFF_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "storydiff/page/font.h"
#include "tensor/status.h"

struct letter {
    const char *text; /* in the caption */
    uint32_t code;
    int glyph;      /* -1: invisible */
    uint8_t level;  /* bidi.h */
    bool may_begin; /* a line may end before this letter */
};

/* at[i] is where the pen would be before letter i were the text one line, so differences of it are widths; but a line's
 * last letter is not kerned for the next: alone[i] is its unkerned advance. In 1/64 pixel. */
struct letters {
    struct letter *letter; /* [count], and one at the end of the text */
    int64_t *at, *alone;
    int count;
    int base; /* level of the first paragraph */
};

/* text outlives the letters. The caller frees them. */
status letters_new(const struct font *font, const char *text, int size, struct letters *l, struct error *e);
void letters_free(struct letters *l);

/* Of the line of letters first .. end - 1, in 1/64 pixel. */
int64_t letters_width(const struct letters *l, int first, int end);

/* A blank where a line may end. */
bool letter_is_space(const struct letter *letter);

/* Combining marks and joiners stay with the letter before them. */
bool letter_is_mark(const struct letter *letter);

/* Whether a word that must be broken between letters at - 1 and at is broken with a hyphen: in alphabets that have it,
 * with two letters on either side. */
bool letters_take_hyphen(const struct letters *l, int at);

/* A hyphen that is there only if a line ends behind it: U+00AD. */
bool letter_is_soft_hyphen(const struct letter *letter);

#endif
