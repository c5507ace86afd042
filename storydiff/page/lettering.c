#include "storydiff/page/lettering.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/utf8.h"

struct letter {
    const char *text;
    uint32_t code;
    int glyph;      /* -1: invisible */
    bool may_begin; /* a line may end before this letter */
};

/* A text as letters. at[i] is where the pen would be before letter i were the text one line, so differences of it are
 * widths; but a line's last letter is not kerned for the next: alone[i] is its unkerned advance. In 1/64 pixel. */
struct letters {
    struct letter *letter;
    int64_t *at, *alone;
    int count;
};

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

/* Scripts written without spaces, one character a unit. Korean has spaces and is broken there. */
static bool is_ideograph(uint32_t code)
{
    return in(code, 0x2E80, 0x312F) || in(code, 0x3190, 0xA4CF) || in(code, 0xF900, 0xFAFF) ||
           in(code, 0xFE30, 0xFE4F) || in(code, 0xFF00, 0xFFEF) || in(code, 0x1F300, 0x1FAFF) ||
           in(code, 0x20000, 0x3FFFF);
}

/* Combining marks and joiners stay with the letter before them. */
static bool is_mark(uint32_t code)
{
    return in(code, 0x0300, 0x036F) || in(code, 0x1AB0, 0x1AFF) || in(code, 0x1DC0, 0x1DFF) ||
           in(code, 0x20D0, 0x20FF) || in(code, 0xFE20, 0xFE2F) || (font_is_invisible(code) && code != '\n');
}

/* Whether a line may end between letters i - 1 and i. Spaces never begin a line: they end the one before. */
static bool can_break(const struct letters *l, int i)
{
    static const char never_first[] = "!%),.:;?]}'\"’”»…、。，．：；？！）」』】〉》〕］｝ー々・～ゝゞヽヾ"
                                      "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ";
    static const char never_last[] = "([{“‘«「『【〈《〔（［｛";
    const uint32_t left = l->letter[i - 1].code, right = l->letter[i].code;
    if (is_space(right) || is_space(left))
        return !is_space(right);
    if (is_mark(right) || is_one_of(right, never_first) || is_one_of(left, never_last))
        return false;
    if (is_one_of(left, "-‐–—")) /* not before a number's sign: "at -5" */
        return i >= 2 && !is_space(l->letter[i - 2].code) && l->letter[i - 2].code != '\n';
    return is_ideograph(left) || is_ideograph(right);
}

static void letters_free(struct letters *l)
{
    free(l->letter);
    free(l->at);
    free(l->alone);
}

static int64_t advance(const struct font *font, const struct letter *letter, const struct letter *next, int size)
{
    if (letter->glyph < 0)
        return 0;
    return font_advance(font, letter->glyph, next != NULL && next->glyph > 0 ? next->glyph : 0, size);
}

static struct letter read_letter(const struct font *font, const char **text)
{
    struct letter letter = {.text = *text, .code = utf8_next(text)};
    const uint32_t shown = letter.code == '\t' ? ' ' : letter.code;
    letter.glyph = font_is_invisible(shown) ? -1 : font_glyph(font, shown);
    return letter;
}

static status letters_new(const struct font *font, const char *text, int size, struct letters *l, struct error *e)
{
    const size_t most = strlen(text) + 1;
    *l = (struct letters){
        .letter = calloc(most, sizeof *l->letter),
        .at = calloc(most, sizeof *l->at),
        .alone = calloc(most, sizeof *l->alone),
    };
    if (most > INT32_MAX || l->letter == NULL || l->at == NULL || l->alone == NULL) {
        letters_free(l);
        return fail(e, ERR_MEMORY, "no memory for a caption of %zu bytes", most);
    }
    while (*text != '\0')
        l->letter[l->count++] = read_letter(font, &text);
    l->letter[l->count] = (struct letter){.text = text, .glyph = -1};
    for (int i = 0; i < l->count; i++) {
        l->letter[i].may_begin = i > 0 && can_break(l, i);
        l->alone[i] = advance(font, &l->letter[i], NULL, size);
        l->at[i + 1] = l->at[i] + advance(font, &l->letter[i], &l->letter[i + 1], size);
    }
    return OK;
}

