#include "storydiff/csa/lockstep.h"
#include "storydiff/csa/lockstep_noise.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/gemm.h"

int64_t lockstep_latents_size(const struct lockstep *l)
{
    return l->request->panels * lockstep_latent_size(l);
}

int lockstep_halves(const struct lockstep_request *r)
{
    return r->guidance_scale > 1 && r->model->unet.config.time_cond_proj_dim == 0 ? 2 : 1;
}

int lockstep_history(const struct lockstep_request *r)
{
    int kept = sampler_history(r->sampler);
    return kept > 0 ? kept : 1;
}

bool lockstep_in_interval(double from, double to, int step, int steps)
{
    double at = (double)step / steps;
    return (from == 0 && to == 0) || (at >= from && at < to);
}

static bool is_guided(const struct lockstep_request *r, int step)
{
    return lockstep_halves(r) == 2 &&
           lockstep_in_interval(r->guidance_from, r->guidance_to, step, r->sampler->steps);
}

int lockstep_first_half(const struct lockstep_request *r, int step)
{
    if (sampler_stands_still(r->sampler, step))
        return lockstep_halves(r);
    return lockstep_halves(r) == 2 && !is_guided(r, step) ? 1 : 0;
}

/* ------------------------------------------------------------------------------------------------- kept features */

static bool keeps_features(const struct lockstep_request *r)
{
    return r->cache_interval > 1;
}

bool lockstep_is_complete(const struct lockstep *l)
{
    const struct lockstep_request *r = l->request;
    return !keeps_features(r) || l->step % r->cache_interval == 0 || l->step == r->sampler->steps;
}

static int64_t deep_size(const struct lockstep *l)
{
    return l->h * l->w * unet_deep_channels(&l->request->model->unet.config);
}

/* Of a half: computed at the beginning of each interval, or at the first step of it that has this half. */
static enum unet_deep deep_use(const struct lockstep *l, int half)
{
    if (!keeps_features(l->request))
        return DEEP_COMPUTE;
    int begin = l->step / l->request->cache_interval * l->request->cache_interval;
    return l->deep_step[half] >= begin && l->deep_step[half] < l->step ? DEEP_USE : DEEP_KEEP;
}

/* To be called when all passes of a half are done. */
static void note_features(struct lockstep *l, int half)
{
    if (deep_use(l, half) == DEEP_KEEP)
        l->deep_step[half] = l->step;
}

static void forget_features(struct lockstep *l)
{
    l->deep_step[0] = l->deep_step[1] = -1;
}

/* ---------------------------------------------------------------------------------------------------------- text */

/* Bytes of text keys that a story may keep; prompts beyond are projected anew at every step (a hundredth of its
 * arithmetic at 768 px), so that memory does not grow with the number of panels. */
static const int64_t text_keys_limit = 512 << 20;

static int64_t text_keys_size(const struct lockstep_request *r)
{
    return unet_text_keys_size(&r->model->unet, r->text->tokens);
}

static const float *text_states(const struct conditioning *text, int64_t row)
{
    return text->states + row * text->tokens * text->width;
}

static void prepare_text(struct lockstep *l, const struct context *ctx)
{
    const struct lockstep_request *r = l->request;
    for (int64_t i = 0; i < l->kept_prompts; i++)
        unet_text_keys(ctx, &r->model->unet, l->text_keys + i * text_keys_size(r),
                       text_states(r->text, l->first_kept + i), r->text->tokens);
}

/* -------------------------------------------------------------------------------------------------------- passes */

/* What one call of the UNet is given: a half of a pass. */
struct batch {
    int64_t n;
    float *sample, *states, *pooled, *time_ids;
};

static struct batch batch_new(const struct lockstep *l, struct arena *arena, const struct story_pass *pass)
{
    const struct conditioning *text = l->request->text;
    int64_t n = pass->panel_count;
    return (struct batch){
        .n = n,
        .sample = arena_floats(arena, n * lockstep_latent_size(l)),
        .states = arena_floats(arena, n * text->tokens * text->width),
        .pooled = arena_floats(arena, n * text->pooled_width),
        .time_ids = arena_floats(arena, n * 6),
    };
}

