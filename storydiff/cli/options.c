#include "storydiff/cli/options.h"

#include <string.h>

#include "storydiff/story/suggest.h"

/* Options of the program, beside the comic's settings. */
#define AT(member) offsetof(struct options, member)
static const struct setting own_table[] = {
    {SETTING_RUN, "dry_run", SETTING_FLAG, AT(dry_run), NULL, 0, 0, NULL,
     "print prompts, captions, roles, memory and time; draw nothing"},
    {SETTING_RUN, "consistency", SETTING_FLAG, AT(consistency), NULL, 0, 0, NULL,
     "print how alike a character looks in its panels, with csa and, drawn a second time, without"},
    {SETTING_RUN, "profile", SETTING_FLAG, AT(profile), NULL, 0, 0, NULL, "print what took the time"},
    {SETTING_RUN, "dump", SETTING_TEXT, AT(dump), "DIR", 0, 0, NULL,
     "write intermediate tensors, to compare implementations"},
    {SETTING_RUN, "progress_fd", SETTING_INTEGER, AT(progress_fd), "N", 1, 1023, NULL,
     "tell descriptor N what is being done, in lines of JSON, for other programs"},
    {SETTING_RUN, "verbose", SETTING_FLAG, AT(verbose), NULL, 0, 0, NULL, "say more"},
    {SETTING_RUN, "version", SETTING_FLAG, AT(version), NULL, 0, 0, NULL,
     "version, CPU, kernels, threads, libraries"},
    {SETTING_RUN, "help", SETTING_FLAG, AT(help), NULL, 0, 0, NULL, "this text"},
};
enum { OWN_COUNT = sizeof own_table / sizeof *own_table };

/* One letter after one dash. */
static const struct {
    char letter;
    const char *key;
} letters[] = {{'p', "prompt"},  {'n', "negative_prompt"}, {'m', "model"},
               {'t', "threads"}, {'v', "verbose"},         {'h', "help"}};
enum { LETTERS = sizeof letters / sizeof *letters };

struct options options_default(void)
{
    return (struct options){.settings = settings_default(), .progress_fd = -1};
}

static bool is_own(const struct setting *row)
{
    return row >= own_table && row < own_table + OWN_COUNT;
}

static const struct setting *find(const char *key, size_t length)
{
    for (int i = 0; i < OWN_COUNT; i++)
        if (setting_is_called(&own_table[i], key, length))
            return &own_table[i];
    return settings_find(key, length);
}

static const struct setting *find_letter(char letter)
{
    for (int i = 0; i < LETTERS; i++)
        if (letters[i].letter == letter)
            return find(letters[i].key, strlen(letters[i].key));
    return NULL;
}

static status unknown(const char *typed, size_t length, struct error *e)
{
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), typed);
    for (char *p = word; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    struct suggestion s = {.word = word};
    for (int i = 0; i < settings_count; i++)
        suggestion_offer(&s, settings_table[i].key);
    for (int i = 0; i < OWN_COUNT; i++)
        suggestion_offer(&s, own_table[i].key);
    if (s.best != NULL)
        return fail(e, ERR_ARGUMENT, "--%s is not an option; did you mean %s? (storydiff --help lists all)", word,
                    s.best);
    return fail(e, ERR_ARGUMENT, "--%s is not an option (storydiff --help lists all)", word);
}

struct words {
    int argc, at;
    char **argv;
};

/* The next option and its value (NULL: none was given). False at the end or on an error. */
static bool next_option(struct words *w, const struct setting **option, const char **value, status *s,
                        struct error *e)
{
    if (w->at >= w->argc)
        return false;
    const char *word = w->argv[w->at++], *name = word, *equals = strchr(word, '=');
    bool is_long = strncmp(word, "--", 2) == 0 && word[2] != '\0';
    *option = NULL;
    *value = NULL;
    if (is_long) {
        name += 2;
        size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
        *option = find(name, length);
        if (*option == NULL) {
            *s = unknown(name, length, e);
            return false;
        }
        *value = equals != NULL ? equals + 1 : NULL;
    } else if (word[0] == '-' && word[1] != '\0' && word[2] == '\0') {
        *option = find_letter(word[1]);
    }
    if (*option == NULL) {
        *s = word[0] == '-' ? fail(e, ERR_ARGUMENT, "%s is not an option (storydiff --help lists all)", word)
                            : fail(e, ERR_ARGUMENT,
                                   "\"%s\" stands alone: put a text with blanks in quotes, a panel "
                                   "after -p",
                                   word);
        return false;
    }
    if (*value == NULL && (*option)->kind != SETTING_FLAG) {
        if (w->at >= w->argc) {
            *s = fail(e, ERR_ARGUMENT, "--%s needs a value (%s)", (*option)->key, (*option)->value);
            return false;
        }
        *value = w->argv[w->at++];
    }
    return true;
}

