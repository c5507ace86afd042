/* The JSON reader on good documents, on bad ones and on hostile ones; the growing text that writes them. */
#include "tensor/json.h" /* before cmocka.h, whose macro `fail` would hide ours */

#include "tests/check.h"
#include "tests/folder.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Parses a copy of exactly `length` bytes, so that a sanitizer sees a read past the end. */
static status parse_bytes(const char *text, size_t length, const struct json **root, struct error *e)
{
    char *copy = malloc(length);
    assert_true(copy != NULL || length == 0);
    if (length > 0)
        memcpy(copy, text, length);
    status result = json_parse("test.json", copy, length, root, e);
    free(copy);
    return result;
}

static const struct json *parsed(const char *text)
{
    const struct json *root;
    struct error e = {0};
    if (parse_bytes(text, strlen(text), &root, &e) != OK)
        fail_msg("%s: %s", text, e.message);
    return root;
}

static void check_refused_at(const char *text, size_t length, size_t line, size_t column, size_t offset,
                             const char *reason)
{
    const struct json *root;
    struct error e = {0};
    if (parse_bytes(text, length, &root, &e) == OK)
        fail_msg("accepted: %s", text);
    assert_int_equal(e.code, ERR_FORMAT);
    assert_null(root);
    char where[128];
    snprintf(where, sizeof where, "test.json:%zu:%zu: offset %zu: ", line, column, offset);
    if (strncmp(e.message, where, strlen(where)) != 0 || strstr(e.message, reason) == NULL)
        fail_msg("expected '%s..%s..', found '%s'", where, reason, e.message);
}

/* For texts of one line of ASCII, where the column follows from the offset. */
static void check_refused(const char *text, size_t offset, const char *reason)
{
    check_refused_at(text, strlen(text), 1, offset + 1, offset, reason);
}

/* The text of `count` copies of a string. */
static char *repeated(const char *piece, size_t count)
{
    size_t length = strlen(piece);
    char *text = malloc(length * count + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * length, piece, length);
    text[length * count] = '\0';
    return text;
}

/* Visits every value and every byte of every string; returns the number of values. */
static size_t walk(const struct json *v)
{
    size_t values = 1, children = 0;
    if (v->kind == JSON_STRING)
        assert_int_equal(v->string[v->string_length], '\0');
    for (const struct json *child = v->child; child != NULL; child = child->next) {
        assert_int_equal(child->key != NULL, v->kind == JSON_OBJECT);
        values += walk(child);
        children++;
    }
    assert_int_equal(children, v->count);
    return values;
}

/* Good documents */

static void finds_values_by_key_and_index(void **state)
{
    (void)state;
    const struct json *root = parsed(" {\"a\": [1, -2, {\"b\": \"text\"}],\r\n\t\"c\": true,"
                                     "\"d\": null, \"\": 0.5} ");
    const struct json *a = json_get(root, "a");
    assert_int_equal(root->count, 4);
    assert_int_equal(a->count, 3);
    assert_string_equal(a->key, "a");
    assert_int_equal(json_int(json_at(a, 1), 0), -2);
    assert_string_equal(json_string(json_get(json_at(a, 2), "b"), ""), "text");
    assert_true(json_bool(json_get(root, "c"), false));
    assert_int_equal(json_get(root, "d")->kind, JSON_NULL);
    assert_true(json_double(json_get(root, ""), 0) == 0.5);
    assert_string_equal(root->child->next->next->key, "d");
    assert_int_equal(walk(root), 9);
    json_free(root);
}

static void missing_values_and_other_kinds_give_the_fallback(void **state)
{
    (void)state;
    const struct json *root = parsed("{\"s\": \"1\", \"f\": 1.0, \"n\": null, \"l\": [false]}");
    assert_null(json_get(root, "x"));
    assert_null(json_get(json_get(root, "l"), "0"));
    assert_null(json_at(root, 0));
    assert_null(json_at(json_get(root, "l"), 1));
    assert_null(json_get(NULL, "x"));
    assert_null(json_at(NULL, 0));
    assert_int_equal(json_int(json_get(json_get(root, "x"), "y"), 7), 7);
    assert_int_equal(json_int(json_get(root, "s"), 7), 7);
    assert_int_equal(json_int(json_get(root, "f"), 7), 7);
    assert_true(json_double(json_get(root, "n"), 7.5) == 7.5);
    assert_true(json_bool(json_get(root, "n"), true));
    assert_false(json_bool(json_at(json_get(root, "l"), 0), true));
    assert_string_equal(json_string(json_get(root, "f"), "fallback"), "fallback");
    assert_null(json_string(NULL, NULL));
    json_free(root);
    json_free(NULL);
}

