/* Text to image, from the prompt to the pixels: diffusers' StableDiffusionXLPipeline and StableDiffusionPipeline,
 * with the model's own scheduler or one that the recording names. */
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
    struct model model;
    struct safetensors io;
    const struct json *prompts, *negative, *timesteps;
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
    struct tensor wanted;
    if (!golden_recorded_shape(&c->io, name, &wanted))
        return;
    int64_t rows = wanted.shape[0];
    float *arranged = malloc((size_t)(rows * size) * sizeof *arranged);
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = rows == c->count ? i : i < c->count ? c->count : i - c->count;
        memcpy(arranged + i * size, ours + row * size, (size_t)size * sizeof *arranged);
    }
    golden_compare_recorded(c->g, golden_recording(&c->io, name), arranged, rows * size, AS_IS, LIMIT_LAYER);
    free(arranged);
}

static void compare_panels(const struct pipeline_case *c, const char *name)
{
    const struct lockstep *l = &c->lockstep;
    golden_compare_recorded(c->g, golden_recording(&c->io, name), l->latents, c->count * l->h * l->w * l->c,
                            CHANNELS_FIRST, LIMIT_TRAJECTORY);
}

static void see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    const struct pipeline_case *c = self;
    (void)rank;
    const struct tensor *cond = safetensors_find(&c->io, "timestep_cond");
    if (strcmp(name, "timestep_cond") == 0 && c->lockstep.step == 0 && cond != NULL) /* float32 angles of thousands */
        golden_compare(c->g, c->path, name, cond, data, shape[0] * shape[1], AS_IS, 1e-3);
    if (strcmp(name, "noise_pred") == 0 && c->lockstep.step == 0)
        golden_compare_recorded(c->g, golden_recording(&c->io, "noise_pred_first"), data,
                                shape[0] * shape[1] * shape[2] * shape[3], CHANNELS_FIRST, LIMIT_LAYER);
}

static status compare_pictures(const struct pipeline_case *c, const struct context *ctx, struct error *e)
{
    const struct lockstep *l = &c->lockstep;
    int64_t pixels = c->count * c->request.height * c->request.width * 3;
    float *decoded = malloc((size_t)pixels * sizeof *decoded);
    unsigned char *bytes = malloc((size_t)pixels);
    struct image images[MAX_PROMPTS] = {{0}};
    status s =
        render_latents(ctx, &c->model, (struct features){l->latents, c->count, l->h, l->w, l->c}, decoded, images, e);
    for (int i = 0; s == OK && i < c->count; i++)
        memcpy(bytes + i * (pixels / c->count), images[i].rgb, (size_t)(pixels / c->count));
    if (s == OK)
        golden_compare_recorded(c->g, golden_recording(&c->io, "decoded"), decoded, pixels, CHANNELS_FIRST,
                                LIMIT_TRAJECTORY);
    if (s == OK && safetensors_find(&c->io, "image_uint8") != NULL)
        golden_compare_image(c->g, c->path, "image_uint8", safetensors_find(&c->io, "image_uint8"), bytes, pixels);
    for (int i = 0; i < c->count; i++)
        image_free(&images[i]);
    free(decoded);
    free(bytes);
    return s;
}

