#include "tensor/utf8.h"

#include <string.h>

/* What may follow a first byte: how many bytes, and the range of the first of them, which rules out overlong forms,
 * surrogates and what lies beyond U+10FFFF. */
struct form {
    unsigned char first, last, more, low, high;
};
static const struct form forms[] = {
    {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf}, {0xe1, 0xec, 2, 0x80, 0xbf},
    {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf}, {0xf0, 0xf0, 3, 0x90, 0xbf},
    {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
};

struct utf8 utf8_read(const char *text, size_t available)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return (struct utf8){s[0], 1, true};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        const struct form *form = &forms[f];
        if (s[0] < form->first || s[0] > form->last)
            continue;
        uint32_t code = s[0] & (0x3fu >> form->more);
        unsigned char low = form->low, high = form->high;
        for (size_t i = 1; i <= form->more; i++) {
            if (i == available || s[i] < low || s[i] > high)
                return (struct utf8){UTF8_REPLACEMENT, i, false};
            code = code << 6 | (s[i] & 0x3f);
            low = 0x80;
            high = 0xbf;
        }
        return (struct utf8){code, (size_t)form->more + 1, true};
    }
    return (struct utf8){UTF8_REPLACEMENT, 1, false};
}

uint32_t utf8_next(const char **text)
{
    struct utf8 c = utf8_read(*text, strnlen(*text, 4));
    *text += c.length;
    return c.code;
}

size_t utf8_write(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[more] | code);
    return more + 1;
}
