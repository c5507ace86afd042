/* Story scripts: what is read from them, what is refused and where, and who is drawn with whom. Prompts, negative
 * prompts and passes are compared with recordings of the reference. */
#include "storydiff/story/plan.h"
#include "storydiff/story/styles.h"
#include "tensor/safetensors.h" /* all before cmocka.h, whose macro `fail` would hide ours */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct story parse(const char *text)
{
    struct story story;
    struct error e = {0};
    if (story_parse("s", text, strlen(text), &story, &e) != OK)
        fail_msg("%s", e.message);
    return story;
}

static struct story_plan plan_of(const struct story *story, int id_length)
{
    struct story_plan plan;
    struct error e = {0};
    if (story_plan_make(story, id_length, &plan, &e) != OK)
        fail_msg("%s", e.message);
    return plan;
}

static void assert_refused(const char *text, size_t length, const char *where, const char *says)
{
    struct story story;
    struct error e = {0};
    char begin[64];
    snprintf(begin, sizeof begin, "s:%s: ", where);
    assert_int_equal(story_parse("s", text, length, &story, &e), ERR_FORMAT);
    if (strncmp(e.message, begin, strlen(begin)) != 0 || strstr(e.message, says) == NULL)
        fail_msg("'%s': '%s' is not at %s or does not say '%s'", text, e.message, where, says);
    assert_null(story.panels);
    story_free(&story);
}

/* The caption of a story with [Bob], [Alice] and this one panel. */
static void assert_caption(const char *panel, const char *caption)
{
    struct story story;
    struct error e = {0};
    assert_int_equal(story_from_prompts("[Bob]a man\n[Alice]a woman", &panel, 1, &story, &e), OK);
    assert_string_equal(story.panels[0].caption, caption);
    story_free(&story);
}

/* --------------------------------------------------------------------------------------------------------- golden */

/* A recorded story: its metadata, and the JSON values in it. */
struct recording {
    struct safetensors file;
    const struct json *lines, *passes, *template;
    const char *panels[64];
    size_t count;
    struct style style;
};

static const struct json *meta_json(const struct safetensors *file, const char *key)
{
    const char *text = safetensors_meta(file, key);
    const struct json *root;
    struct error e = {0};
    assert_non_null(text);
    assert_int_equal(json_parse(key, text, strlen(text), &root, &e), OK);
    return root;
}

static struct recording open_recording(const char *folder)
{
    struct recording r = {0};
    struct error e = {0};
    char path[512];
    snprintf(path, sizeof path, "tests/golden/story/%s/io.safetensors", folder);
    if (safetensors_open(path, &r.file, &e) != OK)
        fail_msg("%s", e.message);
    r.lines = meta_json(&r.file, "lines");
    r.passes = meta_json(&r.file, "passes");
    r.template = meta_json(&r.file, "style_template");
    for (const struct json *line = r.lines->child; line != NULL && r.count < 64; line = line->next)
        r.panels[r.count++] = line->string;
    r.style = (struct style){
        .name = json_string(json_get(r.template, "name"), ""),
        .prompt = json_string(json_get(r.template, "prompt"), ""),
        .negative_prompt = json_string(json_get(r.template, "negative_prompt"), ""),
    };
    return r;
}

static void close_recording(struct recording *r)
{
    json_free(r->lines);
    json_free(r->passes);
    json_free(r->template);
    safetensors_close(&r->file);
}

/* The reference wraps the negative prompt once per character and hands the result to the next: so what it recorded
 * for its n-th write pass is the style put n times around the user's text. */
static void assert_recorded_negative(const struct recording *r, int times, const char *recorded)
{
    const char *user = safetensors_meta(&r->file, "negative_prompt");
    char expected[4096] = "", *ours;
    for (int i = 0; i < times; i++)
        strcat(strcat(expected, r->style.negative_prompt), " ");
    strcat(expected, user);
    assert_string_equal(recorded, expected);

    struct error e = {0};
    assert_int_equal(style_negative_prompt(&r->style, user, &ours, &e), OK);
    const char *once = expected + (size_t)(times - 1) * (strlen(r->style.negative_prompt) + 1);
    assert_string_equal(ours, once);
    free(ours);
}

