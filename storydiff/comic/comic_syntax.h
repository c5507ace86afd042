/* Prompts are carried from program to program, and each has a syntax of its own. What is understood here is in
 * sdxl/text/prompt_weights.h and loras.h; of the rest, which the text encoders read as words, it is said. */
#ifndef STORYDIFF_COMIC_SYNTAX_H
#define STORYDIFF_COMIC_SYNTAX_H

#include "storydiff/comic/comic.h"

/* Appends a line for each kind of foreign syntax in what the person has written for panels and negative prompt, with
 * the first such text. */
void comic_note_syntax(const struct comic *c, struct text *notes);

#endif
