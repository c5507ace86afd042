#include "storydiff/page/lettering.h"

#include <stdlib.h>
#include <string.h>

#include "storydiff/page/bidi.h"
#include "storydiff/page/letters.h"

enum { DOTS = 3 };

static int pixels(int64_t units)
{
    return (int)((units + FONT_UNITS - 1) / FONT_UNITS);
}

/* ------------------------------------------------------------------------------------------------ breaking lines */

/* One line: letters first .. end - 1 are shown, the next line begins at `next`. */
struct span {
    int first, end, next;
    bool hyphen; /* is added */
    bool forced; /* within a word */
    bool harsh;  /* and nothing shows it: no hyphen */
};

/* What lines are made of, and the width of a hyphen in 1/64 pixel. */
struct text_block {
    struct letters letters;
    int64_t hyphen;
};

static int without_spaces(const struct letters *l, int first, int end)
{
    while (end > first && letter_is_space(&l->letter[end - 1]))
        end--;
    return end;
}

/* A line of a word that is wider than it: with a hyphen where that is usual, else between any two letters, at least
 * one. end: the first letter that does not fit. */
static struct span within_word(const struct text_block *t, int first, int end, int64_t width)
{
    const struct letters *l = &t->letters;
    for (int i = end; i > first + 1; i--)
        if (letters_take_hyphen(l, i) && letters_width(l, first, i) + t->hyphen <= width)
            return (struct span){first, i, i, .hyphen = true, .forced = true};
    while (end > first + 1 && letter_is_mark(&l->letter[end]))
        end--;
    return (struct span){first, end, end, .forced = true, .harsh = true};
}

static struct span next_line(const struct text_block *t, int first, int64_t width)
{
    const struct letters *l = &t->letters;
    struct span best = {.end = -1}; /* the longest line so far that ends where it may */
    for (int i = first; i < l->count; i++) {
        const struct letter *letter = &l->letter[i];
        if (letter->code == '\n')
            return (struct span){.first = first, .end = without_spaces(l, first, i), .next = i + 1};
        if (letter_is_space(letter))
            continue;
        const bool soft = i > first && letter_is_soft_hyphen(letter - 1);
        if (i > first && letter->may_begin && (!soft || letters_width(l, first, i) + t->hyphen <= width))
            best = (struct span){first, without_spaces(l, first, i), i, .hyphen = soft};
        if (i == first || letters_width(l, first, i + 1) <= width)
            continue;
        return best.end > 0 ? best : within_word(t, first, i, width);
    }
    return (struct span){.first = first, .end = without_spaces(l, first, l->count), .next = l->count};
}

static int skip_spaces(const struct letters *l, int i)
{
    while (i < l->count && letter_is_space(&l->letter[i]))
        i++;
    return i;
}

/* What breaking all of it at a width comes to. */
struct breaks {
    int lines, forced, harsh;
};

/* Writes the lines unless `spans` is NULL. */
static struct breaks break_lines(const struct text_block *t, int64_t width, struct span *spans)
{
    struct breaks b = {0};
    for (int i = skip_spaces(&t->letters, 0); i < t->letters.count; b.lines++) {
        const struct span line = next_line(t, i, width);
        if (spans != NULL)
            spans[b.lines] = line;
        b.forced += line.forced;
        b.harsh += line.harsh;
        i = skip_spaces(&t->letters, line.next);
    }
    return b;
}

/* The least width, in pixels, that gives as many lines and breaks no more words than `width` does. */
static int balanced_width(const struct text_block *t, int width)
{
    const struct breaks least = break_lines(t, (int64_t)width * FONT_UNITS, NULL);
    int narrow = 0, wide = width; /* narrow does not do, wide does */
    while (wide - narrow > 1) {
        const int middle = narrow + (wide - narrow) / 2;
        const struct breaks b = break_lines(t, (int64_t)middle * FONT_UNITS, NULL);
        if (b.lines <= least.lines && b.forced <= least.forced && b.harsh <= least.harsh)
            wide = middle;
        else
            narrow = middle;
    }
    return wide;
}

