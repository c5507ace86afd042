/* Text to image, from the prompt to the pixels: diffusers' StableDiffusionXLPipeline. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/csa/lockstep.h"
#include "storydiff/comic/render.h"
#include "tests/golden.h"

enum { MAX_PROMPTS = 16 };

struct pipeline_case {
    struct golden *g;
    const char *path;
    const struct model *model;
    struct safetensors io;
    const struct json *prompts, *negative;
    const char *texts[2 * MAX_PROMPTS]; /* prompts, then the negative one (NULL: absent) once */
    int count;
    struct conditioning text;
    struct sampler sampler;
    struct lockstep_request request;
    struct lockstep lockstep;
};

static status meta(const struct pipeline_case *c, const char *key, const struct json **value, struct error *e)
{
    const char *text = safetensors_meta(&c->io, key);
    if (text == NULL)
        return fail(e, ERR_FORMAT, "%s: no \"%s\" in its metadata", c->path, key);
    return json_parse(key, text, strlen(text), value, e);
}

static double meta_number(const struct pipeline_case *c, const char *key)
{
    const char *text = safetensors_meta(&c->io, key);
    return text ? atof(text) : 0;
}

/* A negative prompt is recorded as JSON null, as a JSON string, or as it is. */
static const char *read_negative(struct pipeline_case *c)
{
    const char *text = safetensors_meta(&c->io, "negative");
    if (text == NULL || strcmp(text, "null") == 0)
        return NULL;
    if (text[0] == '"' && json_parse("negative", text, strlen(text), &c->negative, NULL) == OK)
        return json_string(c->negative, "");
    return text;
}

static status read_prompts(struct pipeline_case *c, struct error *e)
{
    TRY(meta(c, "prompts", &c->prompts, e));
    for (const struct json *v = c->prompts->child; v != NULL && c->count < MAX_PROMPTS; v = v->next)
        c->texts[c->count++] = json_string(v, "");
    c->texts[c->count] = read_negative(c);
    return OK;
}

static void compare_ids(const struct pipeline_case *c, const struct tokenizer *t, const char *name)
{
    const struct tensor *wanted = safetensors_find(&c->io, name);
    if (wanted == NULL)
        return;
    float *ids = malloc((size_t)(c->count * TOKEN_WINDOW) * sizeof *ids);
    for (int i = 0; i < c->count; i++) {
        struct token_windows windows = {0};
        tokenizer_windows(t, c->texts[i], LONG_PROMPT_TRUNCATE, &windows, NULL);
        for (int j = 0; j < TOKEN_WINDOW; j++)
            ids[i * TOKEN_WINDOW + j] = windows.ids ? (float)windows.ids[j] : -1;
        token_windows_free(&windows);
    }
    golden_compare(c->g, c->path, name, wanted, ids, c->count * TOKEN_WINDOW, AS_IS, LIMIT_EXACT);
    free(ids);
}

/* Recordings have the unconditional half first, the negative prompt once per image; ours has it once, at the end. */
static void compare_text(const struct pipeline_case *c, const char *name, const float *ours, int64_t size)
{
    const struct tensor *wanted = safetensors_find(&c->io, name);
    if (wanted == NULL)
        return;
    int64_t rows = wanted->shape[0];
    float *arranged = malloc((size_t)(rows * size) * sizeof *arranged);
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = rows == c->count ? i : i < c->count ? c->count : i - c->count;
        memcpy(arranged + i * size, ours + row * size, (size_t)size * sizeof *arranged);
    }
    golden_compare(c->g, c->path, name, wanted, arranged, rows * size, AS_IS, LIMIT_LAYER);
    free(arranged);
}

static void compare_panels(const struct pipeline_case *c, const char *name)
{
    const struct lockstep *l = &c->lockstep;
    const struct tensor *wanted = safetensors_find(&c->io, name);
    if (wanted != NULL)
        golden_compare(c->g, c->path, name, wanted, l->latents, c->count * l->h * l->w * l->c, CHANNELS_FIRST,
                       LIMIT_TRAJECTORY);
}

static void see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    const struct pipeline_case *c = self;
    const struct tensor *wanted = safetensors_find(&c->io, "noise_pred_first");
    (void)rank;
    if (strcmp(name, "noise_pred") == 0 && c->lockstep.step == 0 && wanted != NULL)
        golden_compare(c->g, c->path, "noise_pred_first", wanted, data, shape[0] * shape[1] * shape[2] * shape[3],
                       CHANNELS_FIRST, LIMIT_LAYER);
}

