#include "storydiff/cli/options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/sampling/sampler.h"
#include "storydiff/story/styles.h"
#include "storydiff/story/suggest.h"

enum kind { FLAG, TEXT, TEXT_LIST, INTEGER, SEED, NUMBER, CHOICE };

/* Which part of the help an option stands in; RUN_* options are not part of a story and not allowed in its file. */
enum group { STORY, MODEL, PICTURES, CONSISTENCY, PAGE, RUN, GROUPS };

static const char *const group_titles[GROUPS] = {
    "The story", "The model", "The pictures", "Consistency", "The page", "The run",
};

struct option {
    enum group group;
    const char *name;
    char letter; /* or 0 */
    enum kind kind;
    size_t offset;
    const char *value; /* what the help calls it */
    double least, most;
    const char *const *choices; /* CHOICE: names in the order of the enum, NULL after the last */
    const char *help;
};

static const char *const csa_names[] = {"off", "masked", "sampled", NULL};
static const char *const noise_names[] = {"reference", "shared", "own", NULL};
static const char *const long_prompt_names[] = {"truncate", "windows", NULL};
static const char *const comic_type_names[] = {"four", "classic", "none", NULL};

#define AT(member) offsetof(struct options, member)

static const struct option table[] = {
    {STORY, "general_prompt", 0, TEXT, AT(general_prompt), "TEXT", 0, 0, NULL,
     "the character, in every panel; or lines \"[Bob] a man, black suit\""},
    {STORY, "prompt", 'p', TEXT_LIST, AT(prompts), "TEXT", 0, 0, NULL, "one panel; give it once per panel"},
    {STORY, "story", 0, TEXT, AT(story), "FILE", 0, 0, NULL, "characters, a line ---, panels; may set options, too"},
    {STORY, "negative_prompt", 'n', TEXT, AT(negative_prompt), "TEXT", 0, 0, NULL, "what not to draw"},
    {STORY, "style_name", 0, TEXT, AT(style_name), "NAME", 0, 0, NULL, "a drawing style; an unknown name lists all"},
    {STORY, "styles", 0, TEXT, AT(styles), "FILE", 0, 0, NULL,
     "more styles: JSON, [{name, prompt, negative_prompt}]"},

    {MODEL, "sd_model_name", 0, TEXT, AT(sd_model_name), "NAME", 0, 0, NULL,
     "SDXL, RealVision, Juggernaut or Unstable"},
    {MODEL, "model", 'm', TEXT, AT(model), "PATH", 0, 0, NULL,
     "a model folder (default: $STORYDIFF_MODEL, or a small one)"},
    {MODEL, "cache_dir", 0, TEXT, AT(cache_dir), "DIR", 0, 0, NULL, "where downloaded models are"},
    {MODEL, "local_files_only", 0, FLAG, AT(local_files_only), NULL, 0, 0, NULL,
     "accepted: this program never opens a network connection"},

    {PICTURES, "height", 0, INTEGER, AT(height), "PIXELS", 8, 8192, NULL,
     "of a panel (default: 768, or what the model was made for)"},
    {PICTURES, "width", 0, INTEGER, AT(width), "PIXELS", 8, 8192, NULL, "likewise"},
    {PICTURES, "sampling_steps", 0, INTEGER, AT(sampling_steps), "N", 1, 1000, NULL,
     "denoising steps (default: 50, or the model's)"},
    {PICTURES, "guidance_scale", 0, NUMBER, AT(guidance_scale), "G", 0, 100, NULL,
     "classifier-free guidance, none up to 1 (default: 5, or the model's)"},
    {PICTURES, "seed", 0, SEED, AT(seed), "N", 0, 0, NULL, "same seed, same pictures"},
    {PICTURES, "sampler", 0, TEXT, AT(sampler), "NAME", 0, 0, NULL,
     "ddim, euler, euler_a, dpmpp_2m, dpmpp_2m_sde, lcm; and with _karras (default: ddim, or the model's)"},
    {PICTURES, "eta", 0, NUMBER, AT(eta), "X", 0, 1, NULL, "ddim: share of fresh noise (default: 0, or the model's)"},
    {PICTURES, "long_prompt", 0, CHOICE, AT(long_prompt), "MODE", 0, 0, long_prompt_names,
     "beyond 75 tokens: truncate or windows"},
    {PICTURES, "noise", 0, CHOICE, AT(noise), "MODE", 0, 0, noise_names,
     "reference: every pass reseeds; shared: one for all; own"},

    {CONSISTENCY, "csa", 0, CHOICE, AT(csa), "MODE", 0, 0, csa_names,
     "consistent self-attention: masked, sampled or off"},
    {CONSISTENCY, "id_length", 0, INTEGER, AT(id_length), "N", 1, CSA_MAX_ID_LENGTH, NULL,
     "panels that define a character (default: 4, fewer if a story has fewer)"},
    {CONSISTENCY, "sa32", 0, NUMBER, AT(sa32), "RATE", 0, 1, NULL, "share of tokens seen at 1/32 of the size"},
    {CONSISTENCY, "sa64", 0, NUMBER, AT(sa64), "RATE", 0, 1, NULL, "share of tokens seen at 1/16 of the size"},
    {CONSISTENCY, "csa_start", 0, INTEGER, AT(csa_start), "STEP", 1, 1000, NULL,
     "first consistent step (default: masked 5, sampled 1)"},
    {CONSISTENCY, "freeu", 0, FLAG, AT(freeu), NULL, 0, 0, NULL, "FreeU, as the reference's demo has it"},

    {PAGE, "comic_type", 0, CHOICE, AT(comic_type), "TYPE", 0, 0, comic_type_names,
     "four panels a page, classic, or none"},
    {PAGE, "font", 0, TEXT, AT(font), "FILE", 0, 0, NULL,
     "TrueType or OpenType font of the captions (default: DejaVu Sans)"},

    {RUN, "output_dir", 0, TEXT, AT(output_dir), "DIR", 0, 0, NULL, "where pictures and the state of the run go"},
    {RUN, "threads", 't', INTEGER, AT(threads), "N", 1, 1024, NULL,
     "default: the physical cores; does not change the pictures"},
    {RUN, "resume", 0, FLAG, AT(resume), NULL, 0, 0, NULL, "go on with the unfinished run in the output folder"},
    {RUN, "save_every_step", 0, FLAG, AT(save_every_step), NULL, 0, 0, NULL, "the default"},
    {RUN, "no_save", 0, FLAG, AT(no_save), NULL, 0, 0, NULL, "do not save the state after every step"},
    {RUN, "only", 0, TEXT, AT(only), "3,5", 0, 0, NULL, "redraw these panels only, with the same characters"},
    {RUN, "preview_every", 0, INTEGER, AT(preview_every), "N", 1, 1000, NULL, "a rough preview.png every N steps"},
    {RUN, "overwrite", 0, FLAG, AT(overwrite), NULL, 0, 0, NULL, "replace what the output folder has"},
    {RUN, "dry_run", 0, FLAG, AT(dry_run), NULL, 0, 0, NULL,
     "print prompts, captions, roles, memory and time; draw nothing"},
    {RUN, "consistency", 0, FLAG, AT(consistency), NULL, 0, 0, NULL,
     "print how alike a character looks in its panels, with csa and, drawn a second time, without"},
    {RUN, "profile", 0, FLAG, AT(profile), NULL, 0, 0, NULL, "print what took the time"},
    {RUN, "dump", 0, TEXT, AT(dump), "DIR", 0, 0, NULL, "write intermediate tensors, to compare implementations"},
    {RUN, "verbose", 'v', FLAG, AT(verbose), NULL, 0, 0, NULL, "say more"},
    {RUN, "version", 0, FLAG, AT(version), NULL, 0, 0, NULL, "version, CPU, kernels, threads, libraries"},
    {RUN, "help", 'h', FLAG, AT(help), NULL, 0, 0, NULL, "this text"},
};

