#include "sdxl/unet/transformer.h"

static const struct binding attention_rows[] = {
    {"to_q.weight", offsetof(struct attention_weights, to_q.weight), "ci", NULL, false},
    {"to_k.weight", offsetof(struct attention_weights, to_k.weight), "cx", NULL, false},
    {"to_v.weight", offsetof(struct attention_weights, to_v.weight), "cx", NULL, false},
    {"to_out.0.weight", offsetof(struct attention_weights, to_out.weight), "ci", NULL, false},
    {"to_out.0.bias", offsetof(struct attention_weights, to_out.bias), "c", NULL, false},
};

static void attention_bind(struct attention_weights *a, struct binder *b, const char *name, int64_t channels,
                           int64_t context_width)
{
    module_name(a->name, "%s", name);
    bind_rows(b, name, attention_rows, sizeof attention_rows / sizeof *attention_rows, a,
              (int64_t[DIMS]){['c'] = channels, ['i'] = channels, ['x'] = context_width});
}

static void block_bind(struct transformer_block *block, struct binder *b, const char *name, int64_t channels,
                       int64_t cross_attention_dim)
{
    char part[MODULE_NAME];
    norm_bind(&block->norm1, b, module_name(part, "%s.norm1", name), channels);
    attention_bind(&block->attn1, b, module_name(part, "%s.attn1", name), channels, channels);
    norm_bind(&block->norm2, b, module_name(part, "%s.norm2", name), channels);
    attention_bind(&block->attn2, b, module_name(part, "%s.attn2", name), channels, cross_attention_dim);
    norm_bind(&block->norm3, b, module_name(part, "%s.norm3", name), channels);
    linear_bind(&block->ff_proj, b, module_name(part, "%s.ff.net.0.proj", name), channels, 8 * channels);
    linear_bind(&block->ff_out, b, module_name(part, "%s.ff.net.2", name), 4 * channels, channels);
    module_name(block->ff_name, "%s.ff", name);
}

void transformer_bind(struct transformer *t, struct binder *b, const char *name, int64_t channels, int64_t heads,
                      int64_t cross_attention_dim, int64_t groups, bool linear_projection,
                      struct transformer_block *blocks, int depth, int first_up_layer)
{
    char part[MODULE_NAME];
    void (*project_bind)(struct linear *, struct binder *, const char *, int64_t, int64_t) =
        linear_projection ? linear_bind : pointwise_bind;
    module_name(t->name, "%s", name);
    t->transformer_blocks = blocks;
    t->depth = depth;
    t->channels = channels;
    t->heads = heads;
    t->groups = groups;
    norm_bind(&t->norm, b, module_name(part, "%s.norm", name), channels);
    project_bind(&t->proj_in, b, module_name(part, "%s.proj_in", name), channels, channels);
    project_bind(&t->proj_out, b, module_name(part, "%s.proj_out", name), channels, channels);
    for (int i = 0; i < depth; i++) {
        blocks[i].up_layer = first_up_layer < 0 ? -1 : first_up_layer + i;
        block_bind(&blocks[i], b, module_name(part, "%s.transformer_blocks.%d", name, i), channels,
                   cross_attention_dim);
    }
}

/* The residual stream of a transformer block moves between two buffers, so that what a layer added can be looked at.
 */
static void observe_added(const struct context *ctx, const char *name, const float *after, const float *before,
                          int64_t n, int64_t tokens, int64_t c)
{
    if (ctx->observer == NULL)
        return;
    size_t mark = arena_mark(ctx->arena);
    float *added = arena_floats(ctx->arena, n * tokens * c);
    for (int64_t i = 0; i < n * tokens * c && !arena_measuring(ctx->arena); i++)
        added[i] = after[i] - before[i];
    observe(ctx, name, added, 3, (int64_t[]){n, tokens, c});
    arena_release(ctx->arena, mark);
}

/* One sample at a time: its queries against the keys that the hook, or plain self-attention, gives it. q becomes out.
 */
static void attend_to_sets(const struct context *ctx, const struct transformer *t, const struct attention_site *site,
                           float *q, const struct attention_hook *hook)
{
    int64_t tokens = site->h * site->w;
    for (int64_t i = 0; i < site->n; i++) {
        struct key_set sets[HOOK_KEY_SETS] = {
            {site->k + i * tokens * site->c, site->v + i * tokens * site->c, NULL, tokens}};
        int count = hook != NULL ? hook->key_sets(hook->self, site, i, sets) : 1;
        float *own = q + i * tokens * site->c;
        attention(ctx, &(struct attention){
                           .out = own,
                           .q = own,
                           .queries = tokens,
                           .heads = t->heads,
                           .d = site->c / t->heads,
                           .sets = sets,
                           .count = count,
                       });
    }
}

