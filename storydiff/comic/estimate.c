#include "storydiff/comic/estimate.h"

#include "tensor/gemm.h"

/* One call of each kind of operation, at the sizes of the level that has most of the UNet's work. */
struct probe {
    const struct unet *u;
    int64_t h, w, c, heads;
};

static void run_probe(const struct context *ctx, const struct probe *p, enum op op)
{
    size_t mark = arena_mark(ctx->arena);
    const struct resnet *resnet = &p->u->mid_block.resnets[0];
    const struct transformer *t = &p->u->mid_block.attentions[0];
    struct features x = features_new(ctx->arena, 1, p->h, p->w, p->c);
    struct features y = features_new(ctx->arena, 1, p->h, p->w, p->c);
    struct key_set own = {x.x, x.x, NULL, p->h * p->w};
    switch (op) {
    case OP_LINEAR: linear(ctx, y.x, x.x, p->h * p->w, &t->proj_in, (struct linear_options){0}); break;
    case OP_CONV: conv3x3(ctx, y, x, &resnet->conv1, CONV_SAME, (struct conv_options){0}); break;
    case OP_ATTENTION:
        attention(ctx, &(struct attention){.out = y.x, .q = x.x, .queries = p->h * p->w, .heads = p->heads,
                                           .d = p->c / p->heads, .sets = &own, .count = 1});
        break;
    case OP_NORM: group_norm(ctx, y.x, x, NULL, &resnet->norm1, resnet->groups, resnet->eps, ACT_SILU); break;
    case OP_OTHER:
    case OP_COUNT: break;
    }
    arena_release(ctx->arena, mark);
}

/* Calls until a tenth of a second has passed (the first one, which wakes threads and caches, does not count). */
static double seconds_per_flop(struct context *ctx, const struct probe *p, enum op op)
{
    struct profile profile = {0};
    run_probe(ctx, p, op);
    ctx->profile = &profile;
    while (profile.rows[op].seconds < 0.1)
        run_probe(ctx, p, op);
    ctx->profile = NULL;
    return profile.rows[op].seconds / profile.rows[op].flops;
}

status estimate_seconds(const struct lockstep_request *r, const struct profile *cost, int threads, double *seconds,
                        struct error *e)
{
    const struct unet *u = &r->model->unet;
    int level = u->config.levels - 1;
    int64_t factor = vae_factor(&r->model->vae.config);
    struct probe p = {u, unet_level_size(r->height / factor, level), unet_level_size(r->width / factor, level),
                      u->config.block_out_channels[level], u->config.heads[level]};
    struct arena arena = arena_measure();
    struct context ctx = {.arena = &arena, .threads = threads};
    for (enum op op = 0; op < OP_OTHER; op++)
        run_probe(&ctx, &p, op);
    TRY(gemm_ready(e));
    TRY(arena_open(&arena, arena.peak, "the estimate", e));
    *seconds = 0;
    for (enum op op = 0; op < OP_OTHER; op++)
        *seconds += cost->rows[op].flops * seconds_per_flop(&ctx, &p, op);
    arena_close(&arena);
    return OK;
}
