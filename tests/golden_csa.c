/* Consistent self-attention: whole stories of latents from the seed alone. Draws and gates must be exact, the bank
 * and every recorded latent within the trajectory limit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/sampling/scheduler_config.h"
#include "storydiff/csa/lockstep.h"
#include "tests/golden.h"

enum { MAX_PASSES = 32, MAX_PANELS = 64, MAX_CHARACTERS = 8 };

struct csa_case {
    struct golden *g;
    const char *path;
    struct safetensors io;
    struct model model;
    struct sampler sampler;
    struct conditioning text;
    struct lockstep_request request;
    struct story_pass passes[MAX_PASSES];
    int negatives[MAX_PASSES];
    char names[MAX_PASSES][32]; /* "write.0", "read.1" */
    int panels[MAX_PASSES][MAX_PANELS], characters[MAX_PASSES][MAX_CHARACTERS];
    const char *character_names[MAX_CHARACTERS];
    struct freeu freeu;
    struct lockstep lockstep;
    int current, half; /* what is predicted now */
    int attended;      /* attention outputs seen: layers, halves, passes */
};

/* A number or a list in a metadata value, which is itself JSON. */
/* The schedule that SDXL was trained with, which these recordings were made with. */
static const char sdxl_scheduler[] = "{\"_class_name\": \"EulerDiscreteScheduler\", \"num_train_timesteps\": 1000, "
                                     "\"beta_schedule\": \"scaled_linear\","
                                     " \"beta_start\": 0.00085, \"beta_end\": 0.012, \"prediction_type\": "
                                     "\"epsilon\", \"timestep_spacing\": \"leading\","
                                     " \"steps_offset\": 1, \"set_alpha_to_one\": false, \"clip_sample\": false}";

static const struct json *meta_json(const struct csa_case *c, const char *key, struct error *e)
{
    const char *text = safetensors_meta(&c->io, key);
    const struct json *root = NULL;
    if (text == NULL)
        fail(e, ERR_FORMAT, "%s: no \"%s\" in its metadata", c->path, key);
    else
        json_parse(key, text, strlen(text), &root, e);
    return root;
}

static double meta_number(const struct csa_case *c, const char *key, struct error *e)
{
    const char *text = safetensors_meta(&c->io, key);
    if (text == NULL)
        fail(e, ERR_FORMAT, "%s: no \"%s\" in its metadata", c->path, key);
    return text ? atof(text) : 0;
}

static const struct tensor *recorded(const struct csa_case *c, int pass, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", c->names[pass], name);
    return safetensors_find(&c->io, full);
}

/* --------------------------------------------------------------------------------------------------------- setup */

static void list_ints(const struct json *list, int *out, int most, int *count)
{
    *count = 0;
    for (const struct json *v = list ? list->child : NULL; v != NULL && *count < most; v = v->next)
        out[(*count)++] = (int)json_int(v, 0);
}

static int character_index(const struct csa_case *c, const char *name)
{
    for (int i = 0; i < c->request.characters; i++)
        if (strcmp(c->character_names[i], name) == 0)
            return i;
    return 0;
}

static void read_passes(struct csa_case *c, const struct json *characters, const struct json *reads, int negative)
{
    int n = 0;
    for (const struct json *v = characters->child; v != NULL; v = v->next, n++) {
        struct story_pass *pass = &c->passes[n];
        snprintf(c->names[n], sizeof c->names[n], "write.%d", n);
        c->character_names[n] = v->key;
        c->characters[n][0] = n;
        *pass = (struct story_pass){STORY_WRITE, c->panels[n], c->characters[n], 0, 1};
        c->negatives[n] = negative;
        list_ints(v, c->panels[n], MAX_PANELS, &pass->panel_count);
    }
    c->request.characters = n;
    int read = 0;
    for (const struct json *v = reads->child; v != NULL; v = v->next, n++) {
        struct story_pass *pass = &c->passes[n];
        snprintf(c->names[n], sizeof c->names[n], "read.%d", read++);
        c->panels[n][0] = (int)json_int(json_at(v, 0), 0);
        *pass = (struct story_pass){STORY_READ, c->panels[n], c->characters[n], 1, 0};
        c->negatives[n] = negative;
        for (const struct json *name = json_at(v, 1)->child; name != NULL; name = name->next)
            c->characters[n][pass->character_count++] = character_index(c, json_string(name, ""));
    }
    c->request.pass_count = n;
}

