#include "sdxl/conditioning.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/gemm.h"

/* One tokenizer and encoder over all prompts. */
struct encoding {
    const struct clip *clip;
    int32_t *ids;       /* [count * windows, 77] */
    float *penultimate; /* [count * windows, 77, C] */
    float *pooled;      /* [count * windows, P], or NULL */
    int64_t rows;       /* count * windows */
};

static void encode(void *self, const struct context *ctx)
{
    const struct encoding *e = self;
    clip_encode(ctx, e->clip, e->ids, e->rows, e->penultimate, e->pooled);
}

static status tokenize_all(const struct tokenizer *t, const char *const *prompts, int64_t count,
                           enum long_prompt mode, struct token_windows *windows, size_t *most, struct error *e)
{
    for (int64_t i = 0; i < count; i++) {
        TRY(tokenizer_windows(t, prompts[i] ? prompts[i] : "", mode, &windows[i], e));
        *most = windows[i].count > *most ? windows[i].count : *most;
    }
    return OK;
}

static status run_encoder(const struct context *ctx, const struct tokenizer *t, const struct clip *clip,
                          const struct token_windows *windows, int64_t count, size_t most, bool pooled,
                          struct encoding *out, struct error *e)
{
    int64_t rows = count * (int64_t)most, C = clip->config.hidden_size;
    int64_t P = clip->config.projection_dim > 0 ? clip->config.projection_dim : C;
    *out = (struct encoding){.clip = clip, .rows = rows};
    out->ids = malloc((size_t)(rows * TOKEN_WINDOW) * sizeof *out->ids);
    out->penultimate = malloc((size_t)(rows * TOKEN_WINDOW * C) * sizeof(float));
    out->pooled = pooled ? malloc((size_t)(rows * P) * sizeof(float)) : NULL;
    if (out->ids == NULL || out->penultimate == NULL || (pooled && out->pooled == NULL))
        return fail(e, ERR_MEMORY, "not enough memory to encode %lld prompts", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        int32_t *ids = out->ids + i * (int64_t)most * TOKEN_WINDOW;
        memcpy(ids, windows[i].ids, windows[i].count * TOKEN_WINDOW * sizeof *ids);
        for (size_t w = windows[i].count; w < most; w++)
            tokenizer_empty_window(t, ids + w * TOKEN_WINDOW);
    }
    TRY(clip_check_ids(clip, out->ids, rows * TOKEN_WINDOW, e));

    return work_run(ctx, (struct work){encode, out, "encoding the prompts"}, e);
}

static void encoding_free(struct encoding *e)
{
    free(e->ids);
    free(e->penultimate);
    free(e->pooled);
}

/* Both encoders' states side by side; absent prompts become zeros where the model wants that. */
static status assemble(const struct model *m, const char *const *prompts, const struct encoding *one,
                       const struct encoding *two, struct conditioning *out, struct error *e)
{
    int64_t C1 = one->clip->config.hidden_size, C2 = two->clip->config.hidden_size, rows = out->count * out->tokens;
    int64_t windows = out->tokens / TOKEN_WINDOW;
    out->states = malloc((size_t)(rows * out->width) * sizeof(float));
    out->pooled = malloc((size_t)(out->count * out->pooled_width) * sizeof(float));
    if (out->states == NULL || out->pooled == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the text states of %lld prompts", (long long)out->count);
    for (int64_t row = 0; row < rows; row++) {
        memcpy(out->states + row * out->width, one->penultimate + row * C1, (size_t)C1 * sizeof(float));
        memcpy(out->states + row * out->width + C1, two->penultimate + row * C2, (size_t)C2 * sizeof(float));
    }
    for (int64_t i = 0; i < out->count; i++) {
        float *pooled = out->pooled + i * out->pooled_width, *states = out->states + i * out->tokens * out->width;
        memcpy(pooled, two->pooled + i * windows * out->pooled_width, (size_t)out->pooled_width * sizeof(float));
        if (prompts[i] == NULL && m->force_zeros_for_empty_prompt) {
            memset(pooled, 0, (size_t)out->pooled_width * sizeof(float));
            memset(states, 0, (size_t)(out->tokens * out->width) * sizeof(float));
        }
    }
    return OK;
}

static void windows_free(struct token_windows *windows, int64_t count)
{
    for (int64_t i = 0; windows != NULL && i < count; i++)
        token_windows_free(&windows[i]);
    free(windows);
}

status conditioning_encode(const struct context *ctx, const struct model *m, const char *const *prompts,
                           int64_t count, enum long_prompt mode, struct conditioning *out, struct error *e)
{
    struct token_windows *first = calloc((size_t)count, sizeof *first),
                         *second = calloc((size_t)count, sizeof *second);
    struct encoding one = {0}, two = {0};
    size_t most = 1;
    *out = (struct conditioning){.count = count,
                                 .width = m->text_encoder.config.hidden_size + m->text_encoder_2.config.hidden_size,
                                 .pooled_width = m->text_encoder_2.config.projection_dim};
    status s =
        first && second ? gemm_ready(e) : fail(e, ERR_MEMORY, "not enough memory for %lld prompts", (long long)count);
    if (s == OK)
        s = tokenize_all(m->tokenizer, prompts, count, mode, first, &most, e);
    if (s == OK)
        s = tokenize_all(m->tokenizer_2, prompts, count, mode, second, &most, e);
    if (s == OK)
        s = run_encoder(ctx, m->tokenizer, &m->text_encoder, first, count, most, false, &one, e);
    if (s == OK)
        s = run_encoder(ctx, m->tokenizer_2, &m->text_encoder_2, second, count, most, true, &two, e);
    out->tokens = (int64_t)most * TOKEN_WINDOW;
    if (s == OK)
        s = assemble(m, prompts, &one, &two, out, e);
    encoding_free(&one);
    encoding_free(&two);
    windows_free(first, count);
    windows_free(second, count);
    if (s != OK)
        conditioning_free(out);
    return s;
}

void conditioning_free(struct conditioning *c)
{
    free(c->states);
    free(c->pooled);
    *c = (struct conditioning){0};
}

status conditioning_count_tokens(const struct model *m, const char *prompt, enum long_prompt mode, size_t *total,
                                 size_t *cut, struct error *e)
{
    struct token_windows windows;
    TRY(tokenizer_windows(m->tokenizer, prompt, mode, &windows, e));
    *total = windows.total;
    *cut = windows.cut;
    token_windows_free(&windows);
    return OK;
}

void conditioning_time_ids(int64_t height, int64_t width, float time_ids[6])
{
    float values[6] = {(float)height, (float)width, 0, 0, (float)height, (float)width};
    memcpy(time_ids, values, sizeof values);
}
