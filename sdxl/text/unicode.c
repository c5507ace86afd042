/* Unicode for the tokenizer. Everything is a search in sorted tables; only Hangul is arithmetic.
 *
 * Normalisation form C: take every character apart (recursively), put the accents of each letter in canonical order,
 * then put letters and accents together again. "e" + U+0301 and U+00E9 become the same code point, so the same token.
 * The surprise: some characters are only ever taken apart (the composition exclusions), and a hostile run of accents
 * in the wrong order must not be sorted in quadratic time. */
#include "sdxl/text/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/utf8.h"

/* From `first` up to the next run's, all characters have this value. */
struct run {
    uint32_t first;
    uint8_t value;
};

/* first, first + step, .., last become lower case by adding delta. */
struct lower_range {
    uint32_t first, last;
    uint8_t step;
    int32_t delta;
};

/* A canonical mapping, one step deep; `second` is 0 if there is only one character. */
struct decomposition {
    uint32_t composite, first, second;
};

/* flag_runs, class_runs (canonical combining classes), lower_ranges, decompositions by composite, and compositions:
 * those decompositions that may be undone, ordered by first, then second. */
#include "sdxl/text/unicode_tables.h"

enum {
    CAPITAL_SIGMA = 0x3a3,
    SMALL_SIGMA = 0x3c3,
    FINAL_SIGMA = 0x3c2,
    CAPITAL_I_WITH_DOT = 0x130, /* the one character whose lower case is two: i and a dot above */
    DOT_ABOVE = 0x307,
};

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

status code_points_append(struct code_points *text, uint32_t c, struct error *e)
{
    if (text->count == text->capacity) {
        size_t capacity = text->capacity ? 2 * text->capacity : 64;
        uint32_t *grown = realloc(text->data, capacity * sizeof *grown);
        if (grown == NULL)
            return fail(e, ERR_MEMORY, "no memory for a text of %zu characters", capacity);
        text->data = grown;
        text->capacity = capacity;
    }
    text->data[text->count++] = c;
    return OK;
}

void code_points_free(struct code_points *text)
{
    free(text->data);
    *text = (struct code_points){0};
}

status unicode_decode(const char *utf8, size_t length, struct code_points *out, struct error *e)
{
    for (size_t i = 0; i < length;) {
        struct utf8 c = utf8_read(utf8 + i, length - i);
        TRY(code_points_append(out, c.code, e));
        i += c.length;
    }
    return OK;
}

/* The value of the last run that begins at or before c. */
static uint8_t run_value(const struct run *runs, size_t count, uint32_t c)
{
    size_t low = 0, high = count; /* runs[low].first <= c < runs[high].first */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (runs[middle].first <= c)
            low = middle;
        else
            high = middle;
    }
    return runs[low].value;
}

unsigned unicode_flags(uint32_t c)
{
    return c > 0x10ffff ? UNICODE_CONTROL : run_value(flag_runs, LENGTH(flag_runs), c);
}

static uint8_t combining_class(uint32_t c)
{
    return run_value(class_runs, LENGTH(class_runs), c);
}

bool unicode_is_ideograph(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static uint32_t simple_lower(uint32_t c)
{
    size_t low = 0, high = LENGTH(lower_ranges);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct lower_range *r = &lower_ranges[middle];
        if (c < r->first)
            high = middle;
        else if (c > r->last)
            low = middle + 1;
        else
            return (c - r->first) % r->step == 0 ? (uint32_t)((int32_t)c + r->delta) : c;
    }
    return c;
}

/* Sigma is final after a cased letter and not before one, looking through case-ignorable characters both ways. */
static bool sigma_is_final(const struct code_points *text, size_t at)
{
    size_t i = at;
    while (i > 0 && unicode_flags(text->data[i - 1]) & UNICODE_CASE_IGNORABLE)
        i--;
    if (i == 0 || !(unicode_flags(text->data[i - 1]) & UNICODE_CASED))
        return false;
    i = at + 1;
    while (i < text->count && unicode_flags(text->data[i]) & UNICODE_CASE_IGNORABLE)
        i++;
    return i == text->count || !(unicode_flags(text->data[i]) & UNICODE_CASED);
}

status unicode_lower(const struct code_points *text, struct code_points *out, struct error *e)
{
    for (size_t i = 0; i < text->count; i++) {
        uint32_t c = text->data[i];
        if (c == CAPITAL_I_WITH_DOT) {
            TRY(code_points_append(out, 'i', e));
            TRY(code_points_append(out, DOT_ABOVE, e));
        } else if (c == CAPITAL_SIGMA) {
            TRY(code_points_append(out, sigma_is_final(text, i) ? FINAL_SIGMA : SMALL_SIGMA, e));
        } else {
            TRY(code_points_append(out, simple_lower(c), e));
        }
    }
    return OK;
}