static void assert_matches_recording(const struct recording *r, const struct story *story)
{
    struct story_plan plan = plan_of(story, atoi(safetensors_meta(&r->file, "id_length")));
    assert_string_equal(plan.notice, "");
    assert_int_equal(plan.pass_count, r->passes->count);
    int writes = 0;
    for (int i = 0; i < plan.pass_count; i++) {
        const struct story_pass *pass = &plan.passes[i];
        const struct json *recorded = json_at(r->passes, (size_t)i);
        const struct json *prompts = json_get(recorded, "prompts"), *characters = json_get(recorded, "characters");
        assert_int_equal(pass->kind == STORY_WRITE, json_bool(json_get(recorded, "write"), false));
        writes += pass->kind == STORY_WRITE;
        assert_int_equal(pass->panel_count, prompts->count);
        assert_int_equal(pass->character_count, characters->count);
        for (int c = 0; c < pass->character_count; c++) {
            char key[STORY_MAX_KEY + 3];
            snprintf(key, sizeof key, "[%s]", story->characters[plan.cast[pass->characters[c]]].key);
            assert_string_equal(key, json_at(characters, (size_t)c)->string);
        }
        for (int p = 0; p < pass->panel_count; p++) {
            struct error e = {0};
            char *prompt;
            assert_int_equal(style_prompt(&r->style, story->panels[pass->panels[p]].prompt, &prompt, &e), OK);
            assert_string_equal(prompt, json_at(prompts, (size_t)p)->string);
            free(prompt);
        }
        assert_recorded_negative(r, writes, json_get(recorded, "negative")->string);
    }
    story_plan_free(&plan);
}

static void prompts_and_passes_are_those_of_the_reference(void **state)
{
    (void)state;
    DIR *folder = opendir("tests/golden/story");
    assert_non_null(folder);
    int stories = 0;
    for (struct dirent *d; (d = readdir(folder)) != NULL;) {
        if (d->d_name[0] == '.')
            continue;
        struct recording r = open_recording(d->d_name);
        struct story story;
        struct error e = {0};
        const char *general = safetensors_meta(&r.file, "general_prompt");
        if (story_from_prompts(general, r.panels, r.count, &story, &e) != OK)
            fail_msg("%s", e.message);
        assert_matches_recording(&r, &story);
        story_free(&story);
        close_recording(&r);
        stories++;
    }
    closedir(folder);
    assert_true(stories >= 2);
}

static void a_file_says_the_same_as_a_general_prompt_and_lines(void **state)
{
    (void)state;
    const char *const folders[] = {"tame-freeu", "tame-two-characters"};
    const char *const line_ends[] = {"\n", "\r\n"};
    for (int f = 0; f < 2; f++)
        for (int end = 0; end < 2; end++) {
            struct recording r = open_recording(folders[f]);
            struct text t = {0};
            text_append(&t, "%s", end ? "\xEF\xBB\xBF" : "");
            for (const char *c = safetensors_meta(&r.file, "general_prompt"); *c != '\0'; c++)
                text_append(&t, *c == '\n' ? line_ends[end] : "%c", *c);
            text_append(&t, "%s---", line_ends[end]);
            for (size_t i = 0; i < r.count; i++)
                text_append(&t, "%s%s", line_ends[end], r.panels[i]);
            assert_false(t.failed);
            struct story story = parse(t.data);
            assert_matches_recording(&r, &story);
            story_free(&story);
            text_free(&t);
            close_recording(&r);
        }
}

static void captions_of_the_recorded_stories_follow_the_reference(void **state)
{
    (void)state;
    const struct {
        const char *folder, *captions[6];
    } rows[] = {
        {"tame-freeu", {"began to draw", "on a park bench.", "reading a book", "A squirrel", "She is"}},
        {"tame-two-characters", {"at home", "hello", "on the road", "in the sun", "Bob and Alice run", "asleep"}},
    };
    for (int f = 0; f < 2; f++) {
        struct recording r = open_recording(rows[f].folder);
        struct story story;
        struct error e = {0};
        const char *general = safetensors_meta(&r.file, "general_prompt");
        assert_int_equal(story_from_prompts(general, r.panels, r.count, &story, &e), OK);
        for (int i = 0; i < story.panel_count; i++)
            assert_string_equal(story.panels[i].caption, rows[f].captions[i]);
        story_free(&story);
        close_recording(&r);
    }
}

/* -------------------------------------------------------------------------------------------- what a file can say */

