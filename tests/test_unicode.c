/* Unicode and HTML for the tokenizer, against the standard's own examples and laws that hold for every character.
 * (The tables themselves are Python's; tools/make_unicode_tables.py refuses any other version of Unicode.) */
#include "sdxl/text/html.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "sdxl/text/unicode.h"
#include "tensor/utf8.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

typedef status transform(const struct code_points *text, struct code_points *out, struct error *e);

static struct code_points decoded(const char *utf8)
{
    struct code_points text = {0};
    char *copy = malloc(strlen(utf8)); /* unterminated: a sanitizer sees a read past the end */
    assert_true(copy != NULL || *utf8 == '\0');
    memcpy(copy, utf8, strlen(utf8));
    assert_int_equal(unicode_decode(copy, strlen(utf8), &text, NULL), OK);
    free(copy);
    return text;
}

static void check(transform *f, const char *input, const char *expected)
{
    struct code_points text = decoded(input), out = {0};
    assert_int_equal(f(&text, &out, NULL), OK);
    char found[256] = "";
    size_t length = 0;
    for (size_t i = 0; i < out.count && length < sizeof found - 5; i++)
        length += utf8_write(out.data[i], found + length);
    if (length != strlen(expected) || memcmp(found, expected, length) != 0)
        fail_msg("'%s' became '%s', not '%s'", input, found, expected);
    code_points_free(&text);
    code_points_free(&out);
}

static void check_points(transform *f, const uint32_t *input, size_t count, const uint32_t *expected,
                         size_t expected_count)
{
    struct code_points out = {0}, text = {.data = malloc(count * sizeof *input), .count = count};
    assert_non_null(text.data);
    memcpy(text.data, input, count * sizeof *input);
    assert_int_equal(f(&text, &out, NULL), OK);
    assert_int_equal(out.count, expected_count);
    assert_memory_equal(out.data, expected, expected_count * sizeof *expected);
    free(text.data);
    code_points_free(&out);
}

/* UTF-8 */

static void every_character_survives_encoding_and_decoding(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        char utf8[4];
        size_t length = utf8_write(c, utf8);
        assert_int_equal(length, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        struct code_points text = {0};
        assert_int_equal(unicode_decode(utf8, length, &text, NULL), OK);
        assert_int_equal(text.count, 1);
        assert_int_equal(text.data[0], c);
        code_points_free(&text);
    }
}

static void maximal_parts_of_bad_sequences_are_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        uint32_t points[16];
    } rows[] = {
        /* Unicode 14, tables 3-8 to 3-11 */
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82" "A", 9,
         {0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 'A'}},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF" "A", 9,
         {0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 'A'}},
        {"\xF4\x91\x92\x93\xFF" "A\x80\xBF" "B", 9,
         {0xfffd, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 'A', 0xfffd, 0xfffd, 'B'}},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF" "A", 5, {0xfffd, 0xfffd, 0xfffd, 0xfffd, 'A'}},
        /* cut at the end */
        {"\xF0\x9F\x98", 1, {0xfffd}},
        {"\xE2", 1, {0xfffd}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct code_points text = decoded(rows[r].bytes);
        assert_int_equal(text.count, rows[r].count);
        assert_memory_equal(text.data, rows[r].points, rows[r].count * sizeof *text.data);
        code_points_free(&text);
    }
}

/* Categories and case */

