#include "storydiff/story/styles.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "storydiff/story/suggest.h"

static const char placeholder[] = "{prompt}";

const char STYLE_DEFAULT[] = "Comic book";

/* Short, because they share a window of 77 tokens with the prompt, and with the strongest words first, because a
 * prompt that is too long loses its end. The negative prompts name what the style is not, then the usual flaws. */
static const struct style builtin[] = {
    {.name = "(No style)", .prompt = "{prompt}", .negative_prompt = ""},
    {
        .name = STYLE_DEFAULT,
        .prompt = "comic book style, {prompt}, comic, bold ink outlines, bright flat colors",
        .negative_prompt = "photo, realistic, 3d render, blurry, washed out, lettering, speech bubble, watermark",
    },
    {
        .name = "Cartoon",
        .prompt = "cartoon, {prompt}, simple rounded shapes, thick outlines, cheerful colors",
        .negative_prompt = "photo, realistic, gritty, fine texture, blurry, lettering, watermark",
    },
    {
        .name = "Japanese Anime",
        .prompt = "anime illustration, {prompt}, cel shading, expressive eyes, clean line work, soft sky light",
        .negative_prompt = "photo, realistic, western comic, 3d render, blurry, lettering, watermark",
    },
    {
        .name = "Digital/Oil Painting",
        .prompt = "oil painting, {prompt}, visible brush strokes, rich layered color, dramatic light",
        .negative_prompt = "photo, line art, flat color, 3d render, blurry, frame, signature, watermark",
    },
    {
        .name = "Watercolor",
        .prompt = "watercolor painting, {prompt}, watercolor, pastel washes, soft edges, white paper",
        .negative_prompt = "photo, realistic, thick outlines, hard shadows, dark, lettering, watermark",
    },
    {
        .name = "Pixar/Disney Character",
        .prompt = "3d animated family film, {prompt}, big friendly eyes, rounded shapes, warm soft lighting",
        .negative_prompt = "photo, flat drawing, sketch, gritty, scary, blurry, lettering, watermark",
    },
    {
        .name = "Photographic",
        .prompt = "photograph, {prompt}, 35mm lens, natural light, shallow depth of field, fine detail",
        .negative_prompt = "drawing, painting, cartoon, 3d render, plastic skin, oversaturated, watermark",
    },
    {
        .name = "Cinematic",
        .prompt = "film still, {prompt}, wide screen composition, moody light, fine grain, deep colors",
        .negative_prompt = "drawing, cartoon, flat light, snapshot, overexposed, lettering, watermark",
    },
    {
        .name = "Line art",
        .prompt = "line art drawing, {prompt}, line art, thin black ink on white paper, no shading",
        .negative_prompt = "photo, color, gradient, 3d render, painting, blurry, dirty paper, watermark",
    },
    {
        .name = "Sketch",
        .prompt = "sketch, {prompt}, loose pencil line art drawing, light hatching, white paper",
        .negative_prompt = "photo, color, 3d render, painting, polished, blurry, watermark",
    },
    {
        .name = "Black and White Film Noir",
        .prompt = "film noir, {prompt}, black and white, noir, hard shadows, slanted light, film grain",
        .negative_prompt = "color, colorful, pastel, cheerful, flat light, 3d render, lettering, watermark",
    },
    {
        .name = "Isometric Rooms",
        .prompt = "isometric cutaway, {prompt}, tiny room seen from above at an angle, neat miniature, soft shadows",
        .negative_prompt = "photo, perspective distortion, close-up, cropped, cluttered, blurry, watermark",
    },
    {
        .name = "Storybook",
        .prompt = "picture book illustration, {prompt}, gouache and colored pencil, cozy, gentle colors",
        .negative_prompt = "photo, realistic, 3d render, scary, harsh light, lettering, watermark",
    },
};

enum { BUILTIN_COUNT = sizeof builtin / sizeof builtin[0] };

struct styles styles_builtin(void)
{
    return (struct styles){.items = builtin, .count = BUILTIN_COUNT};
}

static const struct style *lookup(const struct style *items, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(items[i].name, name) == 0)
            return &items[i];
    return NULL;
}

status styles_find(const struct styles *styles, const char *name, const struct style **style, struct error *e)
{
    *style = lookup(styles->items, styles->count, name);
    if (*style != NULL)
        return OK;
    struct suggestion nearest = {.word = name};
    struct text names = {0};
    for (size_t i = 0; i < styles->count; i++) {
        suggestion_offer(&nearest, styles->items[i].name);
        text_append(&names, "%s'%s'", i > 0 ? ", " : "", styles->items[i].name);
    }
    status s = nearest.best != NULL
                   ? fail(e, ERR_ARGUMENT, "there is no style '%.100s': did you mean '%s'? The styles are %s", name,
                          nearest.best, names.failed ? "many" : names.data)
                   : fail(e, ERR_ARGUMENT, "there is no style '%.100s': the styles are %s", name,
                          names.failed ? "many" : names.data);
    text_free(&names);
    return s;
}

/* ------------------------------------------------------------------------------------------------- a file of them */

static bool has_control_characters(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return true;
    return false;
}