static void any_value_may_be_the_document(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum json_kind kind;
    } documents[] = {{"null", JSON_NULL}, {"true", JSON_TRUE},  {" false\n", JSON_FALSE}, {"0", JSON_NUMBER},
                     {"\"\"", JSON_STRING}, {"[]", JSON_ARRAY}, {"[ ]", JSON_ARRAY},      {"{ }", JSON_OBJECT}};
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        const struct json *root = parsed(documents[i].text);
        assert_int_equal(root->kind, documents[i].kind);
        assert_null(root->key);
        assert_int_equal(root->count, 0);
        json_free(root);
    }
}

/* The compiler rounds its literals correctly, so they are the expected values. */
static void numbers_are_the_nearest_double(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double number;
    } numbers[] = {
        {"0.1", 0.1},
        {"-0.18215", -0.18215},
        {"1e23", 1e23},
        {"1E+2", 1E+2},
        {"8.5e-1", 8.5e-1},
        {"9007199254740993", 9007199254740992.0},   /* 2^53 + 1: a tie, to even */
        {"9007199254740993.0000001", 9007199254740994.0},
        {"123456789012345678901234567890", 123456789012345678901234567890.0},
        {"1.7976931348623157e308", 1.7976931348623157e308},
        {"2.2250738585072011e-308", 2.2250738585072011e-308}, /* once hung a well-known strtod */
        {"4.9e-324", 4.9e-324},
        {"1e-400", 0.0},
        {"0e999999999999", 0.0},
        {"100000000000000000000e-20", 1.0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const struct json *root = parsed(numbers[i].text);
        if (root->number != numbers[i].number)
            fail_msg("%s is %.17g, expected %.17g", numbers[i].text, root->number, numbers[i].number);
        json_free(root);
    }
    const struct json *minus_zero = parsed("-0");
    assert_true(minus_zero->number == 0 && signbit(minus_zero->number));
    json_free(minus_zero);
}

static void integers_are_flagged_when_they_fit_64_bits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_integer;
        int64_t integer;
    } numbers[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"1.0", false, 0},
        {"1e2", false, 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const struct json *root = parsed(numbers[i].text);
        assert_int_equal(root->is_integer, numbers[i].is_integer);
        assert_true(root->integer == numbers[i].integer);
        assert_true(root->number == strtod(numbers[i].text, NULL));
        json_free(root);
    }
}

static void numbers_of_a_million_digits_are_numbers(void **state)
{
    (void)state;
    enum { DIGITS = 1000000 };
    char *digits = repeated("1", DIGITS);
    check_refused(digits, 0, "too large");
    digits[1] = '.';
    const struct json *root = parsed(digits);
    assert_true(root->number == 1.1111111111111111111111);
    json_free(root);
    memset(digits + 2, '0', DIGITS - 3); /* 1.000..0001 */
    root = parsed(digits);
    assert_true(root->number == 1);
    json_free(root);
    free(digits);
}

static void a_decimal_point_is_a_point_in_every_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "es_ES.UTF-8", "de_DE", "fr_FR", "es_ES"};
    const char *chosen = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && chosen == NULL; i++)
        chosen = setlocale(LC_NUMERIC, names[i]);
    if (chosen == NULL) {
        print_message("skipped: no locale with a decimal comma is installed\n");
        skip();
    }
    const struct json *root = parsed("[0.25, 1]");
    setlocale(LC_NUMERIC, "C");
    assert_true(json_double(json_at(root, 0), 0) == 0.25);
    json_free(root);
}