static void flags_know_letters_numbers_spaces_and_controls(void **state)
{
    (void)state;
    static const struct {
        uint32_t c;
        unsigned flags;
    } rows[] = {
        {'a', UNICODE_LETTER}, {0xe9, UNICODE_LETTER}, {0x4e00, UNICODE_LETTER}, {0xac00, UNICODE_LETTER},
        {'7', UNICODE_NUMBER}, {0xbd, UNICODE_NUMBER}, {0x2460, UNICODE_NUMBER}, {0x667, UNICODE_NUMBER},
        {' ', UNICODE_SPACE}, {0xa0, UNICODE_SPACE}, {0x2028, UNICODE_SPACE}, {0x3000, UNICODE_SPACE},
        {'\t', UNICODE_SPACE | UNICODE_CONTROL}, {0x85, UNICODE_SPACE | UNICODE_CONTROL},
        {0x1c, UNICODE_CONTROL}, {0x200b, UNICODE_CONTROL}, {0xad, UNICODE_CONTROL}, {0xe000, UNICODE_CONTROL},
        {0x10ffff, UNICODE_CONTROL}, {0x110000, UNICODE_CONTROL}, {0xffffffff, UNICODE_CONTROL},
        {'!', 0}, {0x1f600, 0}, {0x301, 0},
    };
    unsigned kinds = UNICODE_LETTER | UNICODE_NUMBER | UNICODE_SPACE | UNICODE_CONTROL;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        if ((unicode_flags(rows[r].c) & kinds) != rows[r].flags)
            fail_msg("U+%04X has flags %#x", rows[r].c, unicode_flags(rows[r].c));
}

static void lower_case_covers_scripts_and_leaves_the_rest(void **state)
{
    (void)state;
    check(unicode_lower, "", "");
    check(unicode_lower, "ABC xyz 123 [!]", "abc xyz 123 [!]");
    check(unicode_lower, "ÀÉÎÕÜŸŽ ŁÓDŹ", "àéîõüÿž łódź");
    check(unicode_lower, "ПРИВЕТ ЂЏ", "привет ђџ");
    check(unicode_lower, "ՀԱՅ ꭰᏸ ẞ Ω K Å", "հայ ꭰᏸ ß ω k å");
    check(unicode_lower, "𐐀𞤀", "𐐨𞤢");
    check(unicode_lower, "İ", "i̇");
    check(unicode_lower, "ß ŉ ﬁ ǰ", "ß ŉ ﬁ ǰ");
}

static void sigma_is_final_at_the_end_of_a_word_only(void **state)
{
    (void)state;
    check(unicode_lower, "ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς");
    check(unicode_lower, "ΣΑΣ ΣΑΣ", "σας σας");
    check(unicode_lower, "Σ", "σ");
    check(unicode_lower, "ΑΣ.", "ας.");
    check(unicode_lower, "ΑΣ'Α", "ασ'α");          /* an apostrophe is looked through */
    check(unicode_lower, "Α'Σ", "α'ς");
    check(unicode_lower, "1Σ", "1σ");
}

/* Normalisation form C */

static void composes_and_orders_as_annex_15_shows(void **state)
{
    (void)state;
    static const struct {
        uint32_t input[4];
        size_t count;
        uint32_t output[4];
        size_t output_count;
    } rows[] = {
        {{'e', 0x301}, 2, {0xe9}, 1},
        {{0x212b}, 1, {0xc5}, 1},                         /* a singleton: the Angstrom sign */
        {{0x2126}, 1, {0x3a9}, 1},
        {{0xf900}, 1, {0x8c48}, 1},                       /* a compatibility ideograph */
        {{0x1e9b, 0x323}, 2, {0x1e9b, 0x323}, 2},
        {{'d', 0x307, 0x323}, 3, {0x1e0d, 0x307}, 2},     /* the dot below goes first */
        {{0x1e0b, 0x323}, 2, {0x1e0d, 0x307}, 2},
        {{'q', 0x307, 0x323}, 3, {'q', 0x323, 0x307}, 3},
        {{'a', 0x328, 0x302, 0x301}, 4, {0x105, 0x302, 0x301}, 3},
        {{'a', 0x302, 0x301}, 3, {0x1ea5}, 1},            /* in two steps */
        {{0x915, 0x93c}, 2, {0x915, 0x93c}, 2},           /* excluded from composition */
        {{0x958}, 1, {0x915, 0x93c}, 2},
        {{0x1100, 0x1161, 0x11a8}, 3, {0xac01}, 1},
        {{0xac00, 0x11a8}, 2, {0xac01}, 1},
        {{0xac01, 0x11a8}, 2, {0xac01, 0x11a8}, 2},
        {{0x301, 'e', 0x301}, 3, {0x301, 0xe9}, 2},
        {{0x1100, 0x300, 0x1161}, 3, {0x1100, 0x300, 0x1161}, 3}, /* blocked by the mark between */
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        check_points(unicode_nfc, rows[r].input, rows[r].count, rows[r].output, rows[r].output_count);
}

static void normalising_twice_is_normalising_once(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        uint32_t marked[] = {c, 0x301, 0x323};
        struct code_points text = {.data = marked, .count = 3}, once = {0};
        assert_int_equal(unicode_nfc(&text, &once, NULL), OK);
        check_points(unicode_nfc, once.data, once.count, once.data, once.count);
        code_points_free(&once);
    }
}