/* One member of an entry, already known to be in the file at this place. */
static status read_text(const struct json *v, size_t limit, const char **text, struct error *e)
{
    if (v->kind != JSON_STRING)
        return fail(e, ERR_FORMAT, "\"%s\" is not a text in quotes", v->key);
    if (strlen(v->string) != v->string_length || has_control_characters(v->string))
        return fail(e, ERR_FORMAT, "\"%s\" has control characters (a line break, for instance): remove them", v->key);
    if (v->string_length > limit)
        return fail(e, ERR_FORMAT, "\"%s\" has %zu bytes, %zu are allowed", v->key, v->string_length, limit);
    *text = v->string;
    return OK;
}

static status read_style(const struct json *entry, struct style *style, struct error *e)
{
    if (entry->kind != JSON_OBJECT)
        return fail(e, ERR_FORMAT, "not an object {\"name\": .., \"prompt\": .., \"negative_prompt\": ..}");
    *style = (struct style){.negative_prompt = ""};
    for (const struct json *v = entry->child; v != NULL; v = v->next) {
        if (strcmp(v->key, "name") == 0)
            TRY(read_text(v, STYLES_MAX_NAME, &style->name, e));
        else if (strcmp(v->key, "prompt") == 0)
            TRY(read_text(v, STYLES_MAX_PROMPT, &style->prompt, e));
        else if (strcmp(v->key, "negative_prompt") == 0)
            TRY(read_text(v, STYLES_MAX_PROMPT, &style->negative_prompt, e));
        else
            return fail(e, ERR_FORMAT, "unknown member \"%.100s\": a style has name, prompt and negative_prompt",
                        has_control_characters(v->key) ? "?" : v->key);
    }
    if (style->name == NULL || style->name[0] == '\0')
        return fail(e, ERR_FORMAT, "no \"name\"");
    if (style->prompt == NULL)
        return fail(e, ERR_FORMAT, "no \"prompt\" (style '%s')", style->name);
    if (strstr(style->prompt, placeholder) == NULL)
        return fail(e, ERR_FORMAT, "\"prompt\" of style '%s' has no {prompt}, the place where the panel's text goes",
                    style->name);
    return OK;
}

/* Fills styles->own from the document; the count is right at every moment. */
static status read_styles(const char *path, struct styles *styles, struct error *e)
{
    const struct json *root = styles->document;
    if (root->kind != JSON_ARRAY)
        return fail(e, ERR_FORMAT, "%s: not a list of styles [{\"name\": .., \"prompt\": .., "
                    "\"negative_prompt\": ..}, ..]", path);
    if (root->count > STYLES_MAX)
        return fail(e, ERR_FORMAT, "%s: %zu styles, %d are allowed", path, root->count, STYLES_MAX);
    styles->own = calloc(root->count + BUILTIN_COUNT, sizeof *styles->own);
    if (styles->own == NULL)
        return fail(e, ERR_MEMORY, "%s: not enough memory for %zu styles", path, root->count);
    styles->items = styles->own;
    for (const struct json *entry = root->child; entry != NULL; entry = entry->next) {
        struct style *style = &styles->own[styles->count];
        status s = read_style(entry, style, e);
        if (s != OK) {
            fail_context(e, "%s: entry %zu", path, styles->count + 1);
            return s;
        }
        const struct style *before = lookup(styles->own, styles->count, style->name);
        if (before != NULL)
            return fail(e, ERR_FORMAT, "%s: entry %zu: the name '%s' is taken by entry %zu", path, styles->count + 1,
                        style->name, (size_t)(before - styles->own) + 1);
        styles->count++;
    }
    for (size_t i = 0; i < BUILTIN_COUNT; i++)
        if (lookup(styles->own, root->count, builtin[i].name) == NULL)
            styles->own[styles->count++] = builtin[i];
    return OK;
}

status styles_load(const char *path, struct styles *styles, struct error *e)
{
    *styles = (struct styles){0};
    status s = json_read(path, &styles->document, e);
    if (s == OK)
        s = read_styles(path, styles, e);
    if (s != OK)
        styles_free(styles);
    return s;
}

void styles_free(struct styles *styles)
{
    free(styles->own);
    json_free(styles->document);
    *styles = (struct styles){0};
}

/* ------------------------------------------------------------------------------------------------------- wrapping */

static status finish(struct text *text, const char *style, char **out, struct error *e)
{
    *out = text->data != NULL ? text->data : calloc(1, 1);
    if (text->failed || *out == NULL) {
        text_free(text);
        *out = NULL;
        return fail(e, ERR_MEMORY, "not enough memory for a prompt in the style '%s'", style);
    }
    return OK;
}

status style_prompt(const struct style *style, const char *prompt, char **wrapped, struct error *e)
{
    struct text text = {0};
    const char *rest = style->prompt;
    for (const char *at; (at = strstr(rest, placeholder)) != NULL; rest = at + strlen(placeholder)) {
        text_append_bytes(&text, rest, (size_t)(at - rest));
        text_append_bytes(&text, prompt, strlen(prompt));
    }
    text_append_bytes(&text, rest, strlen(rest));
    return finish(&text, style->name, wrapped, e);
}

status style_negative_prompt(const struct style *style, const char *user, char **wrapped, struct error *e)
{
    struct text text = {0};
    text_append(&text, "%s %s", style->negative_prompt, user != NULL ? user : "");
    return finish(&text, style->name, wrapped, e);
}
