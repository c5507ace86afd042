#include "storydiff/comic/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

const char RECIPE_KEY[] = "storydiff";

static void member(struct text *out, const char *key, const char *value)
{
    text_append(out, "%s", out->length && out->data[out->length - 1] != '{' ? ",\n" : "\n");
    text_append_json_string(out, key);
    text_append(out, ": ");
    text_append_json_string(out, value);
}

static void number(struct text *out, const char *key, double value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.17g", value);
    member(out, key, digits);
}

/* The script as a story file again. */
static void script(struct text *out, const struct comic *c)
{
    struct text story = {0};
    for (int i = 0; i < c->story.character_count; i++) {
        const struct story_character *k = &c->story.characters[i];
        if (k->key[0] != '\0')
            text_append(&story, "[%s]", k->key);
        text_append(&story, "%s\n", k->description);
    }
    text_append(&story, "---");
    for (int i = 0; i < c->story.panel_count; i++)
        text_append(&story, "\n%s", c->story.panels[i].text);
    member(out, "story", story.data ? story.data : "");
    out->failed = out->failed || story.failed;
    text_free(&story);
}

static uLong checksum(uLong crc, const struct weights *w)
{
    for (size_t i = 0; i < w->bound_count; i++) {
        const struct tensor *t = &w->bound[i].tensor;
        size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype), sample = bytes < 64 ? bytes : 64;
        crc = crc32(crc, (const Bytef *)t->data + (bytes - sample) / 2, (uInt)sample);
    }
    return crc;
}

/* Models of one name need not be the same. A checksum of a few bytes of every tensor tells them apart, in no time; it
 * is the same for a folder and for a single file made of it. */
static void fingerprint(struct text *out, const struct model *m)
{
    const struct weights *const parts[] = {&m->text_encoder.weights, &m->text_encoder_2.weights, &m->unet.weights,
                                           &m->vae.weights};
    uLong crc = crc32(0, NULL, 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        crc = checksum(crc, parts[i]);
    char digits[16];
    snprintf(digits, sizeof digits, "%08lx", crc);
    member(out, "model_fingerprint", digits);
}

/* Its file's name: where it lies is nobody's business. */
static const char *font_name(const struct settings *o)
{
    const char *slash = strrchr(o->font, '/');
    return slash != NULL ? slash + 1 : o->font;
}

void recipe_append(struct text *out, const struct comic *c, enum recipe_use use)
{
    const struct settings *o = &c->settings;
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, o->seed);
    text_append(out, "{");
    member(out, "program", "storydiff " STORYDIFF_VERSION);
    member(out, "model", c->model_name);
    fingerprint(out, c->model);
    script(out, c);
    member(out, "style_name", c->style->name);
    member(out, "style_prompt", c->style->prompt);
    member(out, "style_negative_prompt", c->style->negative_prompt);
    if (o->negative_prompt != NULL)
        member(out, "negative_prompt", o->negative_prompt);
    member(out, "seed", seed);
    number(out, "width", (double)o->width);
    number(out, "height", (double)o->height);
    number(out, "sampling_steps", (double)o->sampling_steps);
    number(out, "guidance_scale", o->guidance_scale);
    member(out, "sampler", sampler_name(&c->sampler));
    number(out, "eta", o->eta);
    member(out, "noise", noise_mode_names[o->noise]);
    member(out, "long_prompt", long_prompt_names[o->long_prompt]);
    member(out, "csa", csa_mode_names[o->csa]);
    number(out, "csa_start", (double)o->csa_start);
    number(out, "id_length", (double)o->id_length);
    number(out, "sa32", o->sa32);
    number(out, "sa64", o->sa64);
    member(out, "freeu", o->freeu ? "true" : "false");
    member(out, "comic_type", page_kind_names[o->comic_type]);
    if (o->font != NULL && o->comic_type != PAGE_NONE)
        member(out, "font", font_name(o));
    if (o->only != NULL && use == RECIPE_OF_STATE)
        member(out, "only", o->only);
    text_append(out, "\n}");
}

enum { EXCERPT = 60 };

/* A value in a message: one line of it, from a little before the place where it differs from the other. */
static void excerpt(const char *value, size_t differs, char out[EXCERPT + 8])
{
    size_t begin = differs > EXCERPT / 3 ? differs - EXCERPT / 3 : 0;
    while (begin > 0 && ((unsigned char)value[begin] & 0xc0) == 0x80) /* within a character */
        begin--;
    snprintf(out, EXCERPT + 8, "%s%.*s%s", begin > 0 ? "..." : "", EXCERPT, value + begin,
             strlen(value + begin) > EXCERPT ? "..." : "");
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '\n' ? ' ' : *p;
}

/* Either may be NULL: it was not given. */
static status check_same(const char *source, const char *key, const char *before, const char *now, struct error *e)
{
    char a[EXCERPT + 8] = "not given", b[EXCERPT + 8] = "not given";
    size_t differs = 0;
    if (before != NULL && now != NULL && strcmp(before, now) == 0)
        return OK;
    while (before != NULL && now != NULL && before[differs] == now[differs])
        differs++;
    if (before != NULL)
        excerpt(before, differs, a);
    if (now != NULL)
        excerpt(now, differs, b);
    return fail(e, ERR_ARGUMENT, "%s was made with another %s (then: %s; now: %s): resume with the same settings, "
                                 "choose another `output_dir`, or start anew with `overwrite`", source, key, a, b);
}

static status compare(const char *source, const struct json *saved, const struct json *ours, struct error *e)
{
    for (const struct json *v = ours->child; v != NULL; v = v->next)
        TRY(check_same(source, v->key, json_string(json_get(saved, v->key), NULL), json_string(v, NULL), e));
    for (const struct json *v = saved->child; v != NULL; v = v->next)
        TRY(check_same(source, v->key, json_string(v, NULL), json_string(json_get(ours, v->key), NULL), e));
    return OK;
}

status recipe_same(const char *source, const char *saved, const char *ours, struct error *e)
{
    const struct json *a = NULL, *b = NULL;
    status s = json_parse(source, saved, strlen(saved), &a, e);
    if (s == OK)
        s = json_parse("recipe", ours, strlen(ours), &b, e);
    if (s == OK)
        s = compare(source, a, b, e);
    json_free(a);
    json_free(b);
    return s;
}