/* Prompts' states with the negative prompt's after them. */
static status read_text(struct csa_case *c, struct error *e)
{
    const struct tensor *states = safetensors_find(&c->io, "context"),
                        *negative = safetensors_find(&c->io, "negative_context");
    const struct tensor *pooled = safetensors_find(&c->io, "pooled");
    const struct tensor *negative_pooled = safetensors_find(&c->io, "negative_pooled");
    if (!states || !negative || !pooled || !negative_pooled)
        return fail(e, ERR_FORMAT, "%s: the text states are incomplete", c->path);
    int64_t n = states->shape[0], size = tensor_count(states) / n, width = tensor_count(pooled) / n;
    c->text = (struct conditioning){
        .count = n + 1, .tokens = states->shape[1], .width = states->shape[2], .pooled_width = width};
    c->text.states = malloc((size_t)((n + 1) * size) * sizeof(float));
    c->text.pooled = malloc((size_t)((n + 1) * width) * sizeof(float));
    tensor_read(states, 0, n * size, c->text.states);
    tensor_read(negative, 0, size, c->text.states + n * size);
    tensor_read(pooled, 0, n * width, c->text.pooled);
    tensor_read(negative_pooled, 0, width, c->text.pooled + n * width);
    tensor_read(safetensors_find(&c->io, "time_ids"), 0, 6, c->request.time_ids);
    c->request.panels = (int)n;
    c->request.text = &c->text;
    return OK;
}

static status read_model(struct csa_case *c, const char *folder, struct error *e)
{
    char model[4096], config_path[4200], weights_path[4200];
    const char *name = safetensors_meta(&c->io, "model");
    struct unet_config config;
    TRY(golden_model(c->g, folder, name != NULL ? name : "", model, e));
    snprintf(config_path, sizeof config_path, "%s/config.json", model);
    snprintf(weights_path, sizeof weights_path, "%s/diffusion_pytorch_model.safetensors", model);
    TRY(unet_config_read(config_path, &config, e));
    TRY(unet_open(&c->model.unet, weights_path, &config, e));
    int64_t factor = c->request.height / recorded(c, 0, "latents_init")->shape[2];
    for (c->model.vae.config.levels = 1; vae_factor(&c->model.vae.config) < factor;)
        c->model.vae.config.levels++;
    c->request.model = &c->model;
    return OK;
}

static status read_settings(struct csa_case *c, struct error *e)
{
    const char *mode = safetensors_meta(&c->io, "csa_mode"), *before = safetensors_meta(&c->io, "read_before_start");
    c->request.csa = csa_defaults(mode != NULL && strcmp(mode, "masked") == 0 ? CSA_MASKED : CSA_SAMPLED);
    c->request.csa.start = (int)meta_number(c, "csa_start", e);
    c->request.csa.sa32 = meta_number(c, "sa32", e);
    c->request.csa.sa64 = meta_number(c, "sa64", e);
    c->request.csa.id_length = (int)meta_number(c, "id_length", e);
    if (before != NULL && strcmp(before, "plain") == 0)
        c->request.csa.read_before_start = BEFORE_PLAIN;
    c->request.seed = (uint64_t)meta_number(c, "seed", e);
    c->request.height = (int64_t)meta_number(c, "height", e);
    c->request.width = (int64_t)meta_number(c, "width", e);
    c->request.guidance_scale = meta_number(c, "guidance_scale", e);
    c->request.noise = NOISE_REFERENCE;
    const struct json *factors = meta_json(c, "freeu_factors", e);
    if (factors != NULL && factors->count == 4) {
        c->freeu =
            (struct freeu){(float)json_double(json_at(factors, 0), 1), (float)json_double(json_at(factors, 1), 1),
                           (float)json_double(json_at(factors, 2), 1), (float)json_double(json_at(factors, 3), 1)};
        c->request.freeu = &c->freeu;
    }
    json_free(factors);
    return e->code;
}

