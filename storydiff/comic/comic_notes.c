#include "storydiff/comic/comic_notes.h"

#include <string.h>

#include "tensor/file.h"

static bool no_guidance(const struct comic *c)
{
    return c->settings.guidance_scale <= 1;
}

static bool guidance_is_told(const struct comic *c)
{
    return c->model->unet.config.time_cond_proj_dim > 0;
}

static bool all_steps_guided(const struct comic *c)
{
    return comic_guided_steps(c) == c->sampler.steps;
}

static bool no_step_guided(const struct comic *c)
{
    return comic_guided_steps(c) == 0;
}

static bool csa_off(const struct comic *c)
{
    return c->settings.csa == CSA_OFF;
}

static bool nobody(const struct comic *c)
{
    return c->plan.cast_count == 0;
}

/* No id panel has another one beside it, and no story panel a character. */
static bool all_alone(const struct comic *c)
{
    for (int i = 0; i < c->plan.pass_count; i++) {
        const struct story_pass *pass = &c->plan.passes[i];
        if (pass->kind == STORY_WRITE ? pass->panel_count > 1 : pass->character_count > 0)
            return false;
    }
    return true;
}

static bool no_page(const struct comic *c)
{
    return c->settings.comic_type == PAGE_NONE;
}

static bool no_saving(const struct comic *c)
{
    return c->settings.no_save && c->settings.save_every_step;
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

/* A name is looked for there, and the vocabulary of a single file. */
static bool nothing_is_looked_for(const struct comic *c)
{
    bool named = c->settings.model != NULL && !file_exists(c->settings.model);
    return c->settings.sd_model_name == NULL && !named && c->model->parts.model.file == NULL;
}

static bool no_single_file(const struct comic *c)
{
    const struct model_parts *p = &c->model->parts;
    return p->model.file == NULL && p->vae.file == NULL && p->text_encoders.file == NULL;
}

static bool weightless_loras(const struct comic *c)
{
    for (int i = 0; i < c->loras.count; i++)
        if (c->loras.items[i].weight != 0)
            return false;
    return true;
}

static bool no_lora(const struct comic *c)
{
    return c->loras.count == 0;
}

static bool is_plain(const char *prompt)
{
    struct prompt_pairs pairs;
    if (prompt == NULL || prompt_parse(prompt, &pairs, NULL) != OK)
        return prompt == NULL;
    bool plain = prompt_is_plain(&pairs, prompt);
    prompt_pairs_free(&pairs);
    return plain;
}

static bool no_prompt_weights(const struct comic *c)
{
    for (int i = 0; i < c->story.panel_count; i++)
        if (!is_plain(c->prompts[i]))
            return false;
    for (int i = 0; i < c->plan.pass_count; i++)
        if (!is_plain(c->negatives[i]))
            return false;
    return true;
}

static bool all_three_given(const struct comic *c)
{
    static const char *const three[] = {"precision", "cache_interval", "guidance_interval"};
    for (int i = 0; i < 3; i++)
        if (settings_given(&c->settings, three[i]) == GIVEN_BY_NOBODY)
            return false;
    return c->settings.fast;
}

static bool one_step(const struct comic *c)
{
    return c->sampler.steps == 1;
}

static bool fast_is_nothing(const struct comic *c)
{
    const struct settings *o = &c->settings;
    bool kept = o->cache_interval > 1 && !one_step(c), guided = no_guidance(c) || guidance_is_told(c);
    return o->fast && o->precision == PRECISION_FLOAT32 && !kept && (guided || all_steps_guided(c));
}

static bool no_long_prompt(const struct comic *c)
{
    return !c->has_long_prompt;
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
    {"general_prompt", nobody, "no panel shows a character"},
    {"negative_prompt", no_guidance, "with `guidance_scale` up to 1 nothing is compared with it"},
    {"negative_prompt", guidance_is_told, "this model is told the guidance, and nothing is compared with it"},
    {"negative_prompt", no_step_guided, "no step is in `guidance_interval`"},
    {"guidance_interval", no_guidance, "with `guidance_scale` up to 1 there is no guidance"},
    {"guidance_interval", guidance_is_told, "this model is told the guidance, in all steps"},
    {"guidance_interval", all_steps_guided, "every step is in it"},
    {"id_length", csa_off, "`csa` is off"},
    {"id_length", nobody, "no panel shows a character"},
    {"sa32", csa_off, "`csa` is off"},
    {"sa32", nobody, "no panel shows a character"},
    {"sa32", all_alone, "no panel has another one to look at"},
    {"sa64", csa_off, "`csa` is off"},
    {"sa64", nobody, "no panel shows a character"},
    {"sa64", all_alone, "no panel has another one to look at"},
    {"csa_start", csa_off, "`csa` is off"},
    {"csa_start", nobody, "no panel shows a character"},
    {"csa_start", all_alone, "no panel has another one to look at"},
    {"csa", nobody, "no panel shows a character"},
    {"csa", all_alone, "no panel has another one to look at"},
    {"noise", one_panel, "there is one panel"},
    {"long_prompt", no_long_prompt, "no prompt is longer than 75 tokens"},
    {"cache_interval", one_step, "there is one step"},
    {"styles", style_is_built_in, "`style_name` is one of the built-in styles"},
    {"cache_dir", nothing_is_looked_for,
     "only `sd_model_name` is looked for there, and the vocabulary of a single file"},
    {"config", no_single_file, "the model is a folder, which has its own"},
    {"lora", weightless_loras, "its weight is 0"},
    {"lora_dir", no_lora, "no LoRA is named"},
    {"prompt_weights", no_prompt_weights, "no prompt has weights or a BREAK"},
    {"fast", all_three_given, "each of what it stands for is given"},
    {"fast", fast_is_nothing, "what it stands for is given otherwise, or saves nothing here"},
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
        enum given given = settings_given(&c->settings, row->given);
        bool from_recipe = c->recipe.values != NULL && given != GIVEN_BY_PERSON; /* which has every setting */
        if (given == GIVEN_BY_NOBODY || from_recipe || strcmp(said, row->given) == 0 || !row->when(c))
            continue;
        said = row->given;
        append(notes, row->given, row->because);
    }
}

void comic_note_clamping(const struct comic *c, struct text *notes)
{
    const struct scheduler_config *config = &c->model->scheduler;
    const struct json *said = json_get(config->json, "clip_sample");
    if (c->sampler.settings.clip_sample && (said == NULL || said->kind == JSON_NULL))
        text_append(
            notes,
            "%s%s does not say \"clip_sample\": %s then clamps every prediction to +-%g, as the reference does, "
            "which takes contrast from most models; if pictures are pale, write \"clip_sample\": false there",
            notes->length > 0 ? "\n" : "", config->source, sampler_name(&c->sampler),
            c->sampler.settings.clip_sample_range);
}