/* ----------------------------------------------------------------------------------------------- placing letters */

/* Sets the pen for each glyph of a line, in the order of the page. */
static status place_glyphs(struct lettering_line *line, struct error *e)
{
    const size_t n = (size_t)line->glyph_count + 1;
    uint32_t *codes = calloc(n, sizeof *codes);
    uint8_t *levels = calloc(n, sizeof *levels);
    int *order = calloc(n, sizeof *order);
    status s = OK;
    if (codes == NULL || levels == NULL || order == NULL) {
        s = fail(e, ERR_MEMORY, "no memory for a line of %d letters", line->glyph_count);
    } else {
        int64_t x = 0;
        for (int i = 0; i < line->glyph_count; i++) {
            codes[i] = line->glyphs[i].code;
            levels[i] = line->glyphs[i].level;
        }
        bidi_order(codes, levels, line->glyph_count, order);
        for (int i = 0; i < line->glyph_count; i++) {
            line->glyphs[order[i]].x = x;
            x += line->glyphs[order[i]].advance;
        }
        line->width = pixels(x);
    }
    free(codes);
    free(levels);
    free(order);
    return s;
}

/* Room for a hyphen and an ellipsis beyond the letters. */
static status set_line(const struct font *font, const struct letters *l, struct span span, int size,
                       struct lettering_line *line, struct error *e)
{
    line->text = l->letter[span.first].text;
    line->length = (size_t)(l->letter[span.end].text - line->text);
    line->hyphen = span.hyphen;
    line->glyphs = calloc((size_t)(span.end - span.first) + 1 + DOTS, sizeof *line->glyphs);
    if (line->glyphs == NULL)
        return fail(e, ERR_MEMORY, "no memory for a line of %d letters", span.end - span.first);
    for (int i = span.first; i < span.end; i++) {
        const struct letter *letter = &l->letter[i];
        if (letter->glyph < 0)
            continue;
        line->glyphs[line->glyph_count++] = (struct lettering_glyph){
            .glyph = letter->glyph,
            .code = letter->code,
            .level = letter->level,
            .end = (size_t)(l->letter[i + 1].text - line->text),
            .advance = i + 1 < span.end ? l->at[i + 1] - l->at[i] : l->alone[i],
        };
    }
    if (span.hyphen) {
        const int hyphen = font_glyph(font, '-');
        line->glyphs[line->glyph_count++] = (struct lettering_glyph){
            .glyph = hyphen,
            .code = '-',
            .level = l->letter[span.end - 1].level,
            .end = line->length,
            .advance = font_advance(font, hyphen, 0, size),
        };
    }
    return place_glyphs(line, e);
}

static void measure(const struct font *font, struct lettering *lettering)
{
    lettering->width = 0;
    for (int i = 0; i < lettering->count; i++)
        if (lettering->lines[i].width > lettering->width)
            lettering->width = lettering->lines[i].width;
    lettering->height = lettering->count * font_line_height(font, lettering->size);
}

static status set_lines(const struct font *font, const struct text_block *t, int width, struct lettering *lettering,
                        struct error *e)
{
    const int64_t narrowed = (int64_t)balanced_width(t, width) * FONT_UNITS;
    const struct breaks b = break_lines(t, narrowed, NULL);
    struct span *spans = calloc((size_t)b.lines + 1, sizeof *spans);
    lettering->lines = calloc((size_t)b.lines + 1, sizeof *lettering->lines);
    status s = OK;
    if (spans == NULL || lettering->lines == NULL)
        s = fail(e, ERR_MEMORY, "no memory for a caption of %d lines", b.lines);
    else
        break_lines(t, narrowed, spans);
    lettering->harsh = b.harsh;
    for (int i = 0; s == OK && i < b.lines; i++) {
        lettering->count++;
        s = set_line(font, &t->letters, spans[i], lettering->size, &lettering->lines[i], e);
    }
    free(spans);
    return s;
}

