/* The command line, as one table: what is parsed is what --help prints.
 *
 * Options are those of the reference's command line, so that its users feel at home, and ours. Dashes and underscores
 * are the same: --output_dir, --output-dir. A story file may begin with the same options as `key: value` lines; the
 * command line wins. */
#ifndef STORYDIFF_OPTIONS_H
#define STORYDIFF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdxl/text/tokenizer.h"
#include "storydiff/csa/csa.h"
#include "storydiff/csa/lockstep.h"
#include "storydiff/story/script.h"
#include "tensor/text.h"
#include "tensor/status.h"

/* Pages: the kinds of page.h, or none. */
enum comic_type { COMIC_FOUR, COMIC_CLASSIC, COMIC_NONE };

enum { MAX_PROMPTS = STORY_MAX_PANELS };

struct options {
    /* the story */
    const char *general_prompt, *story, *negative_prompt, *style_name, *styles;
    const char *prompts[MAX_PROMPTS];
    int prompt_count;
    /* the model */
    const char *model, *sd_model_name, *cache_dir;
    bool local_files_only;
    /* the pictures; 0 (scale and eta: below 0): the model decides */
    int64_t height, width, sampling_steps;
    double guidance_scale, eta;
    uint64_t seed;
    const char *sampler;
    enum long_prompt long_prompt;
    enum noise_mode noise;
    /* consistency; 0: the mode decides */
    enum csa_mode csa;
    int64_t id_length, csa_start;
    double sa32, sa64;
    bool freeu;
    /* the page */
    enum comic_type comic_type;
    const char *font;
    /* the run */
    const char *output_dir, *only, *dump;
    int64_t threads, preview_every;
    bool resume, save_every_step, no_save, overwrite, dry_run, consistency, profile, verbose, help, version;
};

/* Every option at its default. */
struct options options_default(void);

/* Reads argv[1] .. argv[argc-1] into `o`. Texts point into argv. Unknown options (with the nearest known one),
 * missing or malformed values and numbers out of range are refused in one line. */
status options_parse(int argc, char **argv, struct options *o, struct error *e);

/* Sets the options that a story file's settings give, except those that argv has (which options_parse has set, or
 * will). Options that concern the run and not the story (threads, resume, ...) are refused there. Positions are the
 * file's. */
status options_from_story(const struct story *story, int argc, char **argv, struct options *o, struct error *e);

/* Appends the command that goes on with a stopped run: the same words quoted for the shell, with --resume and without
 * --overwrite. options_parse has accepted them. */
void options_resume_command(int argc, char **argv, struct text *out);

/* All options with their defaults, and three examples. */
void options_help(FILE *out);

/* The name of a choice, as it is typed. */
const char *option_name_csa(enum csa_mode mode);
const char *option_name_noise(enum noise_mode mode);
const char *option_name_long_prompt(enum long_prompt mode);
const char *option_name_comic_type(enum comic_type type);

#endif
