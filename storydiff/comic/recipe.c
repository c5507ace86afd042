#include "storydiff/comic/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "tensor/gemm.h"
#include "tensor/mapped.h"

static const char FILES_IN_USE[] = "files_in_use";

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

static void append_crc(struct text *out, const char *key, uLong crc)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%08lx", crc);
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

static uLong checksum_of(uLong crc, const struct tensor *t)
{
    size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype), sample = bytes < 64 ? bytes : 64;
    return crc32(crc, (const Bytef *)t->data + (bytes - sample) / 2, (uInt)sample);
}

static uLong checksum(uLong crc, const struct weights *w)
{
    for (size_t i = 0; i < w->bound_count; i++)
        crc = checksum_of(crc, &w->bound[i].tensor);
    return crc;
}

/* Models of one name need not be the same. A checksum of a few bytes of every tensor tells them apart, in no time; it
 * is the same for a folder and for a single file made of it. */
void recipe_fingerprint(const struct model *m, char digits[16])
{
    const struct weights *const parts[] = {&m->text_encoder.weights, &m->text_encoder_2.weights, &m->unet.weights,
                                           &m->vae.weights};
    uLong crc = crc32(0, NULL, 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        crc = checksum(crc, parts[i]);
    snprintf(digits, 16, "%08lx", crc);
}

static void fingerprint(struct text *out, const struct model *m)
{
    char digits[16];
    recipe_fingerprint(m, digits);
    member(out, "model_fingerprint", digits);
}

/* "ink:0.8 1a2b3c4d", a line for each: what a LoRA is called, its weight, a checksum as above. */
static void append_loras(struct text *out, const struct comic *c)
{
    struct text lines = {0};
    for (int i = 0; i < c->loras.count; i++) {
        const struct tensor_file *file = &c->model->loras[i].file;
        uLong crc = crc32(0, NULL, 0);
        for (size_t k = 0; k < file->count; k++)
            crc = checksum_of(crc, &file->items[k].tensor);
        text_append(&lines, "%s%s:%.17g %08lx", i > 0 ? "\n" : "", c->loras.items[i].name, c->loras.items[i].weight,
                    crc);
    }
    if (lines.length > 0)
        member(out, "lora", lines.data);
    out->failed = out->failed || lines.failed;
    text_free(&lines);
}

/* Where they lie: for going on without saying it again. */
static void append_lora_paths(struct text *out, const struct comic *c)
{
    struct text lines = {0};
    for (int i = 0; i < c->loras.count; i++)
        text_append(&lines, "%s%s:%.17g", i > 0 ? "\n" : "", c->loras.items[i].path, c->loras.items[i].weight);
    if (lines.length > 0)
        member(out, "lora_paths", lines.data);
    if (c->settings.taesd != NULL && c->settings.draft)
        member(out, "taesd_path", c->settings.taesd);
    out->failed = out->failed || lines.failed;
    text_free(&lines);
}

/* A file's name: where it lies is nobody's business. */
static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The fonts that were named; and, of what is drawn with them, those that were found for letters that these lack. */
static void append_fonts(struct text *out, const struct comic *c, bool found)
{
    const struct settings *o = &c->settings;
    struct text names = {0};
    for (int i = 0; i < o->font_count; i++)
        text_append(&names, "%s%s", i > 0 ? ", " : "", file_name(o->fonts[i]));
    if (names.length > 0)
        member(out, "font", names.data);
    const int named = o->font_count > 0 ? o->font_count : 1;
    text_free(&names);
    for (int i = named; found && i < font_count(c->font); i++)
        text_append(&names, "%s%s", i > named ? ", " : "", file_name(font_path(c->font, i)));
    if (names.length > 0)
        member(out, "fonts_found", names.data);
    out->failed = out->failed || names.failed;
    text_free(&names);
}

static void append_seed(struct text *out, const char *key, uint64_t seed)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    member(out, key, digits);
}

/* "3: 99, 12: 7": panels, from 1, whose seed is not the story's. */
static void append_panel_seeds(struct text *out, const struct comic *c)
{
    struct text seeds = {0};
    for (int i = 0; i < c->story.panel_count; i++)
        if (c->seeds[i] != c->settings.seed)
            text_append(&seeds, "%s%d: %" PRIu64, seeds.length ? ", " : "", i + 1, c->seeds[i]);
    if (seeds.length > 0)
        member(out, "panel_seeds", seeds.data);
    out->failed = out->failed || seeds.failed;
    text_free(&seeds);
}

/* The model's and the fonts: a fingerprint does not see a single weight that was changed, but the file has another
 * time. */
