/* A comic that has been thought through but not drawn: script, style, model and settings put together.
 *
 *   comic_plan     reads everything, checks everything, decides sizes, roles and prompts: takes a moment
 *   comic_encode   runs the text encoders; afterwards `request` is ready for the lockstep sampler
 *
 * Between the two, prompts may still be looked at (--dry-run) or replaced. */
#ifndef STORYDIFF_COMIC_H
#define STORYDIFF_COMIC_H

#include "storydiff/page/font.h"
#include "storydiff/csa/lockstep.h"
#include "storydiff/cli/options.h"
#include "storydiff/page/page.h"
#include "storydiff/story/styles.h"
#include "tensor/json.h"

struct comic {
    struct options options; /* with the story file's settings, and every "the model decides" decided */
    struct story story;
    struct story_plan plan;
    struct styles styles;
    const struct style *style;
    struct model model;
    char model_name[128];
    struct sampler sampler;
    char **prompts;         /* [panel_count] styled */
    char **negatives;       /* [plan.pass_count] of each pass; NULL: none, which is not the same as "" */
    bool *wanted;           /* [panel_count] what --only asks for; all without it */
    struct font *font;      /* this and the next two: zero with --comic_type none */
    const char **captions;  /* [panel_count] */
    struct page_plan pages;
    struct text notices;    /* what the person should know, one line each, no newline at the end */
    /* made by comic_encode */
    struct conditioning text;
    struct freeu freeu;
    struct lockstep_request request;
    /* private */
    struct lockstep_pass *passes;
    int *pass_rows; /* the plan's pass of each of `passes` */
};

/* Reads and checks all that `options` names. argc and argv: the command line they came from, whose options win over
 * the story file's. Fails in one line that says which option, file or model is at fault. The caller frees it. */
status comic_plan(struct comic *c, const struct options *options, int argc, char **argv, struct error *e);
void comic_free(struct comic *c); /* fine on a zeroed struct */

/* What `pages` is the plan of. */
struct page_story comic_page_story(const struct comic *c);

/* Encodes prompts and negative prompts and fills `request`. ctx: threads, profile, observer. */
status comic_encode(struct comic *c, const struct context *ctx, struct error *e);

/* A dry run: every panel's final prompt, caption, characters, role and number of tokens; memory and a time estimated
 * from a short measurement of this machine. Needs comic_encode. Appends lines to `out`. */
status comic_describe(const struct comic *c, const struct context *ctx, struct text *out, struct error *e);

#endif
