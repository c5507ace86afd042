#include "storydiff/comic/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "storydiff/story/styles.h"
#include "storydiff/story/suggest.h"

const char *const setting_group_titles[SETTING_GROUPS] = {
    "The story", "The model", "The pictures", "Consistency", "Speed", "The page", "The run",
};

#define AT(member) offsetof(struct settings, member)

const struct setting settings_table[] = {
    {SETTING_STORY, "general_prompt", SETTING_TEXT, AT(general_prompt), "TEXT", 0, 0, NULL,
     "the character, in every panel; or lines \"[Bob] a man, black suit\""},
    {SETTING_STORY, "prompt", SETTING_TEXT_LIST, AT(prompts), "TEXT", 0, 0, NULL,
     "one panel; give it once per panel"},
    {SETTING_STORY, "story", SETTING_TEXT, AT(story), "FILE", 0, 0, NULL,
     "characters, a line ---, panels; may have settings, too"},
    {SETTING_STORY, "from", SETTING_TEXT, AT(from), "PNG", 0, 0, NULL,
     "draw the story of this picture of ours again, with its settings: the same bytes"},
    {SETTING_STORY, "negative_prompt", SETTING_TEXT, AT(negative_prompt), "TEXT", 0, 0, NULL, "what not to draw"},
    {SETTING_STORY, "style_name", SETTING_TEXT, AT(style_name), "NAME", 0, 0, NULL,
     "a drawing style; an unknown name lists all"},
    {SETTING_STORY, "styles", SETTING_TEXT, AT(styles), "FILE", 0, 0, NULL,
     "more styles: JSON, [{name, prompt, negative_prompt}]"},

    {SETTING_MODEL, "sd_model_name", SETTING_TEXT, AT(sd_model_name), "NAME", 0, 0, NULL,
     "SDXL, RealVision, Juggernaut or Unstable"},
    {SETTING_MODEL, "model", SETTING_TEXT, AT(model), "PATH", 0, 0, NULL,
     "a model folder, or a single file (default: $STORYDIFF_MODEL, or a small one)"},
    {SETTING_MODEL, "vae", SETTING_TEXT, AT(vae), "PATH", 0, 0, NULL, "another VAE: a file, its folder, or a model"},
    {SETTING_MODEL, "text_encoders", SETTING_TEXT, AT(text_encoders), "PATH", 0, 0, NULL,
     "a model whose text encoders to take"},
    {SETTING_MODEL, "tokenizer", SETTING_TEXT, AT(tokenizer), "PATH", 0, 0, NULL,
     "CLIP's vocabulary: a folder with vocab.json and merges.txt"},
    {SETTING_MODEL, "config", SETTING_TEXT, AT(config), "DIR", 0, 0, NULL,
     "for an unusual single file: a folder with its config.json files"},
    {SETTING_MODEL, "lora", SETTING_TEXT_LIST, AT(loras), "FILE[:WEIGHT]", 0, 0, NULL,
     "a LoRA on top of the model; give it once for each"},
    {SETTING_MODEL, "lora_dir", SETTING_TEXT, AT(lora_dir), "DIR", 0, 0, NULL,
     "where <lora:NAME:WEIGHT> in a prompt, and names, are looked up"},
    {SETTING_MODEL, "taesd", SETTING_TEXT, AT(taesd), "FILE", 0, 0, NULL,
     "a tiny decoder (TAESD, TAESDXL): for previews"},
    {SETTING_MODEL, "draft", SETTING_FLAG, AT(draft), NULL, 0, 0, NULL, "the tiny decoder for the pictures, too"},
    {SETTING_MODEL, "cache_dir", SETTING_TEXT, AT(cache_dir), "DIR", 0, 0, NULL, "where downloaded models are"},
    {SETTING_MODEL, "local_files_only", SETTING_FLAG, AT(local_files_only), NULL, 0, 0, NULL,
     "accepted: this program never opens a network connection"},

    {SETTING_PICTURES, "height", SETTING_INTEGER, AT(height), "PIXELS", 8, 8192, NULL,
     "of a panel (default: 768, or what the model was made for)"},
    {SETTING_PICTURES, "width", SETTING_INTEGER, AT(width), "PIXELS", 8, 8192, NULL, "likewise"},
    {SETTING_PICTURES, "sampling_steps", SETTING_INTEGER, AT(sampling_steps), "N", 1, 1000, NULL,
     "denoising steps (default: 50, few-step samplers 4, or the model's)"},
    {SETTING_PICTURES, "guidance_scale", SETTING_NUMBER, AT(guidance_scale), "G", 0, 100, NULL,
     "classifier-free guidance, none up to 1 (default: 5, SD 1.5 7.5, few-step samplers 1, or the model's)"},
    {SETTING_PICTURES, "seed", SETTING_SEED, AT(seed), "N", 0, 0, NULL,
     "same seed, same pictures; -1: any, which is printed"},
    {SETTING_PICTURES, "sampler", SETTING_TEXT, AT(sampler), "NAME", 0, 0, NULL,
     "ddim[_trailing], euler[_karras, _trailing], euler_a[_trailing], dpmpp_2m[_karras], dpmpp_2m_sde[_karras], lcm "
     "or pndm "
     "(default: ddim, or the model's)"},
    {SETTING_PICTURES, "eta", SETTING_NUMBER, AT(eta), "X", 0, 1, NULL,
     "ddim: share of fresh noise (default: 0, or the model's)"},
    {SETTING_PICTURES, "long_prompt", SETTING_CHOICE, AT(long_prompt), "MODE", 0, 0, long_prompt_names,
     "beyond 75 tokens: truncate or windows"},
    {SETTING_PICTURES, "prompt_weights", SETTING_CHOICE, AT(prompt_weights), "MODE", 0, 0, prompt_weights_names,
     "(word:1.2), [word] and BREAK: on; no_norm: on, means not restored; off: they are text"},
    {SETTING_PICTURES, "noise", SETTING_CHOICE, AT(noise), "MODE", 0, 0, noise_mode_names,
     "reference: every pass reseeds; shared: one for all; own"},

    {SETTING_CONSISTENCY, "csa", SETTING_CHOICE, AT(csa), "MODE", 0, 0, csa_mode_names,
     "consistent self-attention: masked, sampled or off"},
    {SETTING_CONSISTENCY, "id_length", SETTING_INTEGER, AT(id_length), "N", 1, CSA_MAX_ID_LENGTH, NULL,
     "panels that define a character (default: 4, fewer if a story has fewer)"},
    {SETTING_CONSISTENCY, "sa32", SETTING_NUMBER, AT(sa32), "RATE", 0, 1, NULL,
     "share of tokens seen at 1/32 of the size"},
    {SETTING_CONSISTENCY, "sa64", SETTING_NUMBER, AT(sa64), "RATE", 0, 1, NULL,
     "share of tokens seen at 1/16 of the size (SD 1.5: at 1/8, too)"},
    {SETTING_CONSISTENCY, "csa_start", SETTING_INTEGER, AT(csa_start), "STEP", 1, 1000, NULL,
     "first consistent step (default: masked 5 of 50, sampled 1 of 50)"},
    {SETTING_CONSISTENCY, "freeu", SETTING_FLAG, AT(freeu), NULL, 0, 0, NULL,
     "FreeU, as the reference's demo has it"},

    {SETTING_SPEED, "fast", SETTING_FLAG, AT(fast), NULL, 0, 0, NULL,
     "the three below at once, as measured: " SETTINGS_FAST_HELP},
    {SETTING_SPEED, "precision", SETTING_CHOICE, AT(precision), "TYPE", 0, 0, precision_names,
     "of the UNet's linear layers and, with VNNI, convolutions: float32 or int8"},
    {SETTING_SPEED, "cache_interval", SETTING_INTEGER, AT(cache_interval), "N", 1, 1000, NULL,
     "the inner blocks of the UNet only in every Nth step (default: 1)"},
    {SETTING_SPEED, "guidance_interval", SETTING_TEXT, AT(guidance_interval), "FROM-TO", 0, 0, NULL,
     "guidance in this part of the steps only, such as 0-0.7 (default: 0-1)"},

    {SETTING_PAGE, "comic_type", SETTING_CHOICE, AT(comic_type), "TYPE", 0, 0, page_kind_names,
     "four panels a page, classic, or none"},
    {SETTING_PAGE, "title", SETTING_TEXT, AT(title), "TEXT", 0, 0, NULL, "stands above the panels of the first page"},
    {SETTING_PAGE, "font", SETTING_TEXT_LIST, AT(fonts), "FILE", 0, 0, NULL,
     "TrueType or OpenType font of the captions; more of them for letters it lacks (default: DejaVu Sans, and "
     "installed ones)"},
    {SETTING_PAGE, "format", SETTING_TEXT, AT(format), "png,pdf,cbz", 0, 0, NULL, "what the pages are written as"},

    {SETTING_RUN, "output_dir", SETTING_TEXT, AT(output_dir), "DIR", 0, 0, NULL,
     "where pictures and the state of the run go"},
    {SETTING_RUN, "threads", SETTING_INTEGER, AT(threads), "N", 1, 1024, NULL,
     "default: the physical cores; does not change the pictures"},
    {SETTING_RUN, "resume", SETTING_FLAG, AT(resume), NULL, 0, 0, NULL,
     "go on with the unfinished run in the output folder"},
    {SETTING_RUN, "save_every_step", SETTING_FLAG, AT(save_every_step), NULL, 0, 0, NULL, "the default"},
    {SETTING_RUN, "no_save", SETTING_FLAG, AT(no_save), NULL, 0, 0, NULL, "do not save the state after every step"},
    {SETTING_RUN, "only", SETTING_TEXT, AT(only), "3,5", 0, 0, NULL,
     "redraw these panels only, with the same characters"},
    {SETTING_RUN, "pages_only", SETTING_FLAG, AT(pages_only), NULL, 0, 0, NULL,
     "lay out the pages again, with the captions as they are now; draw nothing"},
    {SETTING_RUN, "preview_every", SETTING_INTEGER, AT(preview_every), "N", 1, 1000, NULL,
     "a rough preview.png every N steps"},
    {SETTING_RUN, "overwrite", SETTING_FLAG, AT(overwrite), NULL, 0, 0, NULL, "replace what the output folder has"},
};

