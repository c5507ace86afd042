#include "storydiff/csa/csa.h"

#include <string.h>

/* A layer is consistent where its number is above .3; from step 20 on, above .1. */
enum { CSA_EARLY_STEPS = 20 };
static const double csa_gate_early = 0.3, csa_gate_late = 0.1;

struct csa_settings csa_defaults(enum csa_mode mode)
{
    return (struct csa_settings){
        .mode = mode,
        .start = mode == CSA_MASKED ? 5 : 1,
        .sa32 = 0.5,
        .sa64 = 0.5,
        .id_length = 4,
        .read_before_start = mode == CSA_MASKED ? BEFORE_ALL_TOKENS : BEFORE_PLAIN,
    };
}

/* -------------------------------------------------------------------------------------------------------- memory */

static int grid_of(const struct csa *csa, int layer)
{
    return layer < csa->layers32 ? 0 : 1;
}

static void measure_layers(struct csa *csa, const struct unet *u, int64_t h, int64_t w)
{
    const struct unet_block *block = u->up_blocks;
    csa->layers = u->up_layers;
    for (int i = 0; i < block[0].layers; i++)
        csa->layers32 += block[0].attentions[i].depth;
    for (int grid = 0; grid < CSA_GRIDS; grid++) {
        int level = u->config.levels - 1 - grid;
        csa->tokens[grid] = unet_level_size(h, level) * unet_level_size(w, level);
        csa->width[grid] = u->config.block_out_channels[level];
    }
}

/* Takes everything from an arena, which may be a measuring one. */
static void allocate(struct csa *csa, struct arena *arena)
{
    bool real = !arena_measuring(arena);
    size_t ids = (size_t)csa->settings.id_length;
    csa->plan.gate = arena_bytes(arena, (size_t)csa->layers * sizeof *csa->plan.gate);
    csa->plan.consistent = arena_bytes(arena, (size_t)csa->layers * sizeof *csa->plan.consistent);
    for (int grid = 0; grid < CSA_GRIDS; grid++)
        for (size_t i = 0; i < ids; i++)
            csa->plan.rows[grid][i] = arena_bytes(arena, (size_t)csa->tokens[grid] * sizeof(int32_t));
    csa->draws =
        arena_floats(arena, (int64_t)(ids + 1) * (csa->tokens[0] > csa->tokens[1] ? csa->tokens[0] : csa->tokens[1]));
    csa->bank = arena_bytes(arena, (size_t)csa->layers * sizeof *csa->bank);
    for (int layer = 0; layer < csa->layers; layer++) {
        int grid = grid_of(csa, layer);
        float *kept =
            arena_floats(arena, csa->characters * csa->settings.id_length * 2 * csa->tokens[grid] * csa->width[grid]);
        if (real)
            csa->bank[layer] = kept;
    }
}

size_t csa_memory(const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w, int characters)
{
    struct csa csa = {.settings = *settings, .characters = characters};
    struct arena arena = arena_measure();
    measure_layers(&csa, u, h, w);
    allocate(&csa, &arena);
    return arena.peak;
}

static status check(const struct unet *u, const struct csa_settings *s, int64_t h, int64_t w, struct error *e)
{
    const struct unet_config *c = &u->config;
    if (c->levels != 3 || !c->up_attention[0] || !c->up_attention[1] || c->up_attention[2])
        return fail(e, ERR_ARGUMENT,
                    "consistent self-attention needs an SDXL UNet (three levels, transformers in up_blocks.0 "
                    "and up_blocks.1); use --csa off with this model");
    if (h % 4 != 0 || w % 4 != 0)
        return fail(e, ERR_ARGUMENT, "latents of %lld x %lld: consistent self-attention needs multiples of 4",
                    (long long)h, (long long)w);
    if (!(s->sa32 >= 0 && s->sa32 <= 1) || !(s->sa64 >= 0 && s->sa64 <= 1))
        return fail(e, ERR_ARGUMENT, "--sa32 %g --sa64 %g: sampling rates are from 0 to 1", s->sa32, s->sa64);
    if (s->start < 1)
        return fail(e, ERR_ARGUMENT, "--csa_start %d: the first step is always ordinary, so 1 is the least",
                    s->start);
    if (s->id_length < 1 || s->id_length > CSA_MAX_ID_LENGTH)
        return fail(e, ERR_ARGUMENT, "--id_length %d: from 1 to %d", s->id_length, CSA_MAX_ID_LENGTH);
    return OK;
}

