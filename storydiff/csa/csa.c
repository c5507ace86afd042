#include "storydiff/csa/csa.h"

#include <string.h>

static struct csa_layers layers_of(const struct unet *u, int64_t h, int64_t w)
{
    struct csa_layers layers = {0};
    for (int grid = 0; grid < CSA_GRIDS; grid++) {
        int level = CSA_GRIDS - 1 - grid, order = u->config.levels - 1 - level; /* level 0: as large as the latents */
        for (int i = 0; order >= 0 && i < u->up_blocks[order].layers; i++)
            layers.count += u->up_blocks[order].attentions[i].depth;
        if (layers.count > layers.first[grid]) {
            layers.tokens[grid] = unet_level_size(h, level) * unet_level_size(w, level);
            layers.width[grid] = u->config.block_out_channels[level];
        }
        layers.first[grid + 1] = layers.count;
    }
    return layers;
}

/* Takes everything from an arena, which may be a measuring one. */
static void start(struct csa *csa, struct arena *arena, int characters)
{
    csa_plan_start(&csa->plan, arena, &csa->settings, &csa->layers);
    csa_bank_start(&csa->bank, arena, &csa->layers, characters, csa->settings.id_length);
}

int csa_most_characters(int id_length)
{
    return (HOOK_KEY_SETS - 1) / id_length;
}

size_t csa_memory(const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w, int characters)
{
    struct csa csa = {.settings = *settings, .layers = layers_of(u, h, w)};
    struct arena arena = arena_measure();
    start(&csa, &arena, characters);
    return arena.peak;
}

static status check(const struct unet *u, const struct csa_settings *s, int64_t h, int64_t w, struct error *e)
{
    struct csa_layers layers = layers_of(u, h, w);
    if (layers.count == 0 || layers.count != u->up_layers)
        return fail(e, ERR_ARGUMENT,
                    "consistent self-attention works on the self-attentions of the up blocks at 1/32, 1/16 and 1/8 of "
                    "the pixels, but this UNet has %s; use `csa` off with this model",
                    layers.count == 0 ? "none there" : "some at a smaller size");
    if (h % 4 != 0 || w % 4 != 0)
        return fail(e, ERR_ARGUMENT, "latents of %lld x %lld: consistent self-attention needs multiples of 4",
                    (long long)h, (long long)w);
    if (!(s->sa32 >= 0 && s->sa32 <= 1) || !(s->sa64 >= 0 && s->sa64 <= 1))
        return fail(e, ERR_ARGUMENT, "`sa32` %g `sa64` %g: sampling rates are from 0 to 1", s->sa32, s->sa64);
    if (s->start < 1)
        return fail(e, ERR_ARGUMENT, "`csa_start` %d: the first step is always ordinary, so 1 is the least",
                    s->start);
    if (s->id_length < 1 || s->id_length > CSA_MAX_ID_LENGTH)
        return fail(e, ERR_ARGUMENT, "`id_length` %d: from 1 to %d", s->id_length, CSA_MAX_ID_LENGTH);
    return OK;
}

status csa_open(struct csa *csa, const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w,
                int characters, struct error *e)
{
    *csa = (struct csa){0};
    TRY(check(u, settings, h, w, e));
    csa->settings = *settings;
    csa->layers = layers_of(u, h, w);
    TRY(arena_open(&csa->memory, csa_memory(u, settings, h, w, characters), "the bank of consistent self-attention",
                   e));
    start(csa, &csa->memory, characters);
    return arena_check(&csa->memory, "the bank of consistent self-attention", e);
}

void csa_close(struct csa *csa)
{
    arena_close(&csa->memory);
    *csa = (struct csa){0};
}

/* ---------------------------------------------------------------------------------------------------------- hook */

enum seen { SEE_NOTHING, SEE_SAMPLE, SEE_ALL }; /* of the other panels */

static enum seen seen_by(const struct csa *csa, enum story_pass_kind kind, int layer)
{
    if (csa->plan.step >= csa->settings.start)
        return csa->plan.consistent[layer] ? SEE_SAMPLE : SEE_NOTHING;
    return kind == STORY_READ && csa->settings.read_before_start == BEFORE_ALL_TOKENS ? SEE_ALL : SEE_NOTHING;
}

/* Whether a read pass of this step will look into the bank of this layer. */
static bool will_be_read(const struct csa *csa, int layer)
{
    return seen_by(csa, STORY_READ, layer) != SEE_NOTHING;
}

static void keep_keys(const struct csa_pass *pass, const struct attention_site *site)
{
    int64_t size = site->h * site->w * site->c;
    for (int panel = 0; panel < site->n && will_be_read(pass->csa, site->layer); panel++) {
        float *k = csa_bank_keys(&pass->csa->bank, site->layer, pass->pass->characters[0], panel);
        memcpy(k, site->k + panel * size, (size_t)size * sizeof(float));
        memcpy(k + size, site->v + panel * size, (size_t)size * sizeof(float));
    }
}

static void enter(void *self, const struct context *ctx, const struct attention_site *site)
{
    const struct csa_pass *pass = self;
    if (pass->pass->kind != STORY_WRITE || arena_measuring(ctx->arena))
        return;
    keep_keys(pass, site);
    char name[MODULE_NAME];
    observe(ctx,
            module_name(name, "csa.character%d.layer%d.half%d", pass->pass->characters[0], site->layer, pass->half),
            site->hidden, 3, (int64_t[]){site->n, site->h * site->w, site->c});
}

/* The visible tokens of id panel `panel`, whose K and V are at k and v. */
static struct key_set visible(const struct csa *csa, int grid, int panel, enum seen seen, const float *k,
                              const float *v)
{
    if (seen == SEE_ALL)
        return (struct key_set){k, v, NULL, csa->layers.tokens[grid]};
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
            sets[count++] = visible(csa, csa_grid(&csa->layers, site->layer), panel, SEE_SAMPLE,
                                    site->k + panel * size, site->v + panel * size);
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
    for (int c = 0; c < pass->pass->character_count; c++)
        for (int panel = 0; panel < csa->settings.id_length; panel++) {
            const float *k = csa_bank_keys(&csa->bank, site->layer, pass->pass->characters[c], panel);
            sets[count++] = visible(csa, csa_grid(&csa->layers, site->layer), panel, seen, k, k + size);
        }
    sets[count++] = own;
    return count;
}

static int key_sets(void *self, const struct attention_site *site, int64_t sample, struct key_set *sets)
{
    const struct csa_pass *pass = self;
    int64_t tokens = site->h * site->w, size = tokens * site->c;
    struct key_set own = {site->k + sample * size, site->v + sample * size, NULL, tokens};
    enum seen seen = seen_by(pass->csa, pass->pass->kind, site->layer);
    if (seen == SEE_NOTHING) {
        sets[0] = own;
        return 1;
    }
    if (pass->pass->kind == STORY_WRITE)
        return sets_of_writer(pass, site, sample, own, sets);
    return sets_of_reader(pass, site, seen, own, sets);
}

struct attention_hook csa_hook(struct csa_pass *pass)
{
    return (struct attention_hook){.self = pass, .enter = enter, .key_sets = key_sets};
}
