#include "storydiff/story/utf8.h"

uint32_t utf8_next(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    *text += 1;
    if (p[0] < 0x80)
        return p[0];
    int more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 : 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return UTF8_REPLACEMENT;
    uint32_t code = p[0] & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) { /* a terminating zero is no continuation byte and ends this */
        if ((p[i] & 0xC0) != 0x80)
            return UTF8_REPLACEMENT;
        code = code << 6 | (p[i] & 0x3Fu);
    }
    const uint32_t smallest[4] = {0, 0x80, 0x800, 0x10000};
    if (code < smallest[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return UTF8_REPLACEMENT;
    *text += more;
    return code;
}
