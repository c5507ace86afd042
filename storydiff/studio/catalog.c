#include "storydiff/studio/catalog.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "sdxl/sampling/sampler.h"
#include "storydiff/comic/models.h"
#include "storydiff/story/styles.h"
#include "storydiff/studio/check.h"
#include "tensor/file.h"

enum { MAX_ITEMS = 400, MAX_DEPTH = 4 };

static const char *const well_known[] = {"SDXL", "RealVision", "Juggernaut", "Unstable"};
enum { WELL_KNOWN = sizeof well_known / sizeof *well_known };

/* A name that is there already is not added again. */
static void add(struct catalog_item **items, int *count, const char *name, const char *path, const char *label)
{
    for (int i = 0; i < *count; i++)
        if (strcmp((*items)[i].name, name) == 0)
            return;
    if (*count == MAX_ITEMS)
        return;
    struct catalog_item *more = realloc(*items, (size_t)(*count + 1) * sizeof *more);
    if (more == NULL)
        return;
    *items = more;
    more[*count] = (struct catalog_item){strdup(name), path != NULL ? strdup(path) : NULL, strdup(label)};
    if (more[*count].name != NULL && more[*count].label != NULL)
        (*count)++;
}

static const struct catalog_item *find(const struct catalog_item *items, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcasecmp(items[i].name, name) == 0)
            return &items[i];
    return NULL;
}

const struct catalog_item *catalog_model(const struct catalog *c, const char *name)
{
    return find(c->models, c->model_count, name);
}

const struct catalog_item *catalog_font(const struct catalog *c, const char *name)
{
    return find(c->fonts, c->font_count, name);
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcasecmp(name + length - tail, ending) == 0;
}

/* -------------------------------------------------------------------------------------------------------- models */

