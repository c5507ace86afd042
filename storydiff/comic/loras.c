#include "storydiff/comic/loras.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/file.h"

static const char *const endings[] = {"", ".safetensors", ".pt", ".bin", ".ckpt"};

static bool is_file(const char *path)
{
    return file_exists(path) && !file_is_directory(path);
}

static bool find_file(const char *name, const char *folder, char *path, size_t size)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int length = folder != NULL ? snprintf(path, size, "%s/%s%s", folder, name, endings[i])
                                    : snprintf(path, size, "%s%s", name, endings[i]);
        if (length > 0 && (size_t)length < size && is_file(path))
            return true;
    }
    return false;
}

/* The name that people know it by: neither folder nor ending. */
static void short_name(const char *path, char *name, size_t size)
{
    const char *slash = strrchr(path, '/');
    snprintf(name, size, "%.*s", (int)size - 1, slash != NULL ? slash + 1 : path);
    for (size_t i = 1; i < sizeof endings / sizeof *endings; i++) {
        size_t length = strlen(name), n = strlen(endings[i]);
        if (length > n && strcmp(name + length - n, endings[i]) == 0) {
            name[length - n] = '\0';
            return;
        }
    }
}

static status add(struct loras *l, const struct lora_choice *choice, struct error *e)
{
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->items[i].path, choice->path) == 0)
            return l->items[i].weight == choice->weight
                       ? OK
                       : fail(e, ERR_ARGUMENT, "`lora` %s has two weights, %g and %g: a LoRA works on the whole story",
                              choice->name, l->items[i].weight, choice->weight);
    if (l->count == LORAS_MAX)
        return fail(e, ERR_ARGUMENT, "`lora` %s: more than %d at once", choice->name, LORAS_MAX);
    l->items[l->count++] = *choice;
    return OK;
}

/* "name:0.8" -> its length without the weight; *weight stays as it is if there is none. */
static size_t split_weight(const char *text, double *weight)
{
    const char *colon = strrchr(text, ':');
    char *end;
    double value = colon != NULL ? strtod(colon + 1, &end) : 0;
    if (colon == NULL || colon == text || end == colon + 1 || *end != '\0' || !isfinite(value))
        return strlen(text);
    *weight = value;
    return (size_t)(colon - text);
}

status loras_add(struct loras *l, const char *text, const char *folder, struct error *e)
{
    struct lora_choice choice = {.weight = 1};
    char name[4096];
    size_t length = is_file(text) ? strlen(text) : split_weight(text, &choice.weight);
    if (length == 0 || length >= sizeof name)
        return fail(e, ERR_ARGUMENT, "`lora` \"%.60s\": it takes FILE or FILE:WEIGHT", text);
    memcpy(name, text, length);
    name[length] = '\0';
    if (!find_file(name, NULL, choice.path, sizeof choice.path) &&
        (folder == NULL || !find_file(name, folder, choice.path, sizeof choice.path)))
        return fail(e, ERR_IO, "`lora` %.200s: there is no such file%s%s (nor with .safetensors)%s", name,
                    folder != NULL ? ", neither here nor in " : "", folder != NULL ? folder : "",
                    folder != NULL ? "" : "; `lora_dir` DIR says where LoRAs are");
    short_name(choice.path, choice.name, sizeof choice.name);
    return add(l, &choice, e);
}

/* The next tag from `text` on; *end is behind its bracket. NULL: there is none. */
static char *next_tag(char *text, char **end)
{
    char *tag = strstr(text, "<lora:"), *close = tag != NULL ? strchr(tag, '>') : NULL;
    *end = close != NULL ? close + 1 : NULL;
    return close != NULL ? tag : NULL;
}

status loras_take(struct loras *l, char *prompt, const char *folder, int *count, struct error *e)
{
    char *end, inside[1024];
    for (char *tag; (tag = next_tag(prompt, &end)) != NULL; ++*count) {
        size_t length = (size_t)(end - 1 - (tag + strlen("<lora:")));
        if (length == 0 || length >= sizeof inside)
            return fail(e, ERR_ARGUMENT, "\"%.60s\": it takes <lora:NAME> or <lora:NAME:WEIGHT>", tag);
        memcpy(inside, tag + strlen("<lora:"), length);
        inside[length] = '\0';
        double ignored;
        char *colon = strchr(inside, ':');
        if (colon != NULL && (strchr(colon + 1, ':') != NULL || split_weight(inside, &ignored) == length))
            return fail(e, ERR_ARGUMENT, "\"%.60s\": it takes <lora:NAME> or <lora:NAME:WEIGHT>", tag);
        TRY(loras_add(l, inside, folder, e));
        memmove(tag, end, strlen(end) + 1);
    }
    return OK;
}

void loras_cut(char *text)
{
    char *end;
    for (char *tag; (tag = next_tag(text, &end)) != NULL;) {
        while (tag > text && tag[-1] == ' ' && (*end == ' ' || *end == '\0')) /* of two spaces one stays */
            tag--;
        memmove(tag, end, strlen(end) + 1);
    }
}
