/* HTML character references: OpenAI's CLIP unescapes its text twice before anything else, because its captions came
 * from web pages.
 *
 * A reference is "&#" digits, "&#x" hexadecimal digits or "&" up to 32 characters, each with or without a semicolon.
 * The surprise: some old names need no semicolon and are then taken even from the front of a longer word, so
 * "&notanentity;" begins with a not sign. Source: HTML 5, section 13.2.5.72; Python's html/__init__.py for what is
 * left undefined there. */
#include "sdxl/text/html.h"

#include <stdlib.h>
#include <string.h>

struct entity {
    const char *name; /* sorted by strcmp */
    uint32_t character;
    bool without_semicolon;
};

#include "sdxl/text/html_entities.h"

enum { LONGEST_NAME = 32, REPLACEMENT = 0xfffd, NOTHING = 0xffffffff };

static int compare_names(const void *name, const void *entity)
{
    return strcmp(name, ((const struct entity *)entity)->name);
}

static const struct entity *find_entity(const char *name)
{
    return bsearch(name, entities, sizeof entities / sizeof *entities, sizeof *entities, compare_names);
}

/* What a number stands for. Pages that say 128 to 159 mean Windows' code page; what no page may have is dropped. */
static uint32_t numbered(uint32_t n)
{
    static const uint16_t windows_1252[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160,
        0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e, 0x178,
    };
    if (n == 0 || n > 0x10ffff || (n >= 0xd800 && n <= 0xdfff))
        return REPLACEMENT;
    if (n >= 0x80 && n <= 0x9f)
        return windows_1252[n - 0x80];
    bool control = (n < 0x20 && n != '\t' && n != '\n' && n != '\f' && n != '\r') || n == 0x7f;
    bool no_character = (n >= 0xfdd0 && n <= 0xfdef) || (n & 0xfffe) == 0xfffe;
    return control || no_character ? NOTHING : n;
}

static int digit_value(uint32_t c, uint32_t base)
{
    if (c >= '0' && c <= '9')
        return (int)(c - '0');
    uint32_t lower = c | 0x20;
    return base == 16 && lower >= 'a' && lower <= 'f' ? (int)(lower - 'a' + 10) : -1;
}

/* Reads the reference whose '&' is at s[0]: the length of what it replaces, 0 if it is no reference. */
static size_t read_reference(const uint32_t *s, size_t length, uint32_t *character)
{
    if (length > 1 && s[1] == '#') {
        uint32_t base = length > 2 && (s[2] | 0x20) == 'x' ? 16 : 10, n = 0;
        size_t first = base == 16 ? 3 : 2, i = first;
        for (; i < length && digit_value(s[i], base) >= 0; i++)
            if (n <= 0x10ffff)
                n = n * base + (uint32_t)digit_value(s[i], base);
        if (i == first)
            return 0;
        *character = numbered(n);
        return i < length && s[i] == ';' ? i + 1 : i;
    }
    char name[LONGEST_NAME + 1]; /* all names are ASCII letters and digits */
    size_t n = 0;
    while (n < LONGEST_NAME && 1 + n < length && s[1 + n] < 0x80 &&
           (digit_value(s[1 + n], 10) >= 0 || ((s[1 + n] | 0x20) >= 'a' && (s[1 + n] | 0x20) <= 'z'))) {
        name[n] = (char)s[1 + n];
        n++;
    }
    name[n] = '\0';
    const struct entity *whole = find_entity(name);
    if (whole != NULL && 1 + n < length && s[1 + n] == ';') {
        *character = whole->character;
        return n + 2;
    }
    for (; n > 1; n--) {
        name[n] = '\0';
        const struct entity *front = find_entity(name);
        if (front != NULL && front->without_semicolon) {
            *character = front->character;
            return n + 1;
        }
    }
    return 0;
}

status html_unescape(const struct code_points *text, struct code_points *out, struct error *e)
{
    for (size_t i = 0; i < text->count;) {
        uint32_t character = text->data[i];
        size_t taken = character == '&' ? read_reference(text->data + i, text->count - i, &character) : 0;
        if (character != NOTHING)
            TRY(code_points_append(out, character, e));
        i += taken ? taken : 1;
    }
    return OK;
}