static void append_files(struct text *out)
{
    struct mapped_files files;
    struct text said = {0};
    if (mapped_files_note(&files, NULL) == OK)
        mapped_files_describe(&files, &said);
    member(out, FILES_IN_USE, said.data != NULL ? said.data : "");
    out->failed = out->failed || said.failed;
    text_free(&said);
    mapped_files_free(&files);
}

/* The model's config.json files, by name: the noise schedule, the shape of every layer. */
static void append_configs(struct text *out, const struct model *m)
{
    for (enum description what = 0; what < DESCRIPTIONS; what++) {
        struct text json = {0};
        char name[4400];
        if (parts_describe(&m->parts, what, &json, name, sizeof name, NULL) == OK)
            append_crc(out, description_files[what],
                       crc32(crc32(0, NULL, 0), (const Bytef *)json.data, (uInt)json.length));
        text_free(&json);
    }
}

/* What a run that goes on must find as it was, beside the settings; other kernels round otherwise. */
static void append_surroundings(struct text *out, const struct comic *c)
{
    append_configs(out, c->model);
    if (c->font != NULL)
        append_crc(out, "font_checksum", font_checksum(c->font));
    member(out, "kernels", gemm_kernel_name());
    if (c->settings.precision == PRECISION_INT8)
        member(out, "int8_kernels", gemm_int8_kernel_name());
    member(out, "model_path", c->model->path);
    append_lora_paths(out, c);
    append_files(out);
}

