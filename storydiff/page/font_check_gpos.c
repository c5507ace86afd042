/* Kerning in GPOS, as far as stb_truetype walks it: OpenType 1.9, "GPOS", lookup type 2 (pair adjustment).
 *
 *   GPOS -> lookup list -> lookup -> subtable -> coverage: which left glyphs it is about, as a list or as ranges,
 *                                                          with an index for each
 *                                    format 1 -> per index, a list of right glyphs with their values
 *                                    format 2 -> class of the left, class of the right glyph -> a matrix of values
 *
 * Each arrow is a 16-bit offset from the table before it. Whatever an arrow leads to has to lie in the table. */
#include "storydiff/page/font_check.h"

static uint16_t u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* True if `count` things of `each` bytes lie in the table from `at` on. */
static bool holds(const struct font_table *t, size_t at, size_t count, size_t each)
{
    return at <= t->size && count * each <= t->size - at; /* 2^32 things of 6 bytes at most */
}

/* *most: one more than the largest index that the coverage gives to a glyph. */
static bool is_coverage(const struct font_table *t, size_t at, size_t *most)
{
    *most = 0;
    if (!holds(t, at, 1, 4))
        return false;
    const uint16_t format = u16(t->data + at), count = u16(t->data + at + 2);
    if (format == 1) {
        *most = count;
        return holds(t, at + 4, count, 2);
    }
    if (format != 2)
        return true; /* not read */
    if (!holds(t, at + 4, count, 6))
        return false;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *range = t->data + at + 4 + i * 6; /* first glyph, last glyph, index of the first */
        const size_t first = u16(range), last = u16(range + 2), end = u16(range + 4) + last + 1;
        if (last < first)
            return false;
        if (end - first > *most)
            *most = end - first;
    }
    return true;
}

static bool is_class_definition(const struct font_table *t, size_t at)
{
    if (!holds(t, at, 1, 6))
        return false;
    const uint16_t format = u16(t->data + at);
    if (format == 1)
        return holds(t, at + 6, u16(t->data + at + 4), 2);
    return format != 2 || holds(t, at + 4, u16(t->data + at + 2), 6);
}

static bool are_pair_sets(const struct font_table *t, size_t at, size_t covered)
{
    if (u16(t->data + at + 8) < covered || !holds(t, at + 10, covered, 2))
        return false;
    for (size_t i = 0; i < covered; i++) {
        const size_t set = at + u16(t->data + at + 10 + i * 2);
        if (!holds(t, set, 1, 2) || !holds(t, set + 2, u16(t->data + set), 4))
            return false;
    }
    return true;
}

static bool is_pair_adjustment(const struct font_table *t, size_t at)
{
    size_t covered;
    if (!holds(t, at, 1, 10) || !is_coverage(t, at + u16(t->data + at + 2), &covered))
        return false;
    const uint8_t *p = t->data + at;
    if (u16(p) == 1)
        return are_pair_sets(t, at, covered);
    if (u16(p) != 2 || u16(p + 4) != 4 || u16(p + 6) != 0) /* other kinds of values are not read */
        return true;
    return holds(t, at, 1, 16) && is_class_definition(t, at + u16(p + 8)) &&
           is_class_definition(t, at + u16(p + 10)) &&
           holds(t, at + 16, (size_t)u16(p + 12) * u16(p + 14), 2);
}

static bool is_lookup(const struct font_table *t, size_t at)
{
    enum { PAIR_ADJUSTMENT = 2 };
    if (!holds(t, at, 1, 6))
        return false;
    if (u16(t->data + at) != PAIR_ADJUSTMENT)
        return true;
    const size_t count = u16(t->data + at + 4);
    if (!holds(t, at + 6, count, 2))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!is_pair_adjustment(t, at + u16(t->data + at + 6 + i * 2)))
            return false;
    return true;
}

bool font_check_gpos(const struct font_tables *tables)
{
    const struct font_table *t = &tables->gpos;
    if (!holds(t, 0, 1, 10))
        return false;
    const size_t list = u16(t->data + 8);
    if (!holds(t, list, 1, 2) || !holds(t, list + 2, u16(t->data + list), 2))
        return false;
    for (size_t i = 0; i < u16(t->data + list); i++)
        if (!is_lookup(t, list + u16(t->data + list + 2 + i * 2)))
            return false;
    return true;
}
