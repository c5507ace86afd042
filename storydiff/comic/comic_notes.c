#include "storydiff/comic/comic_notes.h"

#include <string.h>

static bool no_guidance(const struct comic *c)
{
    return c->settings.guidance_scale <= 1;
}

static bool csa_off(const struct comic *c)
{
    return c->settings.csa == CSA_OFF;
}

static bool nobody(const struct comic *c)
{
    return !csa_off(c) && c->plan.cast_count == 0;
}

static bool no_page(const struct comic *c)
{
    return c->settings.comic_type == PAGE_NONE;
}

static bool no_saving(const struct comic *c)
{
    return c->settings.no_save;
}

static bool step_never_comes(const struct comic *c)
{
    return c->settings.preview_every > c->sampler.steps;
}

/* A single pass begins with the same numbers in all three modes. */
static bool one_panel(const struct comic *c)
{
    return c->story.panel_count == 1;
}

static bool style_is_built_in(const struct comic *c)
{
    struct styles builtin = styles_builtin();
    const struct style *s = c->style;
    for (size_t i = 0; i < builtin.count; i++)
        if (strcmp(builtin.items[i].name, s->name) == 0 && strcmp(builtin.items[i].prompt, s->prompt) == 0 &&
            strcmp(builtin.items[i].negative_prompt, s->negative_prompt) == 0)
            return true;
    return false;
}

static bool model_is_not_looked_for(const struct comic *c)
{
    return c->settings.sd_model_name == NULL;
}

static bool no_long_prompt(const struct comic *c)
{
    return !c->has_long_prompt;
}

/* A UNet may be told the guidance (latent consistency models). */
static bool told_guidance(const struct comic *c)
{
    return c->model->unet.config.time_cond_proj_dim > 0;
}

static bool one_step(const struct comic *c)
{
    return c->sampler.steps == 1;
}

/* The three that `fast` stands for. */
static bool fast_is_overruled(const struct comic *c)
{
    return c->settings.fast && settings_given(&c->settings, "precision") != GIVEN_BY_NOBODY &&
           settings_given(&c->settings, "cache_interval") != GIVEN_BY_NOBODY &&
           settings_given(&c->settings, "guidance_interval") != GIVEN_BY_NOBODY;
}

static bool is_unset(const struct comic *c)
{
    (void)c;
    return true;
}

/* `given` has no effect where `when` holds. Rows of one setting stand together: the first that holds is said. */
static const struct row {
    const char *given;
    bool (*when)(const struct comic *c);
    const char *because;
} rows[] = {
    {"negative_prompt", no_guidance, "with `guidance_scale` up to 1 nothing is compared with it"},
    {"id_length", csa_off, "`csa` is off"},
    {"id_length", nobody, "no panel shows a character"},
    {"sa32", csa_off, "`csa` is off"},
    {"sa32", nobody, "no panel shows a character"},
    {"sa64", csa_off, "`csa` is off"},
    {"sa64", nobody, "no panel shows a character"},
    {"csa_start", csa_off, "`csa` is off"},
    {"csa_start", nobody, "no panel shows a character"},
    {"csa", nobody, "no panel shows a character"},
    {"noise", one_panel, "there is one panel"},
    {"long_prompt", no_long_prompt, "no prompt is longer than 75 tokens"},
    {"guidance_interval", no_guidance, "with `guidance_scale` up to 1 there is no guidance"},
    {"guidance_interval", told_guidance, "this model's UNet is told the guidance, which costs nothing"},
    {"cache_interval", one_step, "there is one step"},
    {"fast", fast_is_overruled, "`precision`, `cache_interval` and `guidance_interval` are given"},
    {"styles", style_is_built_in, "`style_name` is one of the built-in styles"},
    {"cache_dir", model_is_not_looked_for, "only `sd_model_name` is looked for there"},
    {"font", no_page, "`comic_type` none draws no captions"},
    {"save_every_step", no_saving, "`no_save` says otherwise"},
    {"preview_every", step_never_comes, "there are fewer steps"},
    {"local_files_only", is_unset, "nothing is ever downloaded"},
};

static void append(struct text *notes, const char *given, const char *because)
{
    text_append(notes, "%s`%s` has no effect: %s", notes->length > 0 ? "\n" : "", given, because);
}

void comic_note_effects(const struct comic *c, struct text *notes)
{
    const char *said = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (settings_given(&c->settings, row->given) == GIVEN_BY_NOBODY || strcmp(said, row->given) == 0 || !row->when(c))
            continue;
        said = row->given;
        append(notes, row->given, row->because);
    }
}