/* to = from + attn1(norm1 from) */
static void self_attention(const struct context *ctx, const struct transformer *t,
                           const struct transformer_block *block, float *to, const float *from, struct features shape,
                           const struct attention_hook *hook)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t rows = features_rows(shape), c = shape.c;
    float *hidden = arena_floats(ctx->arena, rows * c), *q = arena_floats(ctx->arena, rows * c);
    float *k = arena_floats(ctx->arena, rows * c), *v = arena_floats(ctx->arena, rows * c);
    layer_norm(ctx, hidden, from, rows, c, &block->norm1, 1e-5f);
    linear(ctx, q, hidden, rows, &block->attn1.to_q, (struct linear_options){0}); /* [n,h*w,c] */
    linear(ctx, k, hidden, rows, &block->attn1.to_k, (struct linear_options){0});
    linear(ctx, v, hidden, rows, &block->attn1.to_v, (struct linear_options){0});
    struct attention_site site = {block->up_layer, shape.n, shape.h, shape.w, c, hidden, k, v};
    const struct attention_hook *active = block->up_layer >= 0 ? hook : NULL;
    if (active != NULL)
        active->enter(active->self, ctx, &site);
    attend_to_sets(ctx, t, &site, q, active);
    linear(ctx, to, q, rows, &block->attn1.to_out, (struct linear_options){.residual = from});
    arena_release(ctx->arena, mark);
    observe_added(ctx, block->attn1.name, to, from, shape.n, shape.h * shape.w, c);
}

void text_keys(const struct context *ctx, const struct transformer_block *block, float *k, float *v,
               const float *states, int64_t tokens)
{
    struct context exact = context_float32(ctx); /* once per prompt, and used in every step: exact costs nothing */
    linear(&exact, k, states, tokens, &block->attn2.to_k, (struct linear_options){0});
    linear(&exact, v, states, tokens, &block->attn2.to_v, (struct linear_options){0});
}

/* The text of one sample: kept, or computed into k and v. */
static struct key_set text_of(const struct context *ctx, const struct transformer_block *block,
                              const struct text_input *text, int64_t sample, float *k, float *v)
{
    const struct tensor *weight = &block->attn2.to_k.weight;
    const float *kept = text->keys != NULL ? text->keys[sample] : NULL;
    if (kept != NULL) {
        const float *own = kept + block->text_at * text->tokens;
        return (struct key_set){own, own + weight->shape[0] * text->tokens, NULL, text->tokens};
    }
    text_keys(ctx, block, k, v, text->states + sample * text->tokens * weight->shape[1], text->tokens);
    return (struct key_set){k, v, NULL, text->tokens};
}

/* to = from + attn2(norm2 from, text) */
static void cross_attention(const struct context *ctx, const struct transformer *t,
                            const struct transformer_block *block, float *to, const float *from,
                            struct features shape, const struct text_input *text)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t rows = features_rows(shape), c = shape.c, own = shape.h * shape.w;
    float *q = arena_floats(ctx->arena, rows * c), *hidden = arena_floats(ctx->arena, rows * c);
    float *k = arena_floats(ctx->arena, text->tokens * c), *v = arena_floats(ctx->arena, text->tokens * c);
    layer_norm(ctx, hidden, from, rows, c, &block->norm2, 1e-5f);
    linear(ctx, q, hidden, rows, &block->attn2.to_q, (struct linear_options){0});
    for (int64_t i = 0; i < shape.n; i++) {
        struct key_set seen = text_of(ctx, block, text, i, k, v);
        attention(ctx, &(struct attention){
                           .out = q + i * own * c,
                           .q = q + i * own * c,
                           .queries = own,
                           .heads = t->heads,
                           .d = c / t->heads,
                           .sets = &seen,
                           .count = 1,
                       });
    }
    linear(ctx, to, q, rows, &block->attn2.to_out, (struct linear_options){.residual = from});
    arena_release(ctx->arena, mark);
    observe_added(ctx, block->attn2.name, to, from, shape.n, own, c);
}

/* to = from + ff(norm3 from),  ff = W2 GEGLU(W1 x) */
static void feed_forward(const struct context *ctx, const struct transformer_block *block, float *to,
                         const float *from, struct features shape)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t rows = features_rows(shape), c = shape.c;
    float *hidden = arena_floats(ctx->arena, rows * c), *inner = arena_floats(ctx->arena, rows * 4 * c);
    layer_norm(ctx, hidden, from, rows, c, &block->norm3, 1e-5f);
    linear(ctx, inner, hidden, rows, &block->ff_proj,
           (struct linear_options){.activation = ACT_GEGLU}); /* [n,h*w,4c] */
    linear(ctx, to, inner, rows, &block->ff_out, (struct linear_options){.residual = from});
    arena_release(ctx->arena, mark);
    observe_added(ctx, block->ff_name, to, from, shape.n, shape.h * shape.w, c);
}

void transformer_forward(const struct context *ctx, const struct transformer *t, struct features x,
                         const struct text_input *text, const struct attention_hook *hook)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t rows = features_rows(x);
    float *a = arena_floats(ctx->arena, rows * t->channels), *b = arena_floats(ctx->arena, rows * t->channels);
    char part[MODULE_NAME];
    group_norm(ctx, b, x, NULL, &t->norm, t->groups, 1e-6f, ACT_NONE);
    linear(ctx, a, b, rows, &t->proj_in, (struct linear_options){0}); /* [n,h*w,c], the same memory as [n,h,w,c] */
    observe_features(ctx, module_name(part, "%s.proj_in", t->name), (struct features){a, x.n, x.h, x.w, x.c});
    for (int i = 0; i < t->depth; i++) {
        const struct transformer_block *block = &t->transformer_blocks[i];
        self_attention(ctx, t, block, b, a, x, hook);
        cross_attention(ctx, t, block, a, b, x, text);
        feed_forward(ctx, block, b, a, x);
        float *swap = a;
        a = b;
        b = swap;
    }
    linear(ctx, x.x, a, rows, &t->proj_out, (struct linear_options){.residual = x.x});
    arena_release(ctx->arena, mark);
    observe_features(ctx, t->name, x);
}
