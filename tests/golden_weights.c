/* Prompt weights: what AUTOMATIC1111's web UI makes of a prompt (parse.json: pairs, ids and weights of each chunk),
 * and the states of both encoders for some (io*.safetensors). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/conditioning.h"
#include "tests/golden.h"

/* --------------------------------------------------------------------------------------------------- parse.json */

static bool same_pairs(const struct prompt_pairs *ours, const struct json *wanted)
{
    bool same = wanted != NULL && ours->count == wanted->count;
    for (size_t i = 0; same && i < ours->count; i++) {
        const struct json *pair = json_at(wanted, i);
        same = strcmp(json_string(json_at(pair, 0), ""), ours->items[i].text) == 0 &&
               json_double(json_at(pair, 1), 0) == ours->items[i].weight;
    }
    return same;
}

static bool same_chunks(const struct token_windows *ours, const struct json *wanted)
{
    bool same = wanted != NULL && ours->count == wanted->count;
    for (size_t i = 0; same && i < ours->count * TOKEN_WINDOW; i++) {
        const struct json *chunk = json_at(wanted, i / TOKEN_WINDOW);
        size_t at = i % TOKEN_WINDOW;
        same = json_int(json_at(json_get(chunk, "tokens"), at), -1) == ours->ids[i] &&
               (float)json_double(json_at(json_get(chunk, "weights"), at), 0) == ours->weights[i];
    }
    return same;
}

static void parse_case(struct golden *g, const char *path, const struct tokenizer *t, const struct json *c)
{
    const char *prompt = json_string(json_get(c, "prompt"), ""), *shown = prompt[0] ? prompt : "(empty)";
    struct prompt_pairs pairs = {0};
    struct token_windows windows = {0};
    struct error e = {0};
    char detail[64];
    status s = prompt_parse(prompt, &pairs, &e);
    if (json_get(c, "pairs") == NULL) {
        golden_check(g, path, shown, s != OK, s != OK ? "refused, as by the web UI" : "was accepted");
    } else if (s != OK) {
        golden_error(g, path, &e);
    } else {
        bool same = same_pairs(&pairs, json_get(c, "pairs"));
        snprintf(detail, sizeof detail, "%zu pairs: %s", pairs.count, same ? "exact" : "differ");
        golden_check(g, path, shown, same, detail);
        s = prompt_windows(t, &pairs, LONG_PROMPT_WINDOWS, &windows, &e);
        same = s == OK && same_chunks(&windows, json_get(c, "chunks"));
        snprintf(detail, sizeof detail, "%zu chunks: %s", windows.count, same ? "exact" : "differ");
        golden_check(g, path, shown, same, detail);
    }
    token_windows_free(&windows);
    prompt_pairs_free(&pairs);
}

static void parse_file(struct golden *g, const char *folder, const char *path)
{
    const struct json *root = NULL;
    struct tokenizer *t = NULL;
    struct error e = {0};
    char tokenizer[4096];
    status s = json_read(path, &root, &e);
    snprintf(tokenizer, sizeof tokenizer, "%s/%s/tokenizer", folder, json_string(json_get(root, "model"), "."));
    if (s == OK)
        s = tokenizer_open(tokenizer, NULL, &t, &e);
    const struct json *cases = json_get(root, "cases");
    for (const struct json *c = s == OK && cases != NULL ? cases->child : NULL; c != NULL; c = c->next)
        parse_case(g, path, t, c);
    if (s != OK)
        golden_error(g, path, &e);
    tokenizer_close(t);
    json_free(root);
}

/* ------------------------------------------------------------------------------------------------ io.safetensors */

struct states_case {
    struct golden *g;
    const char *path;
    struct model model;
    struct safetensors io;
    const struct json *prompts;
};

static const struct tensor *recorded(const struct states_case *c, int prompt, const char *name, char full[64])
{
    snprintf(full, 64, "%d.%s", prompt, name);
    return safetensors_find(&c->io, full);
}

