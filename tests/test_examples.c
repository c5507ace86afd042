/* What is printed or shipped as an example draws well as it stands: every story in storydiff/examples, every story and
 * command line of the README and of --help, on the bundled model, without a word that the model does not know. */
#include <ctype.h>

#include "sdxl/model.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

static const char world[] = "storydiff/models/world";

static void take_bundled_model(void)
{
    assert_int_equal(setenv("STORYDIFF_MODEL", "", 1), 0);
}

/* Planned without a note of what the model does not know or of what has no effect; and drawn, in two steps. */
static void assert_draws(const struct folder *f, const char *words)
{
    char line[4096];
    snprintf(line, sizeof line, "%s --dry_run", words);
    struct outcome o = run_to(f, line, 0);
    if (strstr(o.err, "note: model world was") != NULL || strstr(o.err, "has no effect") != NULL)
        fail_msg("storydiff %s\n%s", line, o.err);
    outcome_free(&o);
    snprintf(line, sizeof line, "%s --sampling_steps 2 --csa_start 1 --output_dir $F/o --overwrite", words);
    assert_done(f, line);
    assert_true(has(f, "o/panel-01.png"));
}

static void every_shipped_story_draws(void **state)
{
    struct folder *f = *state;
    int found = 0;
    take_bundled_model();
    DIR *stories = opendir("storydiff/examples");
    assert_non_null(stories);
    for (struct dirent *entry = readdir(stories); entry != NULL; entry = readdir(stories)) {
        char words[512];
        const char *ending = strrchr(entry->d_name, '.');
        if (ending == NULL || strcmp(ending, ".story") != 0)
            continue;
        snprintf(words, sizeof words, "--story 'storydiff/examples/%.200s'", entry->d_name);
        assert_draws(f, words);
        found++;
    }
    closedir(stories);
    assert_true(found >= 3);
}

/* The next block of lines that begin with four blanks, without these; NULL: there is none. The caller frees it. */
static char *next_block(const char **text)
{
    const char *p = *text;
    while (*p != '\0' && strncmp(p, "\n    ", 5) != 0)
        p++;
    if (*p == '\0')
        return NULL;
    struct text block = {0};
    while (strncmp(p, "\n    ", 5) == 0) {
        size_t length = strcspn(p + 5, "\n");
        text_append_bytes(&block, p + 5, length);
        text_append(&block, "\n");
        p += 5 + length;
    }
    *text = p;
    return block.data;
}

static void every_story_and_command_of_the_readme_draws(void **state)
{
    struct folder *f = *state;
    size_t size;
    char *readme = read_bytes("README.md", &size), *block;
    int stories = 0, commands = 0;
    take_bundled_model();
    for (const char *at = readme; (block = next_block(&at)) != NULL; free(block)) {
        static const char called[] = "build/storydiff ";
        if (strstr(block, "\n---\n") != NULL) {
            write_bytes(folder_path(f, "readme.story").text, block, strlen(block));
            assert_draws(f, "--story $F/readme.story");
            stories++;
        } else if (strncmp(block, called, sizeof called - 1) == 0) {
            block[strlen(block) - 1] = '\0';
            assert_draws(f, block + sizeof called - 1);
            commands++;
        }
    }
    free(readme);
    assert_int_equal(stories, 1);
    assert_int_equal(commands, 1);
}

static void the_command_without_a_file_in_the_help_draws(void **state)
{
    struct folder *f = *state;
    struct outcome help = run_to(f, "--help", 0);
    static const char called[] = "\n  storydiff --general_prompt";
    char *at = strstr(help.out, called);
    assert_non_null(at);
    at[1 + strcspn(at + 1, "\n")] = '\0';
    take_bundled_model();
    assert_draws(f, strstr(at, "--general_prompt"));
    outcome_free(&help);
}

/* A word of the README: between letters that are none. */
static bool lists(const char *readme, const char *word, size_t length)
{
    for (const char *p = strchr(readme, '|'); p != NULL; p = strchr(p + 1, word[0]))
        if (strncmp(p, word, length) == 0 && !isalpha((unsigned char)p[-1]) && !isalpha((unsigned char)p[length]))
            return true;
    return false;
}

