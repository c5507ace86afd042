#include "sdxl/hints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tensor/text.h"

enum kind { TEXT, NUMBER, INTEGER, FLAG, WORDS };

static const struct member {
    const char *key;
    enum kind kind;
    size_t offset;
    double least, most;
    const char *takes;
} members[] = {
    {"note", TEXT, offsetof(struct model_hints, note), 0, 0, "a text"},
    {"sampling_steps", INTEGER, offsetof(struct model_hints, sampling_steps), 1, 1000, "a whole number from 1 to 1000"},
    {"guidance_scale", NUMBER, offsetof(struct model_hints, guidance_scale), 0, 100, "a number from 0 to 100"},
    {"eta", NUMBER, offsetof(struct model_hints, eta), 0, 1, "a number from 0 to 1"},
    {"pixels", INTEGER, offsetof(struct model_hints, pixels), 8, 8192, "a whole number from 8 to 8192"},
    {"figures", INTEGER, offsetof(struct model_hints, figures), 1, 64, "a whole number from 1 to 64"},
    {"nobody", FLAG, offsetof(struct model_hints, somebody), 0, 0, "true or false"},
    {"words", WORDS, offsetof(struct model_hints, words), 0, 0, "a list of words, each without blanks"},
};

static bool is_word(const struct json *v)
{
    return v->kind == JSON_STRING && v->string_length > 0 && v->string_length < 64 &&
           strlen(v->string) == v->string_length && strpbrk(v->string, " \t\r\n") == NULL;
}

/* False: that is no list of words. */
static bool read_words(const struct json *list, struct text *words)
{
    for (const struct json *v = list->child; v != NULL; v = v->next) {
        if (!is_word(v))
            return false;
        text_append(words, "%s%s\n", words->length == 0 ? "\n" : "", v->string);
    }
    return list->kind == JSON_ARRAY;
}

static bool read_member(const struct member *m, const struct json *v, void *place)
{
    bool in_range = v->kind == JSON_NUMBER && v->number >= m->least && v->number <= m->most;
    struct text words = {0};
    switch (m->kind) {
    case TEXT:
        snprintf(place, sizeof((struct model_hints *)0)->note, "%s", json_string(v, ""));
        return v->kind == JSON_STRING;
    case NUMBER: *(double *)place = v->number; return in_range;
    case INTEGER: *(int *)place = in_range && v->is_integer ? (int)v->integer : 0; return in_range && v->is_integer;
    case FLAG: *(bool *)place = v->kind == JSON_FALSE; return v->kind == JSON_FALSE || v->kind == JSON_TRUE;
    case WORDS:
        if (read_words(v, &words) && !words.failed) {
            *(char **)place = words.data;
            return true;
        }
        text_free(&words);
        return false;
    }
    return false;
}

static const struct member *find_member(const char *key)
{
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (strcmp(members[i].key, key) == 0)
            return &members[i];
    return NULL;
}

status model_hints_read(const char *path, const struct json *value, struct model_hints *hints, struct error *e)
{
    *hints = (struct model_hints){0};
    if (value != NULL && value->kind != JSON_OBJECT)
        return fail(e, ERR_FORMAT, "%s: \"_storydiff\" is not an object", path);
    for (const struct json *v = value != NULL ? value->child : NULL; v != NULL; v = v->next) {
        const struct member *m = find_member(v->key);
        if (m == NULL && hints->unknown[0] == '\0')
            snprintf(hints->unknown, sizeof hints->unknown, "%s", v->key);
        if (m == NULL || read_member(m, v, (char *)hints + m->offset))
            continue;
        model_hints_free(hints);
        return fail(e, ERR_FORMAT, "%s: \"%s\" in \"_storydiff\": it takes %s", path, m->key, m->takes);
    }
    return OK;
}

void model_hints_free(struct model_hints *hints)
{
    free(hints->words);
    *hints = (struct model_hints){0};
}

bool model_hints_know(const struct model_hints *hints, const char *word, size_t length)
{
    for (const char *line = hints->words; line != NULL && *++line != '\0'; line += strcspn(line, "\n"))
        if (strncasecmp(line, word, length) == 0 && line[length] == '\n')
            return true;
    return hints->words == NULL;
}
