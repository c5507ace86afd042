#include "sdxl/conditioning.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/gemm.h"

const char *const prompt_weights_names[] = {"off", "on", "no_norm", NULL};

/* One encoder over all prompts. */
struct encoding {
    const struct clip *clip;
    enum model_family family;
    int32_t *ids;   /* [count * windows, 77] */
    float *states;  /* [count * windows, 77, C] */
    float *pooled;  /* [count * windows, P], or NULL */
    int64_t rows;   /* count * windows */
};

static void encode(void *self, const struct context *ctx)
{
    const struct encoding *e = self;
    if (e->family == MODEL_SD15)
        clip_encode_last(ctx, e->clip, e->ids, e->rows, e->states);
    else
        clip_encode(ctx, e->clip, e->ids, e->rows, e->states, e->pooled);
}

/* ------------------------------------------------------------------------------------------------------- windows
 */

status conditioning_windows(const struct model *m, int encoder, const char *prompt, struct prompt_reading reading,
                            struct token_windows *out, struct error *e)
{
    const struct tokenizer *first = m->tokenizer, *t = encoder == 0 ? first : m->tokenizer_2;
    struct prompt_pairs pairs = {0};
    *out = (struct token_windows){0};
    if (reading.weights != WEIGHTS_OFF)
        TRY(prompt_parse(prompt, &pairs, e));
    status s = pairs.count == 0 || prompt_is_plain(&pairs, prompt)
                   ? tokenizer_windows(t, prompt, reading.long_prompt, out, e)
                   : prompt_windows(first, &pairs, reading.long_prompt, out, e);
    prompt_pairs_free(&pairs);
    for (size_t w = 0; s == OK && t != first && out->weights != NULL && w < out->count; w++) {
        int32_t *ids = out->ids + w * TOKEN_WINDOW;
        size_t end = 1;
        while (ids[end] != tokenizer_end(first) && end < TOKEN_WINDOW - 1)
            end++;
        while (++end < TOKEN_WINDOW)
            ids[end] = tokenizer_pad(t);
    }
    return s;
}

