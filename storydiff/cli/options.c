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

/* Other spellings: one letter after one dash, and the words of other programs where they mean the same. */
static const struct spelling {
    const char *typed, *key;
} spellings[] = {
    {"p", "prompt"},
    {"n", "negative_prompt"},
    {"m", "model"},
    {"t", "threads"},
    {"v", "verbose"},
    {"h", "help"},
    {"W", "width"},
    {"H", "height"},
    {"s", "seed"},
    {"o", "output_dir"},
    {"steps", "sampling_steps"},
    {"num_inference_steps", "sampling_steps"},
    {"cfg_scale", "guidance_scale"},
    {"cfg", "guidance_scale"},
    {"sampling_method", "sampler"},
    {"sampler_name", "sampler"},
    {"output", "output_dir"},
    {"style", "style_name"},
    {"lora_model_dir", "lora_dir"},
};
enum { SPELLINGS = sizeof spellings / sizeof *spellings };

/* Words of other programs that mean nothing here: what to do instead. */
static const struct hint {
    const char *typed, *instead;
} hints[] = {
    {"b", "each story is drawn once: start storydiff again with another --seed and --output_dir"},
    {"batch_count", "each story is drawn once: start storydiff again with another --seed and --output_dir"},
    {"batch_size", "all panels of a story are drawn together already"},
    {"scheduler", "it is part of the sampler's name: --sampler dpmpp_2m_karras, euler_trailing"},
    {"schedule", "it is part of the sampler's name: --sampler dpmpp_2m_karras, euler_trailing"},
    {"clip_skip", "the text encoders' layer is that of the model: SDXL's last but one, SD 1.5's last"},
    {"type", "weights are used as the file has them; storydiff-convert --dtype f16 makes another file"},
    {"rng", "random numbers are torch's on a CPU"},
    {"strength", "pictures are drawn from text alone"},
    {"init_img", "pictures are drawn from text alone"},
    {"i", "pictures are drawn from text alone"},
    {"M", "there is one mode: text to comic; storydiff-convert converts"},
    {"vae_tiling", "the decoder always works in bands, in little memory"},
    {"lowvram", "memory is as little as it gets: see --dry-run"},
    {"medvram", "memory is as little as it gets: see --dry-run"},
};
enum { HINTS = sizeof hints / sizeof *hints };

struct options options_default(void)
{
    return (struct options){.settings = settings_default(), .progress_fd = -1};
}

static bool is_own(const struct setting *row)
{
    return row >= own_table && row < own_table + OWN_COUNT;
}

/* Whether what was typed is this word: letters exactly, longer ones with dashes or underscores. */
static bool is_word(const char *word, const char *typed, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (word[i] == '\0' || (typed[i] == '-' ? '_' : typed[i]) != word[i])
            return false;
    return word[length] == '\0';
}

static const struct setting *find_key(const char *key, size_t length)
{
    for (int i = 0; i < OWN_COUNT; i++)
        if (setting_is_called(&own_table[i], key, length))
            return &own_table[i];
    return settings_find(key, length);
}

static const struct setting *find(const char *typed, size_t length)
{
    const struct setting *row = length > 1 ? find_key(typed, length) : NULL;
    for (int i = 0; i < SPELLINGS && row == NULL; i++)
        if (is_word(spellings[i].typed, typed, length))
            row = find_key(spellings[i].key, strlen(spellings[i].key));
    return row;
}

static status unknown(const char *dashes, const char *typed, size_t length, struct error *e)
{
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), typed);
    for (int i = 0; i < HINTS; i++)
        if (is_word(hints[i].typed, typed, length))
            return fail(e, ERR_ARGUMENT, "%s%s is not an option: %s", dashes, word, hints[i].instead);
    for (char *p = word; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    struct suggestion s = {.word = word};
    for (int i = 0; i < settings_count; i++)
        suggestion_offer(&s, settings_table[i].key);
    for (int i = 0; i < OWN_COUNT; i++)
        suggestion_offer(&s, own_table[i].key);
    if (s.best != NULL)
        return fail(e, ERR_ARGUMENT, "%s%s is not an option; did you mean %s? (storydiff --help lists all)", dashes,
                    word, s.best);
    return fail(e, ERR_ARGUMENT, "%s%s is not an option (storydiff --help lists all)", dashes, word);
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
    bool is_long = strncmp(word, "--", 2) == 0 && word[2] != '\0', is_letter = word[0] == '-' && word[1] != '\0';
    *option = NULL;
    *value = NULL;
    if (!is_long && !is_letter) {
        *s = fail(e, ERR_ARGUMENT, "\"%s\" stands alone: put a text with blanks in quotes, a panel after -p", word);
        return false;
    }
    name += is_long ? 2 : 1;
    size_t length = is_long && equals != NULL ? (size_t)(equals - name) : strlen(name);
    *option = find(name, length);
    if (*option == NULL) {
        *s = unknown(is_long ? "--" : "-", name, length, e);
        return false;
    }
    *value = is_long && equals != NULL ? equals + 1 : NULL;
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
        for (int i = 0; i < SPELLINGS; i++)
            if (strcmp(spellings[i].key, row->key) == 0 && spellings[i].typed[1] == '\0')
                snprintf(letter, sizeof letter, "-%c, ", spellings[i].typed[0]);
        snprintf(left, sizeof left, "  %s--%s %s", letter, row->key, row->value ? row->value : "");
        fprintf(out, "%-30s %s", left, row->help);
        print_default(row, out);
        fputc('\n', out);
    }
}

void options_help(FILE *out)
{
    fputs("storydiff: comics with consistent characters, drawn by SDXL on an ordinary CPU\n\n"
          "  storydiff --general_prompt \"a girl with red hair, wearing a hat\" --style_name \"Comic book\"\n"
          "  storydiff --story my.story --seed 7 --output_dir outputs/my\n"
          "  storydiff --story my.story --sd_model_name RealVision --dry-run\n",
          out);
    for (int group = 0; group < SETTING_GROUPS; group++) {
        fprintf(out, "\n%s\n", setting_group_titles[group]);
        print_rows(settings_table, settings_count, group, out);
        print_rows(own_table, OWN_COUNT, group, out);
    }
    fputs("\nDashes and underscores are the same; --steps, --cfg-scale, --sampling-method and --output are "
          "understood, too.\n"
          "Exit status: 0 done; 2 it cannot be done, one line says why and what to do; 1 not enough memory; 130 "
          "stopped by\n"
          "Ctrl-C, and the command that goes on is printed.\n",
          out);
}