static void escapes_become_their_characters(void **state)
{
    (void)state;
    const struct json *root = parsed("\"\\\"\\\\\\/\\b\\f\\n\\r\\t \\u0041\\u00e9\\u20AC\\ud83d\\uDE00 \xc3\xa9\"");
    assert_string_equal(root->string, "\"\\/\b\f\n\r\t A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xc3\xa9");
    json_free(root);
}

static void a_string_may_contain_nul_and_says_its_length(void **state)
{
    (void)state;
    const struct json *root = parsed("\"a\\u0000b\"");
    assert_int_equal(root->string_length, 3);
    assert_memory_equal(root->string, "a\0b", 4);
    json_free(root);
}

/* Bad documents */

static void refuses_what_is_not_json_and_says_where(void **state)
{
    (void)state;
    check_refused("", 0, "a value is expected here, but the text ends");
    check_refused("  ", 2, "a value is expected here, but the text ends");
    check_refused("[1,]", 3, "a value is expected here, found ']'");
    check_refused("[,1]", 1, "a value is expected here, found ','");
    check_refused("[1 2]", 3, "',' or ']' is expected here, found '2'");
    check_refused("[1", 2, "',' or ']' is expected here, but the text ends");
    check_refused("[1}", 2, "',' or ']'");
    check_refused("{\"a\":1,}", 7, "a key in double quotes is expected here, found '}'");
    check_refused("{a:1}", 1, "a key in double quotes");
    check_refused("{'a':1}", 1, "a key in double quotes");
    check_refused("{\"a\" 1}", 5, "':' after the key");
    check_refused("{\"a\":}", 5, "a value");
    check_refused("{\"a\":1 \"b\":2}", 7, "',' or '}'");
    check_refused("1 2", 2, "the end of the text is expected here, found '2'");
    check_refused("{} // comment", 3, "the end of the text");
    check_refused("/* comment */ 1", 0, "a value");
    check_refused("nul", 0, "a value");
    check_refused("True", 0, "a value");
    check_refused("trueish", 4, "the end of the text");
    check_refused("NaN", 0, "a value");
    check_refused("-Infinity", 1, "a digit");
    check_refused("\v1", 0, "a value is expected here, found byte 0x0b");
    check_refused("\xef\xbb\xbf{}", 0, "found byte 0xef");
}

static void refuses_numbers_that_json_does_not_know(void **state)
{
    (void)state;
    check_refused("01", 0, "leading zeros");
    check_refused("-012", 1, "leading zeros");
    check_refused("+1", 0, "a value");
    check_refused(".5", 0, "a value");
    check_refused("1.", 2, "a digit is expected here, but the text ends");
    check_refused("1.e5", 2, "a digit");
    check_refused("1e", 2, "a digit");
    check_refused("1e+", 3, "a digit");
    check_refused("-", 1, "a digit");
    check_refused("--1", 1, "a digit");
    check_refused("0x10", 1, "the end of the text");
    check_refused("1e309", 0, "too large");
    check_refused("[-1e999999999999999999999]", 1, "too large");
}

static void refuses_strings_with_bad_escapes(void **state)
{
    (void)state;
    check_refused("\"abc", 0, "has no end");
    check_refused("[\"abc\\\"]", 1, "has no end");
    check_refused("\"\\x41\"", 2, "after a backslash");
    check_refused("\"\\", 2, "after a backslash");
    check_refused("\"\\u12g4\"", 5, "a hexadecimal digit");
    check_refused("\"\\u004G\"", 6, "a hexadecimal digit");
    check_refused("\"\\u12", 5, "a hexadecimal digit");
    check_refused("\"a\tb\"", 2, "control character 0x09");
    check_refused("\"\x1f\"", 1, "control character 0x1f");
    check_refused_at("\"a\0b\"", 5, 1, 3, 2, "control character 0x00");
    check_refused("\"\\ud800\"", 3, "half of a surrogate pair");
    check_refused("\"\\udc00\\ud800\"", 3, "half of a surrogate pair");
    check_refused("\"\\ud800\\n\"", 3, "half of a surrogate pair");
    check_refused("\"\\ud800\\u0041\"", 3, "half of a surrogate pair");
    check_refused("\"\\ud800\\ud800\"", 3, "half of a surrogate pair");
    check_refused("{\"a\\u0000b\": 1}", 1, "a key cannot contain");
}

