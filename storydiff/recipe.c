#include "storydiff/recipe.h"

#include <inttypes.h>
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
    for (const struct story_character *k = c->story.characters; k < c->story.characters + c->story.character_count; k++) {
        if (k->key[0] != '\0')
            text_append(&story, "[%s]", k->key);
        text_append(&story, "%s\n", k->description);
    }
    text_append(&story, "---");
    for (const struct story_panel *p = c->story.panels; p < c->story.panels + c->story.panel_count; p++)
        text_append(&story, "\n%s", p->text);
    member(out, "story", story.data ? story.data : "");
    out->failed = out->failed || story.failed;
    text_free(&story);
}

/* Models of one name need not be the same. A checksum of samples from all over the UNet tells them apart, in no time. */
static void fingerprint(struct text *out, const struct model *m)
{
    uLong crc = crc32(0, NULL, 0);
    const struct safetensors *file = m->unet.file;
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *t = &file->items[i].tensor;
        size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype), sample = bytes < 64 ? bytes : 64;
        crc = crc32(crc, (const Bytef *)t->data + (bytes - sample) / 2, (uInt)sample);
    }
    char digits[16];
    snprintf(digits, sizeof digits, "%08lx", crc);
    member(out, "model_fingerprint", digits);
}

void recipe_append(struct text *out, const struct comic *c)
{
    const struct options *o = &c->options;
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, o->seed);
    text_append(out, "{");
    member(out, "program", "storydiff " STORYDIFF_VERSION);
    member(out, "model", c->model_name);
    fingerprint(out, &c->model);
    script(out, c);
    member(out, "style_name", c->style->name);
    member(out, "style_prompt", c->style->prompt);
    member(out, "style_negative_prompt", c->style->negative_prompt);
    member(out, "negative_prompt", o->negative_prompt ? o->negative_prompt : "");
    member(out, "seed", seed);
    number(out, "width", (double)o->width);
    number(out, "height", (double)o->height);
    number(out, "sampling_steps", (double)o->sampling_steps);
    number(out, "guidance_scale", o->guidance_scale);
    member(out, "sampler", sampler_name(&c->sampler));
    number(out, "eta", o->eta);
    member(out, "noise", option_name_noise(o->noise));
    member(out, "long_prompt", option_name_long_prompt(o->long_prompt));
    member(out, "csa", option_name_csa(o->csa));
    number(out, "csa_start", (double)o->csa_start);
    number(out, "id_length", (double)o->id_length);
    number(out, "sa32", o->sa32);
    number(out, "sa64", o->sa64);
    member(out, "freeu", o->freeu ? "true" : "false");
    member(out, "comic_type", option_name_comic_type(o->comic_type));
    member(out, "only", o->only ? o->only : "");
    text_append(out, "\n}");
}

/* A value in a message: its beginning. */
static const char *shorten(const char *value, char *out, size_t size)
{
    snprintf(out, size, "%s", value);
    return out;
}

static status compare(const char *source, const struct json *saved, const struct json *ours, struct error *e)
{
    for (const struct json *v = ours->child; v != NULL; v = v->next) {
        const char *before = json_string(json_get(saved, v->key), NULL), *now = json_string(v, "");
        char a[80], b[80];
        if (before == NULL || strcmp(before, now) != 0)
            return fail(e, ERR_ARGUMENT, "%s was made with another %s (\"%s\", now \"%s\"): resume with the same settings, choose "
                                         "another --output_dir, or start anew with --overwrite", source, v->key,
                        shorten(before ? before : "", a, sizeof a), shorten(now, b, sizeof b));
    }
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