void recipe_append(struct text *out, const struct comic *c, enum recipe_use use, int panel)
{
    const struct settings *o = &c->settings;
    text_append(out, "{");
    member(out, "program", "storydiff " STORYDIFF_VERSION);
    member(out, "model", c->model_name);
    fingerprint(out, c->model);
    append_loras(out, c);
    script(out, c);
    member(out, "style_name", c->style->name);
    member(out, "style_prompt", c->style->prompt);
    member(out, "style_negative_prompt", c->style->negative_prompt);
    if (o->negative_prompt != NULL)
        member(out, "negative_prompt", o->negative_prompt);
    append_seed(out, "seed", o->seed);
    if (use == RECIPE_OF_PANEL)
        number(out, "panel", panel + 1);
    if (use == RECIPE_OF_PANEL && c->seeds[panel] != o->seed)
        append_seed(out, "panel_seed", c->seeds[panel]);
    if (use != RECIPE_OF_PANEL)
        append_panel_seeds(out, c);
    number(out, "width", (double)o->width);
    number(out, "height", (double)o->height);
    number(out, "sampling_steps", (double)o->sampling_steps);
    number(out, "guidance_scale", o->guidance_scale);
    member(out, "sampler", sampler_name(&c->sampler));
    number(out, "eta", o->eta);
    member(out, "noise", noise_mode_names[o->noise]);
    member(out, "long_prompt", long_prompt_names[o->long_prompt]);
    member(out, "prompt_weights", prompt_weights_names[o->prompt_weights]);
    if (o->draft)
        append_crc(out, "draft_decoder", checksum(crc32(0, NULL, 0), &c->model->taesd.weights));
    member(out, "csa", csa_mode_names[o->csa]);
    number(out, "csa_start", (double)o->csa_start);
    number(out, "id_length", (double)o->id_length);
    number(out, "sa32", o->sa32);
    number(out, "sa64", o->sa64);
    member(out, "freeu", o->freeu ? "true" : "false");
    if (o->precision != PRECISION_FLOAT32)
        member(out, "precision", precision_names[o->precision]);
    if (o->cache_interval > 1)
        number(out, "cache_interval", (double)o->cache_interval);
    if (c->guidance_from > 0 || c->guidance_to < 1)
        member(out, "guidance_interval", o->guidance_interval);
    member(out, "comic_type", page_kind_names[o->comic_type]);
    if (o->title != NULL && o->comic_type != PAGE_NONE)
        member(out, "title", o->title);
    if (o->comic_type != PAGE_NONE)
        append_fonts(out, c, use != RECIPE_OF_PANEL);
    if (use == RECIPE_OF_STATE)
        append_surroundings(out, c);
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

/* Where something lies may change; */
static const char *const paths[] = {"model_path", "lora_paths", "taesd_path"};
enum { PATHS = sizeof paths / sizeof *paths };

static bool is_path(const char *key)
{
    for (int i = 0; i < PATHS; i++)
        if (strcmp(key, paths[i]) == 0)
            return true;
    return false;
}

/* but if nothing was moved, the files are the same ones. */
static bool is_path_or_files(const char *key)
{
    return is_path(key) || strcmp(key, FILES_IN_USE) == 0;
}

static bool were_moved(const struct json *saved, const struct json *ours)
{
    for (int i = 0; i < PATHS; i++)
        if (strcmp(json_string(json_get(saved, paths[i]), ""), json_string(json_get(ours, paths[i]), "")) != 0)
            return true;
    return false;
}

static status compare(const char *source, const struct json *saved, const struct json *ours,
                      bool (*ignored)(const char *key), struct error *e)
{
    for (const struct json *v = ours->child; v != NULL; v = v->next)
        if (!ignored(v->key))
            TRY(check_same(source, v->key, json_string(json_get(saved, v->key), NULL), json_string(v, NULL), e));
    for (const struct json *v = saved->child; v != NULL; v = v->next)
        if (!ignored(v->key))
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
        s = compare(source, a, b, were_moved(a, b) ? is_path_or_files : is_path, e);
    json_free(a);
    json_free(b);
    return s;
}

/* ------------------------------------------------------------------------------------------------- a kept panel */

/* Compared apart, or no part of the picture: a story may have another line elsewhere, a panel a seed of its own, and
 * a page may look otherwise. */
static bool is_of_panels(const char *key)
{
    return strcmp(key, "story") == 0 || strcmp(key, "panel_seed") == 0 || strcmp(key, "comic_type") == 0 ||
           strcmp(key, "font") == 0 || strcmp(key, "title") == 0;
}

/* Line `number` from 0 of a story's text, without what follows it; NULL beyond the end. Panels begin after ---. */
static const char *line_at(const char *story, int number, size_t *length)
{
    for (; story != NULL && number > 0; number--) {
        story = strchr(story, '\n');
        story = story != NULL ? story + 1 : NULL;
    }
    *length = story != NULL ? strcspn(story, "\n") : 0;
    return story;
}

/* Where the panels begin: after the first line that is ---. */
static const char *panels_of(const char *story)
{
    const char *rule = strncmp(story, "---\n", 4) == 0 ? story : strstr(story, "\n---\n");
    return rule != NULL ? strstr(rule, "---\n") + 4 : "";
}

/* A panel's line up to its last `#`, without blanks at the end: what a caption says is no part of the picture. */
static size_t without_caption(const char *line, size_t length)
{
    size_t end = length;
    while (end > 0 && line[end - 1] != '#')
        end--;
    end = end > 0 ? end - 1 : length;
    while (end > 0 && (line[end - 1] == ' ' || line[end - 1] == '\t'))
        end--;
    return end;
}

static bool same_line(const char *story, const struct comic *c, int panel)
{
    size_t length;
    const char *line = line_at(panels_of(story), panel, &length), *ours = c->story.panels[panel].text;
    if (line == NULL)
        return false;
    size_t then = without_caption(line, length), now = without_caption(ours, strlen(ours));
    return then == now && memcmp(line, ours, now) == 0;
}

/* Whether a panel that this one looks at has another line now, or is drawn from another seed. */
static bool looked_at_others(const char *story, const struct comic *c, int panel)
{
    const struct story_pass *pass = &c->plan.passes[c->plan.places[panel].pass];
    for (int i = 0; i < pass->character_count && c->settings.csa != CSA_OFF; i++) {
        const struct story_pass *write = &c->plan.passes[pass->characters[i]];
        for (int j = 0; j < write->panel_count; j++) {
            int seen = write->panels[j];
            bool redrawn = c->wanted[seen] && c->seeds[seen] != c->settings.seed;
            if (seen != panel && (redrawn || !same_line(story, c, seen)))
                return true;
        }
    }
    return false;
}

status recipe_fits(const struct recipe *saved, const struct comic *c, int panel, bool *older, struct error *e)
{
    struct text ours = {0};
    const struct json *now = NULL;
    const char *story = recipe_value(saved, "story");
    recipe_append(&ours, c, RECIPE_OF_PANEL, panel);
    status s = ours.failed ? fail(e, ERR_MEMORY, "not enough memory for the recipe")
                           : json_parse("recipe", ours.data, ours.length, &now, e);
    if (s == OK)
        s = compare(saved->source, saved->values, now, is_of_panels, e);
    if (s == OK) {
        const char *mine = json_string(json_get(now, "story"), "");
        size_t head = (size_t)(panels_of(mine) - mine);
        if (strncmp(mine, story, head) != 0 || !same_line(story, c, panel))
            s = check_same(saved->source, "story", story, mine, e);
    }
    *older = s == OK && looked_at_others(story, c, panel);
    json_free(now);
    text_free(&ours);
    return s;
}
