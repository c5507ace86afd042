/* A whole story as StoryDiffusion's own generation function draws it, through the same code as a person's run: script
 * parser, styles file, planning, text encoders, lockstep, decoder. Only the negative prompts are the recorded ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/comic/comic.h"
#include "storydiff/comic/render.h"
#include "tests/golden.h"

struct story_case {
    struct golden *g;
    const char *path;
    struct safetensors io;
    const struct json *lines, *passes, *factors;
    struct settings settings;
    char model[4096], styles[64];
    struct model weights;
    struct comic comic;
    struct comic_request request;
    struct lockstep lockstep;
};

static status meta_json(const struct story_case *c, const char *key, const struct json **out, struct error *e)
{
    const char *text = safetensors_meta(&c->io, key);
    if (text == NULL)
        return fail(e, ERR_FORMAT, "%s: no \"%s\" in its metadata", c->path, key);
    return json_parse(key, text, strlen(text), out, e);
}

static double meta_number(const struct story_case *c, const char *key, struct error *e)
{
    const char *text = safetensors_meta(&c->io, key);
    if (text == NULL)
        fail(e, ERR_FORMAT, "%s: no \"%s\" in its metadata", c->path, key);
    return text != NULL ? atof(text) : 0;
}

/* The recorded template, as a file of one style. */
static status write_style(struct story_case *c, struct error *e)
{
    const char *style = safetensors_meta(&c->io, "style_template");
    char text[8192];
    if (style == NULL || strlen(style) + 3 > sizeof text)
        return fail(e, ERR_FORMAT, "%s: no \"style_template\" in its metadata", c->path);
    strcpy(c->styles, "/tmp/storydiff-golden-XXXXXX");
    int fd = mkstemp(c->styles);
    if (fd < 0)
        return fail(e, ERR_IO, "no temporary file for the style");
    close(fd);
    int length = snprintf(text, sizeof text, "[%s]", style);
    return file_write(c->styles, text, (size_t)length, e);
}

static status read_case(struct story_case *c, const char *folder, struct error *e)
{
    struct settings *o = &c->settings;
    const char *mode = safetensors_meta(&c->io, "csa_mode");
    TRY(meta_json(c, "lines", &c->lines, e));
    TRY(meta_json(c, "passes", &c->passes, e));
    TRY(meta_json(c, "freeu_factors", &c->factors, e));
    TRY(write_style(c, e));
    const char *model = safetensors_meta(&c->io, "model");
    TRY(golden_model(c->g, folder, model != NULL ? model : "", c->model, e));
    *o = settings_default();
    o->general_prompt = safetensors_meta(&c->io, "general_prompt");
    const struct json *line = c->lines->child;
    for (; line != NULL && o->prompt_count < SETTINGS_PROMPTS; line = line->next)
        o->prompts[o->prompt_count++] = json_string(line, "");
    o->negative_prompt = safetensors_meta(&c->io, "negative_prompt");
    o->style_name = safetensors_meta(&c->io, "style");
    o->styles = c->styles;
    o->model = c->model;
    o->height = (int64_t)meta_number(c, "height", e);
    o->width = (int64_t)meta_number(c, "width", e);
    o->sampling_steps = (int64_t)meta_number(c, "steps", e);
    o->guidance_scale = meta_number(c, "guidance_scale", e);
    o->seed = (uint64_t)meta_number(c, "seed", e);
    o->sa32 = meta_number(c, "sa32", e);
    o->sa64 = meta_number(c, "sa64", e);
    o->id_length = (int64_t)meta_number(c, "id_length", e);
    o->csa = mode != NULL && strcmp(mode, "masked") == 0 ? CSA_MASKED : CSA_SAMPLED;
    o->csa_start = (int64_t)meta_number(c, "csa_start", e);
    o->freeu = c->factors->count == 4;
    o->long_prompt = LONG_PROMPT_TRUNCATE;
    o->noise = NOISE_REFERENCE;
    o->comic_type = PAGE_NONE;
    o->threads = c->g->threads;
    return e->code;
}

/* The planned passes against the recorded ones: who writes, who reads, with which prompts, byte for byte. */
static void compare_plan(const struct story_case *c)
{
    const struct story_plan *plan = &c->comic.plan;
    golden_check(c->g, c->path, "number of passes", plan->pass_count == (int)c->passes->count, "");
    for (int i = 0; i < plan->pass_count; i++) {
        const struct story_pass *pass = &plan->passes[i];
        const struct json *wanted = json_at(c->passes, (size_t)i);
        const struct json *prompts = json_get(wanted, "prompts"), *characters = json_get(wanted, "characters");
        bool same = prompts != NULL && (int)prompts->count == pass->panel_count && characters != NULL &&
                    (int)characters->count == pass->character_count &&
                    json_bool(json_get(wanted, "write"), false) == (pass->kind == STORY_WRITE);
        for (int j = 0; same && j < pass->panel_count; j++)
            same = strcmp(c->comic.prompts[pass->panels[j]], json_string(json_at(prompts, (size_t)j), "")) == 0;
        for (int j = 0; same && j < pass->character_count; j++) {
            char key[STORY_MAX_KEY + 3];
            snprintf(key, sizeof key, "[%s]", c->comic.story.characters[plan->cast[pass->characters[j]]].key);
            same = strcmp(key, json_string(json_at(characters, (size_t)j), "")) == 0;
        }
        char name[64];
        snprintf(name, sizeof name, "pass.%d.prompts", i);
        golden_check(c->g, c->path, name, same, same ? "exact" : "differ");
    }
}