const int settings_count = sizeof settings_table / sizeof *settings_table;
_Static_assert(sizeof settings_table / sizeof *settings_table <= SETTINGS_MAX, "given[] has a place for each row");

struct settings settings_default(void)
{
    return (struct settings){
        .style_name = STYLE_DEFAULT,
        .seed = 3407,
        .guidance_scale = -1,
        .eta = -1,
        .long_prompt = LONG_PROMPT_WINDOWS,
        .prompt_weights = WEIGHTS_ON,
        .csa = CSA_MASKED,
        .sa32 = 0.5,
        .sa64 = 0.5,
        .format = "png",
        .output_dir = "outputs",
    };
}

/* ---------------------------------------------------------------------------------------------------------- keys */

bool setting_is_called(const struct setting *row, const char *key, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (row->key[i] == '\0' || (key[i] == '-' ? '_' : key[i]) != row->key[i])
            return false;
    return row->key[length] == '\0';
}

const struct setting *settings_find(const char *key, size_t length)
{
    for (int i = 0; i < settings_count; i++)
        if (setting_is_called(&settings_table[i], key, length))
            return &settings_table[i];
    return NULL;
}

void settings_spell(struct text *out, const char *message, const char *prefix)
{
    for (const char *p = message; *p != '\0';) {
        size_t before = strcspn(p, "`");
        const char *key = p + before + (p[before] == '`');
        size_t length = strcspn(key, "`");
        text_append_bytes(out, p, before);
        p += before;
        if (*p == '\0')
            return;
        if (key[length] == '`' && settings_find(key, length) != NULL) {
            text_append(out, "%s%.*s", prefix, (int)length, key);
            p = key + length + 1;
        } else {
            text_append_bytes(out, p++, 1);
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- values */

static status parse_integer(const struct setting *row, const char *called, const char *text, int64_t *out,
                            struct error *e)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || (double)value < row->least || (double)value > row->most)
        return fail(e, ERR_ARGUMENT, "%s \"%s\": it takes a whole number from %.0f to %.0f", called, text, row->least,
                    row->most);
    *out = value;
    return OK;
}

/* One that can be typed: below 2^32. */
static status any_seed(const char *called, uint64_t *out, struct error *e)
{
    uint32_t value;
    if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        return fail(e, ERR_IO, "%s -1: the system has no random numbers: %s", called, strerror(errno));
    *out = value;
    return OK;
}

static status parse_seed(const char *called, const char *text, uint64_t *out, struct error *e)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < -1)
        return fail(e, ERR_ARGUMENT, "%s \"%s\": it takes a whole number from 0 to %lld, or -1 for any", called, text,
                    LLONG_MAX);
    *out = (uint64_t)value;
    return value >= 0 ? OK : any_seed(called, out, e);
}