/* The conditioning that a half of a pass gives a panel. */
static int64_t text_row(const struct lockstep_request *r, const struct story_pass *pass, int half, int panel)
{
    bool unconditional = lockstep_halves(r) == 2 && half == 0;
    return unconditional ? r->negatives[pass - r->passes] : panel;
}

/* Also when measuring: what is kept decides what there is to compute. */
static void choose_text_keys(struct lockstep *l, const struct story_pass *pass, int half)
{
    for (int i = 0; i < pass->panel_count; i++) {
        int64_t row = text_row(l->request, pass, half, pass->panels[i]);
        int64_t kept = row - l->first_kept;
        l->keys[i] = kept >= 0 && kept < l->kept_prompts ? l->text_keys + kept * text_keys_size(l->request) : NULL;
    }
}

static void batch_fill(const struct lockstep *l, const struct batch *b, const struct story_pass *pass, int half)
{
    const struct lockstep_request *r = l->request;
    const struct conditioning *text = r->text;
    int64_t states = text->tokens * text->width, size = lockstep_latent_size(l);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t panel = pass->panels[i], row = text_row(r, pass, half, pass->panels[i]);
        sampler_scale_input(r->sampler, l->step, l->latents + panel * size, b->sample + i * size, size);
        memcpy(b->states + i * states, text_states(text, row), (size_t)states * sizeof(float));
        memcpy(b->pooled + i * text->pooled_width, text->pooled + row * text->pooled_width,
               (size_t)text->pooled_width * sizeof(float));
        memcpy(b->time_ids + i * 6, r->time_ids, sizeof r->time_ids);
    }
}

/* Panels before those of this half, in the order [pass][half][panel of the pass]. */
static int64_t place_of(const struct lockstep_request *r, const struct story_pass *pass, int half)
{
    int64_t panels = (int64_t)half * pass->panel_count;
    for (const struct story_pass *before = r->passes; before < pass; before++)
        panels += (int64_t)lockstep_halves(r) * before->panel_count;
    return panels;
}

/* The noise the model sees in one half of a pass: prediction [panels, h, w, c]. */
static void predict(struct lockstep *l, const struct context *ctx, const struct story_pass *pass, int half,
                    float *prediction)
{
    const struct lockstep_request *r = l->request;
    struct unet_options options = {
        .freeu = r->freeu,
        .precision = r->precision,
        .deep_use = deep_use(l, half),
        .deep = keeps_features(r) ? l->deep + place_of(r, pass, half) * deep_size(l) : NULL,
    };
    size_t mark = arena_mark(ctx->arena);
    struct batch b = batch_new(l, ctx->arena, pass);
    choose_text_keys(l, pass, half);
    if (!arena_measuring(ctx->arena))
        batch_fill(l, &b, pass, half);
    struct csa_pass csa_pass = {&l->csa, pass, half};
    struct attention_hook hook = csa_hook(&csa_pass);
    options.hook = r->csa.mode == CSA_OFF ? NULL : &hook;
    struct unet_input in = {
        .sample = {b.sample, b.n, l->h, l->w, l->c},
        .timestep = r->sampler->timesteps[l->step],
        .guidance_scale = r->guidance_scale,
        .text = {.states = b.states, .tokens = r->text->tokens, .keys = l->keys},
        .text_embeds = b.pooled,
        .time_ids = b.time_ids,
    };
    unet_forward(ctx, &r->model->unet, prediction, &in, options);
    arena_release(ctx->arena, mark);
}

/* Classifier-free guidance (Ho & Salimans 2022, eq. 6): uncond + g (cond - uncond), into cond. */
static void guide(const float *uncond, float *cond, int64_t n, float g)
{
    for (int64_t i = 0; i < n; i++)
        cond[i] = uncond[i] + g * (cond[i] - uncond[i]);
}

