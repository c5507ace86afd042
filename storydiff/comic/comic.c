#include "storydiff/comic/comic.h"
#include "storydiff/comic/comic_limits.h"
#include "storydiff/comic/comic_notes.h"
#include "storydiff/comic/comic_syntax.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "storydiff/comic/comic_page.h"
#include "storydiff/comic/models.h"
#include "storydiff/comic/recipe.h"
#include "tensor/cpu.h"

static void notice(struct comic *c, const char *line)
{
    if (line[0] != '\0')
        text_append(&c->notices, "%s%s", c->notices.length ? "\n" : "", line);
}

/* --------------------------------------------------------------------------------------------------------- script */

/* `from`: what a picture's recipe says. */
static status read_picture(struct comic *c, struct error *e)
{
    struct settings *o = &c->settings;
    if (o->story != NULL || o->general_prompt != NULL || o->prompt_count > 0)
        return fail(e, ERR_ARGUMENT, "`from` excludes `story`, `general_prompt` and `prompt`: the picture has them");
    TRY(recipe_of_picture(o->from, &c->recipe, e));
    return recipe_settings(&c->recipe, o, e);
}

/* To go on, or to draw a panel anew, the story need not be said again: it lies in the folder. */
static status read_recipe(struct comic *c, struct error *e)
{
    struct settings *o = &c->settings;
    if (o->from != NULL)
        return read_picture(c, e);
    bool story_given = o->story != NULL || o->prompt_count > 0 || o->general_prompt != NULL;
    if (story_given || (!o->resume && o->only == NULL))
        return OK;
    TRY(recipe_in_folder(o->output_dir, &c->recipe, e));
    if (c->recipe.values == NULL)
        return fail(e, ERR_ARGUMENT, "nothing to draw: %s has no panel and no unfinished run that would say "
                                     "which story", o->output_dir);
    return recipe_settings(&c->recipe, o, e);
}

static status read_script(struct comic *c, struct error *e)
{
    struct settings *o = &c->settings;
    TRY(read_recipe(c, e));
    if (o->story != NULL) {
        if (o->general_prompt != NULL || o->prompt_count > 0)
            return fail(e, ERR_ARGUMENT, "`story` excludes `general_prompt` and `prompt`: the file has both");
        TRY(story_read(o->story, &c->story, e));
        return settings_from_story(o, &c->story, e);
    }
    if (o->prompt_count > 0)
        return story_from_prompts(o->general_prompt, o->prompts, (size_t)o->prompt_count, &c->story, e);
    if (o->general_prompt == NULL)
        return fail(e, ERR_ARGUMENT, "nothing to draw: give `general_prompt` \"a man with a black suit\", panels with "
                                     "`prompt`, or `story` FILE");
    if (strchr(o->general_prompt, '[') != NULL)
        return fail(e, ERR_ARGUMENT, "`general_prompt` names characters in brackets: the panels must say who is in "
                                     "them, with `prompt` or `story` FILE");
    size_t count = 0;
    while (story_default_panels[count] != NULL)
        count++;
    notice(c, "no panels given: drawing the default story; give your own with `prompt` or `story` FILE");
    return story_from_prompts(o->general_prompt, story_default_panels, count, &c->story, e);
}