static void a_file_has_settings_characters_panels_and_comments(void **state)
{
    (void)state;
    struct story s = parse("// my story\n"
                           "title: The: end \n"
                           "\n"
                           "  negative-prompt :bad // no comment\n"
                           "empty:\n"
                           " [Bob] a man \n"
                           "--- \t\n"
                           "   // [Carol] is not in it\n"
                           " \t\n"
                           "[Bob] at // home\n");
    assert_int_equal(s.setting_count, 3);
    assert_string_equal(s.settings[0].key, "title");
    assert_string_equal(s.settings[0].value, "The: end");
    const struct story_setting *negative = story_setting_find(&s, "negative-prompt");
    assert_ptr_equal(negative, story_setting_find(&s, "negative_prompt"));
    assert_string_equal(negative->key, "negative_prompt");
    assert_string_equal(negative->value, "bad // no comment");
    assert_int_equal(negative->line, 4);
    assert_int_equal(negative->key_column, 3);
    assert_int_equal(negative->value_column, 20);
    assert_string_equal(story_setting_find(&s, "empty")->value, "");
    assert_null(story_setting_find(&s, "titl"));
    assert_null(story_setting_find(&s, "titles"));
    assert_int_equal(s.character_count, 1);
    assert_string_equal(s.characters[0].key, "Bob");
    assert_string_equal(s.characters[0].description, " a man ");
    assert_int_equal(s.characters[0].line, 6);
    assert_int_equal(s.characters[0].column, 2);
    assert_int_equal(s.panel_count, 1);
    assert_string_equal(s.panels[0].text, "[Bob] at // home");
    assert_string_equal(s.panels[0].prompt, " a man   at // home");
    assert_int_equal(s.panels[0].line, 10);
    assert_string_equal(s.panels_name, "s");
    story_free(&s);
    story_free(&s);
}

static void whitespace_of_a_prompt_is_kept_exactly(void **state)
{
    (void)state;
    struct story s = parse("[Bob]\ta  man \n[A B]a woman\n---\n  in [Bob]the\t [A B]  park  # x\n [NC]  a  tree \n");
    assert_string_equal(s.panels[0].prompt, "  in \ta  man  the\t a woman   park  ");
    assert_string_equal(s.panels[1].prompt, "   a  tree ");
    story_free(&s);
}

static void a_description_ends_before_the_last_hash_of_its_line(void **state)
{
    (void)state;
    struct story s = parse("[Bob] a man # tall # [old\n[A]b#\n---\n[Bob] sits #x\n[A] runs\n");
    assert_string_equal(s.characters[0].description, " a man # tall ");
    assert_string_equal(s.characters[1].description, "b");
    assert_string_equal(s.panels[1].prompt, "b  runs");
    story_free(&s);
}

static void panels_list_their_characters_once_in_the_order_of_the_character_lines(void **state)
{
    (void)state;
    struct story s = parse("[A]a\n[B]b\n[C]c\n---\n[C] and [A] and [C] talk\n[B] reads\n[NC] rain\n");
    assert_int_equal(s.panels[0].character_count, 2);
    assert_int_equal(s.panels[0].characters[0], 0);
    assert_int_equal(s.panels[0].characters[1], 2);
    assert_int_equal(s.panels[1].character_count, 1);
    assert_int_equal(s.panels[1].characters[0], 1);
    assert_int_equal(s.panels[2].character_count, 0);
    story_free(&s);
}

static void captions_are_what_follows_the_last_hash_as_it_is(void **state)
{
    (void)state;
    assert_caption("[Bob] at home #  The [news],  at last! \t", "The [news],  at last!");
    assert_caption("[Bob] at home # one # two", "two");
    assert_caption("[Bob] at home #", "");
    assert_caption("[Bob] at home # [Alice", "[Alice");
    struct story s = parse("[Bob]a man\n---\n[Bob] takes #7 home#x\n");
    assert_string_equal(s.panels[0].prompt, "a man  takes #7 home");
    story_free(&s);
}

static void captions_without_a_hash_are_the_line_without_its_opening_key(void **state)
{
    (void)state;
    assert_caption("[Bob] at home, reading", "at home, reading");
    assert_caption(" [Bob]  at   home,\t reading ", "at home, reading");
    assert_caption("[NC]  a tiger", "a tiger");
    assert_caption("night falls [NC] slowly", "night falls slowly");
}

static void captions_without_a_hash_keep_names_that_the_sentence_needs(void **state)
{
    (void)state;
    assert_caption("[Bob] and [Alice] running", "Bob and Alice running");
    assert_caption("a dog follows [Bob]", "a dog follows Bob");
    assert_caption("[Bob] and [Bob] in the mirror", "Bob and Bob in the mirror");
}

static void a_story_may_have_no_character_at_all(void **state)
{
    (void)state;
    struct story s = parse("---\n[NC] rain\n[NC] sun\n");
    struct story_plan plan = plan_of(&s, STORY_ID_LENGTH_AUTO);
    assert_int_equal(plan.cast_count, 0);
    assert_int_equal(plan.pass_count, 2);
    assert_int_equal(plan.passes[1].kind, STORY_READ);
    assert_int_equal(plan.passes[1].panels[0], 1);
    assert_int_equal(plan.passes[1].character_count, 0);
    assert_string_equal(plan.notice, "");
    story_plan_free(&plan);
    story_free(&s);
}

