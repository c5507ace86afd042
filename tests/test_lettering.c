/* Lettering: lines hold every character, fit their width, break where they may, and are balanced. */
#include "storydiff/page/lettering.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "tensor/file.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_font(void **state)
{
    *state = NULL;
    struct font *font;
    if (font_open(NULL, &font, NULL) == OK)
        *state = font;
    return 0;
}

static int close_font(void **state)
{
    font_close(*state);
    return 0;
}

static const struct font *font_of(void **state)
{
    if (*state == NULL) {
        print_message("no font is installed (fonts-dejavu-core): ");
        skip();
    }
    return *state;
}

static struct lettering set(const struct font *font, const char *text, int size, int width)
{
    struct lettering l;
    assert_int_equal(lettering_set(font, text, size, width, &l, NULL), OK);
    return l;
}

static void expect_lines(const struct font *font, const char *text, int width, int count, const char *const *lines)
{
    struct lettering l = set(font, text, 20, width);
    for (int i = 0; i < l.count && i < count; i++) {
        char line[200] = "";
        memcpy(line, l.lines[i].text, l.lines[i].length);
        assert_string_equal(line, lines[i]);
    }
    assert_int_equal(l.count, count);
    lettering_free(&l);
}

static int width_in_one_line(const struct font *font, const char *text)
{
    struct lettering l = set(font, text, 20, 100000);
    assert_int_equal(l.count, 1);
    const int width = l.width;
    lettering_free(&l);
    return width;
}

static bool is_white(const char *p, size_t length)
{
    return length == 1 ? *p == ' ' || *p == '\n' : length == 3 && memcmp(p, "\u3000", 3) == 0;
}