/* "3,5" or "2-4,6" */
static status read_only(struct comic *c, struct error *e)
{
    int panels = c->story.panel_count;
    c->wanted = calloc((size_t)panels, sizeof *c->wanted);
    c->seeds = calloc((size_t)panels, sizeof *c->seeds);
    if (c->wanted == NULL || c->seeds == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for %d panels", panels);
    const char *p = c->settings.only;
    for (int i = 0; i < panels && p == NULL; i++)
        c->wanted[i] = true;
    while (p != NULL) {
        char *end;
        long first = strtol(p, &end, 10), last = first;
        bool ok = end != p;
        if (ok && *end == '-') {
            p = end + 1;
            last = strtol(p, &end, 10);
            ok = end != p;
        }
        if (!ok || (*end != ',' && *end != '\0') || first < 1 || last < first || last > panels)
            return fail(e, ERR_ARGUMENT, "`only` \"%s\": it takes panel numbers from 1 to %d, such as 3,5 or 2-4",
                        c->settings.only, panels);
        for (long i = first; i <= last; i++)
            c->wanted[i - 1] = true;
        p = *end == ',' ? end + 1 : NULL;
    }
    return OK;
}

/* Any seed will do: who goes on, or lays out pages anew, means the one that was drawn then. */
static void keep_any_seed(struct settings *o)
{
    struct recipe r;
    if (!o->any_seed || !(o->resume || o->pages_only) || recipe_in_folder(o->output_dir, &r, NULL) != OK)
        return;
    if (r.values != NULL)
        o->seed = recipe_seed(&r, -1);
    recipe_free(&r);
}

/* The seed of a panel that lies in the folder is that which made it. With `only`, a new seed is for the panels that are
 * drawn anew; characters, and so id panels, keep theirs. */
static void choose_seeds(struct comic *c)
{
    struct settings *o = &c->settings;
    int panels = c->story.panel_count;
    keep_any_seed(o);
    bool anew = settings_given(o, "seed") == GIVEN_BY_PERSON, again = o->from != NULL && !anew;
    bool finished = c->recipe.values != NULL && o->from == NULL && !c->recipe.of_run; /* `resume`, and no story said */
    uint64_t given = o->seed;
    bool found = o->only == NULL;
    for (int i = 0; i < panels && !found; i++) { /* the first one says the seed of all */
        struct recipe r;
        recipe_of_panel(o->output_dir, i + 1, &r, NULL);
        found = r.values != NULL;
        if (found)
            o->seed = recipe_seed(&r, -1);
        recipe_free(&r);
    }
    for (int i = 0; i < panels; i++) {
        struct recipe r = {0};
        if (o->only != NULL || finished)
            recipe_of_panel(o->output_dir, i + 1, &r, NULL); /* what cannot be read does not count here */
        const struct recipe *says = c->recipe.of_run || again ? &c->recipe : r.values != NULL ? &r : NULL;
        c->seeds[i] = says != NULL ? recipe_seed(says, i) : o->seed;
        if ((o->only == NULL && !again && !finished) || (anew && c->wanted[i]))
            c->seeds[i] = given;
        recipe_free(&r);
    }
}

static status read_style(struct comic *c, struct error *e)
{
    if (c->settings.style_prompt != NULL) { /* from a recipe */
        const char *negative = c->settings.style_negative_prompt;
        c->own_style =
            (struct style){c->settings.style_name, c->settings.style_prompt, negative != NULL ? negative : ""};
        c->style = &c->own_style;
        return OK;
    }
    c->styles = styles_builtin();
    if (c->settings.styles != NULL)
        TRY(styles_load(c->settings.styles, &c->styles, e));
    return styles_find(&c->styles, c->settings.style_name, &c->style, e);
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t")] == '\0';
}

/* A LoRA that not every panel names works on all of them nevertheless. */
static void announce_shared(struct comic *c, int naming, int first)
{
    char line[256];
    if (naming == 0 || naming == c->story.panel_count)
        return;
    snprintf(line, sizeof line, "a <lora:..> stands in the prompt of panel %d, but not in all: LoRAs change the model, "
                                "so it works on every panel", first + 1);
    notice(c, line);
}

/* LoRAs of the settings, and those of the prompts, which lose their <lora:..>. */
static status collect_loras(struct comic *c, struct error *e)
{
    const struct settings *o = &c->settings;
    int naming = 0, first = 0;
    for (int i = 0; i < o->lora_count; i++)
        TRY(loras_add(&c->loras, o->loras[i], o->lora_dir, e));
    for (int i = 0; i < c->story.panel_count; i++) {
        int count = 0;
        TRY(loras_take(&c->loras, c->prompts[i], o->lora_dir, &count, e));
        loras_cut(c->story.panels[i].caption);
        if (count > 0 && naming++ == 0)
            first = i;
    }
    announce_shared(c, naming, first);
    return OK;
}

static status style_texts(struct comic *c, struct error *e)
{
    c->prompts = calloc((size_t)c->story.panel_count, sizeof *c->prompts);
    c->negatives = calloc((size_t)c->plan.pass_count, sizeof *c->negatives);
    if (c->prompts == NULL || c->negatives == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the prompts");
    for (int i = 0; i < c->story.panel_count; i++)
        TRY(style_prompt(c->style, c->story.panels[i].prompt, &c->prompts[i], e));
    for (int i = 0; i < c->plan.pass_count; i++) {
        TRY(style_negative_prompt(c->style, c->settings.negative_prompt, &c->negatives[i], e));
        if (is_blank(c->negatives[i]) && c->settings.negative_prompt == NULL) { /* absent, not empty */
            free(c->negatives[i]);
            c->negatives[i] = NULL;
        }
    }
    return OK;
}

/* ---------------------------------------------------------------------------------------------------------- model */

/* A picture drawn again with other weights is another picture. */
static status check_fingerprint(struct comic *c, struct error *e)
{
    const struct settings *o = &c->settings;
    const char *then = recipe_value(&c->recipe, "model_fingerprint");
    char now[16], line[512];
    recipe_fingerprint(c->model, now);
    if (o->from == NULL || (then != NULL && strcmp(then, now) == 0))
        return OK;
    snprintf(line, sizeof line, "`from` %.200s: it was drawn with another model %.64s than this (fingerprint %.8s, "
                                "not %s)", o->from, c->model_name, then != NULL ? then : "unknown", now);
    if (settings_given(o, "model") != GIVEN_BY_PERSON && settings_given(o, "sd_model_name") != GIVEN_BY_PERSON)
        return fail(e, ERR_ARGUMENT, "%s: name its folder with `model`", line);
    notice(c, line);
    return OK;
}

static status open_model(struct comic *c, struct model *model, struct error *e)
{
    char path[4096];
    const struct settings *o = &c->settings;
    struct lora_source loras[LORAS_MAX];
    struct model_sources sources = {.vae = o->vae, .text_encoders = o->text_encoders, .tokenizer = o->tokenizer,
                                    .config = o->config, .loras = loras, .lora_count = c->loras.count,
                                    .taesd = o->taesd, .draft = o->draft};
    for (int i = 0; i < c->loras.count; i++)
        loras[i] = (struct lora_source){c->loras.items[i].path, c->loras.items[i].weight};
    if (o->taesd != NULL && !o->draft && o->preview_every == 0)
        notice(c, "`taesd` has no effect: it is for previews (`preview_every`) and drafts (`draft`)");
    if (o->draft && o->taesd == NULL)
        return fail(e, ERR_ARGUMENT, "`draft` draws with a tiny decoder: give its file, `taesd` FILE (for SDXL "
                                     "taesdxl_decoder.safetensors of github.com/madebyollin/taesd)");
    TRY(models_find(o->model, o->sd_model_name, o->cache_dir, path, sizeof path, c->model_name, sizeof c->model_name,
                    e));
    if (models_find_tokenizer(o->cache_dir, c->cached_tokenizer, sizeof c->cached_tokenizer))
        sources.other_tokenizer = c->cached_tokenizer;
    TRY(model_open_from(model, path, &sources, e));
    c->model = model;
    model_note(model, &c->notices);
    TRY(check_fingerprint(c, e));
    if (c->model->hints.note[0] != '\0') {
        char line[512];
        snprintf(line, sizeof line, "model %s: %s", c->model_name, c->model->hints.note);
        notice(c, line);
    }
    return OK;
}

/* The reference starts at step 5 of 50 (masked) or 1 (sampled); with another number of steps, at the same share. */
static int64_t default_start(enum csa_mode mode, int64_t steps)
{
    int64_t start = (steps * csa_defaults(mode).start + 25) / 50;
    return start > 1 ? start : 1;
}

/* What is not given itself. A UNet of one level has nothing to keep, and few steps have nothing to spare. */
static void decide_fast(struct comic *c)
{
    struct settings *o = &c->settings;
    bool keeps = unet_deep_channels(&c->model->unet.config) > 0;
    if (!o->fast)
        return;
    if (!settings_given(o, "precision"))
        o->precision = PRECISION_INT8;
    int64_t interval = o->sampling_steps / SETTINGS_FAST_STEPS;
    if (!settings_given(o, "cache_interval") && keeps && interval > 1)
        o->cache_interval = interval < SETTINGS_FAST_CACHE_INTERVAL ? interval : SETTINGS_FAST_CACHE_INTERVAL;
    if (!settings_given(o, "guidance_interval"))
        o->guidance_interval = SETTINGS_FAST_GUIDANCE_INTERVAL;
}

static bool is_guided(const struct comic *c)
{
    return c->settings.guidance_scale > 1 && c->model->unet.config.time_cond_proj_dim == 0;
}

int comic_guided_steps(const struct comic *c)
{
    int guided = 0;
    for (int i = 0; i < c->sampler.steps; i++)
        guided += lockstep_in_interval(c->guidance_from, c->guidance_to, i, c->sampler.steps);
    return guided;
}

/* Maybe that is meant. */
static void warn_of_empty_interval(struct comic *c)
{
    if (is_guided(c) && comic_guided_steps(c) == 0)
        text_append(&c->notices, "%s`guidance_interval` %s: none of %d step%s is in it, so nothing is guided",
                    c->notices.length > 0 ? "\n" : "", c->settings.guidance_interval, c->sampler.steps,
                    c->sampler.steps == 1 ? "" : "s");
}

/* What it does here, and its price where that is known; comic_notes.c has a line where it does nothing. */
static void announce_fast(struct comic *c)
{
    const struct settings *o = &c->settings;
    bool kept = o->cache_interval > 1 && c->sampler.steps > 1, bytes = o->precision == PRECISION_INT8;
    bool guided = is_guided(c) && comic_guided_steps(c) < c->sampler.steps;
    bool own = settings_given(o, "precision") || settings_given(o, "cache_interval") ||
               settings_given(o, "guidance_interval");
    if (!o->fast || !(kept || bytes || guided))
        return;
    struct text line = {0};
    text_append(&line, "fast: %s", bytes ? "8-bit products" : "");
    if (kept)
        text_append(&line, "%sthe inner blocks of the UNet in one step of %lld", bytes ? ", " : "",
                    (long long)o->cache_interval);
    if (guided)
        text_append(&line, "%sguidance from %g to %g of the steps", bytes || kept ? ", " : "", c->guidance_from,
                    c->guidance_to);
    struct fast_price price = settings_fast_price(o->cache_interval);
    if (own || !guided)
        text_append(&line, ". bench/RESULTS.md has the price of each");
    else
        text_append(&line,
                    ". By single passes of SDXL's UNet all steps take %g times less time (AVX2 alone: %g); the same "
                    "seed gives another picture, and with the bundled model what a story leaves open agreed in %d of "
                    "100 pairs of panels, not %d", price.times, price.times_avx2, price.agreed, price.before);
    notice(c, line.data != NULL ? line.data : "fast");
    text_free(&line);
}

static double default_guidance(const struct model *m, bool few)
{
    if (m->unet.config.time_cond_proj_dim > 0)
        return 8; /* costs nothing: the UNet is told */
    return few ? 1 : m->family == MODEL_SD15 ? 7.5 : 5;
}

/* Only DDIM has one: by its name, or as the model's own (sampler is NULL). */
static bool has_eta(const struct scheduler_config *scheduler, const char *sampler)
{
    enum scheduler_class own;
    if (sampler != NULL)
        return strcasecmp(sampler, "ddim") == 0;
    return scheduler_config_class(scheduler, &own, NULL) == OK && own == SCHEDULER_DDIM;
}

/* What was left to the model. SDXL was made for 1024 px; the reference draws at 768, with DDIM whatever the model's
 * own scheduler is. But a model that was distilled to few steps has the scheduler it was distilled for. */
static status decide_defaults(struct comic *c, struct error *e)
{
    struct settings *o = &c->settings;
    const struct model_hints *hints = &c->model->hints;
    int64_t made_for = c->model->unet.config.sample_size * vae_factor(&c->model->vae.config);
    int64_t size = made_for >= 1024 ? 768 : made_for;
    bool few = false, own_few = false;
    bool known = sampler_takes_few_steps(&c->model->scheduler, NULL, &own_few, NULL) == OK;
    if (o->sampler == NULL && made_for >= 1024 && !(known && own_few))
        o->sampler = "ddim";
    TRY(sampler_takes_few_steps(&c->model->scheduler, o->sampler, &few, e));
    o->height = o->height ? o->height : size;
    o->width = o->width ? o->width : size;
    if (o->sampling_steps == 0)
        o->sampling_steps = hints->sampling_steps && few == own_few ? hints->sampling_steps : few ? 4 : 50;
    decide_fast(c);
    TRY(settings_guidance_interval(o->guidance_interval, &c->guidance_from, &c->guidance_to, e));
    if (o->guidance_scale < 0)
        o->guidance_scale = hints->guidance_scale > 0 ? hints->guidance_scale : default_guidance(c->model, few);
    if (o->eta < 0)
        o->eta = has_eta(&c->model->scheduler, o->sampler) ? hints->eta : 0;
    o->csa_start = o->csa_start ? o->csa_start : default_start(o->csa, o->sampling_steps);
    if (o->threads == 0)
        o->threads = cpu_detect().physical_cores;
    return OK;
}

static long long nearest_multiple(int64_t size, int64_t multiple)
{
    int64_t rounded = (size + multiple / 2) / multiple * multiple;
    return rounded > 0 ? rounded : multiple;
}

static status check_size(const struct comic *c, struct error *e)
{
    const struct settings *o = &c->settings;
    int64_t multiple = o->csa == CSA_OFF ? vae_factor(&c->model->vae.config) : model_size_multiple(c->model);
    if (o->height % multiple != 0 || o->width % multiple != 0)
        return fail(e, ERR_ARGUMENT, "`height` %lld `width` %lld: this model needs multiples of %lld, for instance "
                                     "%lld and %lld", (long long)o->height, (long long)o->width, (long long)multiple,
                    nearest_multiple(o->height, multiple), nearest_multiple(o->width, multiple));
    return OK;
}

static void warn_of_late_start(struct comic *c)
{
    const struct settings *o = &c->settings;
    char line[256];
    if (o->csa == CSA_OFF || c->sampler.steps > o->csa_start || c->plan.cast_count == 0)
        return;
    snprintf(line, sizeof line, "%d step%s end%s before consistency starts at step %lld: use more `sampling_steps`%s",
             c->sampler.steps, c->sampler.steps == 1 ? "" : "s", c->sampler.steps == 1 ? "s" : "",
             (long long)o->csa_start,
             o->csa_start > 1 ? " or a lower `csa_start`" : "");
    notice(c, line);
}

struct prompt_reading comic_reading(const struct comic *c)
{
    return (struct prompt_reading){.long_prompt = c->settings.long_prompt, .weights = c->settings.prompt_weights};
}

static status announce_cut(struct comic *c, const char *whose, const char *prompt, struct error *e)
{
    size_t total, cut;
    char line[256];
    TRY(conditioning_count_tokens(c->model, prompt, comic_reading(c), &total, &cut, e));
    c->has_long_prompt = c->has_long_prompt || total > TOKEN_WINDOW_IDS;
    if (cut == 0)
        return OK;
    snprintf(line, sizeof line, "%s prompt has %zu tokens, the last %zu are cut off; `long_prompt` windows keeps "
                                "them", whose, total, cut);
    notice(c, line);
    return OK;
}

/* Announces what truncation loses. */
static status count_tokens(struct comic *c, struct error *e)
{
    for (int i = 0; i < c->story.panel_count; i++) {
        char whose[32];
        snprintf(whose, sizeof whose, "panel %d: the", i + 1);
        TRY(announce_cut(c, whose, c->prompts[i], e));
    }
    return c->negatives[0] != NULL ? announce_cut(c, "the negative", c->negatives[0], e) : OK;
}

/* ----------------------------------------------------------------------------------------------------------- page */

/* How many of them one panel can look at. */
static status check_characters(const struct comic *c, struct error *e)
{
    int id_length = c->plan.id_length > 0 ? c->plan.id_length : 1;
    int most = c->settings.csa != CSA_OFF ? csa_most_characters(id_length) : STORY_MAX_CHARACTERS;
    for (int i = 0; i < c->story.panel_count; i++)
        if (c->story.panels[i].character_count > most)
            return fail(e, ERR_ARGUMENT, "panel %d names %d characters, with %d id panels each: it can look at %d of "
                                         "them; name fewer, or lower `id_length`", i + 1,
                        c->story.panels[i].character_count, c->plan.id_length, most);
    return OK;
}

/* "png,pdf,cbz" */
static status read_formats(struct comic *c, struct error *e)
{
    static const char *const names[] = {"png", "pdf", "cbz"};
    const char *text = c->settings.format;
    unsigned formats = 0;
    for (const char *p = text; p != NULL;) {
        size_t length = strcspn(p, ","), i = 0;
        while (i < 3 && (strlen(names[i]) != length || strncasecmp(p, names[i], length) != 0))
            i++;
        if (i == 3)
            return fail(e, ERR_ARGUMENT, "`format` \"%s\": it takes png, pdf, cbz or several, such as png,pdf", text);
        formats |= 1u << i;
        p = p[length] == ',' ? p + length + 1 : NULL;
    }
    if (c->settings.comic_type != PAGE_NONE)
        c->formats = formats;
    else if (formats != FORMAT_PNG)
        notice(c, "`format` has no effect: with `comic_type` none there are no pages");
    return OK;
}

static status plan(struct comic *c, struct model *model, struct error *e)
{
    TRY(read_script(c, e));
    if (settings_given(&c->settings, "save_every_step") && !c->settings.save_every_step)
        c->settings.no_save = true;
    TRY(read_only(c, e));
    choose_seeds(c);
    TRY(read_style(c, e));
    if (c->story.panel_count == 1 && c->settings.story == NULL && c->settings.from == NULL &&
        settings_given(&c->settings, "comic_type") == GIVEN_BY_NOBODY)
        c->settings.comic_type = PAGE_NONE; /* a single prompt is a single picture */
    TRY(read_formats(c, e));
    TRY(story_plan_make(&c->story, (int)c->settings.id_length, &c->plan, e));
    notice(c, c->plan.notice);
    c->settings.id_length = c->plan.id_length;
    TRY(style_texts(c, e));
    TRY(collect_loras(c, e));
    TRY(check_characters(c, e));
    TRY(comic_open_font(c, e));
    TRY(open_model(c, model, e));
    TRY(decide_defaults(c, e));
    TRY(check_size(c, e));
    TRY(comic_lay_out(c, e));
    TRY(sampler_init(&c->sampler, &c->model->scheduler, c->settings.sampler, (int)c->settings.sampling_steps,
                     c->settings.eta, e));
    announce_fast(c);
    warn_of_empty_interval(c);
    warn_of_late_start(c);
    TRY(count_tokens(c, e));
    comic_note_clamping(c, &c->notices);
    if (!c->settings.pages_only) {
        comic_note_syntax(c, &c->notices);
        comic_note_limits(c, &c->notices);
    }
    comic_note_effects(c, &c->notices);
    return OK;
}

status comic_plan(struct comic *c, struct model *model, const struct settings *settings, struct error *e)
{
    *model = (struct model){0};
    *c = (struct comic){.settings = *settings};
    status s = plan(c, model, e);
    if (s != OK)
        comic_free(c);
    return s;
}

static void free_texts(char **texts, int count)
{
    for (int i = 0; texts != NULL && i < count; i++)
        free(texts[i]);
    free(texts);
}

void comic_free(struct comic *c)
{
    free_texts(c->prompts, c->story.panel_count);
    free_texts(c->negatives, c->plan.pass_count);
    free(c->wanted);
    free(c->seeds);
    text_free(&c->notices);
    sampler_free(&c->sampler);
    page_plan_free(&c->pages);
    free(c->captions);
    font_close(c->font);
    styles_free(&c->styles);
    story_plan_free(&c->plan);
    story_free(&c->story);
    recipe_free(&c->recipe);
    *c = (struct comic){0};
}