/* Both halves [halves, panels, h, w, c] -> the next latents of the panels. */
static void advance(struct lockstep *l, const struct story_pass *pass, float *prediction)
{
    const struct lockstep_request *r = l->request;
    int64_t size = lockstep_latent_size(l), all = pass->panel_count * size;
    float *output = prediction + (lockstep_halves(r) - 1) * all;
    if (is_guided(r, l->step))
        guide(prediction, output, all, (float)r->guidance_scale);
    for (int i = 0; i < pass->panel_count; i++) {
        int64_t at = pass->panels[i] * size;
        sampler_step(r->sampler, l->step, output + i * size, l->noise + at, l->latents + at,
                     l->history + lockstep_history(r) * at, l->predicted + at, size);
    }
}

static void run_half(struct lockstep *l, const struct context *ctx, int half, const struct lockstep_watch *watch)
{
    const struct lockstep_request *r = l->request;
    float *prediction = l->noise_pred;
    int halves = lockstep_halves(r);
    for (int i = 0; i < r->pass_count; i++) {
        const struct story_pass *pass = &r->passes[i];
        int64_t all = pass->panel_count * lockstep_latent_size(l);
        int first = lockstep_first_half(r, l->step);
        if (watch != NULL && watch->begins != NULL)
            watch->begins(watch->self, l->step, half, i);
        predict(l, ctx, pass, half, prediction + half * all);
        if (half == halves - 1) {
            observe(ctx, "noise_pred", prediction + first * all, 4,
                    (int64_t[]){(int64_t)pass->panel_count * (halves - first), l->h, l->w, l->c});
            advance(l, pass, prediction);
        }
        if (watch != NULL && watch->done != NULL)
            watch->done(watch->self, l->step, half, i);
        prediction += halves * all;
    }
    note_features(l, half);
}

void lockstep_step(struct lockstep *l, const struct context *ctx, const struct lockstep_watch *watch)
{
    const struct lockstep_request *r = l->request;
    struct context own = *ctx;
    own.arena = &l->work;
    if (!l->text_ready)
        prepare_text(l, &own);
    l->text_ready = true;
    if (r->csa.mode != CSA_OFF)
        csa_plan_step(&l->csa.plan, l->step);
    if (sampler_draws_noise(r->sampler, l->step))
        noise_draw(l);
    for (int half = lockstep_first_half(r, l->step); half < lockstep_halves(r); half++)
        run_half(l, &own, half, watch);
    l->step++;
}

/* -------------------------------------------------------------------------------------------------------- memory */

static int64_t drawn_panels(const struct lockstep_request *r)
{
    int64_t panels = 0;
    for (int i = 0; i < r->pass_count; i++)
        panels += r->passes[i].panel_count;
    return panels;
}

static void allocate(struct lockstep *l, struct arena *arena)
{
    const struct lockstep_request *r = l->request;
    int64_t all = r->panels * lockstep_latent_size(l);
    l->seeds = arena_bytes(arena, (size_t)drawn_panels(r) * sizeof *l->seeds);
    l->generators = arena_bytes(arena, (size_t)(l->seed_count * noise_groups(r)) * sizeof *l->generators);
    l->latents = arena_floats(arena, all);
    l->history = arena_floats(arena, lockstep_history(r) * all);
    l->predicted = arena_floats(arena, all);
    l->noise = arena_floats(arena, all);
    l->scratch = arena_floats(arena, all);
    l->noise_pred = arena_floats(arena, lockstep_halves(r) * drawn_panels(r) * lockstep_latent_size(l));
    if (keeps_features(r))
        l->deep = arena_floats(arena, lockstep_halves(r) * drawn_panels(r) * deep_size(l));
    l->keys = arena_bytes(arena, (size_t)drawn_panels(r) * sizeof *l->keys);
    l->text_keys = arena_floats(arena, l->kept_prompts * text_keys_size(r));
}

