/* Everything that a person may decide about a comic, as one table. A command line, a story file and a web page fill
 * the same struct through it, and help texts are made of it.
 *
 * A row has a key (that of the reference's command line, where it has one), a kind and a range. Messages name a
 * setting by its key in backquotes, here and in every library: settings_spell turns that into what a person typed. */
#ifndef STORYDIFF_SETTINGS_H
#define STORYDIFF_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdxl/conditioning.h"
#include "sdxl/text/tokenizer.h"
#include "storydiff/comic/loras.h"
#include "storydiff/csa/csa.h"
#include "storydiff/csa/lockstep.h"
#include "storydiff/page/page.h"
#include "storydiff/story/script.h"
#include "tensor/status.h"
#include "tensor/text.h"

enum { SETTINGS_MAX = 64, SETTINGS_PROMPTS = STORY_MAX_PANELS, SETTINGS_LORAS = LORAS_MAX, SETTINGS_FONTS = 16 };

/* Who has given a setting: what a person says now wins over what the story's file says. */
enum given { GIVEN_BY_NOBODY, GIVEN_BY_STORY, GIVEN_BY_PERSON };

/* Texts are referenced, not copied: they outlive the struct. */
struct settings {
    /* the story */
    const char *from, *general_prompt, *story, *negative_prompt, *style_name, *styles;
    const char *style_prompt, *style_negative_prompt; /* the style itself, as a recipe has it; NULL: it is looked up */
    const char *prompts[SETTINGS_PROMPTS];
    int prompt_count;
    /* the model */
    const char *model, *sd_model_name, *cache_dir, *vae, *text_encoders, *tokenizer, *config;
    const char *loras[SETTINGS_LORAS], *lora_dir, *taesd;
    int lora_count;
    bool draft;
    bool local_files_only;
    /* the pictures; 0 (scale and eta: below 0): the model decides */
    int64_t height, width, sampling_steps;
    double guidance_scale, eta;
    uint64_t seed;
    bool any_seed; /* it was given as -1 */
    const char *sampler;
    enum long_prompt long_prompt;
    enum prompt_weights prompt_weights;
    enum noise_mode noise;
    /* consistency; 0: the mode decides */
    enum csa_mode csa;
    int64_t id_length, csa_start;
    double sa32, sa64;
    bool freeu;
    /* less arithmetic; NULL, 0: all of it */
    enum precision precision;
    const char *guidance_interval; /* "FROM-TO", shares of the steps */
    int64_t cache_interval;
    bool fast;
    /* the page */
    enum page_kind comic_type;
    const char *title, *format;
    const char *fonts[SETTINGS_FONTS]; /* the first that has a letter shows it */
    int font_count;
    /* the run */
    const char *output_dir, *only;
    int64_t threads, preview_every;
    bool pages_only, resume, save_every_step, no_save, overwrite;
    unsigned char given[SETTINGS_MAX]; /* enum given, by row of the table */
};

/* Which part of a help text a setting stands in. Those of the run are no part of a story and not allowed in its file.
 */
enum setting_group {
    SETTING_STORY,
    SETTING_MODEL,
    SETTING_PICTURES,
    SETTING_CONSISTENCY,
    SETTING_SPEED,
    SETTING_PAGE,
    SETTING_RUN,
    SETTING_GROUPS,
};
extern const char *const setting_group_titles[SETTING_GROUPS];

enum setting_kind {
    SETTING_FLAG,      /* bool: true, yes, on, 1, or no value; false, no, off, 0 */
    SETTING_TEXT,      /* const char * */
    SETTING_TEXT_LIST, /* one more each time, in a story's file, too: prompts, loras, fonts */
    SETTING_INTEGER,   /* int64_t, least .. most */
    SETTING_SEED,      /* uint64_t, 0 .. 2^63 - 1; -1 becomes a random one */
    SETTING_NUMBER,    /* double, least .. most */
    SETTING_CHOICE,    /* an enum, by name */
};

struct setting {
    enum setting_group group;
    const char *key;
    enum setting_kind kind;
    size_t offset;     /* of the member */
    const char *value; /* what a help text calls it; NULL for a flag */
    double least, most;
    const char *const *choices; /* SETTING_CHOICE: names in the order of the enum, NULL after the last */
    const char *help;
};

extern const struct setting settings_table[];
extern const int settings_count;

/* What `fast` stands for, where the three are not given themselves: of so many steps at least SETTINGS_FAST_STEPS are
 * computed whole. bench/RESULTS.md says why these. */
enum { SETTINGS_FAST_CACHE_INTERVAL = 3, SETTINGS_FAST_STEPS = 13 };
#define SETTINGS_FAST_GUIDANCE_INTERVAL "0-0.8"
#define SETTINGS_FAST_HELP "int8, 3 (26 to 38 steps: 2, fewer: 1), " SETTINGS_FAST_GUIDANCE_INTERVAL

/* What all three give and cost together, by the cache_interval, as bench/RESULTS.md has it. */
struct fast_price {
    double times, times_avx2; /* how many times less all steps take, single passes of SDXL's UNet, 768 px */
    int agreed, before;       /* of 100 pairs of panels of the bundled model, with and without */
};
struct fast_price settings_fast_price(int64_t cache_interval);

/* "FROM-TO", 0 <= FROM < TO <= 1; NULL: 0-1. */
status settings_guidance_interval(const char *text, double *from, double *to, struct error *e);

/* Every setting at its default. */
struct settings settings_default(void);

/* The row of a key of `length` bytes, dashes or underscores, or NULL. */
const struct setting *settings_find(const char *key, size_t length);

/* Whether a key of `length` bytes, dashes or underscores, is this one: for tables of other options beside this. */
bool setting_is_called(const struct setting *row, const char *key, size_t length);

/* Reads a value into `member`, which has the row's kind (any but a list). text: NULL: a flag without a value.
 * `called` is how a message names the setting. Malformed values and numbers out of range are refused. */
status setting_parse(const struct setting *row, const char *called, const char *text, void *member, struct error *e);

/* Who has given the setting of that key, which there is. */
enum given settings_given(const struct settings *s, const char *key);

/* Gives a setting its value, and notes by whom. */
status settings_set(struct settings *s, const struct setting *row, enum given by, const char *called,
                    const char *text, struct error *e);

/* Whether a story file may set it: not what names the story, nor what is for one run. */
bool setting_belongs_in_story(const struct setting *row);

/* Sets what a story file's settings give, except what a person has given. Settings of the run, unknown keys (with the
 * nearest known one), wrong values, and what is no list given twice, are refused; positions are the file's. */
status settings_from_story(struct settings *s, const struct story *story, struct error *e);

/* Appends `message` with every `key` in backquotes that names a setting written as a person wrote it: prefix before
 * the key ("--"). */
void settings_spell(struct text *out, const char *message, const char *prefix);

#endif
