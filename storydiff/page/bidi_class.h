/* What a character does to the direction of a text: the property Bidi_Class. */
#ifndef STORYDIFF_BIDI_CLASS_H
#define STORYDIFF_BIDI_CLASS_H

#include <stdint.h>

enum bidi_class {
    L, R, AL,           /* letters: left to right, right to left, Arabic */
    EN, ES, ET, AN, CS, /* numbers: European, their signs and what stands beside them, Arabic, separators */
    NSM,                /* marks */
    BN,                 /* invisible: rules skip them */
    B, S, WS, ON,       /* ends of paragraphs, tabs, blanks, all others */
};

enum bidi_class bidi_class_of(uint32_t code);

#endif