static void refuses_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",             /* a continuation byte with nothing before it */
        "\xc3",             /* cut short */
        "\xe2\x82",         /* cut short */
        "\xf0\x9f\x98",     /* cut short */
        "\xc0\xaf",         /* '/' in two bytes */
        "\xe0\x80\xaf",     /* '/' in three */
        "\xf0\x80\x80\xaf", /* '/' in four */
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* beyond U+10FFFF */
        "\xf8\x88\x80\x80\x80", "\xfe", "\xff",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[16];
        snprintf(text, sizeof text, "\"%s\"", bad[i]);
        check_refused(text, 1, "UTF-8");
        text[strlen(text) - 1] = '\0';
        check_refused(text, 1, "UTF-8");
    }
}

static void counts_lines_and_characters_up_to_the_mistake(void **state)
{
    (void)state;
    static const char text[] = "{\n  \"caf\xc3\xa9\": 1,\n  \"\xe2\x82\xac\": x\n}";
    check_refused_at(text, strlen(text), 3, 8, 25, "a value is expected here, found 'x'");
}

static void refuses_duplicate_keys_at_the_second_one(void **state)
{
    (void)state;
    check_refused("{\"a\":1,\"b\":2,\"a\":3}", 13, "already has a member with this key");
    check_refused("{\"a\":1,\"\\u0061\":2}", 7, "already has a member");
    check_refused("{\"a\":{\"x\":1,\"x\":2},\"a\":3}", 12, "already has a member");
    check_refused("{\"b\":1,\"a\":1,\"b\":1,\"a\":1}", 13, "already has a member");
    check_refused("{\"a\":1,\"b\":1,\"a\":1,\"b\":1}", 13, "already has a member");
    json_free(parsed("{\"a\":{\"a\":1,\"b\":2},\"b\":{\"a\":1,\"b\":[{\"a\":1},{\"a\":1}]}}"));
}

/* Hostile documents */

static void nesting_has_a_limit(void **state)
{
    (void)state;
    char text[2 * 65 + 1] = {0};
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    json_free(parsed(text));
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    check_refused(text, 64, "nested more than 64 levels deep");

    struct text siblings = {0};
    for (int i = 0; i < 100; i++)
        text_append(&siblings, "%c[{\"a\":0}]", i == 0 ? '[' : ',');
    text_append(&siblings, "]");
    json_free(parsed(siblings.data));
    text_free(&siblings);

    char *open = repeated("{\"a\":[", 1000000);
    check_refused(open, 6 * 32, "nested more than 64 levels deep");
    free(open);
}

static void too_many_values_are_refused(void **state)
{
    (void)state;
    char *text = repeated("0,", 5000000);
    text[0] = '[';
    text[1] = '0'; /* "[0" and then ",0" again and again */
    for (size_t i = 2; text[i] != '\0'; i += 2)
        memcpy(text + i, ",0", 2);
    const struct json *root;
    struct error e = {0};
    assert_int_equal(json_parse("test.json", text, strlen(text), &root, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "too many values"));
    free(text);
}

/* A quadratic search would compare 5e9 pairs here, a minute or more. */
static void finds_one_duplicate_among_100000_keys(void **state)
{
    (void)state;
    enum { KEYS = 100000 };
    struct text t = {0};
    for (int i = 0; i < KEYS; i++)
        text_append(&t, "%s\"a long common beginning %d\":%d", i == 0 ? "{" : ",", i, i);
    size_t duplicate = t.length + 1;
    text_append(&t, ",\"a long common beginning %d\":0}", KEYS / 2);
    assert_false(t.failed);
    check_refused(t.data, duplicate, "already has a member");

    t.data[duplicate + 1] = 'A'; /* now they differ */
    const struct json *root = parsed(t.data);
    assert_int_equal(root->count, KEYS + 1);
    assert_int_equal(json_int(json_get(root, "a long common beginning 99999"), 0), 99999);
    json_free(root);
    text_free(&t);
}

