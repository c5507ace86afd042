/* The bidirectional algorithm, against the tables and cases of the Unicode Consortium (Debian: unicode-data). */
#include "storydiff/page/bidi.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "storydiff/page/bidi_class.h"
#include "tensor/file.h"
#include "tensor/utf8.h"

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256 };

static FILE *unicode(const char *path)
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        print_message("%s is missing (unicode-data): ", path);
        skip();
    }
    return f;
}

/* Every assigned code point but those that our table says it treats otherwise. */
static void classes_are_those_of_unicode(void **state)
{
    static const char *const names[] = {"L",  "R",   "AL", "EN", "ES", "ET", "AN",
                                        "CS", "NSM", "BN", "B",  "S",  "WS", "ON"};
    (void)state;
    FILE *f = unicode("/usr/share/unicode/extracted/DerivedBidiClass.txt");
    char line[512];
    int checked = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned first, last;
        char name[8];
        if (sscanf(line, "%x..%x ; %7[A-Z]", &first, &last, name) != 3) {
            if (sscanf(line, "%x ; %7[A-Z]", &first, name) != 2)
                continue;
            last = first;
        }
        for (unsigned code = first; code <= last && code < 0x20000; code++) {
            const enum bidi_class class = bidi_class_of(code);
            const bool control = strlen(name) == 3 && strcmp(name, "NSM") != 0;
            const bool indic = strcmp(name, "NSM") == 0 && class == L && code >= 0x900;
            if (strcmp(names[class], name) != 0 && !(control && class == BN) && !indic)
                fail_msg("U+%04X is %s, not %s", code, name, names[class]);
            checked++;
        }
    }
    fclose(f);
    assert_true(checked > 40000);
}

static int numbers(const char *text, int *out, int base)
{
    int count = 0;
    while (*text != '\0' && *text != '\n' && *text != ';' && count < MOST) {
        if (*text == 'x') { /* a level that is not there */
            out[count++] = -1;
            text++;
        } else {
            char *end;
            out[count++] = (int)strtol(text, &end, base);
            text = end;
        }
        text += strspn(text, " ");
    }
    return count;
}

/* BidiCharacterTest.txt: code points; direction asked for (2: of the first letter); level of the paragraph; levels;
 * order. Cases with controls, which we do not obey, are not ours. */
static void levels_and_order_are_those_of_unicode(void **state)
{
    (void)state;
    FILE *f = unicode("/usr/share/unicode/BidiCharacterTest.txt");
    char line[4096];
    int checked = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        int codes[MOST], asked[1], base[1], levels[MOST], order[MOST], ours[MOST];
        uint32_t text[MOST];
        uint8_t found[MOST];
        const char *field = line;
        const int count = numbers(field, codes, 16);
        bool controls = line[0] == '#' || line[0] == '\n';
        for (int i = 0; i < count; i++) {
            text[i] = (uint32_t)codes[i];
            controls =
                controls || (codes[i] >= 0x202A && codes[i] <= 0x202E) || (codes[i] >= 0x2066 && codes[i] <= 0x2069);
        }
        if (controls)
            continue;
        field = strchr(field, ';') + 1;
        numbers(field, asked, 10);
        field = strchr(field, ';') + 1;
        numbers(field, base, 10);
        field = strchr(field, ';') + 1;
        numbers(field, levels, 10);
        field = strchr(field, ';') + 1;
        const int shown = numbers(field, order, 10);
        if (asked[0] == 2)
            assert_int_equal(bidi_base(text, count), base[0]);
        assert_int_equal(bidi_levels(text, count, base[0], found, NULL), OK);
        for (int i = 0; i < count; i++)
            if (levels[i] >= 0 && levels[i] != found[i])
                fail_msg("level %d is %d: %s", i, found[i], line);
        bool marks = false; /* L3, which the file leaves out */
        for (int i = 0; i < count; i++)
            marks = marks || bidi_is_mark(text[i]);
        bidi_order(text, found, count, ours);
        for (int i = 0, k = 0; i < count && !marks; i++) {
            if (levels[ours[i]] < 0)
                continue;
            if (ours[i] != order[k++])
                fail_msg("order %d is %d: %s", k - 1, ours[i], line);
            assert_true(k <= shown);
        }
        checked++;
    }
    fclose(f);
    assert_true(checked > 10000);
}

/* Without Unicode's files: the example of bidi.h, and what captions have. "<" is drawn where ">" was typed. */
static void words_turn_around_and_numbers_do_not(void **state)
{
    (void)state;
    const struct {
        const char *text, *page;
    } cases[] = {
        {"he said שלום!", "he said םולש!"},
        {"שלום עולם", "םלוע םולש"},
        {"אני בן 42, בערך.", ".ךרעב ,42 ןב ינא"},
        {"קניתי iPhone 15 (חדש)!", "!(שדח) iPhone 15 יתינק"},
        {"مرحبا 12-3", "3-12 ابحرم"},
        {"plain (text) 1, 2", "plain (text) 1, 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t codes[64];
        uint8_t levels[64];
        int order[64], count = 0;
        for (const char *p = cases[i].text; *p != '\0';)
            codes[count++] = utf8_next(&p);
        assert_int_equal(bidi_levels(codes, count, bidi_base(codes, count), levels, NULL), OK);
        bidi_order(codes, levels, count, order);
        const char *p = cases[i].page;
        for (int k = 0; k < count; k++) {
            const uint32_t code = codes[order[k]], drawn = levels[order[k]] & 1 ? bidi_mirrored(code) : code;
            const uint32_t right = utf8_next(&p);
            if (drawn != right)
                fail_msg("\"%s\": letter %d is U+%04X, not U+%04X", cases[i].text, k, drawn, right);
        }
    }
}

/* In a line from right to left the letter is drawn first, then its marks. */
static void marks_follow_the_letter_that_carries_them(void **state)
{
    (void)state;
    const uint32_t codes[] = {0x05E9, 0x05C1, 0x05B8, 0x05DC}; /* shin, its dot, qamats, lamed */
    uint8_t levels[4];
    int order[4];
    assert_int_equal(bidi_levels(codes, 4, 1, levels, NULL), OK);
    bidi_order(codes, levels, 4, order);
    const int right[] = {3, 0, 1, 2};
    for (int i = 0; i < 4; i++)
        assert_int_equal(order[i], right[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_those_of_unicode),
        cmocka_unit_test(levels_and_order_are_those_of_unicode),
        cmocka_unit_test(words_turn_around_and_numbers_do_not),
        cmocka_unit_test(marks_follow_the_letter_that_carries_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
