/* The error channel. In tests, `fail` is also a macro of cmocka.h: (fail)(...) is ours. */
#include "tests/check.h"

static void the_first_failure_is_kept(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal((fail)(&e, ERR_IO, "%s: %d", "a file", 7), ERR_IO);
    assert_int_equal((fail)(&e, ERR_MEMORY, "what came of it"), ERR_MEMORY);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.message, "a file: 7");
}

static void nobody_has_to_listen(void **state)
{
    (void)state;
    assert_int_equal((fail)(NULL, ERR_FORMAT, "unheard"), ERR_FORMAT);
    fail_context(NULL, "unheard");
    error_clear(NULL);
}

static void context_goes_in_front(void **state)
{
    (void)state;
    struct error e = {0};
    (fail)(&e, ERR_FORMAT, "bad");
    assert_int_equal(fail_context(&e, "unet/%s", "config.json"), ERR_FORMAT);
    assert_int_equal(fail_context(&e, "model"), ERR_FORMAT);
    assert_string_equal(e.message, "model: unet/config.json: bad");
}

static void context_without_a_failure_changes_nothing(void **state)
{
    (void)state;
    struct error e = {0};
    fail_context(&e, "model");
    assert_int_equal(e.code, OK);
    assert_string_equal(e.message, "");
}

static void a_cleared_error_can_record_again(void **state)
{
    (void)state;
    struct error e = {0};
    (fail)(&e, ERR_IO, "first");
    error_clear(&e);
    assert_int_equal(e.code, OK);
    assert_string_equal(e.message, "");
    (fail)(&e, ERR_FORMAT, "second");
    assert_string_equal(e.message, "second");
}

/* Contexts of every length around the size of the message, in front of a message that fills it. */
static void too_long_messages_are_cut_and_terminated(void **state)
{
    (void)state;
    enum { SIZE = sizeof((struct error *)NULL)->message };
    static char text[2 * SIZE];
    for (size_t length = SIZE - 5; length < SIZE + 5; length++) {
        struct error e = {0};
        memset(text, 'x', sizeof text);
        text[length] = '\0';
        (fail)(&e, ERR_IO, "%s", text);
        assert_int_equal(strlen(e.message), length < SIZE ? length : SIZE - 1);
        memset(text, 'y', length);
        assert_int_equal(fail_context(&e, "%s", text), ERR_IO);
        assert_true(strlen(e.message) < SIZE);
        assert_int_equal(e.message[0], 'y');
    }
}

static void the_cause_is_cut_not_the_context(void **state)
{
    (void)state;
    enum { SIZE = sizeof((struct error *)NULL)->message };
    static char text[SIZE];
    memset(text, 'x', SIZE - 1);
    struct error e = {0};
    (fail)(&e, ERR_IO, "%s", text);
    fail_context(&e, "here");
    assert_int_equal(strlen(e.message), SIZE - 1);
    assert_memory_equal(e.message, "here: xxx", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_is_kept),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(context_without_a_failure_changes_nothing),
        cmocka_unit_test(a_cleared_error_can_record_again),
        cmocka_unit_test(too_long_messages_are_cut_and_terminated),
        cmocka_unit_test(the_cause_is_cut_not_the_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