/* A prompt alone, as people type it elsewhere, needs no mark. */
static void prompts_without_characters_show_nobody(void **state)
{
    (void)state;
    static const char *const general[] = {NULL, "", " \n"}, *const panels[] = {"a tree", "[NC] a lake"};
    for (int i = 0; i < 3; i++) {
        struct story s;
        assert_int_equal(story_from_prompts(general[i], panels, 2, &s, NULL), OK);
        assert_string_equal(s.panels[0].prompt, "a tree");
        assert_int_equal(s.panels[0].character_count, 0);
        assert_int_equal(s.panels[1].character_count, 0);
        story_free(&s);
    }
}

/* ------------------------------------------------------------------------------------------------ general prompts */

static void a_general_prompt_without_brackets_is_in_every_panel(void **state)
{
    (void)state;
    const char *const panels[] = {"at home", "[NC] a  tree", "  on the road #Bye [Bob]!"};
    struct story s;
    struct error e = {0};
    assert_int_equal(story_from_prompts("a man with a black suit", panels, 3, &s, &e), OK);
    assert_string_equal(s.panels[0].prompt, "a man with a black suit, at home");
    assert_string_equal(s.panels[0].caption, "at home");
    assert_string_equal(s.panels[1].prompt, " a  tree");
    assert_string_equal(s.panels[1].caption, "a tree");
    assert_int_equal(s.panels[1].character_count, 0);
    assert_string_equal(s.panels[2].prompt, "a man with a black suit,   on the road ");
    assert_string_equal(s.panels[2].caption, "Bye [Bob]!");
    struct story_plan plan = plan_of(&s, 2);
    assert_int_equal(plan.pass_count, 2);
    assert_int_equal(plan.passes[0].panel_count, 2);
    assert_int_equal(plan.passes[0].panels[1], 2);
    story_plan_free(&plan);
    story_free(&s);
}

static void the_default_panels_fit_any_general_prompt(void **state)
{
    (void)state;
    size_t count = 0;
    while (story_default_panels[count] != NULL)
        count++;
    assert_true(count >= STORY_ID_LENGTH_DEFAULT + 2);
    struct story s;
    struct error e = {0};
    assert_int_equal(story_from_prompts("a cat", story_default_panels, count, &s, &e), OK);
    struct story_plan plan = plan_of(&s, STORY_ID_LENGTH_AUTO);
    assert_int_equal(plan.id_length, STORY_ID_LENGTH_DEFAULT);
    assert_string_equal(plan.notice, "");
    for (int i = 0; i < s.panel_count; i++)
        assert_true(s.panels[i].caption[0] != '\0');
    story_plan_free(&plan);
    story_free(&s);
}