enum { OPTION_COUNT = sizeof table / sizeof *table };

struct options options_default(void)
{
    return (struct options){
        .style_name = STYLE_DEFAULT,
        .seed = 3407,
        .guidance_scale = -1,
        .eta = -1,
        .long_prompt = LONG_PROMPT_WINDOWS,
        .csa = CSA_MASKED,
        .sa32 = 0.5,
        .sa64 = 0.5,
        .output_dir = "outputs",
    };
}

/* Same letters, dashes or underscores. */
static bool same_name(const char *name, const char *typed, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (name[i] == '\0' || (typed[i] == '-' ? '_' : typed[i]) != name[i])
            return false;
    return name[length] == '\0';
}

static const struct option *find_name(const char *typed, size_t length)
{
    for (const struct option *o = table; o < table + OPTION_COUNT; o++)
        if (same_name(o->name, typed, length))
            return o;
    return NULL;
}

static status unknown(const char *where, const char *typed, size_t length, struct error *e)
{
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), typed);
    for (char *p = word; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    struct suggestion s = {.word = word};
    for (const struct option *o = table; o < table + OPTION_COUNT; o++)
        suggestion_offer(&s, o->name);
    if (s.best != NULL)
        return fail(e, ERR_ARGUMENT, "%s%s is not an option; did you mean %s? (storydiff --help lists all)", where,
                    word, s.best);
    return fail(e, ERR_ARGUMENT, "%s%s is not an option (storydiff --help lists all)", where, word);
}