static status parse_number(const struct setting *row, const char *called, const char *text, double *out,
                           struct error *e)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= row->least && value <= row->most))
        return fail(e, ERR_ARGUMENT, "%s \"%s\": it takes a number from %g to %g", called, text, row->least,
                    row->most);
    *out = value;
    return OK;
}

static status parse_choice(const struct setting *row, const char *called, const char *text, int *out, struct error *e)
{
    char all[128] = "";
    for (int i = 0; row->choices[i] != NULL; i++) {
        if (strcmp(row->choices[i], text) == 0) {
            *out = i;
            return OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", row->choices[i]);
    }
    return fail(e, ERR_ARGUMENT, "%s \"%s\": it takes one of %s", called, text, all);
}

static status parse_flag(const char *called, const char *text, bool *out, struct error *e)
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
    return fail(e, ERR_ARGUMENT, "%s \"%s\": it takes no value, or true or false", called, text);
}

status setting_parse(const struct setting *row, const char *called, const char *text, void *member, struct error *e)
{
    switch (row->kind) {
    case SETTING_FLAG: return parse_flag(called, text, member, e);
    case SETTING_INTEGER: return parse_integer(row, called, text, member, e);
    case SETTING_SEED: return parse_seed(called, text, member, e);
    case SETTING_NUMBER: return parse_number(row, called, text, member, e);
    case SETTING_CHOICE: return parse_choice(row, called, text, member, e);
    case SETTING_TEXT: *(const char **)member = text; return OK;
    case SETTING_TEXT_LIST: break;
    }
    return fail(e, ERR_ARGUMENT, "%s is a list", called);
}