static void begin_anew(struct csa *csa)
{
    python_seed(&csa->gates, (int64_t)csa->settings.seed);
    torch_seed(&csa->subsets, csa->settings.seed);
    csa->plan.step = -1;
}

status csa_open(struct csa *csa, const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w,
                int characters, struct error *e)
{
    *csa = (struct csa){.settings = *settings, .characters = characters};
    TRY(check(u, settings, h, w, e));
    measure_layers(csa, u, h, w);
    TRY(arena_open(&csa->memory, csa_memory(u, settings, h, w, characters), "the bank of consistent self-attention",
                   e));
    allocate(csa, &csa->memory);
    begin_anew(csa);
    return OK;
}

void csa_close(struct csa *csa)
{
    arena_close(&csa->memory);
    *csa = (struct csa){0};
}

/* ---------------------------------------------------------------------------------------------------------- plan */

/* torch.rand((id_length + 1) x tokens) < rate. The last row is drawn and never used: it stands for the panel of a
 * read pass, which sees all of its own tokens. */
static void draw_subsets(struct csa *csa, int grid, double rate)
{
    int64_t tokens = csa->tokens[grid];
    torch_rand(&csa->subsets, csa->draws, (csa->settings.id_length + 1) * tokens);
    for (int panel = 0; panel < csa->settings.id_length; panel++) {
        int64_t count = 0;
        for (int64_t i = 0; i < tokens; i++)
            if (csa->draws[panel * tokens + i] < (float)rate)
                csa->plan.rows[grid][panel][count++] = (int32_t)i;
        csa->plan.count[grid][panel] = count;
    }
}

/* One number per layer, none before the start. */
static void draw_gates(struct csa *csa, int step)
{
    double threshold = step < CSA_EARLY_STEPS ? csa_gate_early : csa_gate_late;
    for (int layer = 0; layer < csa->layers; layer++) {
        bool asked = step >= csa->settings.start;
        csa->plan.gate[layer] = asked ? python_random(&csa->gates) : -1;
        csa->plan.consistent[layer] = csa->plan.gate[layer] > threshold;
    }
}

/* masked: a subset is drawn at the end of each step, for the next one. sampled: one before the first step, too. */
static void draw_step(struct csa *csa, int step)
{
    if (csa->settings.mode == CSA_SAMPLED || step > 0) {
        draw_subsets(csa, 0, csa->settings.sa32);
        draw_subsets(csa, 1, csa->settings.sa64);
    }
    draw_gates(csa, step);
    csa->plan.step = step;
}

void csa_begin_step(struct csa *csa, int step)
{
    if (step < csa->plan.step)
        begin_anew(csa);
    while (csa->plan.step < step)
        draw_step(csa, csa->plan.step + 1);
}

/* ---------------------------------------------------------------------------------------------------------- hook */

enum seen { SEE_NOTHING, SEE_SAMPLE, SEE_ALL }; /* of the other panels */

static enum seen seen_by(const struct csa_pass *pass, int layer)
{
    const struct csa *csa = pass->csa;
    if (csa->plan.step >= csa->settings.start)
        return csa->plan.consistent[layer] ? SEE_SAMPLE : SEE_NOTHING;
    return pass->role == CSA_READ && csa->settings.read_before_start == BEFORE_ALL_TOKENS ? SEE_ALL : SEE_NOTHING;
}

/* Whether a read pass of this step will look into the bank of this layer. */
static bool will_be_read(const struct csa *csa, int layer)
{
    struct csa_pass reader = {.csa = (struct csa *)csa, .role = CSA_READ};
    return seen_by(&reader, layer) != SEE_NOTHING;
}