static const char sample[] =
    "{\"__metadata__\": {\"format\": \"pt\"}, \"down.0\\u002eweight\": {\"dtype\": \"F16\", "
    "\"shape\": [320, 4, 3, 3], \"data_offsets\": [0, 23040]},\n\t\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\": "
    "\"\\ud83d\\ude00 \\\"\\\\\\n\", \"numbers\": [-0.5e-3, 1E4, -9223372036854775808, 12345678901234567890, 0], "
    "\"words\": [true, false, null, [], {}]}";

static void check_survives(const char *text, size_t length, bool must_fail)
{
    const struct json *root;
    struct error e = {0};
    status result = parse_bytes(text, length, &root, &e);
    if (result == OK) {
        assert_false(must_fail);
        assert_true(walk(root) > 0);
        json_free(root);
        return;
    }
    assert_int_equal(result, ERR_FORMAT);
    assert_null(root);
    assert_non_null(strstr(e.message, ": offset "));
    assert_null(strchr(e.message, '\n'));
}

static void survives_being_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t length = 0; length < strlen(sample); length++)
        check_survives(sample, length, true);
    check_survives(sample, strlen(sample), false);
}

static void survives_every_change_of_one_byte(void **state)
{
    (void)state;
    char text[sizeof sample];
    memcpy(text, sample, sizeof sample);
    for (size_t i = 0; i + 1 < sizeof sample; i++) {
        for (int byte = 0; byte < 256; byte++) {
            text[i] = (char)byte;
            check_survives(text, strlen(sample), false);
        }
        text[i] = sample[i];
    }
}

static void survives_every_byte_left_out_or_doubled(void **state)
{
    (void)state;
    size_t length = strlen(sample);
    for (size_t i = 0; i < length; i++) {
        char text[sizeof sample + 1];
        memcpy(text, sample, i);
        memcpy(text + i, sample + i + 1, length - i - 1);
        check_survives(text, length - 1, false);
        memcpy(text, sample, i + 1);
        memcpy(text + i + 1, sample + i, length - i);
        check_survives(text, length + 1, false);
    }
}

/* Files */

static void reads_a_config_file(void **state)
{
    (void)state;
    const struct json *root;
    struct error e = {0};
    if (json_read("tests/golden/pipeline/model_index.json", &root, &e) != OK)
        fail_msg("%s", e.message);
    assert_string_equal(json_string(json_get(root, "_class_name"), ""), "StableDiffusionXLPipeline");
    assert_string_equal(json_string(json_at(json_get(root, "unet"), 1), ""), "UNet2DConditionModel");
    json_free(root);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    const struct json *root;
    struct error e = {0};
    assert_int_equal(json_read("tests/golden/no-such.json", &root, &e), ERR_IO);
    assert_null(root);
    assert_non_null(strstr(e.message, "tests/golden/no-such.json"));
}

/* A sparse file: its size is known, its bytes exist nowhere. */
static void files_over_64_mib_are_refused_unread(void **state)
{
    (void)state;
    const char *path = in_folder("large.json");
    write_bytes(path, "", 0);
    assert_int_equal(truncate(path, ((off_t)64 << 20) + 1), 0);
    const struct json *root;
    struct error e = {0};
    assert_int_equal(json_read(path, &root, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "64 MiB"));
}

static void an_empty_file_is_no_document(void **state)
{
    (void)state;
    const char *path = in_folder("empty.json");
    write_bytes(path, "", 0);
    const struct json *root;
    struct error e = {0};
    assert_int_equal(json_read(path, &root, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, ":1:1: offset 0: a value is expected"));
}

/* Writing */

static void text_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct text t = {0};
    char expected[4000] = "";
    for (int i = 0; i < 400; i++) {
        text_append(&t, "%d,", i);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%d,", i);
        assert_int_equal(t.length, strlen(expected));
        assert_string_equal(t.data, expected);
        assert_true(t.length < t.capacity);
    }
    text_free(&t);
    assert_null(t.data);
    text_append_bytes(&t, "a\0b", 3);
    assert_memory_equal(t.data, "a\0b", 4);
    text_free(&t);
    text_free(&t);
}