status options_parse(int argc, char **argv, struct options *o, struct error *e)
{
    struct words words = {argc, 1, argv};
    const struct setting *option;
    const char *value;
    status s = OK;
    while (s == OK && next_option(&words, &option, &value, &s, e)) {
        char called[64];
        snprintf(called, sizeof called, "--%s", option->key);
        s = is_own(option) ? setting_parse(option, called, value, (char *)o + option->offset, e)
                           : settings_set(&o->settings, option, GIVEN_BY_PERSON, called, value, e);
    }
    return s;
}

static void append_quoted(struct text *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./,:";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        text_append(out, "%s ", word);
        return;
    }
    text_append(out, "'");
    for (const char *p = word; *p != '\0'; p++) {
        if (*p == '\'')
            text_append(out, "'\\'");
        text_append_bytes(out, p, 1);
    }
    text_append(out, "' ");
}

void options_resume_command(int argc, char **argv, struct text *out)
{
    struct words words = {argc, 1, argv};
    const struct setting *option;
    const char *value;
    status s = OK;
    append_quoted(out, argv[0]);
    for (int first = 1; next_option(&words, &option, &value, &s, NULL); first = words.at) {
        bool replaced = option == settings_find("resume", 6) || option == settings_find("overwrite", 9);
        for (int i = first; i < words.at && !replaced; i++)
            append_quoted(out, argv[i]);
    }
    text_append(out, "--resume");
}

/* ---------------------------------------------------------------------------------------------------------- help */

static void print_default(const struct setting *row, FILE *out)
{
    const struct options defaults = options_default();
    const char *base = is_own(row) ? (const char *)&defaults : (const char *)&defaults.settings;
    const void *member = base + row->offset;
    switch (row->kind) {
    case SETTING_TEXT:
        if (*(const char *const *)member != NULL)
            fprintf(out, " (default: %s)", *(const char *const *)member);
        break;
    case SETTING_SEED: fprintf(out, " (default: %llu)", (unsigned long long)*(const uint64_t *)member); break;
    case SETTING_CHOICE: fprintf(out, " (default: %s)", row->choices[*(const int *)member]); break;
    case SETTING_NUMBER:
        if (*(const double *)member >= 0) /* less: the help says what decides */
            fprintf(out, " (default: %g)", *(const double *)member);
        break;
    case SETTING_FLAG:
    case SETTING_INTEGER:
    case SETTING_TEXT_LIST: break;
    }
}

static void print_rows(const struct setting *rows, int count, int group, FILE *out)
{
    for (const struct setting *row = rows; row < rows + count; row++) {
        char left[64], letter[8] = "";
        if (row->group != (enum setting_group)group)
            continue;
        for (int i = 0; i < LETTERS; i++)
            if (strcmp(letters[i].key, row->key) == 0)
                snprintf(letter, sizeof letter, "-%c, ", letters[i].letter);
        snprintf(left, sizeof left, "  %s--%s %s", letter, row->key, row->value ? row->value : "");
        fprintf(out, "%-30s %s", left, row->help);
        print_default(row, out);
        fputc('\n', out);
    }
}

void options_help(FILE *out)
{
    fputs("storydiff: comics with consistent characters, drawn by SDXL on an ordinary CPU\n\n"
          "  storydiff --general_prompt \"a man with a black suit\" --style_name \"Comic book\"\n"
          "  storydiff --story my.story --seed 7 --output_dir outputs/my\n"
          "  storydiff --story my.story --sd_model_name RealVision --dry-run\n",
          out);
    for (int group = 0; group < SETTING_GROUPS; group++) {
        fprintf(out, "\n%s\n", setting_group_titles[group]);
        print_rows(settings_table, settings_count, group, out);
        print_rows(own_table, OWN_COUNT, group, out);
    }
    fputs("\nDashes and underscores are the same. Exit status: 0 done; 2 it cannot be done, one line says why and\n"
          "what to do; 1 not enough memory; 130 stopped by Ctrl-C, and the command that goes on is printed.\n",
          out);
}