struct fast_price settings_fast_price(int64_t cache_interval)
{
    return cache_interval > 2    ? (struct fast_price){6.2, 4.6, 84, 86}
           : cache_interval == 2 ? (struct fast_price){4.4, 3.2, 83, 84}
                                 : (struct fast_price){2.3, 1.7, 86, 87};
}

status settings_guidance_interval(const char *text, double *from, double *to, struct error *e)
{
    char *end, *last;
    *from = 0;
    *to = 1;
    if (text == NULL)
        return OK;
    *from = strtod(text, &end);
    *to = *end == '-' ? strtod(end + 1, &last) : 0;
    if (end == text || *end != '-' || last == end + 1 || *last != '\0' || !(*from >= 0 && *from < *to && *to <= 1))
        return fail(e, ERR_ARGUMENT, "`guidance_interval` \"%s\": it takes FROM-TO, shares of the steps from 0 to 1, "
                                     "such as 0-0.7", text);
    return OK;
}

enum given settings_given(const struct settings *s, const char *key)
{
    return (enum given)s->given[settings_find(key, strlen(key)) - settings_table];
}

/* The list of a row: its items, of which there may be `most`. */
static const char **list_of(struct settings *s, const struct setting *row, int **count, int *most)
{
    if (row->offset == AT(loras)) {
        *count = &s->lora_count;
        *most = SETTINGS_LORAS;
        return s->loras;
    }
    if (row->offset == AT(fonts)) {
        *count = &s->font_count;
        *most = SETTINGS_FONTS;
        return s->fonts;
    }
    *count = &s->prompt_count;
    *most = SETTINGS_PROMPTS;
    return s->prompts;
}