static void text_stays_as_it_was_after_a_failed_allocation(void **state)
{
    (void)state;
    struct text t = {0};
    text_append(&t, "kept");
    text_append_bytes(&t, "", SIZE_MAX - 2); /* refused before a byte is read */
    assert_true(t.failed);
    text_append(&t, "lost");
    text_append_json_string(&t, "lost");
    assert_string_equal(t.data, "kept");
    assert_int_equal(t.length, 4);
    text_free(&t);
    assert_false(t.failed);
}

static void every_unicode_character_survives_writing_and_reading(void **state)
{
    (void)state;
    struct text original = {0}, written = {0};
    for (uint32_t point = 1; point <= 0x10ffff; point++) {
        if (point >= 0xd800 && point <= 0xdfff)
            continue;
        char utf8[4];
        size_t length = 0;
        if (point >= 0x10000)
            utf8[length++] = (char)(0xf0 | point >> 18);
        if (point >= 0x800)
            utf8[length++] = (char)(point >= 0x10000 ? 0x80 | (point >> 12 & 0x3f) : 0xe0 | point >> 12);
        if (point >= 0x80)
            utf8[length++] = (char)(point >= 0x800 ? 0x80 | (point >> 6 & 0x3f) : 0xc0 | point >> 6);
        utf8[length++] = (char)(point >= 0x80 ? 0x80 | (point & 0x3f) : point);
        text_append_bytes(&original, utf8, length);
    }
    text_append_json_string(&written, original.data);
    assert_false(original.failed || written.failed);
    const struct json *root = parsed(written.data);
    assert_int_equal(root->string_length, original.length);
    assert_memory_equal(root->string, original.data, original.length);
    json_free(root);
    text_free(&written);
    text_free(&original);
}

static void bytes_that_are_not_utf8_are_written_as_replacement_characters(void **state)
{
    (void)state;
    struct text t = {0};
    text_append_json_string(&t, "a\xff\xc3\"\n\x01");
    assert_string_equal(t.data, "\"a\xef\xbf\xbd\xef\xbf\xbd\\\"\\u000a\\u0001\"");
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_values_by_key_and_index),
        cmocka_unit_test(missing_values_and_other_kinds_give_the_fallback),
        cmocka_unit_test(any_value_may_be_the_document),
        cmocka_unit_test(numbers_are_the_nearest_double),
        cmocka_unit_test(integers_are_flagged_when_they_fit_64_bits),
        cmocka_unit_test(numbers_of_a_million_digits_are_numbers),
        cmocka_unit_test(a_decimal_point_is_a_point_in_every_locale),
        cmocka_unit_test(escapes_become_their_characters),
        cmocka_unit_test(a_string_may_contain_nul_and_says_its_length),
        cmocka_unit_test(refuses_what_is_not_json_and_says_where),
        cmocka_unit_test(refuses_numbers_that_json_does_not_know),
        cmocka_unit_test(refuses_strings_with_bad_escapes),
        cmocka_unit_test(refuses_bytes_that_are_not_utf8),
        cmocka_unit_test(counts_lines_and_characters_up_to_the_mistake),
        cmocka_unit_test(refuses_duplicate_keys_at_the_second_one),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(finds_one_duplicate_among_100000_keys),
        cmocka_unit_test(survives_being_cut_at_every_byte),
        cmocka_unit_test(survives_every_change_of_one_byte),
        cmocka_unit_test(survives_every_byte_left_out_or_doubled),
        cmocka_unit_test(reads_a_config_file),
        cmocka_unit_test(a_missing_file_is_named),
        TEST(files_over_64_mib_are_refused_unread),
        TEST(an_empty_file_is_no_document),
        cmocka_unit_test(text_grows_and_stays_terminated),
        cmocka_unit_test(text_stays_as_it_was_after_a_failed_allocation),
        cmocka_unit_test(every_unicode_character_survives_writing_and_reading),
        cmocka_unit_test(bytes_that_are_not_utf8_are_written_as_replacement_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