static void a_long_run_of_disordered_marks_is_sorted_stably(void **state)
{
    (void)state;
    enum { PAIRS = 200000 }; /* sorting by insertion would take 2e10 steps */
    struct code_points text = {0}, out = {0};
    assert_int_equal(code_points_append(&text, 'x', NULL), OK);
    for (int i = 0; i < PAIRS; i++) {
        assert_int_equal(code_points_append(&text, i % 2 ? 0x300 : 0x301, NULL), OK); /* class 230 */
        assert_int_equal(code_points_append(&text, 0x316, NULL), OK);                 /* class 220 */
    }
    assert_int_equal(unicode_nfc(&text, &out, NULL), OK);
    assert_int_equal(out.count, 1 + 2 * PAIRS);
    for (int i = 0; i < PAIRS; i++) {
        assert_int_equal(out.data[1 + i], 0x316);
        assert_int_equal(out.data[1 + PAIRS + i], i % 2 ? 0x300 : 0x301);
    }
    code_points_free(&text);
    code_points_free(&out);
}

/* HTML */

static void names_are_unescaped_with_and_without_semicolon(void **state)
{
    (void)state;
    check(html_unescape, "", "");
    check(html_unescape, "b&w & more && a&", "b&w & more && a&");
    check(html_unescape, "&amp; &lt;b&gt; &quot;x&quot; &apos;", "& <b> \"x\" '");
    check(html_unescape, "&eacute;&Eacute;&hellip;&euro;", "éÉ…€");
    check(html_unescape, "&amp;amp;", "&amp;");
    check(html_unescape, "&AMP &copy2024 &notit; &notin;", "& ©2024 ¬it; ∉");
    check(html_unescape, "&hellip &apos &nosuchname; &;", "&hellip &apos &nosuchname; &;");
}

static void numbers_are_unescaped_as_browsers_do(void **state)
{
    (void)state;
    check(html_unescape, "&#233;&#xe9;&#XE9&#0233", "éééé");
    check(html_unescape, "&#128;&#x99;&#129;", "€™\xC2\x81");
    check(html_unescape, "&#0;&#xD800;&#1114112;&#99999999999999999999;", "\uFFFD\uFFFD\uFFFD\uFFFD");
    check(html_unescape, "a&#1;b&#11;c&#127;d&#xFFFE;e&#xFDD0;f", "abcdef");
    check(html_unescape, "&#9;&#13;&#128512;", "\t\r😀");
    check(html_unescape, "&#; &#x; &#xg; &# &#x", "&#; &#x; &#xg; &# &#x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_survives_encoding_and_decoding),
        cmocka_unit_test(maximal_parts_of_bad_sequences_are_replaced),
        cmocka_unit_test(flags_know_letters_numbers_spaces_and_controls),
        cmocka_unit_test(lower_case_covers_scripts_and_leaves_the_rest),
        cmocka_unit_test(sigma_is_final_at_the_end_of_a_word_only),
        cmocka_unit_test(composes_and_orders_as_annex_15_shows),
        cmocka_unit_test(normalising_twice_is_normalising_once),
        cmocka_unit_test(a_long_run_of_disordered_marks_is_sorted_stably),
        cmocka_unit_test(names_are_unescaped_with_and_without_semicolon),
        cmocka_unit_test(numbers_are_unescaped_as_browsers_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