/* Hangul syllables are numbered: leading consonant (19), vowel (21), trailing consonant (28, the first is none). */
enum {
    HANGUL_BASE = 0xac00,
    LEAD_BASE = 0x1100,
    VOWEL_BASE = 0x1161,
    TRAIL_BASE = 0x11a7,
    LEADS = 19,
    VOWELS = 21,
    TRAILS = 28,
    SYLLABLES = LEADS * VOWELS * TRAILS,
};

static status decompose(uint32_t c, struct code_points *out, struct error *e)
{
    if (c >= HANGUL_BASE && c < HANGUL_BASE + SYLLABLES) {
        uint32_t index = c - HANGUL_BASE, trail = index % TRAILS;
        TRY(code_points_append(out, LEAD_BASE + index / (VOWELS * TRAILS), e));
        TRY(code_points_append(out, VOWEL_BASE + index / TRAILS % VOWELS, e));
        return trail ? code_points_append(out, TRAIL_BASE + trail, e) : OK;
    }
    size_t low = 0, high = LENGTH(decompositions);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct decomposition *d = &decompositions[middle];
        if (d->composite < c) {
            low = middle + 1;
        } else if (d->composite > c) {
            high = middle;
        } else {
            TRY(decompose(d->first, out, e));
            return d->second ? decompose(d->second, out, e) : OK;
        }
    }
    return code_points_append(out, c, e);
}

/* The character that `first` and `second` make together, or 0. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    if (first >= LEAD_BASE && first < LEAD_BASE + LEADS && second >= VOWEL_BASE && second < VOWEL_BASE + VOWELS)
        return HANGUL_BASE + ((first - LEAD_BASE) * VOWELS + (second - VOWEL_BASE)) * TRAILS;
    if (first >= HANGUL_BASE && first < HANGUL_BASE + SYLLABLES && (first - HANGUL_BASE) % TRAILS == 0 &&
        second > TRAIL_BASE && second < TRAIL_BASE + TRAILS)
        return first + second - TRAIL_BASE;
    size_t low = 0, high = LENGTH(compositions);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct decomposition *d = &decompositions[compositions[middle]];
        if (d->first < first || (d->first == first && d->second < second))
            low = middle + 1;
        else if (d->first == first && d->second == second)
            return d->composite;
        else
            high = middle;
    }
    return 0;
}

/* Sorts marks[0..count) by combining class, keeping the order of equal ones: counting, as there are 256 classes. */
static status order_marks(uint32_t *marks, size_t count, struct error *e)
{
    bool ordered = true;
    for (size_t i = 1; i < count && ordered; i++)
        ordered = combining_class(marks[i - 1]) <= combining_class(marks[i]);
    if (ordered)
        return OK;
    uint32_t *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL)
        return fail(e, ERR_MEMORY, "no memory to sort %zu combining characters", count);
    size_t place[256 + 1] = {0}; /* place[k]: where the next mark of class k goes */
    for (size_t i = 0; i < count; i++)
        place[combining_class(marks[i]) + 1]++;
    for (size_t k = 1; k <= 256; k++)
        place[k] += place[k - 1];
    for (size_t i = 0; i < count; i++)
        sorted[place[combining_class(marks[i])]++] = marks[i];
    memcpy(marks, sorted, count * sizeof *sorted);
    free(sorted);
    return OK;
}

/* Puts together in place. A mark joins its starter (the last character of class 0) unless something between them
 * has the same or a higher class, or is a starter itself. */
static size_t compose_all(uint32_t *text, size_t count)
{
    size_t length = 0, starter = SIZE_MAX;
    uint8_t last_class = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t c = text[i];
        uint8_t class = combining_class(c);
        if (starter != SIZE_MAX && (length == starter + 1 || last_class < class)) {
            uint32_t composite = compose(text[starter], c);
            if (composite != 0) {
                text[starter] = composite;
                continue;
            }
        }
        if (class == 0)
            starter = length;
        last_class = class;
        text[length++] = c;
    }
    return length;
}

status unicode_nfc(const struct code_points *text, struct code_points *out, struct error *e)
{
    size_t begin = out->count;
    for (size_t i = 0; i < text->count; i++)
        TRY(decompose(text->data[i], out, e));
    for (size_t i = begin; i < out->count;) {
        size_t marks = i;
        while (i < out->count && combining_class(out->data[i]) != 0)
            i++;
        if (i - marks > 1)
            TRY(order_marks(out->data + marks, i - marks, e));
        else if (i == marks)
            i++;
    }
    if (out->count > begin)
        out->count = begin + compose_all(out->data + begin, out->count - begin);
    return OK;
}
