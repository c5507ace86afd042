/* Styles: what wraps a prompt, found by name; and files of them, which come from strangers. */
#include "storydiff/story/styles.h"
#include "tensor/file.h" /* both before cmocka.h, whose macro `fail` would hide ours */

#include "tests/check.h"
#include "tests/folder.h"

#include <strings.h>

static const char *put_styles(const char *bytes, size_t length)
{
    const char *path = in_folder("styles.json");
    write_bytes(path, bytes, length);
    return path;
}

static struct styles load(const char *json)
{
    struct styles styles;
    struct error e = {0};
    if (styles_load(put_styles(json, strlen(json)), &styles, &e) != OK)
        fail_msg("%s", e.message);
    return styles;
}

static const struct style *find(const struct styles *styles, const char *name)
{
    const struct style *style;
    struct error e = {0};
    if (styles_find(styles, name, &style, &e) != OK)
        fail_msg("%s", e.message);
    return style;
}

static void assert_wrapped(const struct style *style, const char *prompt, const char *expected)
{
    char *wrapped;
    struct error e = {0};
    assert_int_equal(style_prompt(style, prompt, &wrapped, &e), OK);
    assert_string_equal(wrapped, expected);
    free(wrapped);
}

static void assert_negative(const struct style *style, const char *user, const char *expected)
{
    char *wrapped;
    struct error e = {0};
    assert_int_equal(style_negative_prompt(style, user, &wrapped, &e), OK);
    assert_string_equal(wrapped, expected);
    free(wrapped);
}

/* ------------------------------------------------------------------------------------------------------ wrapping */

static void puts_the_prompt_in_every_placeholder_and_touches_nothing_else(void **state)
{
    (void)state;
    assert_wrapped(&(struct style){"s", "a {prompt} . b", ""}, " x  y ", "a  x  y  . b");
    assert_wrapped(&(struct style){"s", "{prompt}", ""}, "x", "x");
    assert_wrapped(&(struct style){"s", "{prompt}{prompt}, {prompt}", ""}, "ab", "abab, ab");
    assert_wrapped(&(struct style){"s", "{ {prompt } {prompt}", ""}, "x", "{ {prompt } x");
    assert_wrapped(&(struct style){"s", "{prompt}", ""}, "", "");
}

static void does_not_look_for_placeholders_in_the_prompt(void **state)
{
    (void)state;
    assert_wrapped(&(struct style){"s", "<{prompt}>", ""}, "{prompt}", "<{prompt}>");
    assert_wrapped(&(struct style){"s", "{prompt} %s %n", ""}, "%d", "%d %s %n");
}

static void puts_the_negative_prompt_of_the_style_first(void **state)
{
    (void)state;
    assert_negative(&(struct style){"s", "{prompt}", "photo"}, "bad hands", "photo bad hands");
    assert_negative(&(struct style){"s", "{prompt}", ""}, "bad hands", " bad hands");
    assert_negative(&(struct style){"s", "{prompt}", "photo"}, NULL, "photo ");
}

/* ----------------------------------------------------------------------------------------------- built-in styles */

