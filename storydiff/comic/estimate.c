#include "storydiff/comic/estimate.h"

#include "tensor/gemm.h"

/* One call of each kind of operation, at the sizes of the level that has most of the UNet's work. */
struct probe {
    const struct unet *u;
    int64_t h, w, c, heads;
    const struct profile *cost;
    double seconds; /* for all of it */
};

static void run_probe(const struct probe *p, const struct context *ctx, enum op op)
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
static double seconds_per_flop(const struct probe *p, const struct context *outer, enum op op)
{
    struct profile profile = {0};
    struct context ctx = *outer;
    run_probe(p, &ctx, op);
    ctx.profile = &profile;
    while (profile.rows[op].seconds < 0.1 && !arena_measuring(ctx.arena))
        run_probe(p, &ctx, op);
    return profile.rows[op].seconds / profile.rows[op].flops;
}

static void measure(void *self, const struct context *ctx)
{
    struct probe *p = self;
    p->seconds = 0;
    for (enum op op = 0; op < OP_OTHER; op++)
        p->seconds += p->cost->rows[op].flops * seconds_per_flop(p, ctx, op);
}

status estimate_seconds(const struct lockstep_request *r, const struct profile *cost, int threads, double *seconds,
                        struct error *e)
{
    const struct unet *u = &r->model->unet;
    int level = u->config.levels - 1;
    int64_t factor = vae_factor(&r->model->vae.config);
    struct probe p = {
        .u = u,
        .h = unet_level_size(r->height / factor, level),
        .w = unet_level_size(r->width / factor, level),
        .c = u->config.block_out_channels[level],
        .heads = u->config.heads[level],
        .cost = cost,
    };
    TRY(gemm_ready(e));
    TRY(work_run(&(struct context){.threads = threads}, (struct work){measure, &p, "the estimate"}, e));
    *seconds = p.seconds;
    return OK;
}