static size_t length_at(const char *p)
{
    const unsigned char c = (unsigned char)*p;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* Lines are pieces of the text, in order, with only white space between them. */
static void no_character_is_ever_lost(void **state)
{
    const struct font *font = font_of(state);
    const char *pieces[] = {"a", "wort", " ", "  ", "\n", "-", "Ω", "竜", "。", "「", "é", "e\u0301", "…",
                            "Donaudampfschifffahrt", "\u3000", "(", ")", "\U0001F600", "—", "!"};
    uint32_t x = 3;
    for (int round = 0; round < 400; round++) {
        char text[2000] = "";
        for (int i = 0; i < 3 + round % 60; i++) {
            x = x * 1664525u + 1013904223u;
            strcat(text, pieces[(x >> 16) % 20]);
        }
        x = x * 1664525u + 1013904223u;
        const int width = 5 + (int)((x >> 16) % 400);
        struct lettering l = set(font, text, 14, width);
        const char *p = text;
        for (int i = 0; i <= l.count; i++) {
            const char *next = i < l.count ? l.lines[i].text : text + strlen(text);
            assert_true(next >= p);
            for (; p < next; p += length_at(p))
                assert_true(is_white(p, length_at(p)));
            p = next + (i < l.count ? l.lines[i].length : 0);
        }
        lettering_free(&l);
    }
}

static void lines_fit_the_width_unless_they_are_one_letter(void **state)
{
    const struct font *font = font_of(state);
    const char *text = "AVAVAVAVA To be, or not to be: that is the Rindfleischetikettierungsgesetz。「竜は」 W";
    for (int width = 1; width < 900; width += 7) {
        struct lettering l = set(font, text, 20, width);
        int widest = 0;
        for (int i = 0; i < l.count; i++) {
            char line[200] = "";
            memcpy(line, l.lines[i].text, l.lines[i].length);
            assert_true(l.lines[i].width <= width || l.lines[i].length == length_at(line));
            if (l.lines[i].hyphen) /* not kerned with the letter before it */
                assert_in_range(l.lines[i].width - width_in_one_line(font, strcat(line, "-")), 0, 4);
            else
                assert_int_equal(l.lines[i].width, width_in_one_line(font, line));
            widest = l.lines[i].width > widest ? l.lines[i].width : widest;
        }
        assert_int_equal(l.width, widest);
        assert_int_equal(l.height, l.count * font_line_height(font, 20));
        lettering_free(&l);
    }
}

static void breaks_at_spaces_hyphens_and_line_breaks(void **state)
{
    const struct font *font = font_of(state);
    const int width = width_in_one_line(font, "one two-");
    expect_lines(font, "one two-three", width, 2, (const char *[]){"one two-", "three"});
    expect_lines(font, "  one   two\n\nthree ", 1000, 3, (const char *[]){"one   two", "", "three"});
    expect_lines(font, "no\u00A0break here", width_in_one_line(font, "no\u00A0break"), 2,
                 (const char *[]){"no\u00A0break", "here"});
}

/* The numbers are long: a line that ended after their sign would give the narrower, better balanced block. */
static void a_sign_stays_with_its_number(void **state)
{
    const struct font *font = font_of(state);
    static const char *const signs[] = {"-", "‐", "–", "—"};
    for (int i = 0; i < 4; i++) {
        char number[32], text[64];
        snprintf(number, sizeof number, "%s88888888", signs[i]);
        const int width = width_in_one_line(font, number), digits = width_in_one_line(font, "88888888");
        snprintf(text, sizeof text, "at %s", number);
        expect_lines(font, text, width, 2, (const char *[]){"at", number});
        snprintf(text, sizeof text, "is\n%s", number);
        expect_lines(font, text, width, 2, (const char *[]){"is", number});

        for (int before = 0; before < 2; before++) { /* at a line's beginning: rather within the number */
            snprintf(text, sizeof text, "%s%s", before ? "is\n" : "", number);
            struct lettering l = set(font, text, 20, digits);
            assert_int_equal(l.count, before + 2);
            assert_true(l.lines[before].length > strlen(signs[i]));
            lettering_free(&l);
        }

        snprintf(text, sizeof text, "a%s", number); /* between letters it is a dash */
        snprintf(number, sizeof number, "a%s", signs[i]);
        expect_lines(font, text, digits, 2, (const char *[]){number, "88888888"});
    }
}

static void breaks_words_only_if_they_are_wider_than_the_line(void **state)
{
    const struct font *font = font_of(state);
    const int width = width_in_one_line(font, "mmmm");
    expect_lines(font, "a 000000 b", width_in_one_line(font, "0000"), 3, (const char *[]){"a", "0000", "00 b"});
    expect_lines(font, "a mmmmmm b", width, 3, (const char *[]){"a", "mmm", "mmm b"}); /* "mmm-" */
    expect_lines(font, "me\u0301\u0301m", width_in_one_line(font, "m"), 3,
                 (const char *[]){"m", "e\u0301\u0301", "m"});
    /* marks that the font lacks are boxes and take space: they take their letter along to the next line */
    expect_lines(font, "im\u1AB0\u1AB0", width_in_one_line(font, "m\u1AB0\u1AB0"), 2,
                 (const char *[]){"i", "m\u1AB0\u1AB0"});
}

/* Words have a hyphen where they are broken, two letters or more from their ends; numbers and Thai have none. */
static void broken_words_say_so(void **state)
{
    const struct font *font = font_of(state);
    const struct {
        const char *text;
        bool hyphen;
    } cases[] = {{"Donaudampfschifffahrtsgesellschaft", true},
                 {"Δημοκρατικότερος", true},
                 {"достопримечательность", true},
                 {"123456789012345678901234567890", false},
                 {"กกกกกกกกกกกกกกกกกกกกกกกก", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lettering l = set(font, cases[i].text, 20, 100);
        assert_true(l.count > 1);
        assert_int_equal(l.harsh, cases[i].hyphen ? 0 : l.count - 1);
        for (int k = 0; k < l.count; k++) {
            const bool last = k == l.count - 1;
            assert_int_equal(l.lines[k].hyphen, cases[i].hyphen && !last);
            assert_true(l.lines[k].width <= 100);
            assert_int_equal(l.lines[k].glyphs[l.lines[k].glyph_count - 1].code == '-', l.lines[k].hyphen);
            assert_true(l.lines[k].length >= 2);
        }
        lettering_free(&l);
    }
}

static void a_soft_hyphen_is_seen_only_at_the_end_of_a_line(void **state)
{
    const struct font *font = font_of(state);
    struct lettering l = set(font, "news\u00ADpaper", 20, 1000);
    assert_int_equal(l.lines[0].glyph_count, 9);
    lettering_free(&l);
    l = set(font, "news\u00ADpaper", 20, width_in_one_line(font, "newspap"));
    assert_int_equal(l.count, 2);
    assert_true(l.lines[0].hyphen);
    assert_memory_equal(l.lines[1].text, "paper", 5);
    lettering_free(&l);
}

/* Letters from the left of the line, as they are drawn. */
static void expect_page_order(const struct font *font, const char *text, const uint32_t *codes, int count)
{
    struct lettering l = set(font, text, 20, 1000);
    int64_t x = 0;
    assert_int_equal(l.count, 1);
    assert_int_equal(l.lines[0].glyph_count, count);
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < count && l.lines[0].glyphs[k].x != x)
            k++;
        assert_true(k < count);
        assert_int_equal(l.lines[0].glyphs[k].glyph, font_glyph(font, codes[i]));
        x += l.lines[0].glyphs[k].advance;
    }
    lettering_free(&l);
}

