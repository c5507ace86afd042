#include "storydiff/page/letters.h"

#include <stdlib.h>
#include <string.h>

#include "storydiff/page/arabic.h"
#include "storydiff/page/bidi.h"
#include "tensor/utf8.h"

enum { SOFT_HYPHEN = 0xAD };

static bool in(uint32_t code, uint32_t first, uint32_t last)
{
    return code >= first && code <= last;
}

static bool is_one_of(uint32_t code, const char *set)
{
    while (*set != '\0')
        if (utf8_next(&set) == code)
            return true;
    return false;
}

/* Spaces where a line may end: not the no-break spaces 00A0, 2007, 202F. */
static bool is_space(uint32_t code)
{
    return code == ' ' || code == '\t' || code == '\r' || code == 0x3000 || code == 0x200B ||
           (in(code, 0x2000, 0x200A) && code != 0x2007);
}

bool letter_is_space(const struct letter *letter)
{
    return is_space(letter->code);
}

bool letter_is_soft_hyphen(const struct letter *letter)
{
    return letter->code == SOFT_HYPHEN;
}

/* Scripts written without spaces, one character a unit. Korean has spaces and is broken there. */
static bool is_ideograph(uint32_t code)
{
    return in(code, 0x2E80, 0x312F) || in(code, 0x3190, 0xA4CF) || in(code, 0xF900, 0xFAFF) ||
           in(code, 0xFE30, 0xFE4F) || in(code, 0xFF00, 0xFFEF) || in(code, 0x1F300, 0x1FAFF) ||
           in(code, 0x20000, 0x3FFFF);
}

static bool is_mark(uint32_t code)
{
    return bidi_is_mark(code) || (font_is_invisible(code) && code != '\n');
}

bool letter_is_mark(const struct letter *letter)
{
    return is_mark(letter->code);
}

/* Alphabets whose words are divided by hyphens: Latin, Greek, Cyrillic, Armenian, Georgian. */
static bool is_divided(uint32_t code)
{
    return in(code | 0x20, 'a', 'z') || (in(code, 0xC0, 0x24F) && code != 0xD7 && code != 0xF7) ||
           (in(code, 0x386, 0x556) && code != 0x387 && code != 0x3F6 && code != 0x482) || in(code, 0x561, 0x587) ||
           in(code, 0x10A0, 0x10FA) || in(code, 0x1C90, 0x1CBF) || in(code, 0x1E00, 0x1FFC);
}

/* How many letters of a word lie from `at` on in a direction, up to two. */
static int word_letters(const struct letters *l, int at, int step)
{
    int found = 0;
    for (; at >= 0 && at < l->count && found < 2; at += step) {
        if (is_mark(l->letter[at].code))
            continue;
        if (!is_divided(l->letter[at].code))
            break;
        found++;
    }
    return found;
}

bool letters_take_hyphen(const struct letters *l, int at)
{
    return !is_mark(l->letter[at].code) && word_letters(l, at, 1) == 2 && word_letters(l, at - 1, -1) == 2;
}

/* Whether a line may end between letters i - 1 and i. Spaces never begin a line: they end the one before. */
static bool can_break(const struct letters *l, int i)
{
    static const char never_first[] = "!%),.:;?]}'\"’”»…"
                                      "、。，．：；？！）」』】〉》〕］｝ー々・～ゝゞヽヾ"
                                      "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ،؛؟";
    static const char never_last[] = "([{“‘«「『【〈《〔（［｛";
    const uint32_t left = l->letter[i - 1].code, right = l->letter[i].code;
    if (is_space(right) || is_space(left))
        return !is_space(right);
    if (is_mark(right) || is_one_of(right, never_first) || is_one_of(left, never_last))
        return false;
    if (left == SOFT_HYPHEN)
        return true;
    if (is_one_of(left, "-‐–—")) /* not before a number's sign: "at -5" */
        return i >= 2 && !is_space(l->letter[i - 2].code) && l->letter[i - 2].code != '\n';
    return is_ideograph(left) || is_ideograph(right);
}

