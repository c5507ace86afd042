#include "storydiff/comic/estimate.h"

#include "tensor/gemm.h"

/* One call of each kind of operation, at the sizes of the UNet's last level, which has most of the work. */
struct probe {
    const struct unet *u;
    int64_t h, w, c, heads; /* of a map, of PROBE_SIDE x PROBE_SIDE at most: it tells the speed of a larger one */
    int64_t tokens;         /* that attention looks at: of the whole level */
    const struct profile *cost;
    double seconds; /* for all of it */
};

enum { PROBE_SIDE = 48, PROBE_QUERIES = 512 };

/* Some of the queries, all of the keys. */
static void probe_attention(const struct probe *p, const struct context *ctx, const float *q, float *out)
{
    struct key_set keys = {arena_floats(ctx->arena, p->tokens * p->c), NULL, NULL, p->tokens};
    keys.v = keys.k;
    attention(ctx, &(struct attention){.out = out, .q = q, .queries = smaller(p->h * p->w, PROBE_QUERIES),
                                       .heads = p->heads, .d = p->c / p->heads, .sets = &keys, .count = 1});
}

static void run_probe(const struct probe *p, const struct context *ctx, enum op op)
{
    size_t mark = arena_mark(ctx->arena);
    const struct resnet *resnet = &p->u->mid_block.resnets[0];
    const struct transformer *t = &p->u->mid_block.attentions[0];
    struct features x = features_new(ctx->arena, 1, p->h, p->w, p->c);
    struct features y = features_new(ctx->arena, 1, p->h, p->w, p->c);
    switch (op) {
    case OP_LINEAR: linear(ctx, y.x, x.x, p->h * p->w, &t->proj_in, (struct linear_options){0}); break;
    case OP_CONV: conv3x3(ctx, y, x, &resnet->conv1, CONV_SAME, (struct conv_options){0}); break;
    case OP_ATTENTION: probe_attention(p, ctx, x.x, y.x); break;
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
    int64_t h = unet_level_size(r->height / factor, level), w = unet_level_size(r->width / factor, level);
    struct probe p = {
        .u = u,
        .h = smaller(h, PROBE_SIDE),
        .w = smaller(w, PROBE_SIDE),
        .tokens = h * w,
        .c = u->config.block_out_channels[level],
        .heads = u->config.heads[level],
        .cost = cost,
    };
    TRY(gemm_ready(e));
    TRY(work_run(&(struct context){.threads = threads, .precision = r->precision},
                 (struct work){measure, &p, "the estimate"}, e));
    *seconds = p.seconds;
    return OK;
}