static void built_in_styles_have_the_names_users_know(void **state)
{
    (void)state;
    struct styles styles = styles_builtin();
    const char *const known[] = {"(No style)", "Comic book", "Japanese Anime", "Digital/Oil Painting",
                                 "Pixar/Disney Character", "Photographic", "Line art", "Black and White Film Noir",
                                 "Isometric Rooms", "Cinematic", "Watercolor"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_string_equal(find(&styles, known[i])->name, known[i]);
    assert_string_equal(find(&styles, STYLE_DEFAULT)->name, "Comic book");
    assert_wrapped(find(&styles, "(no STYLE)"), " as it is ", " as it is ");
}

static void built_in_styles_are_short_complete_and_distinct(void **state)
{
    (void)state;
    struct styles styles = styles_builtin();
    for (size_t i = 0; i < styles.count; i++) {
        const struct style *s = &styles.items[i];
        assert_non_null(strstr(s->prompt, "{prompt}"));
        int words = 0;
        char copy[512];
        assert_true(strlen(s->prompt) < sizeof copy && strlen(s->name) <= STYLES_MAX_NAME);
        strcpy(copy, s->prompt);
        for (char *w = strtok(copy, " "); w != NULL; w = strtok(NULL, " "))
            words++;
        assert_true(words <= 25);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(strcasecmp(s->name, styles.items[j].name), 0);
    }
}

static void templates_use_the_words_the_small_model_knows(void **state)
{
    (void)state;
    const struct {
        const char *style, *words;
    } rows[] = {
        {"Comic book", "comic book style"},      {"Comic book", ", comic,"},
        {"Cartoon", "cartoon"},                  {"Watercolor", "watercolor painting"},
        {"Watercolor", ", watercolor,"},         {"Watercolor", "pastel"},
        {"Line art", "line art drawing"},        {"Line art", ", line art,"},
        {"Sketch", "sketch"},                    {"Black and White Film Noir", "film noir"},
        {"Black and White Film Noir", "noir,"},  {"Black and White Film Noir", "black and white"},
    };
    struct styles styles = styles_builtin();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_non_null(strstr(find(&styles, rows[i].style)->prompt, rows[i].words));
}

static void unknown_style_is_answered_with_the_nearest_and_all_names(void **state)
{
    (void)state;
    struct styles styles = styles_builtin();
    const struct style *style;
    struct error e = {0};
    assert_int_equal(styles_find(&styles, "Komik book", &style, &e), ERR_ARGUMENT);
    assert_null(style);
    assert_non_null(strstr(e.message, "'Komik book': did you mean 'Comic book'?"));
    for (size_t i = 0; i < styles.count; i++)
        assert_non_null(strstr(e.message, styles.items[i].name));
    error_clear(&e);
    assert_int_equal(styles_find(&styles, "zzzzzzzz", &style, &e), ERR_ARGUMENT);
    assert_null(strstr(e.message, "did you mean"));
    assert_non_null(strstr(e.message, "'Line art'"));
}

/* --------------------------------------------------------------------------------------------------------- files */

static void a_file_adds_styles_and_replaces_built_in_ones(void **state)
{
    (void)state;
    struct styles styles = load("[{\"name\": \"Woodcut\", \"prompt\": \"woodcut of {prompt}\","
                                "  \"negative_prompt\": \"photo\"},"
                                " {\"prompt\": \"{prompt}, my comic\", \"name\": \"COMIC BOOK\"}]");
    assert_int_equal(styles.count, styles_builtin().count + 1);
    assert_wrapped(find(&styles, "woodcut"), "a cat", "woodcut of a cat");
    assert_negative(find(&styles, "woodcut"), "blur", "photo blur");
    assert_wrapped(find(&styles, "Comic book"), "a cat", "a cat, my comic");
    assert_negative(find(&styles, "Comic book"), "blur", " blur");
    assert_wrapped(find(&styles, "(No style)"), "a cat", "a cat");
    styles_free(&styles);
    styles_free(&styles);
}

static void an_empty_list_leaves_the_built_in_styles(void **state)
{
    (void)state;
    struct styles styles = load("[]");
    assert_int_equal(styles.count, styles_builtin().count);
    styles_free(&styles);
}

static void refuses_what_is_no_list_of_styles_and_says_where(void **state)
{
    (void)state;
    const struct {
        const char *json, *says;
    } rows[] = {
        {"", ":1:1:"},
        {"[{\"name\": \"A\",}]", ":1:15:"},
        {"{}", "not a list of styles"},
        {"[3]", "entry 1: not an object"},
        {"[{\"name\": \"A\", \"prompt\": \"{prompt}\"}, []]", "entry 2: not an object"},
        {"[{\"prompt\": \"{prompt}\"}]", "entry 1: no \"name\""},
        {"[{\"name\": \"\", \"prompt\": \"{prompt}\"}]", "entry 1: no \"name\""},
        {"[{\"name\": \"A\"}]", "entry 1: no \"prompt\" (style 'A')"},
        {"[{\"name\": 7, \"prompt\": \"{prompt}\"}]", "entry 1: \"name\" is not a text"},
        {"[{\"name\": \"A\", \"prompt\": null}]", "entry 1: \"prompt\" is not a text"},
        {"[{\"name\": \"A\", \"prompt\": \"{prompt}\", \"negative_prompt\": []}]",
         "\"negative_prompt\" is not a text"},
        {"[{\"name\": \"A\", \"prompt\": \"{Prompt}\"}]", "entry 1: \"prompt\" of style 'A' has no {prompt}"},
        {"[{\"name\": \"A\", \"prompt\": \"\"}]", "has no {prompt}"},
        {"[{\"name\": \"A\", \"prompt\": \"{prompt}\", \"negative\": \"\"}]", "entry 1: unknown member \"negative\""},
        {"[{\"name\": \"A\\u0000\", \"prompt\": \"{prompt}\"}]", "entry 1: \"name\" has control characters"},
        {"[{\"name\": \"A\", \"prompt\": \"{prompt}\\n\"}]", "entry 1: \"prompt\" has control characters"},
        {"[{\"name\": \"A\", \"prompt\": \"{prompt}\"}, {\"name\": \"a\", \"prompt\": \"{prompt}\"}]",
         "entry 2: the name 'a' is taken by entry 1"},
        {"[{\"name\": \"12345678901234567890123456789012345678901234567890123456789012345\","
         "  \"prompt\": \"{prompt}\"}]",
         "\"name\" has 65 bytes, 64 are allowed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct styles styles;
        struct error e = {0};
        const char *path = put_styles(rows[i].json, strlen(rows[i].json));
        assert_int_equal(styles_load(path, &styles, &e), ERR_FORMAT);
        if (strncmp(e.message, path, strlen(path)) != 0 || strstr(e.message, rows[i].says) == NULL)
            fail_msg("%s: '%s' does not say '%s'", rows[i].json, e.message, rows[i].says);
        assert_null(styles.own);
    }
}

static void refuses_too_many_styles(void **state)
{
    (void)state;
    struct text t = {0};
    text_append(&t, "[");
    for (int i = 0; i <= STYLES_MAX; i++)
        text_append(&t, "%s{\"name\": \"%d\", \"prompt\": \"{prompt}\"}", i > 0 ? "," : "", i);
    text_append(&t, "]");
    assert_false(t.failed);
    const char *path = put_styles(t.data, t.length);
    text_free(&t);
    struct styles styles;
    struct error e = {0};
    assert_int_equal(styles_load(path, &styles, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "1001 styles, 1000 are allowed"));
}

static void names_a_file_that_is_not_there(void **state)
{
    (void)state;
    struct styles styles;
    struct error e = {0};
    assert_int_equal(styles_load("/nonexistent/styles.json", &styles, &e), ERR_IO);
    assert_non_null(strstr(e.message, "/nonexistent/styles.json"));
}

static void survives_every_damaged_byte(void **state)
{
    (void)state;
    const char json[] = "[{\"name\": \"A\", \"prompt\": \"{prompt}\", \"negative_prompt\": \"n\"}]";
    for (size_t at = 0; at < sizeof json - 1; at++)
        for (int bit = 0; bit <= 8; bit += 2) { /* flipped; with bit 8 the file is cut here instead */
            char damaged[sizeof json];
            memcpy(damaged, json, sizeof json);
            damaged[at] ^= (char)(1 << bit & 0xFF);
            const char *path = put_styles(damaged, bit < 8 ? sizeof json - 1 : at);
            struct styles styles;
            struct error e = {0};
            if (styles_load(path, &styles, &e) != OK) {
                assert_true(strncmp(e.message, path, strlen(path)) == 0);
                continue;
            }
            assert_non_null(strstr(styles.items[0].prompt, "{prompt}"));
            assert_non_null(find(&styles, "(No style)"));
            styles_free(&styles);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_the_prompt_in_every_placeholder_and_touches_nothing_else),
        cmocka_unit_test(does_not_look_for_placeholders_in_the_prompt),
        cmocka_unit_test(puts_the_negative_prompt_of_the_style_first),
        cmocka_unit_test(built_in_styles_have_the_names_users_know),
        cmocka_unit_test(built_in_styles_are_short_complete_and_distinct),
        cmocka_unit_test(templates_use_the_words_the_small_model_knows),
        cmocka_unit_test(unknown_style_is_answered_with_the_nearest_and_all_names),
        cmocka_unit_test(a_file_adds_styles_and_replaces_built_in_ones),
        cmocka_unit_test(an_empty_list_leaves_the_built_in_styles),
        cmocka_unit_test(refuses_what_is_no_list_of_styles_and_says_where),
        cmocka_unit_test(refuses_too_many_styles),
        cmocka_unit_test(names_a_file_that_is_not_there),
        cmocka_unit_test(survives_every_damaged_byte),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