void letters_free(struct letters *l)
{
    free(l->letter);
    free(l->at);
    free(l->alone);
}

/* Kerning is by the order on the page, which is that of the text at even levels. */
static int64_t advance(const struct font *font, const struct letter *letter, const struct letter *next, int size)
{
    if (letter->glyph < 0)
        return 0;
    const bool kerned = next != NULL && next->glyph > 0 && next->level == letter->level && (letter->level & 1) == 0;
    return font_advance(font, letter->glyph, kerned ? next->glyph : 0, size);
}

/* shown: 0: nothing. A shape that the font has not is drawn as the letter itself. */
static int glyph_of(const struct font *font, uint32_t code, uint32_t shown, int level)
{
    if (shown == 0 || font_is_invisible(code))
        return -1;
    if (level & 1)
        shown = bidi_mirrored(shown);
    const int glyph = font_glyph(font, shown == '\t' ? ' ' : shown);
    return glyph != 0 || shown == code ? glyph : font_glyph(font, code);
}

/* One paragraph: letters first .. end - 1. codes: all of the text; shown, levels: room for as many. */
static status read_paragraph(const struct font *font, struct letters *l, int first, int end, const uint32_t *codes,
                             uint32_t *shown, uint8_t *levels, struct error *e)
{
    const int base = bidi_base(codes + first, end - first);
    if (first == 0)
        l->base = base;
    TRY(bidi_levels(codes + first, end - first, base, levels, e));
    arabic_join(codes + first, end - first, shown);
    for (int i = first; i < end; i++) {
        l->letter[i].level = levels[i - first];
        l->letter[i].glyph = glyph_of(font, codes[i], shown[i - first], levels[i - first]);
    }
    return OK;
}

/* codes: room for twice the text's letters; levels: for as many. */
static status read_letters(const struct font *font, struct letters *l, const char *text, uint32_t *codes,
                           uint8_t *levels, struct error *e)
{
    while (*text != '\0') {
        struct letter *letter = &l->letter[l->count];
        letter->text = text;
        codes[l->count++] = letter->code = utf8_next(&text);
    }
    l->letter[l->count] = (struct letter){.text = text, .glyph = -1};
    for (int first = 0, end; first < l->count; first = end) {
        for (end = first; end < l->count && codes[end] != '\n'; end++)
            ;
        end += end < l->count;
        TRY(read_paragraph(font, l, first, end, codes, codes + l->count, levels, e));
    }
    return OK;
}

static void measure(const struct font *font, struct letters *l, int size)
{
    for (int i = 0; i < l->count; i++) {
        l->letter[i].may_begin = i > 0 && can_break(l, i);
        l->alone[i] = advance(font, &l->letter[i], NULL, size);
        l->at[i + 1] = l->at[i] + advance(font, &l->letter[i], &l->letter[i + 1], size);
    }
}

status letters_new(const struct font *font, const char *text, int size, struct letters *l, struct error *e)
{
    const size_t most = strlen(text) + 1;
    *l = (struct letters){
        .letter = calloc(most, sizeof *l->letter),
        .at = calloc(most, sizeof *l->at),
        .alone = calloc(most, sizeof *l->alone),
    };
    uint32_t *codes = calloc(most, 2 * sizeof *codes);
    uint8_t *levels = calloc(most, 1);
    status s = OK;
    if (most > INT32_MAX || l->letter == NULL || l->at == NULL || l->alone == NULL || codes == NULL || levels == NULL)
        s = fail(e, ERR_MEMORY, "no memory for a caption of %zu bytes", most);
    if (s == OK)
        s = read_letters(font, l, text, codes, levels, e);
    if (s == OK)
        measure(font, l, size);
    else
        letters_free(l);
    free(codes);
    free(levels);
    return s;
}

int64_t letters_width(const struct letters *l, int first, int end)
{
    return end <= first ? 0 : l->at[end - 1] - l->at[first] + l->alone[end - 1];
}
