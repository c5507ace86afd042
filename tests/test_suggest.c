/* Suggestions: a typing error is understood, nonsense is not guessed at. */
#include "storydiff/story/suggest.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static const char *const names[] = {"Comic book", "Line art", "Black and White Film Noir", "Watercolor", "NC", "Bob"};

static const char *nearest(const char *word)
{
    struct suggestion s = {.word = word};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        suggestion_offer(&s, names[i]);
    return s.best;
}

static void finds_letters_added_lost_exchanged_and_capitals(void **state)
{
    (void)state;
    assert_string_equal(nearest("Watercolour"), "Watercolor");
    assert_string_equal(nearest("Comc book"), "Comic book");
    assert_string_equal(nearest("Komik book"), "Comic book");
    assert_string_equal(nearest("comic-book"), "Comic book");
    assert_string_equal(nearest("nc"), "NC");
    assert_string_equal(nearest("Rob"), "Bob");
}

static void finds_a_name_by_a_part_of_it(void **state)
{
    (void)state;
    assert_string_equal(nearest("film noir"), "Black and White Film Noir");
    assert_string_equal(nearest("comic"), "Comic book");
    assert_string_equal(nearest("art"), "Line art");
}

static void suggests_nothing_for_what_is_far_from_everything(void **state)
{
    (void)state;
    assert_null(nearest("Zanzibar"));
    assert_null(nearest("x"));
    assert_null(nearest(""));
    assert_null(nearest("an"));
}

static void prefers_the_closer_name_whatever_the_order(void **state)
{
    (void)state;
    const char *const close[] = {"Alicia", "Alice"};
    for (int first = 0; first < 2; first++) {
        struct suggestion s = {.word = "Alise"};
        suggestion_offer(&s, close[first]);
        suggestion_offer(&s, close[1 - first]);
        assert_string_equal(s.best, "Alice");
    }
}

static void ignores_words_too_long_to_be_typing_errors(void **state)
{
    (void)state;
    char longest[66];
    memset(longest, 'a', 65);
    longest[65] = '\0';
    struct suggestion s = {.word = longest};
    suggestion_offer(&s, longest);
    assert_null(s.best);
    s.word = longest + 1;
    suggestion_offer(&s, longest);
    assert_null(s.best);
    suggestion_offer(&s, longest + 1);
    assert_ptr_equal(s.best, longest + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_letters_added_lost_exchanged_and_capitals),
        cmocka_unit_test(finds_a_name_by_a_part_of_it),
        cmocka_unit_test(suggests_nothing_for_what_is_far_from_everything),
        cmocka_unit_test(prefers_the_closer_name_whatever_the_order),
        cmocka_unit_test(ignores_words_too_long_to_be_typing_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