static status add_to_list(struct settings *s, const struct setting *row, const char *called, const char *text,
                          struct error *e)
{
    int *count, most;
    const char **items = list_of(s, row, &count, &most);
    if (*count == most)
        return fail(e, ERR_ARGUMENT, "%s: more than %d of them", called, most);
    items[(*count)++] = text;
    return OK;
}

status settings_set(struct settings *s, const struct setting *row, enum given by, const char *called,
                    const char *text, struct error *e)
{
    TRY(row->kind == SETTING_TEXT_LIST ? add_to_list(s, row, called, text, e)
                                       : setting_parse(row, called, text, (char *)s + row->offset, e));
    s->given[row - settings_table] = (unsigned char)by;
    if (row->kind == SETTING_SEED)
        s->any_seed = strtoll(text, NULL, 10) < 0;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- story file */

static bool names_model(const struct setting *row)
{
    return row->offset == AT(model) || row->offset == AT(sd_model_name);
}

static bool given_by_person(const struct settings *s, const struct setting *row)
{
    bool given = s->given[row - settings_table] == GIVEN_BY_PERSON;
    for (int i = 0; i < settings_count && names_model(row); i++)
        given = given || (names_model(&settings_table[i]) && s->given[i] == GIVEN_BY_PERSON);
    return given;
}

/* What a panel, a character or the run needs has its own place: in the file, or in what a person says. */
bool setting_belongs_in_story(const struct setting *row)
{
    return row->group != SETTING_RUN && row->offset != AT(prompts) && row->offset != AT(story) &&
           row->offset != AT(from) && row->offset != AT(general_prompt);
}

static status unknown(const char *where, const char *key, struct error *e)
{
    struct suggestion s = {.word = key};
    for (int i = 0; i < settings_count; i++)
        suggestion_offer(&s, settings_table[i].key);
    if (s.best != NULL)
        return fail(e, ERR_ARGUMENT, "%s%s is not a setting; did you mean %s?", where, key, s.best);
    return fail(e, ERR_ARGUMENT, "%s%s is not a setting", where, key);
}

static const struct setting *row_of(const struct story_setting *s)
{
    const char *key = strcmp(s->key, "style") == 0 ? "style_name" : s->key;
    return settings_find(key, strlen(key));
}

/* Of what is no list, a file gives one. */
static status is_new(const struct story *story, const struct story_setting *s, const char *called, struct error *e)
{
    for (const struct story_setting *before = story->settings; before < s; before++)
        if (row_of(before) == row_of(s))
            return fail(e, ERR_ARGUMENT, "%s is set already, in line %d", called, before->line);
    return OK;
}

status settings_from_story(struct settings *s, const struct story *story, struct error *e)
{
    const struct story_setting *end = story->settings + story->setting_count;
    for (const struct story_setting *setting = story->settings; setting < end; setting++) {
        char where[160], called[256];
        const struct setting *row = row_of(setting);
        snprintf(where, sizeof where, "%.100s:%d:%d: ", story->name, setting->line, setting->key_column);
        snprintf(called, sizeof called, "%s%.64s", where, row != NULL ? row->key : setting->key);
        if (row == NULL)
            return unknown(where, setting->key, e);
        if (!setting_belongs_in_story(row))
            return fail(e, ERR_ARGUMENT, "%s cannot be set in a story file, only for a run", called);
        if (row->kind != SETTING_TEXT_LIST)
            TRY(is_new(story, setting, called, e));
        if (!given_by_person(s, row))
            TRY(settings_set(s, row, GIVEN_BY_STORY, called, setting->value, e));
    }
    return OK;
}