static void general_prompts_and_panels_are_refused_with_their_positions(void **state)
{
    (void)state;
    const struct {
        const char *general, *panels[2];
        const char *where, *says;
    } rows[] = {
        {"[Bob]a man\n[Bob]a boy", {"x"}, "general_prompt:2:1: ", "line 1"},
        {"[Bob]a man\n\n a boy", {"[Bob] x"}, "general_prompt:3:2: ", "must begin with the [Name]"},
        {"a man\na boy", {"x"}, "general_prompt:2:1: ", "must begin with the [Name]"},
        {"a man\n[Bob] a boy", {"x"}, "general_prompt:2:1: ", "must begin with the [Name]"},
        {"a man [Bob]", {"x"}, "general_prompt:1:7: ", "bracket"},
        {"a \xFFman", {"x"}, "general_prompt:1:3: ", "UTF-8"},
        {"a man", {"x", ""}, "panels:2:1: ", "no text"},
        {"a man", {"x", "y\nz"}, "panels:2:2: ", "U+000A"},
        {"a man", {"x", "a [] b"}, "panels:2:3: ", "known: [NC]"},
        {"a man", {"x", "at [Bob]"}, "panels:2:4: ", "known: [NC]"},
        {"a man", {NULL}, "panels: ", "at least one"},
        {"[Bob]a man", {"[Bob] x", "a tree"}, "panels:2:1: ", "begin it with [Bob], or with [NC]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct story s;
        struct error e = {0};
        size_t count = (size_t)(rows[i].panels[0] != NULL) + (rows[i].panels[1] != NULL);
        assert_int_equal(story_from_prompts(rows[i].general, rows[i].panels, count, &s, &e), ERR_FORMAT);
        if (strncmp(e.message, rows[i].where, strlen(rows[i].where)) != 0 || strstr(e.message, rows[i].says) == NULL)
            fail_msg("row %zu: '%s' is not at '%s' or does not say '%s'", i, e.message, rows[i].where, rows[i].says);
        assert_null(s.panels);
    }
}

/* --------------------------------------------------------------------------------------------------------- errors */

static void every_mistake_is_named_with_line_and_column(void **state)
{
    (void)state;
    const struct {
        const char *text, *where, *says;
    } rows[] = {
        {"", "1:1", "no line ---"},
        {"[Bob] a man\n[Bob] runs\n", "2:1", "no line ---"},
        {"[Bob] a man\n----\n[Bob] runs\n", "3:1", "no line ---"},
        {"---\n[NC] a\n---\n", "3:1", "second line ---"},
        {"[Bob] a man\n---\n\n// only\n", "4:1", "no panels"},
        {"[Bob] a man\n Bob runs\n---\n[Bob] runs", "2:2", "'[Name] description' and 'setting: value'"},
        {": x\n---\n[NC] a", "1:1", "'setting: value'"},
        {"\n[Bob] a man\n [Bob] a boy\n---\n[Bob] runs", "3:2", "[Bob] is described already, in line 2"},
        {"[] a man\n---\n[NC] a", "1:2", "no name"},
        {"[ \t] a man\n---\n[NC] a", "1:2", "no name"},
        {"[Bob#1] a man\n---\n[NC] a", "1:5", "'#'"},
        {"[NC] a man\n---\n[NC] a", "1:1", "another name"},
        {" [nc] a man\n---\n[NC] a", "1:2", "another name"},
        {"[Bob a man\n---\n[NC] a", "1:1", "without its ']'"},
        {"[Bob[2]] a man\n---\n[NC] a", "1:1", "without its ']'"},
        {"[Bob]\n---\n[NC] a", "1:6", "[Bob] has no description"},
        {"[Bob] \t \r\n---\n[NC] a", "1:6", "[Bob] has no description"},
        {"[Bob] # tall\n---\n[NC] a", "1:6", "[Bob] has no description"},
        {"[Bob] a man with [Alice]\n---\n[NC] a", "1:18", "bracket in a description"},
        {"[Bob]a\n---\n[Bob] and [Alice] run", "3:11", "there is no character [Alice]: known: [Bob], [NC]"},
        {"[Bob]a\n---\n[Bob] and [bbo] run", "3:11", "known: [Bob], [NC]"},
        {"[Alice]a\n---\n[Alicia] runs", "3:1", "[Alicia]: did you mean [Alice]? Known: [Alice], [NC]"},
        {"[Alice]a\n---\n[alice] runs", "3:1", "did you mean [Alice]?"},
        {"[Alice]a\n---\n[nc] a tree", "3:1", "did you mean [NC]?"},
        {"[Bob]a\n---\n[Bob] and [] run", "3:11", "no character []"},
        {"[Bob]a\n---\n[Bob] takes [ home", "3:13", "without its ']'"},
        {"[Bob]a\n---\n[Bob] takes [Bob # home]", "3:13", "without its ']'"},
        {"[Bob]a\n---\n[Bob] takes [ [Bob]", "3:13", "without its ']'"},
        {"[Bob]a\n---\n[Bob] at home [NC]", "3:15", "one is named"},
        {"[Bob]a\n---\n[NC][Bob] at home", "3:1", "one is named"},
        {"[Bob]a\n---\na tree", "3:1", "begin it with [Bob], or with [NC]"},
        {"---\na tree", "2:1", "no characters: begin the panel with [NC]"},
        {"[Bob]a\n---\n[Bob] ", "3:1", "no text"},
        {"[Bob]a\n---\n[NC]", "3:1", "no text"},
        {"[Bob]a\n---\n# only a caption", "3:1", "no text"},
        {"[Bob]a\n---\n[Bob] \xC3\xA9t\xC3\xA9 [x] run", "3:11", "no character [x]"},
        {"[Bob] \xE4 man\n---\n[Bob] a", "1:7", "not UTF-8 (byte 0xE4)"},
        {"\xFF\xFE[\n---\n[NC] a", "1:1", "not UTF-8 (byte 0xFF)"},
        {"// \xC0\x80\n---\n[NC] a", "1:4", "not UTF-8"},
        {"---\n[NC] a \xED\xA0\x80 b", "2:8", "not UTF-8"},
        {"---\n[NC] a \x1B[1m", "2:8", "control character U+001B"},
        {"---\n[NC] a \xC2\x9B", "2:8", "control character U+009B"},
        {"---\r[NC] a", "1:4", "control character U+000D"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(rows[i].text, strlen(rows[i].text), rows[i].where, rows[i].says);
    assert_refused("---\n[NC] a\0b\n", 13, "2:7", "zero byte");
}

static void a_true_replacement_character_is_text(void **state)
{
    (void)state;
    struct story s = parse("---\n[NC] a \xEF\xBF\xBD b\n");
    assert_string_equal(s.panels[0].prompt, " a \xEF\xBF\xBD b");
    story_free(&s);
}

/* Text that is too much by one unit, and the same without that unit. */
static void assert_limit(struct text *allowed, const char *more, const char *where, const char *says)
{
    assert_false(allowed->failed);
    struct story s;
    struct error e = {0};
    if (story_parse("s", allowed->data, allowed->length, &s, &e) != OK)
        fail_msg("%s", e.message);
    story_free(&s);
    text_append(allowed, "%s", more);
    assert_refused(allowed->data, allowed->length, where, says);
    text_free(allowed);
}

static void limits_are_exact(void **state)
{
    (void)state;
    struct text t = {0};
    text_append(&t, "---\n[NC] ");
    while (t.length < 4 + STORY_MAX_LINE)
        text_append(&t, "x");
    assert_limit(&t, "y", "2:4097", "line is too long: 4096");

    text_append(&t, "---\n[NC] ");
    while (t.length < 4 + STORY_MAX_LINE - 1)
        text_append(&t, "x");
    assert_limit(&t, "\xC3\xA9", "2:4096", "line is too long: 4096");

    text_append(&t, "---\n");
    for (int i = 0; i < STORY_MAX_PANELS; i++)
        text_append(&t, "[NC] x\n");
    assert_limit(&t, "[NC] x\n", "1002:1", "more than 1000 panels");

    for (int i = 0; i < STORY_MAX_SETTINGS; i++)
        text_append(&t, "k%d: v\n", i);
    struct text one_more = {0};
    text_append(&one_more, "%sk: v\n---\n[NC] x", t.data);
    text_append(&t, "---\n[NC] x");
    assert_refused(one_more.data, one_more.length, "101:1", "more than 100 settings");
    text_free(&one_more);
    assert_limit(&t, "\n---", "103:1", "second line");

    for (int i = 0; i < STORY_MAX_CHARACTERS; i++)
        text_append(&t, "[c%d] a man\n", i);
    text_append(&one_more, "%s[c] a man\n---\n[c1] x", t.data);
    assert_refused(one_more.data, one_more.length, "65:1", "more than 64 characters");
    text_free(&one_more);
    text_free(&t);

    char key[STORY_MAX_KEY + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    text_append(&t, "[%s] a man\n---\n[%s] runs\n", key + 1, key + 1);
    text_append(&one_more, "[NC] [%s]", key);
    assert_limit(&t, one_more.data, "4:6", "name in brackets is too long: 64");
    text_free(&one_more);
}

static void long_prompts_and_files_are_refused(void **state)
{
    (void)state;
    struct text t = {0};
    text_append(&t, "[B]");
    while (t.length < STORY_MAX_LINE)
        text_append(&t, "x"); /* each [B] becomes 4,093 of these and a blank */
    text_append(&t, "\n---\n[B][B][B][B] in a\n");
    assert_limit(&t, "[B][B][B][B][B] in a\n", "4:1", "prompt is too long: 16384");

    text_append(&t, "---\n[NC] a\n");
    while (t.length < STORY_MAX_BYTES)
        text_append(&t, "\n");
    struct story s;
    struct error e = {0};
    assert_int_equal(story_parse("s", t.data, t.length, &s, &e), OK);
    story_free(&s);
    text_append(&t, "\n");
    assert_int_equal(story_parse("s", t.data, t.length, &s, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "s: the story has 1048577 bytes"));
    text_free(&t);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct story s;
    struct error e = {0};
    assert_int_equal(story_read("/nonexistent/a.story", &s, &e), ERR_IO);
    assert_non_null(strstr(e.message, "/nonexistent/a.story"));
}

/* ---------------------------------------------------------------------------------------------------------- plans */

static void id_panels_are_the_first_ones_alone_wherever_they_are(void **state)
{
    (void)state;
    struct story s = parse("[A]a\n[B]b\n---\n"
                           "[A] and [B] meet\n" /* 0 */
                           "[NC] rain\n"        /* 1 */
                           "[B] one\n"          /* 2 */
                           "[A] one\n"          /* 3 */
                           "[B] two\n"          /* 4 */
                           "[B] three\n"        /* 5 */
                           "[A] two\n");        /* 6 */
    struct story_plan plan = plan_of(&s, 2);
    const struct {
        enum story_pass_kind kind;
        int panels[2], panel_count, characters[2], character_count;
    } rows[] = {
        {STORY_WRITE, {3, 6}, 2, {0}, 1}, {STORY_WRITE, {2, 4}, 2, {1}, 1}, {STORY_READ, {0}, 1, {0, 1}, 2},
        {STORY_READ, {1}, 1, {0}, 0},     {STORY_READ, {5}, 1, {1}, 1},
    };
    assert_int_equal(plan.pass_count, 5);
    for (int i = 0; i < 5; i++) {
        const struct story_pass *pass = &plan.passes[i];
        assert_int_equal(pass->kind, rows[i].kind);
        assert_int_equal(pass->panel_count, rows[i].panel_count);
        assert_int_equal(pass->character_count, rows[i].character_count);
        for (int p = 0; p < pass->panel_count; p++) {
            assert_int_equal(pass->panels[p], rows[i].panels[p]);
            assert_int_equal(plan.places[pass->panels[p]].pass, i);
            assert_int_equal(plan.places[pass->panels[p]].index, p);
        }
        for (int c = 0; c < pass->character_count; c++)
            assert_int_equal(pass->characters[c], rows[i].characters[c]);
    }
    story_plan_free(&plan);
    story_plan_free(&plan);
    story_free(&s);
}

static void id_length_is_lowered_with_a_notice_unless_it_was_asked_for(void **state)
{
    (void)state;
    struct story s = parse("[A]a\n\n [B]b\n---\n[A] 1\n[A] 2\n[A] 3\n[A] 4\n[A] 5\n[B] 1\n[B] 2\n");
    struct story_plan plan = plan_of(&s, STORY_ID_LENGTH_AUTO);
    assert_int_equal(plan.id_length, 2);
    assert_string_equal(plan.notice, "[B] is alone in 2 panels only, so id_length is 2 instead of 4");
    assert_int_equal(plan.passes[0].panel_count, 2);
    story_plan_free(&plan);

    struct error e = {0};
    assert_int_equal(story_plan_make(&s, 3, &plan, &e), ERR_ARGUMENT);
    assert_string_equal(e.message, "s:3:2: [B] is alone in 2 panels, but id_length is 3: add panels that name nobody "
                                   "else, or set id_length to 2");
    assert_null(plan.passes);
    error_clear(&e);
    assert_int_equal(story_plan_make(&s, -1, &plan, &e), ERR_ARGUMENT);
    assert_non_null(strstr(e.message, "id_length is -1"));
    story_free(&s);
}

static void one_panel_alone_is_enough(void **state)
{
    (void)state;
    struct story s = parse("[A]a\n---\n[A] 1\n");
    struct story_plan plan = plan_of(&s, STORY_ID_LENGTH_AUTO);
    assert_int_equal(plan.id_length, 1);
    assert_string_equal(plan.notice, "[A] is alone in 1 panel only, so id_length is 1 instead of 4");
    assert_int_equal(plan.pass_count, 1);
    assert_int_equal(plan.passes[0].kind, STORY_WRITE);
    story_plan_free(&plan);
    story_free(&s);
}

static void a_character_that_is_never_alone_is_refused(void **state)
{
    (void)state;
    struct story s = parse("[A]a\n[B]b\n---\n[A] 1\n[A] and [B] 2\n");
    struct story_plan plan;
    for (int id_length = 0; id_length < 2; id_length++) {
        struct error e = {0};
        assert_int_equal(story_plan_make(&s, id_length, &plan, &e), ERR_ARGUMENT);
        assert_int_equal(strncmp(e.message, "s:2:1: [B] is never alone", 25), 0);
    }
    story_free(&s);
}

static void a_character_that_never_appears_is_left_out_with_a_notice(void **state)
{
    (void)state;
    struct story s = parse("[Z]z\n[A]a\n[Y]y\n[B]b\n---\n[B] 1\n[A] 1\n[A] and [B] 2\n");
    struct story_plan plan = plan_of(&s, 1);
    assert_string_equal(plan.notice, "[Z] is in no panel and is left out\n[Y] is in no panel and is left out");
    assert_int_equal(plan.cast_count, 2);
    assert_int_equal(plan.cast[0], 1);
    assert_int_equal(plan.cast[1], 3);
    assert_int_equal(plan.pass_count, 3);
    assert_int_equal(plan.passes[1].panels[0], 0);
    assert_int_equal(plan.passes[1].characters[0], 1);
    assert_int_equal(plan.passes[2].characters[0], 0);
    assert_int_equal(plan.passes[2].characters[1], 1);
    story_plan_free(&plan);
    story_free(&s);
}

/* Every panel is drawn once; what a plan promises holds. */
static void assert_sound(const struct story *s, const struct story_plan *plan)
{
    int drawn[STORY_MAX_PANELS] = {0}, last_read = -1;
    for (int i = 0; i < plan->pass_count; i++) {
        const struct story_pass *pass = &plan->passes[i];
        assert_int_equal(pass->kind, i < plan->cast_count ? STORY_WRITE : STORY_READ);
        assert_int_equal(pass->panel_count, pass->kind == STORY_WRITE ? plan->id_length : 1);
        for (int p = 0; p < pass->panel_count; p++) {
            const struct story_panel *panel = &s->panels[pass->panels[p]];
            drawn[pass->panels[p]]++;
            assert_int_equal(panel->character_count, pass->character_count);
            for (int c = 0; c < panel->character_count; c++)
                assert_int_equal(plan->cast[pass->characters[c]], panel->characters[c]);
        }
        if (pass->kind == STORY_READ) {
            assert_true(pass->panels[0] > last_read);
            last_read = pass->panels[0];
        }
    }
    for (int p = 0; p < s->panel_count; p++)
        assert_int_equal(drawn[p], 1);
}

/* ------------------------------------------------------------------------------------------------------- examples */

static const char *const examples[] = {
    "storydiff/examples/demo.story",
    "storydiff/examples/two-friends.story",
    "storydiff/examples/night-walk.story",
};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

static void the_example_stories_need_no_notice(void **state)
{
    (void)state;
    for (int i = 0; i < EXAMPLES; i++) {
        struct story s;
        struct error e = {0};
        if (story_read(examples[i], &s, &e) != OK)
            fail_msg("%s", e.message);
        struct story_plan plan = plan_of(&s, STORY_ID_LENGTH_DEFAULT);
        assert_string_equal(plan.notice, "");
        assert_sound(&s, &plan);
        const struct style *style;
        struct styles styles = styles_builtin();
        assert_int_equal(styles_find(&styles, story_setting_find(&s, "style")->value, &style, &e), OK);
        for (int p = 0; p < s.panel_count; p++)
            assert_true(s.panels[p].caption[0] != '\0');
        story_plan_free(&plan);
        story_free(&s);
    }
}

/* Parses an exact-sized copy, so that a sanitizer sees every read beyond it. */
static void try_damaged(const unsigned char *text, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    struct story s;
    struct story_plan plan;
    struct error e = {0};
    if (story_parse("s", copy, length, &s, &e) != OK) {
        int line, column;
        assert_int_equal(sscanf(e.message, "s:%d:%d: ", &line, &column), 2);
        assert_true(line >= 1 && column >= 1);
    } else {
        assert_true(s.panel_count > 0);
        if (story_plan_make(&s, STORY_ID_LENGTH_AUTO, &plan, &e) == OK) {
            assert_sound(&s, &plan);
            story_plan_free(&plan);
        }
        story_free(&s);
    }
    free(copy);
}

static void survives_every_cut_and_every_damaged_byte(void **state)
{
    (void)state;
    const unsigned char bytes[] = {'\0', '\n', '\r', '[', ']', '#', '-', ':', '/', ' ', 0x80, 0xC3, 0xF0, 0xFF};
    for (int i = 0; i < EXAMPLES; i++) {
        struct file_map map;
        struct error e = {0};
        assert_int_equal(file_map(examples[i], &map, &e), OK);
        unsigned char *text = malloc(map.size);
        assert_non_null(text);
        memcpy(text, map.data, map.size);
        for (size_t at = 0; at < map.size; at++) {
            try_damaged(text, at);
            for (size_t b = 0; b < sizeof bytes; b++) {
                text[at] = bytes[b];
                try_damaged(text, map.size);
            }
            text[at] = map.data[at];
        }
        free(text);
        file_unmap(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_and_passes_are_those_of_the_reference),
        cmocka_unit_test(a_file_says_the_same_as_a_general_prompt_and_lines),
        cmocka_unit_test(captions_of_the_recorded_stories_follow_the_reference),
        cmocka_unit_test(a_file_has_settings_characters_panels_and_comments),
        cmocka_unit_test(whitespace_of_a_prompt_is_kept_exactly),
        cmocka_unit_test(a_description_ends_before_the_last_hash_of_its_line),
        cmocka_unit_test(panels_list_their_characters_once_in_the_order_of_the_character_lines),
        cmocka_unit_test(captions_are_what_follows_the_last_hash_as_it_is),
        cmocka_unit_test(captions_without_a_hash_are_the_line_without_its_opening_key),
        cmocka_unit_test(captions_without_a_hash_keep_names_that_the_sentence_needs),
        cmocka_unit_test(a_story_may_have_no_character_at_all),
        cmocka_unit_test(prompts_without_characters_show_nobody),
        cmocka_unit_test(a_general_prompt_without_brackets_is_in_every_panel),
        cmocka_unit_test(the_default_panels_fit_any_general_prompt),
        cmocka_unit_test(general_prompts_and_panels_are_refused_with_their_positions),
        cmocka_unit_test(every_mistake_is_named_with_line_and_column),
        cmocka_unit_test(a_true_replacement_character_is_text),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(long_prompts_and_files_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(id_panels_are_the_first_ones_alone_wherever_they_are),
        cmocka_unit_test(id_length_is_lowered_with_a_notice_unless_it_was_asked_for),
        cmocka_unit_test(one_panel_alone_is_enough),
        cmocka_unit_test(a_character_that_is_never_alone_is_refused),
        cmocka_unit_test(a_character_that_never_appears_is_left_out_with_a_notice),
        cmocka_unit_test(the_example_stories_need_no_notice),
        cmocka_unit_test(survives_every_cut_and_every_damaged_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