static bool is_model(const char *path)
{
    char index[4200];
    return ends_with(path, ".safetensors") ||
           (path_join(index, sizeof index, path, "model_index.json", NULL) == OK && file_exists(index));
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static void add_model_at(struct catalog *c, const char *path)
{
    char name[256];
    snprintf(name, sizeof name, "%s", base_of(path));
    if (ends_with(name, ".safetensors"))
        name[strlen(name) - strlen(".safetensors")] = '\0';
    add(&c->models, &c->model_count, name, path, name);
}

static void add_models_below(struct catalog *c, const char *folder)
{
    struct dirent **entries;
    if (file_is_directory(folder) && is_model(folder)) {
        add_model_at(c, folder);
        return;
    }
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4200];
        if (entries[i]->d_name[0] != '.' &&
            path_join(path, sizeof path, folder, entries[i]->d_name, NULL) == OK && is_model(path))
            add_model_at(c, path);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* What the Hugging Face cache has: models--ORG--NAME. storydiff finds them as ORG/NAME. */
static void add_cached_models(struct catalog *c)
{
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *user = getenv("HOME");
    static const char prefix[] = "models--";
    char folder[4096];
    struct dirent **entries;
    status s = cache != NULL && cache[0] != '\0'  ? path_join(folder, sizeof folder, cache, "", NULL)
               : home != NULL && home[0] != '\0' ? path_join(folder, sizeof folder, home, "hub", NULL)
                                                 : path_join(folder, sizeof folder, user != NULL ? user : ".",
                                                             ".cache/huggingface/hub", NULL);
    int count = s == OK ? scandir(folder, &entries, NULL, alphasort) : -1;
    for (int i = 0; i < count; i++) {
        char name[300], path[4200], called[128];
        const char *entry = entries[i]->d_name, *rule = strstr(entry + strlen(prefix), "--");
        if (strncmp(entry, prefix, strlen(prefix)) == 0 && rule != NULL) {
            snprintf(name, sizeof name, "%.*s/%.120s", (int)(rule - entry - (int)strlen(prefix)),
                     entry + strlen(prefix), rule + 2);
            if (models_find(NULL, name, NULL, path, sizeof path, called, sizeof called, NULL) == OK)
                add(&c->models, &c->model_count, name, NULL, name);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void add_well_known(struct catalog *c)
{
    text_append(&c->missing, "[");
    for (int i = 0; i < WELL_KNOWN; i++) {
        char path[4200], name[128];
        struct error why = {0};
        struct text plain = {0};
        if (models_find(NULL, well_known[i], NULL, path, sizeof path, name, sizeof name, &why) == OK) {
            add(&c->models, &c->model_count, well_known[i], NULL, well_known[i]);
            continue;
        }
        settings_spell(&plain, why.message, "--");
        text_append(&c->missing, "%s{\"name\": ", c->missing.length > 1 ? ", " : "");
        text_append_json_string(&c->missing, well_known[i]);
        text_append(&c->missing, ", \"how\": ");
        text_append_json_string(&c->missing, plain.data != NULL ? plain.data : "");
        text_append(&c->missing, "}");
        text_free(&plain);
    }
    text_append(&c->missing, "]");
}

/* --------------------------------------------------------------------------------------------------------- fonts */

static void add_fonts_below(struct catalog *c, const char *folder, int depth)
{
    struct dirent **entries;
    int count = depth < MAX_DEPTH ? scandir(folder, &entries, NULL, alphasort) : -1;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char path[4200];
        if (name[0] != '.' && path_join(path, sizeof path, folder, name, NULL) == OK) {
            if (file_is_directory(path))
                add_fonts_below(c, path, depth + 1);
            else if (ends_with(name, ".ttf") || ends_with(name, ".otf") || ends_with(name, ".ttc"))
                add(&c->fonts, &c->font_count, name, path, name);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

status catalog_open(struct catalog *c, const char *const *folders, int count, struct error *e)
{
    char path[4200], name[128], label[256];
    *c = (struct catalog){0};
    if (models_find(NULL, NULL, NULL, path, sizeof path, name, sizeof name, NULL) == OK) {
        snprintf(label, sizeof label, "%s%s", name, strcmp(name, "world") == 0 ? " (small, comes with storydiff)" : "");
        add(&c->models, &c->model_count, "", NULL, label);
    }
    for (int i = 0; i < count; i++) {
        if (!file_exists(folders[i]))
            return fail(e, ERR_IO, "--models %s: there is no such folder", folders[i]);
        add_models_below(c, folders[i]);
    }
    add_cached_models(c);
    add_well_known(c);
    add_fonts_below(c, "/usr/share/fonts", 0);
    add_fonts_below(c, "/usr/local/share/fonts", 0);
    return c->missing.failed ? fail(e, ERR_MEMORY, "not enough memory") : OK;
}

static void free_items(struct catalog_item *items, int count)
{
    for (int i = 0; i < count; i++) {
        free(items[i].name);
        free(items[i].path);
        free(items[i].label);
    }
    free(items);
}

void catalog_free(struct catalog *c)
{
    free_items(c->models, c->model_count);
    free_items(c->fonts, c->font_count);
    text_free(&c->missing);
    *c = (struct catalog){0};
}

/* ---------------------------------------------------------------------------------------------------------- JSON */

static void append_items(struct text *out, const char *key, const struct catalog_item *items, int count)
{
    text_append(out, ", \"%s\": [", key);
    for (int i = 0; i < count; i++) {
        text_append(out, "%s{\"name\": ", i > 0 ? ", " : "");
        text_append_json_string(out, items[i].name);
        text_append(out, ", \"label\": ");
        text_append_json_string(out, items[i].label);
        text_append(out, "}");
    }
    text_append(out, "]");
}

static void append_default(struct text *out, const struct setting *row)
{
    const struct settings defaults = settings_default();
    const void *member = (const char *)&defaults + row->offset;
    char number[40] = "";
    if (row->kind == SETTING_TEXT)
        text_append_json_string(out, *(const char *const *)member != NULL ? *(const char *const *)member : "");
    else if (row->kind == SETTING_CHOICE)
        text_append_json_string(out, row->choices[*(const int *)member]);
    else if (row->kind == SETTING_SEED)
        snprintf(number, sizeof number, "\"%llu\"", (unsigned long long)*(const uint64_t *)member);
    else if (row->kind == SETTING_NUMBER && *(const double *)member >= 0)
        snprintf(number, sizeof number, "\"%g\"", *(const double *)member);
    else if (row->kind != SETTING_NUMBER || number[0] == '\0')
        snprintf(number, sizeof number, "\"\"");
    text_append(out, "%s", number);
}

static void append_settings(struct text *out)
{
    static const char *const kinds[] = {"flag", "text", "list", "integer", "seed", "number", "choice"};
    bool first = true;
    text_append(out, ", \"settings\": [");
    for (const struct setting *row = settings_table; row < settings_table + settings_count; row++) {
        if (!check_is_offered(row))
            continue;
        text_append(out, "%s\n{\"key\": \"%s\", \"group\": \"%s\", \"kind\": \"%s\", \"least\": %g, \"most\": %g, ",
                    first ? "" : ",", row->key, setting_group_titles[row->group], kinds[row->kind], row->least,
                    row->most);
        text_append(out, "\"help\": ");
        text_append_json_string(out, row->help);
        text_append(out, ", \"default\": ");
        append_default(out, row);
        text_append(out, ", \"choices\": [");
        for (int i = 0; row->kind == SETTING_CHOICE && row->choices[i] != NULL; i++)
            text_append(out, "%s\"%s\"", i > 0 ? ", " : "", row->choices[i]);
        text_append(out, "]}");
        first = false;
    }
    text_append(out, "]");
}

static void append_styles(struct text *out)
{
    struct styles styles = styles_builtin();
    text_append(out, ", \"styles\": [");
    for (size_t i = 0; i < styles.count; i++) {
        text_append(out, "%s{\"name\": ", i > 0 ? ", " : "");
        text_append_json_string(out, styles.items[i].name);
        text_append(out, ", \"prompt\": ");
        text_append_json_string(out, styles.items[i].prompt);
        text_append(out, "}");
    }
    text_append(out, "]");
}

static void append_samplers(struct text *out)
{
    const char *name;
    text_append(out, ", \"samplers\": [");
    for (int i = 0; (name = sampler_name_at(i)) != NULL; i++)
        text_append(out, "%s\"%s\"", i > 0 ? ", " : "", name);
    text_append(out, "]");
}

extern const char studio_example_1[], studio_example_2[], studio_example_3[];

static void append_examples(struct text *out)
{
    const char *const examples[] = {studio_example_1, studio_example_2, studio_example_3};
    text_append(out, ", \"examples\": [");
    for (int i = 0; i < 3; i++) {
        text_append(out, "%s", i > 0 ? ", " : "");
        text_append_json_string(out, examples[i]);
    }
    text_append(out, "]");
}

void catalog_append(const struct catalog *c, struct text *out)
{
    text_append(out, "{\"version\": \"" STORYDIFF_VERSION "\"");
    append_items(out, "models", c->models, c->model_count);
    append_items(out, "fonts", c->fonts, c->font_count);
    text_append(out, ", \"missing\": %s", c->missing.data != NULL ? c->missing.data : "[]");
    append_samplers(out);
    append_styles(out);
    append_settings(out);
    append_examples(out);
    text_append(out, "}");
}