static void set_size(struct lockstep *l)
{
    int64_t factor = vae_factor(&l->request->model->vae.config);
    l->h = l->request->height / factor;
    l->w = l->request->width / factor;
    l->c = l->request->model->unet.config.in_channels;
    int64_t fit = text_keys_limit / (int64_t)sizeof(float) / text_keys_size(l->request);
    int64_t used = lockstep_halves(l->request) == 2 ? l->request->text->count : l->request->panels;
    l->kept_prompts = used < fit ? used : fit;
    l->first_kept = used - l->kept_prompts; /* the last rows are negative prompts, which all panels share */
}

/* One half of one step of all passes, and the text's keys. The key sets of a dry run are those of the plan
 * before step 0: their sizes do not matter to the arena, nor does it matter whether keys of a text are kept. */
static void dry_half(void *self, const struct context *ctx)
{
    struct lockstep *l = self;
    prepare_text(l, ctx);
    for (int i = 0; i < l->request->pass_count; i++)
        predict(l, ctx, &l->request->passes[i], 0, NULL);
}

static size_t measure_work(struct lockstep *l, int threads, const struct observer *observer)
{
    struct context ctx = {.threads = threads, .observer = observer};
    return work_measure(&ctx, (struct work){dry_half, l, NULL});
}

/* All steps of all passes, for their arithmetic. */
static void dry_story(void *self, const struct context *ctx)
{
    struct lockstep *l = self;
    prepare_text(l, ctx);
    for (l->step = 0; l->step < l->request->sampler->steps; l->step++) {
        if (l->request->csa.mode != CSA_OFF)
            csa_plan_step(&l->csa.plan, l->step);
        for (int half = lockstep_first_half(l->request, l->step); half < lockstep_halves(l->request); half++) {
            for (int i = 0; i < l->request->pass_count; i++)
                predict(l, ctx, &l->request->passes[i], half, NULL);
            note_features(l, half);
        }
    }
}

static status open_csa(struct lockstep *l, struct error *e)
{
    const struct lockstep_request *r = l->request;
    if (r->csa.mode == CSA_OFF)
        return OK;
    struct csa_settings settings = r->csa;
    settings.seed = r->seed;
    return csa_open(&l->csa, &r->model->unet, &settings, l->h, l->w, r->characters, e);
}

static bool is_written(const struct lockstep_request *r, int before, int character)
{
    for (int i = 0; i < before; i++)
        if (r->passes[i].kind == STORY_WRITE && r->passes[i].characters[0] == character)
            return true;
    return false;
}

/* The bank has id_length places for a character, all of which are read; a sample sees HOOK_KEY_SETS sets at most, its
 * own among them. */
static status check_passes(const struct lockstep_request *r, struct error *e)
{
    for (int i = 0; i < r->pass_count && r->csa.mode != CSA_OFF; i++) {
        const struct story_pass *pass = &r->passes[i];
        if (pass->kind == STORY_WRITE && pass->panel_count != r->csa.id_length)
            return fail(e, ERR_ARGUMENT, "a character has %d id panels, but id_length is %d", pass->panel_count,
                        r->csa.id_length);
        if (pass->character_count > csa_most_characters(r->csa.id_length))
            return fail(e, ERR_ARGUMENT, "panel %d: %d characters with %d id panels each are too many to see at once: "
                        "lower `id_length`", pass->panels[0] + 1, pass->character_count, r->csa.id_length);
        for (int j = 0; pass->kind == STORY_READ && j < pass->character_count; j++)
            if (!is_written(r, i, pass->characters[j]))
                return fail(e, ERR_ARGUMENT, "panel %d looks at a character without id panels", pass->panels[0] + 1);
    }
    return OK;
}