/* --------------------------------------------------------------------------------------------------- comparisons */

/* Element [index] of the first dimension of a recording of draws. */
static struct tensor slice(const struct tensor *t, int64_t index)
{
    struct tensor s = {.dtype = t->dtype, .rank = t->rank - 1};
    memcpy(s.shape, t->shape + 1, (size_t)s.rank * sizeof *s.shape);
    s.data = (const char *)t->data + (size_t)(index * tensor_count(&s)) * dtype_size(t->dtype);
    return s;
}

/* Which recording holds the latents after `step`: all of them, or those listed in kept_steps. -1: none. */
static int64_t recorded_step(const struct csa_case *c, int pass, int step)
{
    const struct tensor *kept = recorded(c, pass, "kept_steps");
    if (kept == NULL)
        return step;
    for (int64_t i = 0; i < tensor_count(kept); i++)
        if (((const int64_t *)kept->data)[i] == step)
            return i;
    return -1;
}

/* The latents of a pass's panels, one after the other. */
static float *pass_latents(const struct csa_case *c, int pass)
{
    const struct lockstep *l = &c->lockstep;
    int64_t size = l->h * l->w * l->c;
    float *out = malloc((size_t)(c->passes[pass].panel_count * size) * sizeof *out);
    for (int i = 0; i < c->passes[pass].panel_count; i++)
        memcpy(out + i * size, l->latents + c->passes[pass].panels[i] * size, (size_t)size * sizeof *out);
    return out;
}

/* `index`: where it is in the recording. */
static void compare_latents(struct csa_case *c, int pass, const char *what, int step, int64_t index)
{
    char name[64], label[96];
    int64_t count = c->passes[pass].panel_count * c->lockstep.h * c->lockstep.w * c->lockstep.c;
    snprintf(name, sizeof name, "%s.%s", c->names[pass], what);
    snprintf(label, sizeof label, "%s[%d]", name, step);
    float *ours = pass_latents(c, pass);
    golden_compare_recorded(c->g, (struct golden_recording){&c->io, name, label, index * count}, ours, count,
                            CHANNELS_FIRST, LIMIT_TRAJECTORY);
    free(ours);
}

static void compare_gates(struct csa_case *c, int step)
{
    const struct csa_plan *plan = &c->lockstep.csa.plan;
    int layers = c->lockstep.csa.layers.count;
    for (int pass = 0; pass < c->request.pass_count; pass++) {
        const struct tensor *values = recorded(c, pass, "gate_values"), *on = recorded(c, pass, "gate_on");
        bool same = values != NULL && on != NULL && values->shape[1] == layers;
        for (int i = 0; same && i < layers; i++)
            same = ((const double *)values->data)[step * layers + i] == plan->gate[i] &&
                   ((const uint8_t *)on->data)[step * layers + i] == plan->consistent[i];
        char name[64];
        snprintf(name, sizeof name, "%s.gates[%d]", c->names[pass], step);
        golden_check(c->g, c->path, name, same, same ? "exact" : "differ");
    }
}

static bool in_subset(const struct csa_plan *plan, int grid, int panel, int64_t token)
{
    for (int64_t i = 0; i < plan->count[grid][panel]; i++)
        if (plan->rows[grid][panel][i] == token)
            return true;
    return false;
}

/* sampledNNNN [draws, id_length + 1, tokens]: draw k belongs to step k. maskNNNN [draws, id_length + 1, (id_length +
 * 1) tokens]: row i is what image i sees of all images, itself entirely; draw k belongs to step k + 1. */