static void hebrew_runs_from_right_to_left_and_arabic_joins(void **state)
{
    const struct font *font = font_of(state);
    if (font_glyph(font, 0x5D0) == 0 || font_glyph(font, 0xFE91) == 0) {
        print_message("the font has no Hebrew or Arabic: ");
        skip();
    }
    expect_page_order(font, "a \u05D0\u05D1(", (const uint32_t[]){'a', ' ', 0x5D1, 0x5D0, '('}, 5);
    expect_page_order(font, "\u05D0(\u05D1)", (const uint32_t[]){'(', 0x5D1, ')', 0x5D0}, 4);
    expect_page_order(font, "\u0628\u0628\u0628", (const uint32_t[]){0xFE90, 0xFE92, 0xFE91}, 3);
    expect_page_order(font, "\u0633\u0644\u0627\u0645", (const uint32_t[]){0xFEE1, 0xFEFC, 0xFEB3}, 3); /* lam-alef */
    struct lettering l = set(font, "\u05D0\u05D1 \u05D2\u05D3 \u05D4", 20, width_in_one_line(font, "\u05D0\u05D1"));
    int x, baseline;
    assert_true(l.right_to_left && l.count > 1);
    for (int i = 0; i < l.count; i++) { /* set to the right */
        lettering_place(font, &l, i, (struct rect){10, 0, 300, 200}, LETTERING_LEFT, &x, &baseline);
        assert_int_equal(x + l.lines[i].width, 310);
    }
    lettering_free(&l);
}

static void chinese_and_japanese_break_anywhere_but_at_their_punctuation(void **state)
{
    const struct font *font = font_of(state); /* an absent glyph is a box, which has a width like any other */
    const int two = width_in_one_line(font, "竜竜"), three = width_in_one_line(font, "竜竜竜");
    expect_lines(font, "竜竜竜竜", two, 2, (const char *[]){"竜竜", "竜竜"});
    expect_lines(font, "竜竜竜。竜", three, 2, (const char *[]){"竜竜", "竜。竜"});
    expect_lines(font, "竜竜「竜」", three, 2, (const char *[]){"竜竜", "「竜」"});
}

static void blocks_are_balanced(void **state)
{
    const struct font *font = font_of(state);
    const int width = width_in_one_line(font, "aa bb cc dd ee");
    expect_lines(font, "aa bb cc dd ee ff", width, 2, (const char *[]){"aa bb cc", "dd ee ff"});
}