/* Width of the line of letters first .. end - 1, in 1/64 pixel. */
static int64_t width_of(const struct letters *l, int first, int end)
{
    return end <= first ? 0 : l->at[end - 1] - l->at[first] + l->alone[end - 1];
}

static int pixels(int64_t units)
{
    return (int)((units + FONT_UNITS - 1) / FONT_UNITS);
}

/* One line: letters first .. end - 1 are shown, the next line begins at `next`. */
struct span {
    int first, end, next;
    bool forced; /* within a word */
};

static int without_spaces(const struct letters *l, int first, int end)
{
    while (end > first && is_space(l->letter[end - 1].code))
        end--;
    return end;
}

static struct span next_line(const struct letters *l, int first, int64_t width)
{
    int stop = -1; /* the last place where the line may end: the next line's first letter */
    for (int i = first; i < l->count; i++) {
        const uint32_t code = l->letter[i].code;
        if (code == '\n')
            return (struct span){first, without_spaces(l, first, i), i + 1, false};
        if (is_space(code))
            continue;
        if (i > first && l->letter[i].may_begin)
            stop = i;
        if (i == first || width_of(l, first, i + 1) <= width)
            continue;
        if (stop > 0)
            return (struct span){first, without_spaces(l, first, stop), stop, false};
        int end = i;
        while (end > first + 1 && is_mark(l->letter[end].code))
            end--;
        return (struct span){first, end, end, true};
    }
    return (struct span){first, without_spaces(l, first, l->count), l->count, false};
}

static int skip_spaces(const struct letters *l, int i)
{
    while (i < l->count && is_space(l->letter[i].code))
        i++;
    return i;
}

/* Breaks all of it. Returns the number of lines, adds up in *forced how many end within a word, and writes the lines
 * unless `lines` is NULL. */
static int break_lines(const struct letters *l, int64_t width, int *forced, struct lettering_line *lines)
{
    int count = 0;
    *forced = 0;
    for (int i = skip_spaces(l, 0); i < l->count; count++) {
        const struct span line = next_line(l, i, width);
        if (lines != NULL)
            lines[count] = (struct lettering_line){
                .text = l->letter[line.first].text,
                .length = (size_t)(l->letter[line.end].text - l->letter[line.first].text),
                .width = pixels(width_of(l, line.first, line.end)),
            };
        *forced += line.forced;
        i = skip_spaces(l, line.next);
    }
    return count;
}

/* The least width, in pixels, that gives as many lines and breaks no more words than `width` does. */
static int balanced_width(const struct letters *l, int width)
{
    int forced;
    const int count = break_lines(l, (int64_t)width * FONT_UNITS, &forced, NULL);
    int narrow = 0, wide = width; /* narrow does not do, wide does */
    while (wide - narrow > 1) {
        const int middle = narrow + (wide - narrow) / 2;
        int more_forced;
        const int lines = break_lines(l, (int64_t)middle * FONT_UNITS, &more_forced, NULL);
        if (lines <= count && more_forced <= forced)
            wide = middle;
        else
            narrow = middle;
    }
    return wide;
}

static void measure(const struct font *font, struct lettering *lettering)
{
    lettering->width = 0;
    for (int i = 0; i < lettering->count; i++)
        if (lettering->lines[i].width > lettering->width)
            lettering->width = lettering->lines[i].width;
    lettering->height = lettering->count * font_line_height(font, lettering->size);
}