static void the_readme_lists_the_words_of_the_bundled_model(void **state)
{
    (void)state;
    struct model m;
    struct error e = {0};
    size_t size;
    char *readme = read_bytes("README.md", &size);
    char *table = strstr(readme, "knows these words");
    assert_non_null(table);
    *strstr(table, "\n- **") = '\0';
    if (model_open(&m, world, &e) != OK)
        fail_msg("%s", e.message);
    assert_non_null(m.hints.words);
    for (const char *word = m.hints.words + 1; *word != '\0'; word += strcspn(word, "\n") + 1)
        if (!lists(table, word, strcspn(word, "\n")))
            fail_msg("README.md does not list %.*s", (int)strcspn(word, "\n"), word);
    model_close(&m);
    free(readme);
}

/* ---------------------------------------------------------------------------------------------- and the opposite */

static void assert_notes(const struct folder *f, const char *words, const char *says, const char *says_not)
{
    char line[1024];
    snprintf(line, sizeof line, "%s --dry_run", words);
    struct outcome o = run_to(f, line, 0);
    if (says != NULL && strstr(o.err, says) == NULL)
        fail_msg("storydiff %s\ndoes not say \"%s\" but\n%s", line, says, o.err);
    if (says_not != NULL && strstr(o.err, says_not) != NULL)
        fail_msg("storydiff %s\nsays \"%s\":\n%s", line, says_not, o.err);
    outcome_free(&o);
}

static void what_the_bundled_model_does_not_know_is_noted_once(void **state)
{
    struct folder *f = *state;
    static const char words[] = "was not trained on these words", nobody[] = "never shown a place without anybody",
                      crowd[] = "trained on fewer figures", size[] = "made for panels of 256 x 256 px";
    take_bundled_model();
    assert_notes(f, "--general_prompt 'a boy' -p 'a Dragon in a bicycle shop' -p 'dragon'",
                 ": \"Dragon\", \"bicycle\", \"shop\" (", nobody);
    assert_notes(f, "-p 'the boy is beside her, with (a red hat:1.2) BREAK it has no glasses; they DON'\\''T'", NULL,
                 words);
    assert_notes(f, "-p 'a b\xC3\xB6y and a girl\xE2\x80\x99s caf\xC3\xA9 \xE2\x80\x9C\x63ity\xE2\x80\x9D'",
                 ": \"b\xC3\xB6y\", \"caf\xC3\xA9\" (", NULL);
    assert_notes(f, "-p 'a boy' --style_name 'Japanese Anime' --negative_prompt dragon", NULL, words);
    assert_notes(f, "-p 'aa ab ac ad ae af ag ah ai aj ak al am an ao'", "\"al\", .. (13 in all) (", NULL);
    assert_notes(f, "--general_prompt '[A] a boy' -p '[A] running' -p '[NC] the park' -p '[NC] the beach'",
                 "puts somebody there: panel 2, 3", words);
    assert_notes(f, "-p 'a boy'", NULL, nobody);
    static const char two[] = "[A] a boy\n[B] a cat\n---\n[A] running\n[B] running\n[A] and [B] running\n";
    write_bytes(folder_path(f, "two").text, two, strlen(two));
    assert_notes(f, "--story $F/two", "mixes them: panel 3", nobody);
    assert_notes(f, "-p 'a boy' -W 192 -H 128", "made for panels of 256 x 256 px, not for 192 x 128: ", NULL);
    assert_notes(f, "-p 'a boy' -W 256 -H 256", NULL, size);
    assert_notes(f, "-p 'a dragon' -W 64 --model tests/models/default", NULL, words);
    assert_notes(f, "-p 'a boy and a cat'", NULL, crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_shipped_story_draws),
        TEST(every_story_and_command_of_the_readme_draws),
        TEST(the_command_without_a_file_in_the_help_draws),
        cmocka_unit_test(the_readme_lists_the_words_of_the_bundled_model),
        TEST(what_the_bundled_model_does_not_know_is_noted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