/* A lockstep with everything but working memory and values. */
static status prepare(struct lockstep *l, const struct lockstep_request *request, struct error *e)
{
    *l = (struct lockstep){.request = request};
    set_size(l);
    int64_t multiple = request->csa.mode == CSA_OFF ? vae_factor(&request->model->vae.config)
                                                    : model_size_multiple(request->model);
    if (request->height < multiple || request->width < multiple || request->height % multiple ||
        request->width % multiple)
        return fail(e, ERR_ARGUMENT, "`height` %lld `width` %lld: this model needs multiples of %lld",
                    (long long)request->height, (long long)request->width, (long long)multiple);
    if (keeps_features(request) && unet_deep_channels(&request->model->unet.config) == 0)
        return fail(e, ERR_ARGUMENT, "`cache_interval` %d: this model's UNet has a single level, and nothing to keep",
                    request->cache_interval);
    TRY(check_passes(request, e));
    forget_features(l);
    struct arena measured = arena_measure();
    l->seed_count = request->seeds != NULL ? noise_seeds(request, NULL) : 1; /* at most */
    allocate(l, &measured);
    TRY(arena_open(&l->fixed, measured.peak, "the latents", e));
    allocate(l, &l->fixed);
    TRY(arena_check(&l->fixed, "the latents", e));
    l->seed_count = noise_seeds(request, l->seeds);
    return open_csa(l, e);
}

status lockstep_open(struct lockstep *l, const struct lockstep_request *request, int threads,
                     const struct observer *observer, struct error *e)
{
    status s = gemm_ready(e);
    *l = (struct lockstep){0};
    if (s == OK)
        s = prepare(l, request, e);
    if (s == OK)
        s = arena_open(&l->work, measure_work(l, threads, observer), "the UNet", e);
    if (s != OK) {
        lockstep_close(l);
        return s;
    }
    noise_replay(l);
    for (int64_t i = 0; i < lockstep_latents_size(l); i++)
        l->latents[i] = (float)(l->noise[i] * request->sampler->init_noise_sigma);
    return OK;
}

status lockstep_check(const struct lockstep *l, struct error *e)
{
    return arena_check(&l->work, "the UNet", e);
}

void lockstep_go_on(struct lockstep *l, int step, const float *latents, const float *history)
{
    size_t bytes = (size_t)lockstep_latents_size(l) * sizeof(float);
    memcpy(l->latents, latents, bytes);
    memcpy(l->history, history, (size_t)lockstep_history(l->request) * bytes);
    l->step = step;
    forget_features(l);
    noise_replay(l);
}

status lockstep_take_latents(struct lockstep *l, float **latents, struct error *e)
{
    size_t bytes = (size_t)lockstep_latents_size(l) * sizeof(float);
    *latents = malloc(bytes);
    if (*latents == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the latents");
    memcpy(*latents, l->latents, bytes);
    lockstep_close(l);
    return OK;
}

void lockstep_close(struct lockstep *l)
{
    csa_close(&l->csa);
    arena_close(&l->work);
    arena_close(&l->fixed);
    *l = (struct lockstep){0};
}

status lockstep_measure(const struct lockstep_request *request, int threads, const struct observer *observer,
                        struct lockstep_cost *cost, struct error *e)
{
    struct lockstep l;
    *cost = (struct lockstep_cost){0};
    status s = prepare(&l, request, e);
    if (s == OK) {
        cost->bank = l.csa.memory.capacity;
        if (keeps_features(request))
            cost->deep = (size_t)(lockstep_halves(request) * drawn_panels(request) * deep_size(&l)) * sizeof(float);
        cost->memory = l.fixed.capacity + l.csa.memory.capacity + measure_work(&l, threads, observer);
        struct context ctx = {.threads = threads, .profile = &cost->profile};
        work_measure(&ctx, (struct work){dry_story, &l, NULL});
        for (int op = 0; op < OP_COUNT; op++)
            cost->profile.rows[op].seconds = 0;
    }
    lockstep_close(&l);
    return s;
}
