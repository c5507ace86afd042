#include "sdxl/text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ID = 1 << 24 };

/* What a name, or an id, stands for so far: -1 or NULL if for nothing. */
static int32_t id_of(const struct vocabulary *v, const struct added_tokens *tokens, const char *name, size_t length)
{
    for (int i = 0; i < tokens->count; i++)
        if (tokens->items[i].length == length && memcmp(tokens->items[i].name, name, length) == 0)
            return tokens->items[i].id;
    return vocabulary_find(v, name, length);
}

static bool is_taken(const struct vocabulary *v, const struct added_tokens *tokens, int64_t id)
{
    for (int i = 0; i < tokens->count; i++)
        if (tokens->items[i].id == id)
            return true;
    return id < v->size;
}

static status add(const char *folder, const struct vocabulary *v, const char *name, int64_t id,
                  struct added_tokens *tokens, struct error *e)
{
    size_t length = strlen(name);
    if (length == 0 || length > ADDED_TOKEN_BYTES || id < 0 || id >= MAX_ID)
        return fail(e, ERR_FORMAT,
                    "%s: the added token \"%.60s\" with id %lld: tokens have 1 to %d bytes, ids are below %d", folder,
                    name, (long long)id, ADDED_TOKEN_BYTES, MAX_ID);
    int32_t before = id_of(v, tokens, name, length);
    if (before != id && (before >= 0 || is_taken(v, tokens, id)))
        return fail(e, ERR_FORMAT, "%s: the added token \"%.60s\" has id %lld, but %s already", folder, name,
                    (long long)id, before >= 0 ? "it has another" : "another token has that");
    if (before < 0 && tokens->count == ADDED_TOKENS_MAX)
        return fail(e, ERR_FORMAT, "%s: more than %d added tokens", folder, ADDED_TOKENS_MAX);
    for (int i = 0; i < tokens->count; i++)
        if (tokens->items[i].id == id)
            return OK; /* both lists have it */
    char *copy = strdup(name);
    if (copy == NULL)
        return fail(e, ERR_MEMORY, "%s: not enough memory for its added tokens", folder);
    tokens->items[tokens->count++] = (struct added_token){copy, length, (int32_t)id};
    tokens->size = id >= tokens->size ? (int32_t)id + 1 : tokens->size;
    return OK;
}

/* {"<sks>": 49408} */
static status read_added(const char *folder, const struct vocabulary *v, const struct json *added,
                         struct added_tokens *tokens, struct error *e)
{
    if (added != NULL && added->kind != JSON_OBJECT)
        return fail(e, ERR_FORMAT, "%s: added_tokens.json is not an object of ids", folder);
    for (const struct json *t = added != NULL ? added->child : NULL; t != NULL; t = t->next) {
        if (!t->is_integer)
            return fail(e, ERR_FORMAT, "%s: added_tokens.json: \"%.60s\" has no id", folder, t->key);
        TRY(add(folder, v, t->key, t->integer, tokens, e));
    }
    return OK;
}

/* {"49408": {"content": "<sks>"}} */
static status read_decoder(const char *folder, const struct vocabulary *v, const struct json *decoder,
                           struct added_tokens *tokens, struct error *e)
{
    if (decoder != NULL && decoder->kind != JSON_OBJECT)
        return fail(e, ERR_FORMAT, "%s: \"added_tokens_decoder\" is not an object", folder);
    for (const struct json *t = decoder != NULL ? decoder->child : NULL; t != NULL; t = t->next) {
        char *end;
        long long id = strtoll(t->key, &end, 10);
        const char *name = json_string(json_get(t, "content"), "");
        if (end == t->key || *end != '\0')
            return fail(e, ERR_FORMAT, "%s: \"added_tokens_decoder\": \"%.60s\" is no id", folder, t->key);
        if (json_bool(json_get(t, "single_word"), false))
            return fail(e, ERR_FORMAT, "%s: the added token \"%.60s\" is \"single_word\": that is not supported",
                        folder, name);
        TRY(add(folder, v, name, id, tokens, e));
    }
    return OK;
}

status added_tokens_read(const char *folder, const struct vocabulary *v, const struct json *added,
                         const struct json *decoder, struct added_tokens *tokens, struct error *e)
{
    *tokens = (struct added_tokens){.size = v->size};
    size_t most = ADDED_TOKENS_MAX;
    if (added == NULL && decoder == NULL)
        return OK;
    tokens->items = calloc(most, sizeof *tokens->items);
    status s = tokens->items != NULL ? OK : fail(e, ERR_MEMORY, "%s: not enough memory for its added tokens", folder);
    if (s == OK)
        s = read_added(folder, v, added, tokens, e);
    if (s == OK)
        s = read_decoder(folder, v, decoder, tokens, e);
    if (s != OK)
        added_tokens_free(tokens);
    return s;
}

void added_tokens_free(struct added_tokens *tokens)
{
    for (int i = 0; i < tokens->count; i++)
        free(tokens->items[i].name);
    free(tokens->items);
    *tokens = (struct added_tokens){0};
}

const struct added_token *added_tokens_at(const struct added_tokens *tokens, const char *text)
{
    const struct added_token *longest = NULL;
    for (int i = 0; i < tokens->count; i++) {
        const struct added_token *t = &tokens->items[i];
        if (t->name[0] == text[0] && strncmp(text, t->name, t->length) == 0 &&
            (longest == NULL || t->length > longest->length))
            longest = t;
    }
    return longest;
}