/* The reference's app adds to the negative prompt with every character; each recorded pass names what it used. */
static status use_recorded_negatives(struct story_case *c, struct error *e)
{
    for (int i = 0; i < c->comic.plan.pass_count; i++) {
        const char *negative = json_string(json_get(json_at(c->passes, (size_t)i), "negative"), "");
        free(c->comic.negatives[i]);
        c->comic.negatives[i] = strdup(negative);
        if (c->comic.negatives[i] == NULL)
            return fail(e, ERR_MEMORY, "out of memory");
    }
    return OK;
}

static void compare_latents(const struct story_case *c)
{
    const struct lockstep *l = &c->lockstep;
    int64_t size = l->h * l->w * l->c;
    for (int i = 0; i < c->comic.plan.pass_count; i++) {
        const struct story_pass *pass = &c->comic.plan.passes[i];
        char name[64];
        snprintf(name, sizeof name, "pass.%d.latents", i);
        float *ours = malloc((size_t)(pass->panel_count * size) * sizeof *ours);
        for (int j = 0; j < pass->panel_count; j++)
            memcpy(ours + j * size, l->latents + pass->panels[j] * size, (size_t)size * sizeof *ours);
        if (!golden_compare_recorded(c->g, golden_recording(&c->io, name), ours, pass->panel_count * size,
                                     CHANNELS_FIRST, LIMIT_TRAJECTORY))
            golden_check(c->g, c->path, name, false, "is not recorded");
        free(ours);
    }
}

static status compare_images(const struct story_case *c, const struct context *ctx, struct error *e)
{
    const struct lockstep *l = &c->lockstep;
    int panels = c->comic.story.panel_count;
    const struct tensor *wanted = safetensors_find(&c->io, "images");
    struct image *images = calloc((size_t)panels, sizeof *images);
    int64_t size = c->settings.height * c->settings.width * 3;
    unsigned char *bytes = malloc((size_t)(panels * size));
    status s =
        render_latents(ctx, &c->weights, (struct features){l->latents, panels, l->h, l->w, l->c}, NULL, images, e);
    for (int i = 0; s == OK && i < panels; i++)
        memcpy(bytes + i * size, images[i].rgb, (size_t)size);
    if (s == OK && wanted != NULL)
        golden_compare_image(c->g, c->path, "images", wanted, bytes, panels * size);
    for (int i = 0; i < panels; i++)
        image_free(&images[i]);
    free(images);
    free(bytes);
    return s;
}

static status run(struct story_case *c, const char *folder, struct error *e)
{
    struct context ctx = {.threads = c->g->threads};
    TRY(safetensors_open(c->path, &c->io, e));
    TRY(read_case(c, folder, e));
    TRY(comic_plan(&c->comic, &c->weights, &c->settings, e));
    compare_plan(c);
    TRY(use_recorded_negatives(c, e));
    TRY(comic_encode(&c->comic, &ctx, &c->request, e));
    if (c->factors->count == 4)
        c->request.freeu = (struct freeu){
            (float)json_double(json_at(c->factors, 0), 1), (float)json_double(json_at(c->factors, 1), 1),
            (float)json_double(json_at(c->factors, 2), 1), (float)json_double(json_at(c->factors, 3), 1)};
    TRY(lockstep_open(&c->lockstep, &c->request.lockstep, ctx.threads, NULL, e));
    while (c->lockstep.step < c->comic.sampler.steps)
        lockstep_step(&c->lockstep, &ctx, NULL);
    compare_latents(c);
    return compare_images(c, &ctx, e);
}

void golden_story(struct golden *g, const char *folder)
{
    char path[4096];
    struct story_case *c = calloc(1, sizeof *c);
    struct error e = {0};
    snprintf(path, sizeof path, "%s/io.safetensors", folder);
    c->g = g;
    c->path = path;
    if (run(c, folder, &e) != OK)
        golden_error(g, path, &e);
    if (c->styles[0] != '\0')
        unlink(c->styles);
    lockstep_close(&c->lockstep);
    comic_request_free(&c->request);
    comic_free(&c->comic);
    model_close(&c->weights);
    json_free(c->lines);
    json_free(c->passes);
    json_free(c->factors);
    safetensors_close(&c->io);
    free(c);
}