static void nothing_has_no_lines(void **state)
{
    const struct font *font = font_of(state);
    const char *nothing[] = {"", " ", "\t  \u3000"};
    for (int i = 0; i < 3; i++) {
        struct lettering l = set(font, nothing[i], 20, 100);
        assert_int_equal(l.count, 0);
        assert_int_equal(l.height, 0);
        lettering_free(&l);
        lettering_free(&l);
    }
}

static void too_much_is_cut_with_an_ellipsis_that_fits(void **state)
{
    const struct font *font = font_of(state);
    const int line = font_line_height(font, 20);
    for (int width = 20; width < 400; width += 13)
        for (int height = 1; height < 5 * line; height += 17) {
            struct lettering l = set(font, "a rather long caption that will not fit into little space", 20, width);
            const int all = l.count;
            assert_int_equal(lettering_cut(font, &l, width, height, NULL), OK);
            assert_int_equal(l.cut, all * line > height && all > 1);
            assert_true(l.height <= height || l.count == 1);
            if (l.cut) {
                char last[200] = "";
                memcpy(last, l.lines[l.count - 1].text, l.lines[l.count - 1].length);
                strcat(last, "...");
                assert_true(l.lines[l.count - 1].width <= width);
                /* kerning between the last letter and the first dot may draw them together */
                assert_in_range(l.lines[l.count - 1].width - width_in_one_line(font, last), 0, 4);
            }
            lettering_free(&l);
        }
}

/* All ink lies in the block, give or take what letters like f and j reach over their own width. */
static void the_ink_is_where_the_block_is(void **state)
{
    const struct font *font = font_of(state);
    struct lettering l = set(font, "Äffchen & Åse jagen\ngroße Drachen – flott!", 30, 300);
    for (int align = LETTERING_LEFT; align <= LETTERING_CENTER; align++) {
        struct image image;
        assert_int_equal(image_new(500, 200, &image, NULL), OK);
        const struct rect box = {50, 40, 400, 120};
        const struct color white = {255, 255, 255};
        assert_int_equal(lettering_draw(font, &l, &image, box, (enum lettering_align)align, white, NULL), OK);
        const int left = align == LETTERING_LEFT ? 50 : 50 + (400 - l.width) / 2, top = 40 + (120 - l.height) / 2;
        int64_t inside = 0;
        for (int y = 0; y < 200; y++)
            for (int x = 0; x < 500; x++) {
                const int value = image.rgb[(y * 500 + x) * 3];
                const bool in = x >= left - 2 && x < left + l.width + 2 && y >= top && y < top + l.height;
                assert_true(in || value == 0);
                inside += value;
            }
        assert_true(inside > 255 * 500);
        image_free(&image);
    }
    lettering_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_character_is_ever_lost),
        cmocka_unit_test(lines_fit_the_width_unless_they_are_one_letter),
        cmocka_unit_test(breaks_at_spaces_hyphens_and_line_breaks),
        cmocka_unit_test(a_sign_stays_with_its_number),
        cmocka_unit_test(breaks_words_only_if_they_are_wider_than_the_line),
        cmocka_unit_test(broken_words_say_so),
        cmocka_unit_test(a_soft_hyphen_is_seen_only_at_the_end_of_a_line),
        cmocka_unit_test(hebrew_runs_from_right_to_left_and_arabic_joins),
        cmocka_unit_test(chinese_and_japanese_break_anywhere_but_at_their_punctuation),
        cmocka_unit_test(blocks_are_balanced),
        cmocka_unit_test(nothing_has_no_lines),
        cmocka_unit_test(too_much_is_cut_with_an_ellipsis_that_fits),
        cmocka_unit_test(the_ink_is_where_the_block_is),
    };
    return cmocka_run_group_tests(tests, open_font, close_font);
}