/* --------------------------------------------------------------------------------------------------------- values */

static status set_integer(const struct option *o, const char *where, const char *text, int64_t *out, struct error *e)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || (double)value < o->least || (double)value > o->most)
        return fail(e, ERR_ARGUMENT, "%s%s \"%s\": it takes a whole number from %.0f to %.0f", where, o->name, text,
                    o->least, o->most);
    *out = value;
    return OK;
}

static status set_seed(const struct option *o, const char *where, const char *text, uint64_t *out, struct error *e)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 0)
        return fail(e, ERR_ARGUMENT, "%s%s \"%s\": it takes a whole number from 0 to %lld", where, o->name, text,
                    LLONG_MAX);
    *out = (uint64_t)value;
    return OK;
}

static status set_number(const struct option *o, const char *where, const char *text, double *out, struct error *e)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= o->least && value <= o->most))
        return fail(e, ERR_ARGUMENT, "%s%s \"%s\": it takes a number from %g to %g", where, o->name, text, o->least,
                    o->most);
    *out = value;
    return OK;
}

static status set_choice(const struct option *o, const char *where, const char *text, int *out, struct error *e)
{
    char all[128] = "";
    for (int i = 0; o->choices[i] != NULL; i++) {
        if (strcmp(o->choices[i], text) == 0) {
            *out = i;
            return OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", o->choices[i]);
    }
    return fail(e, ERR_ARGUMENT, "%s%s \"%s\": it takes one of %s", where, o->name, text, all);
}

static status set_flag(const struct option *o, const char *where, const char *text, bool *out, struct error *e)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (text == NULL || strcmp(text, yes[i]) == 0) {
            *out = true;
            return OK;
        }
        if (strcmp(text, no[i]) == 0) {
            *out = false;
            return OK;
        }
    }
    return fail(e, ERR_ARGUMENT, "%s%s \"%s\": it takes no value, or true or false", where, o->name, text);
}

/* where: "--" or "file:LINE:COLUMN: ", before the option's name in messages. text: NULL: a flag without a value. */
static status set(struct options *options, const struct option *o, const char *where, const char *text,
                  struct error *e)
{
    void *member = (char *)options + o->offset;
    switch (o->kind) {
    case FLAG: return set_flag(o, where, text, member, e);
    case INTEGER: return set_integer(o, where, text, member, e);
    case SEED: return set_seed(o, where, text, member, e);
    case NUMBER: return set_number(o, where, text, member, e);
    case CHOICE: return set_choice(o, where, text, member, e);
    case TEXT: *(const char **)member = text; return OK;
    case TEXT_LIST: break;
    }
    if (options->prompt_count == MAX_PROMPTS)
        return fail(e, ERR_ARGUMENT, "%s%s: more than %d panels", where, o->name, MAX_PROMPTS);
    options->prompts[options->prompt_count++] = text;
    return OK;
}

/* --------------------------------------------------------------------------------------------------- command line */

struct words {
    int argc, at;
    char **argv;
};

/* The next option and its value (NULL: none was given). False at the end or on an error. */
static bool next_option(struct words *w, const struct option **option, const char **value, status *s, struct error *e)
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
        *option = find_name(name, length);
        if (*option == NULL) {
            *s = unknown("--", name, length, e);
            return false;
        }
        *value = equals != NULL ? equals + 1 : NULL;
    } else if (word[0] == '-' && word[1] != '\0' && word[2] == '\0') {
        for (const struct option *o = table; o < table + OPTION_COUNT; o++)
            if (o->letter == word[1])
                *option = o;
    }
    if (*option == NULL) {
        *s = word[0] == '-' ? fail(e, ERR_ARGUMENT, "%s is not an option (storydiff --help lists all)", word)
                            : fail(e, ERR_ARGUMENT,
                                   "\"%s\" stands alone: put a text with blanks in quotes, a panel "
                                   "after -p",
                                   word);
        return false;
    }
    if (*value == NULL && (*option)->kind != FLAG) {
        if (w->at >= w->argc) {
            *s = fail(e, ERR_ARGUMENT, "--%s needs a value (%s)", (*option)->name, (*option)->value);
            return false;
        }
        *value = w->argv[w->at++];
    }
    return true;
}

status options_parse(int argc, char **argv, struct options *o, struct error *e)
{
    struct words words = {argc, 1, argv};
    const struct option *option;
    const char *value;
    status s = OK;
    while (s == OK && next_option(&words, &option, &value, &s, e))
        s = set(o, option, "--", value, e);
    return s;
}

