/* Kerning in fonts (OpenType 1.9, "GPOS", "kern"):
 *
 *   GPOS -> features named 'kern' -> lookup of pairs -> subtable -> coverage: index of a left glyph
 *                                                       format 1 -> per index, a list of right glyphs with their values
 *                                                       format 2 -> class of left, class of right -> matrix of values
 *   kern -> subtable of pairs -> left, right, value
 *
 * Each arrow is an offset from the table before it. They are followed for one pair of glyphs at a time by reads that
 * give zero outside of the table: so nothing has to be checked beforehand, and damage costs the kerning and no more. A
 * font's scripts are not told apart: the first lookup that knows the pair is believed. */
#include "storydiff/page/font_kern.h"

enum {
    PAIR = 2,
    EXTENSION = 9,
    X_ADVANCE = 4,
    STEPS_MOST = 10000, /* lookups and subtables looked at for a pair: tables may lead in circles, or nearly */
};

static uint32_t number(const struct font_table *t, size_t at, size_t bytes)
{
    uint32_t value = 0;
    if (t->data == NULL || at > t->size || bytes > t->size - at)
        return 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | t->data[at + i];
    return value;
}

static uint16_t u16(const struct font_table *t, size_t at)
{
    return (uint16_t)number(t, at, 2);
}

/* Of `count` records in the order of the key that each begins with, the last whose key is not above ours: where it is.
 * 0 if there is none. */
static size_t find(const struct font_table *t, size_t at, size_t count, size_t record, uint32_t key, size_t key_bytes)
{
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (number(t, at + middle * record, key_bytes) <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? at + (low - 1) * record : 0;
}

/* Of a sorted list of ranges (first, last, value): where ours is. 0 if in none. */
static size_t find_range(const struct font_table *t, size_t at, size_t count, int glyph)
{
    const size_t range = find(t, at, count, 6, (uint32_t)glyph, 2);
    return range != 0 && glyph <= u16(t, range + 2) ? range : 0;
}

static int coverage_index(const struct font_table *t, size_t at, int glyph)
{
    const size_t count = u16(t, at + 2), first = at + 4;
    size_t found = 0;
    if (u16(t, at) == 1)
        found = find(t, first, count, 2, (uint32_t)glyph, 2);
    if (found != 0)
        return u16(t, found) == glyph ? (int)((found - first) / 2) : -1;
    if (u16(t, at) == 2)
        found = find_range(t, first, count, glyph);
    return found != 0 ? u16(t, found + 4) + glyph - u16(t, found) : -1;
}

static size_t class_of(const struct font_table *t, size_t at, int glyph)
{
    if (u16(t, at) == 1) {
        const int index = glyph - u16(t, at + 2);
        return index >= 0 && index < u16(t, at + 4) ? u16(t, at + 6 + (size_t)index * 2) : 0;
    }
    const size_t range = u16(t, at) == 2 ? find_range(t, at + 4, u16(t, at + 2), glyph) : 0;
    return range != 0 ? u16(t, range + 4) : 0;
}

/* A value is a 16-bit number for each bit of its format, in their order. */
static size_t numbers(unsigned format)
{
    return (size_t)__builtin_popcount(format);
}

/* False if the subtable says nothing about the pair. */
static bool pair_value(const struct font_table *t, size_t at, int left, int right, int *value)
{
    const unsigned format = u16(t, at + 4);
    const size_t size = 2 * (numbers(format) + numbers(u16(t, at + 6)));
    const size_t advance = 2 * numbers(format & (X_ADVANCE - 1));
    const int index = coverage_index(t, at + u16(t, at + 2), left);
    size_t found = 0;
    if (index < 0)
        return false;
    if (u16(t, at) == 1 && index < u16(t, at + 8)) {
        const size_t set = at + u16(t, at + 10 + (size_t)index * 2);
        found = find(t, set + 2, u16(t, set), 2 + size, (uint32_t)right, 2);
        found = found != 0 && u16(t, found) == right ? found + 2 : 0;
    } else if (u16(t, at) == 2) {
        const size_t row = class_of(t, at + u16(t, at + 8), left), column = class_of(t, at + u16(t, at + 10), right);
        const size_t columns = u16(t, at + 14);
        found = row < u16(t, at + 12) && column < columns ? at + 16 + (row * columns + column) * size : 0;
    }
    *value = found != 0 && (format & X_ADVANCE) != 0 ? (int16_t)u16(t, found + advance) : 0;
    return found != 0;
}

static bool lookup_value(const struct font_table *t, size_t lookup, int left, int right, int *steps, int *value)
{
    for (size_t i = 0; i < u16(t, lookup + 4) && ++*steps < STEPS_MOST; i++) {
        size_t at = lookup + u16(t, lookup + 6 + i * 2), type = u16(t, lookup);
        if (type == EXTENSION) {
            type = u16(t, at + 2);
            at += number(t, at + 4, 4);
        }
        if (type == PAIR && pair_value(t, at, left, right, value))
            return true;
    }
    return false;
}

/* False if GPOS has no feature 'kern'. */
static bool in_gpos(const struct font_table *t, int left, int right, int *value)
{
    const size_t features = u16(t, 6), lookups = u16(t, 8);
    bool any = false;
    int steps = 0;
    for (size_t i = 0; i < u16(t, features); i++) {
        const size_t record = features + 2 + i * 6, feature = features + u16(t, record + 4);
        if (number(t, record, 4) != 0x6B65726E) /* kern */
            continue;
        any = true;
        for (size_t k = 0; k < u16(t, feature + 2) && ++steps < STEPS_MOST; k++) {
            const size_t index = u16(t, feature + 4 + k * 2);
            if (index < u16(t, lookups) &&
                lookup_value(t, lookups + u16(t, lookups + 2 + index * 2), left, right, &steps, value))
                return true;
        }
    }
    return any;
}

/* version 2, count 2, then subtables: version 2, length 2, coverage 2 (1: horizontal, of sorted pairs), pairs 2, three
 * search constants, then left 2, right 2, value 2 per pair. Only the first is read: its length overflows in large
 * fonts. */
static int in_kern(const struct font_table *t, int left, int right)
{
    const uint32_t key = (uint32_t)left << 16 | (uint32_t)right;
    if (u16(t, 0) != 0 || u16(t, 2) < 1 || u16(t, 8) != 1)
        return 0;
    const size_t pair = find(t, 18, u16(t, 10), 6, key, 4);
    return pair != 0 && number(t, pair, 4) == key ? (int16_t)u16(t, pair + 4) : 0;
}

int font_kerning(const struct font_tables *tables, int left, int right)
{
    int value = 0;
    return in_gpos(&tables->gpos, left, right, &value) ? value : in_kern(&tables->kern, left, right);
}