static void compare_draws(struct csa_case *c, int step)
{
    static const char *const sampled[] = {"sampled1024", "sampled4096"}, *const masks[] = {"mask1024", "mask4096"};
    const struct csa *csa = &c->lockstep.csa;
    for (int grid = 0; grid < 2; grid++) { /* those of SDXL */
        bool masked = csa->settings.mode == CSA_MASKED;
        const char *tensor_name = masked ? masks[grid] : sampled[grid];
        const struct tensor *t = safetensors_find(&c->io, tensor_name);
        int draw = masked ? step - 1 : step, ids = csa->settings.id_length;
        if (t == NULL || draw < 0 || draw >= t->shape[0])
            continue;
        struct tensor drawn = slice(t, draw);
        const uint8_t *bits = drawn.data;
        int64_t tokens = csa->layers.tokens[grid];
        bool same = tensor_count(&drawn) == (masked ? (ids + 1) * (ids + 1) : ids + 1) * tokens;
        for (int viewer = 0; same && viewer < (masked ? ids : 1); viewer++)
            for (int panel = 0; same && panel < ids; panel++)
                for (int64_t i = 0; same && i < tokens; i++) {
                    bool wanted = bits[(masked ? viewer * (ids + 1) : 0) * tokens + panel * tokens + i];
                    bool ours = in_subset(&csa->plan, grid, panel, i) || (masked && viewer == panel);
                    same = wanted == ours;
                }
        char name[64];
        snprintf(name, sizeof name, "%s[%d]", tensor_name, draw);
        golden_check(c->g, c->path, name, same, same ? "exact" : "differ");
    }
}

/* One half (unconditional or not) of a bank recording: [2, id_length, tokens, C], or per image [2, sampled, C]. */
static void compare_bank(struct csa_case *c, int layer, int half, const float *hidden, const int64_t *shape)
{
    const struct csa *csa = &c->lockstep.csa;
    int step = csa->plan.step, grid = csa_grid(&csa->layers, layer);
    char name[64];
    snprintf(name, sizeof name, "bank.layer%d.step%d", layer, step);
    int64_t all = shape[0] * shape[1] * shape[2];
    if (golden_compare_recorded(c->g, (struct golden_recording){&c->io, name, NULL, half * all}, hidden, all, AS_IS,
                                LIMIT_TRAJECTORY))
        return;
    for (int panel = 0; panel < csa->settings.id_length; panel++) {
        snprintf(name, sizeof name, "bank.layer%d.step%d.image%d", layer, step, panel);
        struct tensor whole;
        if (!golden_recorded_shape(&c->io, name, &whole))
            continue;
        int64_t count = csa->plan.count[grid][panel], width = shape[2];
        float *rows = malloc((size_t)(count * width + 1) * sizeof *rows);
        for (int64_t i = 0; i < count; i++)
            memcpy(rows + i * width, hidden + (panel * shape[1] + csa->plan.rows[grid][panel][i]) * width,
                   (size_t)width * sizeof *rows);
        golden_compare_recorded(c->g, (struct golden_recording){&c->io, name, NULL, half * count * width}, rows,
                                count * width, AS_IS, LIMIT_TRAJECTORY);
        free(rows);
    }
}

/* PASS.attn.LAYER [2n, tokens, C]: outputs in the last step, unconditional half first. In latents consistent
 * attention is weak, here it is not: ordinary attention would be half the largest value away. */
static void compare_attention(struct csa_case *c, const char *layer, const float *data, const int64_t *shape)
{
    char name[160];
    int64_t count = shape[0] * shape[1] * shape[2];
    snprintf(name, sizeof name, "%s.attn.%s", c->names[c->current], layer);
    if (c->lockstep.step == c->sampler.steps - 1)
        c->attended += golden_compare_recorded(c->g, (struct golden_recording){&c->io, name, NULL, c->half * count},
                                               data, count, AS_IS, LIMIT_ATTENTION);
}

static void see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct csa_case *c = self;
    int character, layer, half;
    if (sscanf(name, "csa.character%d.layer%d.half%d", &character, &layer, &half) == 3 && character == 0)
        compare_bank(c, layer, half, data, shape);
    size_t length = strlen(name);
    if (rank == 3 && length > 6 && strcmp(name + length - 6, ".attn1") == 0)
        compare_attention(c, name, data, shape);
    if (strcmp(name, "noise_pred") != 0)
        return;
    char plain[64], full[96];
    int64_t count = shape[0] * shape[1] * shape[2] * shape[3];
    snprintf(plain, sizeof plain, "%s.noise_pred", c->names[c->current]);
    snprintf(full, sizeof full, "%s[%d]", plain, c->lockstep.step);
    golden_compare_recorded(c->g, (struct golden_recording){&c->io, plain, full, c->lockstep.step * count}, data,
                            count, CHANNELS_FIRST, LIMIT_TRAJECTORY);
}

