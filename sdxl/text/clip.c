#include "sdxl/text/clip.h"

#include <stdlib.h>
#include <string.h>

#include "nn/attention.h"

/* ------------------------------------------------------------------------------------------------------ binding */

static const struct binding embedding_rows[] = {
    {"token_embedding.weight", offsetof(struct clip, token_embedding), "vc", NULL, false},
    {"position_embedding.weight", offsetof(struct clip, position_embedding), "pc", NULL, false},
};

static const struct binding projection_rows[] = {
    {"weight", offsetof(struct linear, weight), "oi", NULL, false},
};

static void bind_layer(struct clip_layer *layer, struct binder *b, int index, const struct clip_config *c)
{
    int64_t C = c->hidden_size, F = c->intermediate_size;
    char part[MODULE_NAME];
    module_name(layer->name, "text_model.encoder.layers.%d", index);
    norm_bind(&layer->layer_norm1, b, module_name(part, "%s.layer_norm1", layer->name), C);
    linear_bind(&layer->q_proj, b, module_name(part, "%s.self_attn.q_proj", layer->name), C, C);
    linear_bind(&layer->k_proj, b, module_name(part, "%s.self_attn.k_proj", layer->name), C, C);
    linear_bind(&layer->v_proj, b, module_name(part, "%s.self_attn.v_proj", layer->name), C, C);
    linear_bind(&layer->out_proj, b, module_name(part, "%s.self_attn.out_proj", layer->name), C, C);
    norm_bind(&layer->layer_norm2, b, module_name(part, "%s.layer_norm2", layer->name), C);
    linear_bind(&layer->fc1, b, module_name(part, "%s.mlp.fc1", layer->name), C, F);
    linear_bind(&layer->fc2, b, module_name(part, "%s.mlp.fc2", layer->name), F, C);
}

static void bind_all(struct clip *c, struct binder *b)
{
    const struct clip_config *config = &c->config;
    bind_rows(b, "text_model.embeddings", embedding_rows, 2, c,
              (int64_t[DIMS]){['v'] = config->vocab_size, ['p'] = config->positions, ['c'] = config->hidden_size});
    for (int i = 0; i < config->layers; i++)
        bind_layer(&c->layers[i], b, i, config);
    norm_bind(&c->final_layer_norm, b, "text_model.final_layer_norm", config->hidden_size);
    if (config->projection_dim > 0)
        bind_rows(b, "text_projection", projection_rows, 1, &c->text_projection,
                  (int64_t[DIMS]){['o'] = config->projection_dim, ['i'] = config->hidden_size});
}

status clip_bind(struct clip *c, struct weights *weights, const struct clip_config *config, struct error *e)
{
    *c = (struct clip){.config = *config, .weights = *weights};
    *weights = (struct weights){0};
    c->layers = calloc((size_t)config->layers, sizeof *c->layers);
    status s = c->layers ? OK : fail(e, ERR_MEMORY, "%s: out of memory", c->weights.file->path);
    if (s == OK) {
        struct binder b = {.weights = &c->weights};
        bind_all(c, &b);
        s = bind_finish(&b, e);
    }
    if (s != OK)
        clip_close(c);
    return s;
}

status clip_open(struct clip *c, const char *weights_path, const struct clip_config *config, struct error *e)
{
    struct weights weights;
    *c = (struct clip){0};
    TRY(weights_open(weights_path, &weights, e));
    return clip_bind(c, &weights, config, e);
}

status clip_list(const struct clip_config *config, const struct tensor_visitor *visitor, struct error *e)
{
    struct clip c = {.config = *config};
    c.layers = calloc((size_t)config->layers, sizeof *c.layers);
    if (c.layers == NULL)
        return fail(e, ERR_MEMORY, "the list of a text encoder's tensors: out of memory");
    bind_all(&c, &(struct binder){.visitor = visitor});
    free(c.layers);
    return OK;
}

void clip_close(struct clip *c)
{
    weights_close(&c->weights);
    free(c->layers);
    *c = (struct clip){0};
}

/* ------------------------------------------------------------------------------------------------------ forward */

status clip_check_ids(const struct clip *c, const int32_t *ids, int64_t count, struct error *e)
{
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= c->config.vocab_size)
            return fail(e, ERR_FORMAT,
                        "%s: the tokenizer made id %d, but token_embedding has %lld rows: tokenizer and text "
                        "encoder do not belong together",
                        c->weights.file->path, ids[i], (long long)c->config.vocab_size);
    return OK;
}

/* x[i, p] = token_embedding[id] + position_embedding[p] */
static void embed(const struct clip *c, const int32_t *ids, int64_t n, float *x, float *position)
{
    int64_t C = c->config.hidden_size, T = c->config.positions;
    tensor_read(&c->position_embedding, 0, T * C, position);
    for (int64_t i = 0; i < n * T; i++, x += C) {
        tensor_read(&c->token_embedding, ids[i] * C, C, x);
        for (int64_t j = 0; j < C; j++)
            x[j] += position[i % T * C + j];
    }
}