/* What the UNet is given first: for Euler the scaled latents. */
static void compare_input(const struct pipeline_case *c)
{
    const struct tensor *wanted = safetensors_find(&c->io, "unet_input_first");
    const struct lockstep *l = &c->lockstep;
    int64_t n = c->count * l->h * l->w * l->c;
    float *input = malloc((size_t)n * sizeof *input);
    sampler_scale_input(&c->sampler, 0, l->latents, input, n);
    if (wanted != NULL)
        golden_compare(c->g, c->path, "unet_input_first", wanted, input, n, CHANNELS_FIRST, LIMIT_STEP);
    free(input);
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
        .model = &c->model,
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
    compare_input(c);
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

/* The model's folder: the case's own, or what "model" says, relative to it. */
static status open_model(struct pipeline_case *c, const char *folder, struct error *e)
{
    char path[4096];
    const char *other = safetensors_meta(&c->io, "model");
    TRY(golden_model(c->g, folder, other != NULL ? other : "", path, e));
    return model_open(&c->model, path, e);
}

/* The model's own scheduler, unless a whole config is recorded, or the name of another sampler for the model's. */
static status make_sampler(struct pipeline_case *c, struct error *e)
{
    const char *text = safetensors_meta(&c->io, "scheduler_config"), *name = safetensors_meta(&c->io, "sampler");
    int steps = (int)meta_number(c, "steps");
    if (text == NULL)
        return sampler_init(&c->sampler, &c->model.scheduler, name, steps, 0, e);
    struct scheduler_config config = {0};
    TRY(scheduler_config_parse(c->path, text, strlen(text), &config, e));
    status s = sampler_init(&c->sampler, &config, NULL, steps, 0, e);
    scheduler_config_free(&config);
    return s;
}

static status use_timesteps_by_hand(struct pipeline_case *c, struct error *e)
{
    int timesteps[64], count = 0;
    if (safetensors_meta(&c->io, "timesteps_by_hand") == NULL)
        return OK;
    TRY(meta(c, "timesteps_by_hand", &c->timesteps, e));
    for (const struct json *v = c->timesteps->child; v != NULL && count < 64; v = v->next)
        timesteps[count++] = (int)json_int(v, -1);
    return count > 0 ? sampler_set_timesteps(&c->sampler, timesteps, count, e) : OK;
}

static void compare_time_ids(const struct pipeline_case *c)
{
    const struct tensor *wanted = safetensors_find(&c->io, "time_ids");
    float ids[2 * MAX_PROMPTS * 6];
    int64_t rows = wanted != NULL ? wanted->shape[0] : 0;
    if (rows < 1 || rows > 2 * MAX_PROMPTS)
        return;
    for (int64_t i = 0; i < rows; i++)
        conditioning_time_ids((int64_t)meta_number(c, "height"), (int64_t)meta_number(c, "width"), ids + i * 6);
    golden_compare(c->g, c->path, "time_ids", wanted, ids, rows * 6, AS_IS, LIMIT_EXACT);
}

static status run(struct pipeline_case *c, const char *folder, struct error *e)
{
    struct context ctx = {.threads = c->g->threads};
    TRY(safetensors_open(c->path, &c->io, e));
    TRY(open_model(c, folder, e));
    TRY(read_prompts(c, e));
    TRY(make_sampler(c, e));
    TRY(use_timesteps_by_hand(c, e));
    compare_ids(c, c->model.tokenizer, "input_ids_1");
    compare_ids(c, c->model.tokenizer_2, "input_ids_2");
    TRY(conditioning_encode(&ctx, &c->model, c->texts, c->count + 1, (struct prompt_reading){0}, &c->text, e));
    compare_text(c, "encoder_hidden_states", c->text.states, c->text.tokens * c->text.width);
    compare_text(c, "text_embeds", c->text.pooled, c->text.pooled_width);
    compare_time_ids(c);
    compare_schedule(c);
    return sample(c, e);
}

static void pipeline_file(struct golden *g, const char *folder, const char *path)
{
    struct error e = {0};
    struct pipeline_case c = {.g = g, .path = path};
    if (run(&c, folder, &e) != OK)
        golden_error(g, path, &e);
    lockstep_close(&c.lockstep);
    sampler_free(&c.sampler);
    conditioning_free(&c.text);
    json_free(c.prompts);
    json_free(c.negative);
    json_free(c.timesteps);
    safetensors_close(&c.io);
    model_close(&c.model);
}

void golden_pipeline(struct golden *g, const char *folder)
{
    golden_files(g, folder, "io", ".safetensors", pipeline_file);
}