status lettering_set(const struct font *font, const char *text, int size, int width, struct lettering *lettering,
                     struct error *e)
{
    *lettering = (struct lettering){.size = size};
    struct text_block t = {.hyphen = font_advance(font, font_glyph(font, '-'), 0, size)};
    TRY(letters_new(font, text, size, &t.letters, e));
    lettering->right_to_left = t.letters.base == 1;
    status s = set_lines(font, &t, width, lettering, e);
    letters_free(&t.letters);
    measure(font, lettering);
    if (s != OK)
        lettering_free(lettering);
    return s;
}

void lettering_free(struct lettering *lettering)
{
    for (int i = 0; lettering->lines != NULL && i < lettering->count + lettering->dropped; i++)
        free(lettering->lines[i].glyphs);
    free(lettering->lines);
    *lettering = (struct lettering){0};
}

/* ------------------------------------------------------------------------------------------------------- cutting */

/* As much of the line as leaves room for an ellipsis within `width` pixels, and the ellipsis. */
static status shorten(const struct font *font, int size, int base, struct lettering_line *line, int width,
                      struct error *e)
{
    const int dot = font_glyph(font, '.');
    const int64_t advance = font_advance(font, dot, 0, size), room = (int64_t)width * FONT_UNITS - DOTS * advance;
    int64_t x = 0;
    int keep = 0;
    line->glyph_count -= line->hyphen;
    line->hyphen = false;
    for (int i = 0; i < line->glyph_count && x <= room; i++) {
        struct lettering_glyph *g = &line->glyphs[i];
        const struct letter letter = {.code = g->code};
        g->advance = font_advance(font, g->glyph, 0, size);
        x += g->advance;
        if (x <= room && !letter_is_space(&letter))
            keep = i + 1;
    }
    line->length = keep > 0 ? line->glyphs[keep - 1].end : 0;
    line->glyph_count = keep;
    for (int i = 0; i < DOTS; i++)
        line->glyphs[line->glyph_count++] = (struct lettering_glyph){
            .glyph = dot, .code = '.', .level = (uint8_t)base, .end = line->length, .advance = advance};
    return place_glyphs(line, e);
}

status lettering_cut(const struct font *font, struct lettering *lettering, int width, int height, struct error *e)
{
    int most = height / font_line_height(font, lettering->size);
    most = most < 1 ? 1 : most;
    if (lettering->count <= most)
        return OK;
    lettering->dropped = lettering->count - most;
    lettering->count = most;
    lettering->cut = true;
    TRY(shorten(font, lettering->size, lettering->right_to_left, &lettering->lines[most - 1], width, e));
    measure(font, lettering);
    return OK;
}

/* ------------------------------------------------------------------------------------------------------- drawing */

void lettering_place(const struct font *font, const struct lettering *lettering, int line, struct rect box,
                     enum lettering_align align, int *x, int *baseline)
{
    const int size = lettering->size, rest = box.width - lettering->lines[line].width;
    *x = box.x + (align == LETTERING_CENTER ? rest / 2 : lettering->right_to_left ? rest : 0);
    *baseline = box.y + (box.height - lettering->height) / 2 + font_ascent(font, size) +
                line * font_line_height(font, size);
}

status lettering_draw(const struct font *font, const struct lettering *lettering, struct image *image,
                      struct rect box, enum lettering_align align, struct color color, struct error *e)
{
    for (int i = 0; i < lettering->count; i++) {
        const struct lettering_line *line = &lettering->lines[i];
        int left, baseline;
        lettering_place(font, lettering, i, box, align, &left, &baseline);
        for (int k = 0; k < line->glyph_count; k++)
            TRY(font_draw(font, line->glyphs[k].glyph, lettering->size, image,
                          (int64_t)left * FONT_UNITS + line->glyphs[k].x, baseline, color, e));
    }
    return OK;
}