/* x += self_attn(layer_norm1 x);  x += mlp(layer_norm2 x) */
static void run_layer(const struct context *ctx, const struct clip *c, const struct clip_layer *layer, float *x,
                      int64_t n)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t C = c->config.hidden_size, T = c->config.positions, rows = n * T;
    float eps = c->config.layer_norm_eps;
    float *h = arena_floats(ctx->arena, rows * C),
          *inner = arena_floats(ctx->arena, rows * c->config.intermediate_size);
    float *q = arena_floats(ctx->arena, rows * C), *k = arena_floats(ctx->arena, rows * C);
    float *v = arena_floats(ctx->arena, rows * C);
    layer_norm(ctx, h, x, rows, C, &layer->layer_norm1, eps);
    linear(ctx, q, h, rows, &layer->q_proj, (struct linear_options){0});
    linear(ctx, k, h, rows, &layer->k_proj, (struct linear_options){0});
    linear(ctx, v, h, rows, &layer->v_proj, (struct linear_options){0});
    for (int64_t i = 0; i < n; i++) {
        struct key_set own = {k + i * T * C, v + i * T * C, NULL, T};
        attention(ctx, &(struct attention){
                           .out = q + i * T * C,
                           .q = q + i * T * C,
                           .queries = T,
                           .heads = c->config.heads,
                           .d = C / c->config.heads,
                           .sets = &own,
                           .count = 1,
                           .span = ATTEND_PAST,
                       });
    }
    linear(ctx, x, q, rows, &layer->out_proj, (struct linear_options){.residual = x});
    layer_norm(ctx, h, x, rows, C, &layer->layer_norm2, eps);
    linear(ctx, inner, h, rows, &layer->fc1, (struct linear_options){.activation = c->config.activation});
    linear(ctx, x, inner, rows, &layer->fc2, (struct linear_options){.residual = x});
    arena_release(ctx->arena, mark);
}

static int64_t end_token(const struct clip *c, const int32_t *ids)
{
    int64_t end = 0;
    for (int64_t i = 0; i < c->config.positions && c->config.eos_token_id != 2; i++)
        if (ids[i] == c->config.eos_token_id)
            return i;
    for (int64_t i = 1; i < c->config.positions; i++)
        end = ids[i] > ids[end] ? i : end;
    return end;
}

/* pooled = text_projection(final_layer_norm(x) at the end token) */
static void pool(const struct context *ctx, const struct clip *c, const int32_t *ids, int64_t n, const float *x,
                 float *pooled)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t C = c->config.hidden_size, T = c->config.positions;
    float *last = arena_floats(ctx->arena, n * T * C), *ends = arena_floats(ctx->arena, n * C);
    layer_norm(ctx, last, x, n * T, C, &c->final_layer_norm, c->config.layer_norm_eps);
    observe(ctx, "last_hidden_state", last, 3, (int64_t[]){n, T, C});
    for (int64_t i = 0; i < n && !arena_measuring(ctx->arena); i++)
        memcpy(ends + i * C, last + (i * T + end_token(c, ids + i * T)) * C, (size_t)C * sizeof(float));
    observe(ctx, "pooled", ends, 2, (int64_t[]){n, C});
    if (c->text_projection.weight.data != NULL)
        linear(ctx, pooled, ends, n, &c->text_projection, (struct linear_options){0});
    else if (!arena_measuring(ctx->arena))
        memcpy(pooled, ends, (size_t)(n * C) * sizeof(float));
    arena_release(ctx->arena, mark);
}

void clip_encode_last(const struct context *ctx, const struct clip *c, const int32_t *ids, int64_t n, float *states)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t C = c->config.hidden_size, T = c->config.positions;
    float *x = arena_floats(ctx->arena, n * T * C), *position = arena_floats(ctx->arena, T * C);
    if (!arena_measuring(ctx->arena))
        embed(c, ids, n, x, position);
    for (int i = 0; i < c->config.layers; i++)
        run_layer(ctx, c, &c->layers[i], x, n);
    layer_norm(ctx, states, x, n * T, C, &c->final_layer_norm, c->config.layer_norm_eps);
    observe(ctx, "last_hidden_state", states, 3, (int64_t[]){n, T, C});
    arena_release(ctx->arena, mark);
}

void clip_encode(const struct context *ctx, const struct clip *c, const int32_t *ids, int64_t n, float *penultimate,
                 float *pooled)
{
    size_t mark = arena_mark(ctx->arena);
    int64_t C = c->config.hidden_size, T = c->config.positions;
    float *x = arena_floats(ctx->arena, n * T * C), *position = arena_floats(ctx->arena, T * C);
    char name[MODULE_NAME];
    if (!arena_measuring(ctx->arena))
        embed(c, ids, n, x, position);
    for (int i = 0; i < c->config.layers; i++) {
        if (i == c->config.layers - 1) {
            if (!arena_measuring(ctx->arena))
                memcpy(penultimate, x, (size_t)(n * T * C) * sizeof(float));
            if (pooled == NULL) /* the last layer only serves the pooled vector */
                break;
        }
        run_layer(ctx, c, &c->layers[i], x, n);
        observe(ctx, module_name(name, "hidden_states.%d", i + 1), x, 3, (int64_t[]){n, T, C});
    }
    if (pooled != NULL)
        pool(ctx, c, ids, n, x, pooled);
    arena_release(ctx->arena, mark);
}