/* Two ways to say which model: whoever uses one on the command line overrules both of the file's. */
static bool same_question(const struct option *a, const struct option *b)
{
    bool a_names_model = a->offset == AT(model) || a->offset == AT(sd_model_name);
    return a == b || (a_names_model && (b->offset == AT(model) || b->offset == AT(sd_model_name)));
}

/* Whether the command line has this option, or one that answers the same question. */
static bool typed(int argc, char **argv, const struct option *wanted)
{
    struct words words = {argc, 1, argv};
    const struct option *option;
    const char *value;
    status s = OK;
    while (next_option(&words, &option, &value, &s, NULL))
        if (same_question(option, wanted))
            return true;
    return false;
}

/* What a panel, a character or the run needs has its own place: in the file, or on the command line. */
static bool belongs_in_story(const struct option *o)
{
    return o->group != RUN && o->kind != TEXT_LIST && o->offset != AT(story) && o->offset != AT(general_prompt);
}

status options_from_story(const struct story *story, int argc, char **argv, struct options *o, struct error *e)
{
    const struct story_setting *end = story->settings + story->setting_count;
    for (const struct story_setting *setting = story->settings; setting < end; setting++) {
        char where[160];
        snprintf(where, sizeof where, "%.100s:%d:%d: ", story->name, setting->line, setting->key_column);
        if (strcmp(setting->key, "title") == 0)
            continue;
        const char *key = strcmp(setting->key, "style") == 0 ? "style_name" : setting->key;
        const struct option *option = find_name(key, strlen(key));
        if (option == NULL)
            return unknown(where, key, strlen(key), e);
        if (!belongs_in_story(option))
            return fail(e, ERR_ARGUMENT, "%s%s cannot be set in a story file: give it on the command line", where,
                        key);
        if (!typed(argc, argv, option))
            TRY(set(o, option, where, setting->value, e));
    }
    return OK;
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
    const struct option *option;
    const char *value;
    status s = OK;
    append_quoted(out, argv[0]);
    for (int first = 1; next_option(&words, &option, &value, &s, NULL); first = words.at) {
        bool replaced = option->offset == AT(resume) || option->offset == AT(overwrite);
        for (int i = first; i < words.at && !replaced; i++)
            append_quoted(out, argv[i]);
    }
    text_append(out, "--resume");
}

/* ----------------------------------------------------------------------------------------------------------- help */

static void print_default(const struct option *o, FILE *out)
{
    const struct options defaults = options_default();
    const void *member = (const char *)&defaults + o->offset;
    switch (o->kind) {
    case TEXT:
        if (*(const char *const *)member != NULL)
            fprintf(out, " (default: %s)", *(const char *const *)member);
        break;
    case SEED: fprintf(out, " (default: %llu)", (unsigned long long)*(const uint64_t *)member); break;
    case CHOICE: fprintf(out, " (default: %s)", o->choices[*(const int *)member]); break;
    case NUMBER:
        if (*(const double *)member >= 0) /* less: the help says what decides */
            fprintf(out, " (default: %g)", *(const double *)member);
        break;
    case FLAG:
    case INTEGER:
    case TEXT_LIST: break;
    }
}

void options_help(FILE *out)
{
    fputs("storydiff: comics with consistent characters, drawn by SDXL on an ordinary CPU\n\n"
          "  storydiff --general_prompt \"a man with a black suit\" --style_name \"Comic book\"\n"
          "  storydiff --story my.story --seed 7 --output_dir outputs/my\n"
          "  storydiff --story my.story --sd_model_name RealVision --dry-run\n",
          out);
    for (int group = 0; group < GROUPS; group++) {
        fprintf(out, "\n%s\n", group_titles[group]);
        for (const struct option *o = table; o < table + OPTION_COUNT; o++) {
            if (o->group != (enum group)group)
                continue;
            char left[64], letter[8] = "";
            if (o->letter)
                snprintf(letter, sizeof letter, "-%c, ", o->letter);
            snprintf(left, sizeof left, "  %s--%s %s", letter, o->name, o->value ? o->value : "");
            fprintf(out, "%-30s %s", left, o->help);
            print_default(o, out);
            fputc('\n', out);
        }
    }
    fputs("\nDashes and underscores are the same. Exit status: 0 done; 2 it cannot be done, one line says why and\n"
          "what to do; 1 not enough memory; 130 stopped by Ctrl-C, and the command that goes on is printed.\n",
          out);
}

const char *option_name_csa(enum csa_mode mode)
{
    return csa_names[mode];
}

const char *option_name_noise(enum noise_mode mode)
{
    return noise_names[mode];
}

const char *option_name_long_prompt(enum long_prompt mode)
{
    return long_prompt_names[mode];
}

const char *option_name_comic_type(enum comic_type type)
{
    return comic_type_names[type];
}