/* K of one id panel in the bank; V follows it. */
static float *kept(const struct csa *csa, int layer, int character, int panel)
{
    int grid = grid_of(csa, layer);
    int64_t index = (int64_t)character * csa->settings.id_length + panel;
    return csa->bank[layer] + index * 2 * csa->tokens[grid] * csa->width[grid];
}

static void keep_keys(const struct csa_pass *pass, const struct attention_site *site)
{
    int64_t size = site->h * site->w * site->c;
    for (int panel = 0; panel < site->n && will_be_read(pass->csa, site->layer); panel++) {
        float *k = kept(pass->csa, site->layer, pass->characters[0], panel);
        memcpy(k, site->k + panel * size, (size_t)size * sizeof(float));
        memcpy(k + size, site->v + panel * size, (size_t)size * sizeof(float));
    }
}

static void enter(void *self, const struct context *ctx, const struct attention_site *site)
{
    const struct csa_pass *pass = self;
    if (pass->role != CSA_WRITE || arena_measuring(ctx->arena))
        return;
    keep_keys(pass, site);
    char name[MODULE_NAME];
    observe(ctx, module_name(name, "csa.character%d.layer%d.half%d", pass->characters[0], site->layer, pass->half),
            site->hidden, 3, (int64_t[]){site->n, site->h * site->w, site->c});
}

/* The visible tokens of id panel `panel`, whose K and V are at k and v. */
static struct key_set visible(const struct csa *csa, int grid, int panel, enum seen seen, const float *k,
                              const float *v)
{
    if (seen == SEE_ALL)
        return (struct key_set){k, v, NULL, csa->tokens[grid]};
    return (struct key_set){k, v, csa->plan.rows[grid][panel], csa->plan.count[grid][panel]};
}

/* The other panels are in the same batch. The reference's two forms order the keys differently: masked leaves the own
 * tokens in their place, sampled puts them last. */
static int sets_of_writer(const struct csa_pass *pass, const struct attention_site *site, int64_t sample,
                          struct key_set own, struct key_set *sets)
{
    const struct csa *csa = pass->csa;
    int64_t size = site->h * site->w * site->c;
    bool own_in_place = csa->settings.mode == CSA_MASKED;
    int count = 0;
    for (int panel = 0; panel < site->n; panel++) {
        if (panel != sample)
            sets[count++] = visible(csa, grid_of(csa, site->layer), panel, SEE_SAMPLE, site->k + panel * size,
                                    site->v + panel * size);
        else if (own_in_place)
            sets[count++] = own;
    }
    if (!own_in_place)
        sets[count++] = own;
    return count;
}

static int sets_of_reader(const struct csa_pass *pass, const struct attention_site *site, enum seen seen,
                          struct key_set own, struct key_set *sets)
{
    const struct csa *csa = pass->csa;
    int64_t size = site->h * site->w * site->c;
    int count = 0;
    for (int c = 0; c < pass->character_count; c++)
        for (int panel = 0; panel < csa->settings.id_length; panel++) {
            const float *k = kept(csa, site->layer, pass->characters[c], panel);
            sets[count++] = visible(csa, grid_of(csa, site->layer), panel, seen, k, k + size);
        }
    sets[count++] = own;
    return count;
}

static int key_sets(void *self, const struct attention_site *site, int64_t sample, struct key_set *sets)
{
    const struct csa_pass *pass = self;
    int64_t tokens = site->h * site->w, size = tokens * site->c;
    struct key_set own = {site->k + sample * size, site->v + sample * size, NULL, tokens};
    enum seen seen = seen_by(pass, site->layer);
    if (seen == SEE_NOTHING) {
        sets[0] = own;
        return 1;
    }
    if (pass->role == CSA_WRITE)
        return sets_of_writer(pass, site, sample, own, sets);
    return sets_of_reader(pass, site, seen, own, sets);
}

struct attention_hook csa_hook(struct csa_pass *pass)
{
    return (struct attention_hook){.self = pass, .enter = enter, .key_sets = key_sets};
}
