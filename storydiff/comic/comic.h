/* A comic, from settings to what the sampler is asked:
 *
 *   comic_plan     script, style, model and settings put together and checked; sizes, roles, prompts, pages decided.
 *                  Takes a moment; afterwards the comic is constant
 *   comic_encode   runs the text encoders: the request for the lockstep sampler
 *
 * Between the two, prompts may still be looked at (--dry-run). The comic is the plan, the model is the weights, the
 * request is what one drawing works on: three owners. */
#ifndef STORYDIFF_COMIC_H
#define STORYDIFF_COMIC_H

#include "storydiff/comic/loras.h"
#include "storydiff/comic/recipe_read.h"
#include "storydiff/comic/settings.h"
#include "storydiff/csa/lockstep.h"
#include "storydiff/page/page.h"
#include "storydiff/story/styles.h"

/* What the pages are written as: settings.format, parsed. */
enum { FORMAT_PNG = 1, FORMAT_PDF = 2, FORMAT_CBZ = 4 };

struct comic {
    struct settings settings; /* with the story file's, and every "the model decides" decided */
    struct story story;
    struct story_plan plan;
    struct styles styles;
    const struct style *style;
    struct style own_style; /* of a recipe */
    const struct model *model;
    char model_name[128];
    struct loras loras;          /* what the settings and the prompts name */
    char cached_tokenizer[4096]; /* where models without a tokenizer find one */
    struct sampler sampler;
    double guidance_from, guidance_to; /* of settings.guidance_interval */
    char **prompts;        /* [panel_count] styled */
    char **negatives;      /* [plan.pass_count] of each pass; NULL: none, which is not the same as "" */
    unsigned formats;      /* FORMAT_*, or-ed; 0 with PAGE_NONE */
    bool *wanted;          /* [panel_count] what `only` asks for; all without it */
    uint64_t *seeds;       /* [panel_count] of each panel's noise */
    struct font *font;     /* this and the next two: zero with PAGE_NONE */
    const char **captions; /* [panel_count] */
    struct page_plan pages; /* as long as nobody has seen the pictures */
    bool has_long_prompt;  /* beyond one window */
    struct text notices; /* what the person should know, one line each, no newline at the end */
    struct recipe recipe; /* of `from`, or of the output folder, where the settings name no story: they point into it */
};

/* Reads and checks all that `settings` name. The model that they name is opened into *model, which outlives the comic
 * and is the caller's to close, also after a failure. Fails in one line that says which setting, file or model is at
 * fault. The caller frees the comic. */
status comic_plan(struct comic *c, struct model *model, const struct settings *settings, struct error *e);
void comic_free(struct comic *c); /* fine on a zeroed struct */

/* How many of the steps are in the guidance interval: with guidance, those that are guided. */
int comic_guided_steps(const struct comic *c);

/* How the prompts are read. */
struct prompt_reading comic_reading(const struct comic *c);

/* What `pages` is the plan of. */
struct page_story comic_page_story(const struct comic *c);

/* What the sampler is asked. `lockstep` points into the rest and into the comic: both stay where they are. */
struct comic_request {
    struct lockstep_request lockstep;
    struct conditioning text;
    struct freeu freeu;
    struct story_pass *passes; /* those of the plan that are needed */
    int *negatives;            /* of each of them: its row of `text` */
};

/* Encodes prompts and negative prompts. ctx: threads, profile, observer. The caller frees the request. */
status comic_encode(const struct comic *c, const struct context *ctx, struct comic_request *request, struct error *e);
void comic_request_free(struct comic_request *request); /* fine on a zeroed struct */

/* What a comic would take, without drawing it. */
struct comic_tokens {
    size_t total, cut; /* of a panel's final prompt; cut: beyond the window, with truncation */
};
struct comic_report {
    struct comic_tokens *tokens;                 /* [panel_count] */
    size_t memory, bank, deep, memory_decode, weights; /* bytes: to sample, the bank and the kept features of it, to
                                                          decode; mapped beside them */
    double flops, seconds;
};

/* Counts, and estimates the time from a short measurement of this machine. The caller frees the report. */
status comic_measure(const struct comic *c, const struct comic_request *request, const struct context *ctx,
                     struct comic_report *report, struct error *e);
void comic_report_free(struct comic_report *report); /* fine on a zeroed struct */

/* A dry run as text: every panel's final prompt, caption, characters, role and tokens; memory and time. Appends lines
 * to `out`. threads: what was measured with. */
status comic_describe(const struct comic *c, const struct comic_report *report, int threads, struct text *out,
                      struct error *e);

#endif