status lettering_set(const struct font *font, const char *text, int size, int width, struct lettering *lettering,
                     struct error *e)
{
    *lettering = (struct lettering){.size = size};
    struct letters letters;
    TRY(letters_new(font, text, size, &letters, e));
    const int64_t narrowed = (int64_t)balanced_width(&letters, width) * FONT_UNITS;
    int forced;
    const int count = break_lines(&letters, narrowed, &forced, NULL);
    lettering->lines = calloc((size_t)count + 1, sizeof *lettering->lines);
    if (lettering->lines == NULL) {
        letters_free(&letters);
        return fail(e, ERR_MEMORY, "no memory for a caption of %d lines", count);
    }
    lettering->count = break_lines(&letters, narrowed, &forced, lettering->lines);
    letters_free(&letters);
    measure(font, lettering);
    return OK;
}

void lettering_free(struct lettering *lettering)
{
    free(lettering->lines);
    *lettering = (struct lettering){0};
}

static int64_t ellipsis_width(const struct font *font, int size)
{
    return 3 * font_advance(font, font_glyph(font, '.'), 0, size);
}

/* line->length and ->width <- as much of the line as leaves room for an ellipsis within `width` pixels. */
static void shorten(const struct font *font, int size, struct lettering_line *line, int width)
{
    const int64_t dots = ellipsis_width(font, size), room = (int64_t)width * FONT_UNITS - dots;
    const char *p = line->text, *end = line->text + line->length, *keep = p;
    int64_t x = 0, kept = 0;
    while (p < end) {
        const struct letter letter = read_letter(font, &p);
        x += advance(font, &letter, NULL, size);
        if (x > room)
            break;
        if (!is_space(letter.code)) {
            keep = p;
            kept = x;
        }
    }
    line->length = (size_t)(keep - line->text);
    line->width = pixels(kept + dots);
}

void lettering_cut(const struct font *font, struct lettering *lettering, int width, int height)
{
    int most = height / font_line_height(font, lettering->size);
    most = most < 1 ? 1 : most;
    if (lettering->count <= most)
        return;
    lettering->count = most;
    lettering->cut = true;
    shorten(font, lettering->size, &lettering->lines[most - 1], width);
    measure(font, lettering);
}

/* Draws text[0..length) from x on; *x moves on. */
static status draw_run(const struct font *font, const char *text, size_t length, int size, struct image *image,
                       int64_t *x, int baseline, struct color color, struct error *e)
{
    const char *end = text + length;
    for (const char *p = text; p < end;) {
        const struct letter letter = read_letter(font, &p);
        if (letter.glyph < 0)
            continue;
        const char *ahead = p;
        const struct letter next = p < end ? read_letter(font, &ahead) : (struct letter){.glyph = -1};
        TRY(font_draw(font, letter.glyph, size, image, *x, baseline, color, e));
        *x += advance(font, &letter, &next, size);
    }
    return OK;
}

void lettering_place(const struct font *font, const struct lettering *lettering, int line, struct rect box,
                     enum lettering_align align, int *x, int *baseline)
{
    const int size = lettering->size;
    *x = box.x + (align == LETTERING_CENTER ? (box.width - lettering->lines[line].width) / 2 : 0);
    *baseline = box.y + (box.height - lettering->height) / 2 + font_ascent(font, size) +
                line * font_line_height(font, size);
}

status lettering_draw(const struct font *font, const struct lettering *lettering, struct image *image,
                      struct rect box, enum lettering_align align, struct color color, struct error *e)
{
    const int size = lettering->size;
    for (int i = 0; i < lettering->count; i++) {
        const struct lettering_line *line = &lettering->lines[i];
        int left, baseline;
        lettering_place(font, lettering, i, box, align, &left, &baseline);
        int64_t x = (int64_t)left * FONT_UNITS;
        TRY(draw_run(font, line->text, line->length, size, image, &x, baseline, color, e));
        if (lettering->cut && i == lettering->count - 1)
            TRY(draw_run(font, "...", 3, size, image, &x, baseline, color, e));
    }
    return OK;
}