/* Each recorded attention must have been seen, in both halves. */
static void check_attended(const struct csa_case *c)
{
    int recorded = 0;
    for (size_t i = 0; i < c->io.count; i++)
        recorded += strstr(c->io.items[i].name, ".attn.") != NULL;
    if (c->attended != recorded * lockstep_halves(&c->request))
        golden_check(c->g, c->path, "attn", false, "not every recorded output of an attention was computed");
}

static void begins(void *self, int step, int half, int pass)
{
    struct csa_case *c = self;
    (void)step;
    c->half = half;
    c->current = pass;
}

/* ----------------------------------------------------------------------------------------------------------- run */

static status run_story(struct csa_case *c, struct error *e)
{
    struct observer observer = {see, c};
    const struct lockstep_watch watch = {.begins = begins, .self = c};
    struct context ctx = {.threads = c->g->threads, .observer = &observer};
    TRY(lockstep_open(&c->lockstep, &c->request, ctx.threads, &observer, e));
    for (int pass = 0; pass < c->request.pass_count; pass++)
        compare_latents(c, pass, "latents_init", 0, 0);
    while (c->lockstep.step < c->sampler.steps) {
        int step = c->lockstep.step;
        lockstep_step(&c->lockstep, &ctx, &watch);
        compare_draws(c, step);
        compare_gates(c, step);
        for (int pass = 0; pass < c->request.pass_count; pass++) {
            int64_t index = recorded_step(c, pass, step);
            if (index >= 0)
                compare_latents(c, pass, "latents", step, index);
        }
    }
    csa_plan_step(&c->lockstep.csa.plan, c->sampler.steps); /* one more draw was recorded than used */
    compare_draws(c, c->sampler.steps);
    check_attended(c);
    lockstep_close(&c->lockstep);
    return OK;
}

/* What the read passes become with ordinary attention everywhere. */
static status run_plain(struct csa_case *c, struct error *e)
{
    struct context ctx = {.threads = c->g->threads};
    c->request.csa.mode = CSA_OFF;
    TRY(lockstep_open(&c->lockstep, &c->request, ctx.threads, NULL, e));
    while (c->lockstep.step < c->sampler.steps)
        lockstep_step(&c->lockstep, &ctx, NULL);
    for (int pass = 0; pass < c->request.pass_count; pass++)
        compare_latents(c, pass, "latents_plain", c->sampler.steps - 1, 0);
    lockstep_close(&c->lockstep);
    return OK;
}

static status run(struct csa_case *c, const char *folder, struct error *e)
{
    struct scheduler_config scheduler = {0};
    TRY(safetensors_open(c->path, &c->io, e));
    TRY(read_settings(c, e));
    TRY(read_text(c, e));
    const struct json *characters = meta_json(c, "characters", e), *reads = meta_json(c, "reads", e);
    status s = e->code;
    if (s == OK) {
        read_passes(c, characters, reads, c->request.panels);
        c->request.passes = c->passes;
        c->request.negatives = c->negatives;
        s = read_model(c, folder, e);
    }
    if (s == OK)
        s = scheduler_config_parse("SDXL's scheduler", sdxl_scheduler, sizeof sdxl_scheduler - 1,
                                    &scheduler, e);
    if (s == OK)
        s = sampler_init(&c->sampler, &scheduler, "ddim", (int)meta_number(c, "steps", e), 0, e);
    scheduler_config_free(&scheduler);
    c->request.sampler = &c->sampler;
    if (s == OK)
        s = run_story(c, e);
    if (s == OK)
        s = run_plain(c, e);
    json_free(characters);
    json_free(reads);
    return s;
}

void golden_csa(struct golden *g, const char *folder)
{
    char path[4096];
    struct csa_case *c = calloc(1, sizeof *c);
    struct error e = {0};
    snprintf(path, sizeof path, "%s/io.safetensors", folder);
    c->g = g;
    c->path = path;
    if (run(c, folder, &e) != OK)
        golden_error(g, path, &e);
    sampler_free(&c->sampler);
    conditioning_free(&c->text);
    unet_close(&c->model.unet);
    safetensors_close(&c->io);
    free(c);
}