static status compare_windows(const struct states_case *c, int i, const char *prompt, struct error *e)
{
    char name[64];
    for (int encoder = 0; encoder < 2; encoder++) {
        struct token_windows windows;
        struct prompt_reading reading = {LONG_PROMPT_WINDOWS, WEIGHTS_ON};
        TRY(conditioning_windows(&c->model, encoder, prompt, reading, &windows, e));
        int64_t count = (int64_t)windows.count * TOKEN_WINDOW;
        float *ids = malloc((size_t)count * sizeof *ids);
        for (int64_t k = 0; k < count; k++)
            ids[k] = (float)windows.ids[k];
        const struct tensor *t = recorded(c, i, encoder == 0 ? "ids_1" : "ids_2", name);
        if (t != NULL)
            golden_compare(c->g, c->path, name, t, ids, count, AS_IS, LIMIT_EXACT);
        t = encoder == 0 ? recorded(c, i, "weights", name) : NULL;
        if (t != NULL && windows.weights != NULL)
            golden_compare(c->g, c->path, name, t, windows.weights, count, AS_IS, 1e-7); /* doubles, as floats */
        free(ids);
        token_windows_free(&windows);
    }
    return OK;
}

/* Columns first .. first + count - 1 of the states. */
static void compare_columns(const struct states_case *c, const char *name, const struct tensor *wanted,
                            const struct conditioning *text, int64_t first, int64_t count)
{
    float *part = malloc((size_t)(text->tokens * count) * sizeof *part);
    for (int64_t row = 0; row < text->tokens; row++)
        memcpy(part + row * count, text->states + row * text->width + first, (size_t)count * sizeof *part);
    golden_compare(c->g, c->path, name, wanted, part, text->tokens * count, AS_IS, LIMIT_LAYER);
    free(part);
}

static status compare_states(const struct states_case *c, int i, const char *prompt, enum prompt_weights weights,
                             struct error *e)
{
    static const char *const suffixes[] = {[WEIGHTS_ON] = "", [WEIGHTS_NO_NORM] = ".nonorm"};
    struct context ctx = {.threads = c->g->threads};
    struct conditioning text;
    struct prompt_reading reading = {LONG_PROMPT_WINDOWS, weights};
    char name[64], part[32];
    int64_t C1 = c->model.text_encoder.config.hidden_size, C2 = c->model.text_encoder_2.config.hidden_size;
    TRY(conditioning_encode(&ctx, &c->model, &prompt, 1, reading, &text, e));
    for (int encoder = 0; encoder < 2; encoder++) {
        snprintf(part, sizeof part, "states_%d%s", encoder + 1, suffixes[weights]);
        const struct tensor *wanted = recorded(c, i, part, name);
        if (wanted != NULL)
            compare_columns(c, name, wanted, &text, encoder == 0 ? 0 : C1, encoder == 0 ? C1 : C2);
    }
    const struct tensor *pooled = weights == WEIGHTS_ON ? recorded(c, i, "pooled", name) : NULL;
    if (pooled != NULL)
        golden_compare(c->g, c->path, name, pooled, text.pooled, text.pooled_width, AS_IS, LIMIT_LAYER);
    conditioning_free(&text);
    return OK;
}

static status run(struct states_case *c, const char *folder, struct error *e)
{
    char model[4096];
    TRY(safetensors_open(c->path, &c->io, e));
    const char *other = safetensors_meta(&c->io, "model"), *prompts = safetensors_meta(&c->io, "prompts");
    TRY(golden_model(c->g, folder, other != NULL ? other : "", model, e));
    TRY(model_open(&c->model, model, e));
    if (prompts == NULL)
        return fail(e, ERR_FORMAT, "%s: no \"prompts\" in its metadata", c->path);
    TRY(json_parse("prompts", prompts, strlen(prompts), &c->prompts, e));
    for (size_t i = 0; i < c->prompts->count; i++) {
        const char *prompt = json_string(json_at(c->prompts, i), "");
        TRY(compare_windows(c, (int)i, prompt, e));
        TRY(compare_states(c, (int)i, prompt, WEIGHTS_ON, e));
        TRY(compare_states(c, (int)i, prompt, WEIGHTS_NO_NORM, e));
    }
    return OK;
}

static void states_file(struct golden *g, const char *folder, const char *path)
{
    struct states_case c = {.g = g, .path = path};
    struct error e = {0};
    if (run(&c, folder, &e) != OK)
        golden_error(g, path, &e);
    json_free(c.prompts);
    model_close(&c.model);
    safetensors_close(&c.io);
}

void golden_weights(struct golden *g, const char *folder)
{
    golden_files(g, folder, "", ".json", parse_file);
    golden_files(g, folder, "io", ".safetensors", states_file);
}
