/* Prompt weights where no recording looks: what is refused, what truncation keeps, the mean. That pairs, ids and
 * states are the web UI's is for the golden runner to see. */
#include "sdxl/text/prompt_weights.h"
#include "tests/check.h"

static const char tokenizer_folder[] = "tests/golden/pipeline/tokenizer";

static struct prompt_pairs parsed(const char *prompt)
{
    struct prompt_pairs pairs;
    struct error e = {0};
    if (prompt_parse(prompt, &pairs, &e) != OK)
        fail_msg("%s", e.message);
    return pairs;
}

static void plain_prompts_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        bool plain;
    } cases[] = {{"", true}, {"a man, at home", true}, {"a: b", true}, {"50%) off", true}, {"BREAKfast", true},
                 {"(a) man", false}, {"a \\(man\\)", false}, {"a BREAK b", false}, {"[a]", false}, {"()", false},
                 {"\\", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prompt_pairs pairs = parsed(cases[i].prompt);
        if (prompt_is_plain(&pairs, cases[i].prompt) != cases[i].plain)
            fail_msg("\"%s\"", cases[i].prompt);
        prompt_pairs_free(&pairs);
    }
}

static void words_around_a_break_are_whole(void **state)
{
    (void)state;
    struct prompt_pairs pairs = parsed("a\xc3\xa9" "BREAK BREAK_ \xe3\x80\x80 BREAK \xc3\xa9");
    assert_int_equal(pairs.count, 3);
    assert_string_equal(pairs.items[0].text, "a\xc3\xa9" "BREAK BREAK_");
    assert_true(pairs.items[1].weight == -1);
    assert_string_equal(pairs.items[1].text, "BREAK");
    assert_string_equal(pairs.items[2].text, "\xc3\xa9");
    prompt_pairs_free(&pairs);
}

static void check_refused(const char *prompt, const char *text)
{
    struct prompt_pairs pairs;
    struct error e = {0};
    assert_int_equal(prompt_parse(prompt, &pairs, &e), ERR_ARGUMENT);
    if (strstr(e.message, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, e.message);
    assert_null(pairs.items);
}

static void numbers_that_are_none_and_deep_brackets_are_refused(void **state)
{
    (void)state;
    check_refused("(a:1..2)", "1..2");
    check_refused("(a:.)", "a weight must be a number");
    check_refused("(a:99999999999999999999999999999999999999999999999)", "a weight must be a number");
    static char deep[1000];
    memset(deep, '[', sizeof deep - 1);
    check_refused(deep, "brackets are open");
    memset(deep, '(', sizeof deep - 1);
    check_refused(deep, "brackets are open");
    struct prompt_pairs pairs = parsed("a:1..2)"); /* nothing is open: text */
    assert_int_equal(pairs.count, 1);
    prompt_pairs_free(&pairs);
}

/* 100 words, then a break, then one more. */
static void truncation_keeps_the_beginning_of_every_part(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct token_windows cut, all;
    struct error e = {0};
    char prompt[512] = "(a:1.5)";
    for (int i = 0; i < 100; i++)
        strcat(prompt, " a");
    strcat(prompt, " BREAK (a:0.5)");
    assert_int_equal(tokenizer_open(tokenizer_folder, NULL, &t, &e), OK);
    struct prompt_pairs pairs = parsed(prompt);
    assert_int_equal(prompt_windows(t, &pairs, LONG_PROMPT_TRUNCATE, &cut, &e), OK);
    assert_int_equal(prompt_windows(t, &pairs, LONG_PROMPT_WINDOWS, &all, &e), OK);
    assert_int_equal(cut.count, 2);
    assert_int_equal(all.count, 3);
    assert_int_equal(cut.total, 102);
    assert_int_equal(cut.cut, 101 - TOKEN_WINDOW_IDS);
    assert_int_equal(all.cut, 0);
    assert_memory_equal(cut.ids, all.ids, TOKEN_WINDOW * sizeof *cut.ids);
    assert_memory_equal(cut.ids + TOKEN_WINDOW, all.ids + 2 * TOKEN_WINDOW, TOKEN_WINDOW * sizeof *cut.ids);
    assert_true(cut.weights[1] == 1.5f && cut.weights[2] == 1 && cut.weights[TOKEN_WINDOW + 1] == 0.5f);
    assert_true(cut.weights[0] == 1 && cut.weights[TOKEN_WINDOW + 2] == 1);
    token_windows_free(&cut);
    token_windows_free(&all);
    prompt_pairs_free(&pairs);
    tokenizer_close(t);
}

static void the_mean_stays_where_it_was(void **state)
{
    (void)state;
    enum { C = 5 };
    float *states = some_floats(1, TOKEN_WINDOW * C), *plain = some_floats(1, TOKEN_WINDOW * C);
    float weights[TOKEN_WINDOW];
    double before = 0, after = 0;
    for (int i = 0; i < TOKEN_WINDOW; i++)
        weights[i] = i % 3 == 1 ? 1.3f : 1;
    for (int i = 0; i < TOKEN_WINDOW * C; i++)
        before += states[i] += 1;
    prompt_weigh(states, weights, C, true);
    for (int i = 0; i < TOKEN_WINDOW * C; i++)
        after += states[i];
    assert_true(fabs(after / before - 1) < 1e-6);
    double ratio = states[1 * C] / (plain[1 * C] + 1) / (states[0] / (plain[0] + 1));
    assert_true(fabs(ratio - 1.3) < 1e-5);

    float zeros[TOKEN_WINDOW] = {0}, nothing[TOKEN_WINDOW * C];
    memset(nothing, 0, sizeof nothing);
    prompt_weigh(nothing, zeros, C, true); /* 0 / 0 */
    check_finite("all zero", nothing, TOKEN_WINDOW * C);
    free(states);
    free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_prompts_are_known),
        cmocka_unit_test(words_around_a_break_are_whole),
        cmocka_unit_test(numbers_that_are_none_and_deep_brackets_are_refused),
        cmocka_unit_test(truncation_keeps_the_beginning_of_every_part),
        cmocka_unit_test(the_mean_stays_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