static status read_prompts(const struct model *m, int encoder, const char *const *prompts, int64_t count,
                           struct prompt_reading reading, struct token_windows *windows, size_t *most,
                           struct error *e)
{
    for (int64_t i = 0; i < count; i++) {
        TRY(conditioning_windows(m, encoder, prompts[i] ? prompts[i] : "", reading, &windows[i], e));
        *most = windows[i].count > *most ? windows[i].count : *most;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------------ encoding
 */

static void weigh(const struct encoding *e, const struct token_windows *windows, int64_t count, size_t most,
                  enum prompt_weights mode)
{
    int64_t C = e->clip->config.hidden_size;
    for (int64_t i = 0; i < count; i++)
        for (size_t w = 0; windows[i].weights != NULL && w < windows[i].count; w++)
            prompt_weigh(e->states + (i * (int64_t)most + (int64_t)w) * TOKEN_WINDOW * C,
                         windows[i].weights + w * TOKEN_WINDOW, C, mode == WEIGHTS_ON);
}

static status run_encoder(const struct context *ctx, const struct tokenizer *t, const struct clip *clip,
                          const struct token_windows *windows, int64_t count, size_t most, struct encoding *out,
                          struct error *e)
{
    int64_t rows = count * (int64_t)most, C = clip->config.hidden_size, P = clip->config.projection_dim;
    out->clip = clip;
    out->rows = rows;
    out->ids = malloc((size_t)(rows * TOKEN_WINDOW) * sizeof *out->ids);
    out->states = malloc((size_t)(rows * TOKEN_WINDOW * C) * sizeof(float));
    out->pooled = P > 0 ? malloc((size_t)(rows * P) * sizeof(float)) : NULL;
    if (out->ids == NULL || out->states == NULL || (P > 0 && out->pooled == NULL))
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
    free(e->states);
    free(e->pooled);
}

/* All encoders' states side by side; absent prompts become zeros where the model wants that. */
static status assemble(const struct model *m, const char *const *prompts, const struct encoding *encodings,
                       int encoders, struct conditioning *out, struct error *e)
{
    int64_t rows = out->count * out->tokens, windows = out->tokens / TOKEN_WINDOW, P = out->pooled_width;
    out->states = malloc((size_t)(rows * out->width) * sizeof(float));
    out->pooled = malloc((size_t)(out->count * P + 1) * sizeof(float));
    if (out->states == NULL || out->pooled == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the text states of %lld prompts", (long long)out->count);
    for (int64_t row = 0; row < rows; row++) {
        float *to = out->states + row * out->width;
        for (int k = 0; k < encoders; k++) {
            int64_t C = encodings[k].clip->config.hidden_size;
            memcpy(to, encodings[k].states + row * C, (size_t)C * sizeof(float));
            to += C;
        }
    }
    for (int64_t i = 0; i < out->count; i++) {
        float *pooled = out->pooled + i * P, *states = out->states + i * out->tokens * out->width;
        if (P > 0)
            memcpy(pooled, encodings[encoders - 1].pooled + i * windows * P, (size_t)P * sizeof(float));
        if (prompts[i] == NULL && m->force_zeros_for_empty_prompt) {
            memset(pooled, 0, (size_t)P * sizeof(float));
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
                           int64_t count, struct prompt_reading reading, struct conditioning *out, struct error *e)
{
    const struct tokenizer *const tokenizers[] = {m->tokenizer, m->tokenizer_2};
    const struct clip *const clips[] = {&m->text_encoder, &m->text_encoder_2};
    int encoders = m->family == MODEL_SDXL ? 2 : 1;
    struct token_windows *windows[2] = {NULL};
    struct encoding encodings[2] = {{.family = m->family}, {.family = m->family}};
    size_t most = 1;
    *out = (struct conditioning){.count = count,
                                 .width = m->text_encoder.config.hidden_size + m->text_encoder_2.config.hidden_size,
                                 .pooled_width = m->text_encoder_2.config.projection_dim};
    status s = gemm_ready(e);
    for (int k = 0; k < encoders && s == OK; k++) {
        windows[k] = calloc((size_t)count, sizeof **windows);
        s = windows[k] != NULL
                ? read_prompts(m, k, prompts, count, reading, windows[k], &most, e)
                : fail(e, ERR_MEMORY, "not enough memory for %lld prompts", (long long)count);
    }
    for (int k = 0; k < encoders && s == OK; k++) {
        s = run_encoder(ctx, tokenizers[k], clips[k], windows[k], count, most, &encodings[k], e);
        if (s == OK)
            weigh(&encodings[k], windows[k], count, most, reading.weights);
    }
    out->tokens = (int64_t)most * TOKEN_WINDOW;
    if (s == OK)
        s = assemble(m, prompts, encodings, encoders, out, e);
    for (int k = 0; k < encoders; k++) {
        encoding_free(&encodings[k]);
        windows_free(windows[k], count);
    }
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

status conditioning_count_tokens(const struct model *m, const char *prompt, struct prompt_reading reading,
                                 size_t *total, size_t *cut, struct error *e)
{
    *total = *cut = 0;
    for (int encoder = 0; encoder < (m->family == MODEL_SDXL ? 2 : 1); encoder++) {
        struct token_windows windows;
        TRY(conditioning_windows(m, encoder, prompt, reading, &windows, e));
        *total = windows.total > *total ? windows.total : *total;
        *cut = windows.cut > *cut ? windows.cut : *cut;
        token_windows_free(&windows);
    }
    return OK;
}

void conditioning_time_ids(int64_t height, int64_t width, float time_ids[6])
{
    float values[6] = {(float)height, (float)width, 0, 0, (float)height, (float)width};
    memcpy(time_ids, values, sizeof values);
}