static status compare_pictures(const struct pipeline_case *c, const struct context *ctx, struct error *e)
{
    const struct lockstep *l = &c->lockstep;
    int64_t pixels = c->count * c->request.height * c->request.width * 3;
    float *decoded = malloc((size_t)pixels * sizeof *decoded);
    unsigned char *bytes = malloc((size_t)pixels);
    struct image images[MAX_PROMPTS] = {{0}};
    status s =
        render_latents(ctx, c->model, (struct features){l->latents, c->count, l->h, l->w, l->c}, decoded, images, e);
    for (int i = 0; s == OK && i < c->count; i++)
        memcpy(bytes + i * (pixels / c->count), images[i].rgb, (size_t)(pixels / c->count));
    if (s == OK && safetensors_find(&c->io, "decoded") != NULL)
        golden_compare(c->g, c->path, "decoded", safetensors_find(&c->io, "decoded"), decoded, pixels, CHANNELS_FIRST,
                       LIMIT_TRAJECTORY);
    if (s == OK && safetensors_find(&c->io, "image_uint8") != NULL)
        golden_compare_image(c->g, c->path, "image_uint8", safetensors_find(&c->io, "image_uint8"), bytes, pixels);
    for (int i = 0; i < c->count; i++)
        image_free(&images[i]);
    free(decoded);
    free(bytes);
    return s;
}

static status sample(struct pipeline_case *c, struct error *e)
{
    int panels[MAX_PROMPTS];
    for (int i = 0; i < c->count; i++)
        panels[i] = i;
    struct story_pass pass = {STORY_WRITE, panels, NULL, c->count, 0};
    const int negative = c->count;
    struct observer observer = {see, c};
    struct context ctx = {.threads = c->g->threads, .observer = &observer};
    c->request = (struct lockstep_request){
        .model = c->model,
        .sampler = &c->sampler,
        .text = &c->text,
        .panels = c->count,
        .passes = &pass,
        .negatives = &negative,
        .pass_count = 1,
        .height = (int64_t)meta_number(c, "height"),
        .width = (int64_t)meta_number(c, "width"),
        .guidance_scale = meta_number(c, "guidance_scale"),
        .seed = (uint64_t)meta_number(c, "seed"),
        .csa.mode = CSA_OFF,
    };
    conditioning_time_ids(c->request.height, c->request.width, c->request.time_ids);
    TRY(lockstep_open(&c->lockstep, &c->request, ctx.threads, &observer, e));
    compare_panels(c, "latents_init");
    while (c->lockstep.step < c->sampler.steps) {
        lockstep_step(&c->lockstep, &ctx, NULL);
        if (c->lockstep.step == 1)
            compare_panels(c, "latents_first");
    }
    compare_panels(c, "latents");
    ctx.observer = NULL;
    return compare_pictures(c, &ctx, e);
}

static void compare_schedule(const struct pipeline_case *c)
{
    const struct tensor *wanted = safetensors_find(&c->io, "timesteps");
    if (wanted == NULL)
        return;
    float *timesteps = malloc((size_t)c->sampler.steps * sizeof *timesteps);
    for (int i = 0; i < c->sampler.steps; i++)
        timesteps[i] = (float)c->sampler.timesteps[i];
    golden_compare(c->g, c->path, "timesteps", wanted, timesteps, c->sampler.steps, AS_IS, LIMIT_STEP);
    free(timesteps);
}

static status run(struct pipeline_case *c, struct error *e)
{
    struct context ctx = {.threads = c->g->threads};
    TRY(safetensors_open(c->path, &c->io, e));
    TRY(read_prompts(c, e));
    TRY(sampler_init(&c->sampler, &c->model->scheduler, NULL, (int)meta_number(c, "steps"), 0, e));
    compare_ids(c, c->model->tokenizer, "input_ids_1");
    compare_ids(c, c->model->tokenizer_2, "input_ids_2");
    TRY(conditioning_encode(&ctx, c->model, c->texts, c->count + 1, LONG_PROMPT_TRUNCATE, &c->text, e));
    compare_text(c, "encoder_hidden_states", c->text.states, c->text.tokens * c->text.width);
    compare_text(c, "text_embeds", c->text.pooled, c->text.pooled_width);
    compare_schedule(c);
    return sample(c, e);
}

static void pipeline_file(struct golden *g, const char *folder, const char *path)
{
    struct model model;
    struct error e = {0};
    struct pipeline_case c = {.g = g, .path = path, .model = &model};
    status s = model_open(&model, folder, &e);
    if (s == OK)
        s = run(&c, &e);
    if (s != OK)
        golden_error(g, path, &e);
    lockstep_close(&c.lockstep);
    sampler_free(&c.sampler);
    conditioning_free(&c.text);
    json_free(c.prompts);
    json_free(c.negative);
    safetensors_close(&c.io);
    model_close(&model);
}

void golden_pipeline(struct golden *g, const char *folder)
{
    golden_files(g, folder, "io", ".safetensors", pipeline_file);
}
