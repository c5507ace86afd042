#include "storydiff/comic/recipe_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/models.h"
#include "storydiff/picture/png.h"
#include "tensor/file.h"
#include "tensor/safetensors.h"

const char RECIPE_KEY[] = "storydiff";

status recipe_parse(const char *source, const char *text, struct recipe *r, struct error *e)
{
    *r = (struct recipe){0};
    snprintf(r->source, sizeof r->source, "%s", source);
    TRY(json_parse(source, text, strlen(text), &r->values, e));
    if (recipe_value(r, "story") == NULL || recipe_value(r, "seed") == NULL) {
        recipe_free(r);
        return fail(e, ERR_FORMAT, "%s: what it holds is no recipe of storydiff", source);
    }
    r->story = strdup(recipe_value(r, "story"));
    if (r->story == NULL) {
        recipe_free(r);
        return fail(e, ERR_MEMORY, "%s: not enough memory for its recipe", source);
    }
    return OK;
}

void recipe_free(struct recipe *r)
{
    json_free(r->values);
    free(r->story);
    free(r->loras);
    *r = (struct recipe){0};
}

const char *recipe_value(const struct recipe *r, const char *key)
{
    return json_string(json_get(r->values, key), NULL);
}

/* ------------------------------------------------------------------------------------------------------- folders */

static status from_state(const char *path, struct recipe *r, struct error *e)
{
    static const char advice[] = "this cannot be resumed; `overwrite`, with the story said again, starts anew";
    struct safetensors file;
    if (safetensors_open(path, &file, e) != OK)
        return fail_context(e, "%s", advice);
    const char *text = safetensors_meta(&file, "recipe");
    status s = text != NULL ? recipe_parse(path, text, r, e)
                            : fail(e, ERR_FORMAT, "%s: %s is not the state of a storydiff run", advice, path);
    r->of_run = s == OK;
    safetensors_close(&file);
    return s;
}

static status from_picture(const char *path, struct recipe *r, struct error *e)
{
    char *text = NULL;
    TRY(png_read_text(path, RECIPE_KEY, &text, e));
    status s = text != NULL ? recipe_parse(path, text, r, e) : OK;
    free(text);
    return s;
}

status recipe_of_picture(const char *path, struct recipe *r, struct error *e)
{
    *r = (struct recipe){0};
    TRY(from_picture(path, r, e));
    return r->values != NULL ? OK : fail(e, ERR_FORMAT, "%s has no recipe: it was not made by storydiff", path);
}

status recipe_of_panel(const char *folder, int number, struct recipe *r, struct error *e)
{
    char name[32], path[4200];
    *r = (struct recipe){0};
    snprintf(name, sizeof name, "panel-%02d.png", number);
    TRY(path_join(path, sizeof path, folder, name, e));
    return file_exists(path) ? from_picture(path, r, e) : OK;
}

status recipe_in_folder(const char *folder, struct recipe *r, struct error *e)
{
    char path[4200];
    *r = (struct recipe){0};
    TRY(path_join(path, sizeof path, folder, "unfinished.safetensors", e));
    if (file_exists(path))
        return from_state(path, r, e);
    for (int number = 1; number <= STORY_MAX_PANELS && r->values == NULL; number++)
        TRY(recipe_of_panel(folder, number, r, e));
    return OK;
}

/* ------------------------------------------------------------------------------------------------------ settings */

/* The story again: what stands before the line ---, and the panels after it. Cuts r->story. */
static status story_settings(const struct recipe *r, struct settings *s, struct error *e)
{
    static const char rule[] = "---\n";
    char *head = r->story, *at = strncmp(head, rule, 4) == 0 ? head : strstr(head, "\n---\n");
    if (at == NULL)
        return fail(e, ERR_FORMAT, "%s: the story in its recipe has no line ---", r->source);
    char *line = at + (at == head ? 4 : 5);
    *at = '\0';
    s->general_prompt = head[0] != '\0' ? head : NULL;
    for (char *end = line; line != NULL; line = end != NULL ? end + 1 : NULL) {
        if (s->prompt_count == SETTINGS_PROMPTS)
            return fail(e, ERR_FORMAT, "%s: more than %d panels", r->source, SETTINGS_PROMPTS);
        end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        s->prompts[s->prompt_count++] = line;
    }
    return OK;
}

static bool is_given(const struct settings *s, const char *key)
{
    return settings_given(s, key) == GIVEN_BY_PERSON;
}

static status model_setting(const struct recipe *r, struct settings *s, struct error *e)
{
    const char *name = recipe_value(r, "model"), *path = recipe_value(r, "model_path");
    if (is_given(s, "model") || is_given(s, "sd_model_name") || name == NULL)
        return OK;
    if (path != NULL)
        s->model = path;
    else if (models_knows(name))
        s->sd_model_name = name;
    else if (!models_is_default(name))
        return fail(e, ERR_ARGUMENT, "%s was drawn with the model %.60s: give its folder, `model` FOLDER", r->source,
                    name);
    return OK;
}

/* A state says where its LoRAs lie; a picture says their names, which a person's lora_dir finds. */
static status lora_settings(struct recipe *r, struct settings *s, struct error *e)
{
    const char *names = recipe_value(r, "lora"), *paths = recipe_value(r, "lora_paths");
    const struct setting *row = settings_find("lora", strlen("lora"));
    if (names == NULL || is_given(s, "lora"))
        return OK;
    if (paths == NULL && !is_given(s, "lora_dir"))
        return fail(e, ERR_ARGUMENT, "%s was drawn with LoRAs, %.60s: give `lora` FILE:WEIGHT for each, or `lora_dir` "
                                     "DIR", r->source, names);
    r->loras = strdup(paths != NULL ? paths : names);
    if (r->loras == NULL)
        return fail(e, ERR_MEMORY, "%s: not enough memory for its LoRAs", r->source);
    for (char *line = r->loras, *end; line != NULL; line = end != NULL ? end + 1 : NULL) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        char *crc = paths == NULL ? strrchr(line, ' ') : NULL;
        if (crc != NULL)
            *crc = '\0';
        TRY(settings_set(s, row, GIVEN_BY_STORY, "lora", line, e));
    }
    return OK;
}

static status draft_settings(const struct recipe *r, struct settings *s, struct error *e)
{
    if (recipe_value(r, "draft_decoder") == NULL || is_given(s, "draft"))
        return OK;
    s->draft = true;
    if (s->taesd == NULL)
        s->taesd = recipe_value(r, "taesd_path");
    return s->taesd != NULL ? OK
                            : fail(e, ERR_ARGUMENT, "%s was drawn with a tiny decoder: give its file, `taesd` FILE",
                                   r->source);
}

/* Values that are not read as the setting of their name. */
static bool has_own_meaning(const char *key)
{
    static const char *const own[] = {"model", "font", "story", "output_dir", "threads", "lora"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(key, own[i]) == 0)
            return true;
    return false;
}

status recipe_settings(struct recipe *r, struct settings *s, struct error *e)
{
    TRY(story_settings(r, s, e));
    TRY(model_setting(r, s, e));
    TRY(lora_settings(r, s, e));
    TRY(draft_settings(r, s, e));
    if (!is_given(s, "style_name")) {
        s->style_prompt = recipe_value(r, "style_prompt");
        s->style_negative_prompt = recipe_value(r, "style_negative_prompt");
    }
    for (const struct json *v = r->values->child; v != NULL; v = v->next) {
        const struct setting *row = settings_find(v->key, strlen(v->key));
        char called[320];
        snprintf(called, sizeof called, "%s: %.40s", r->source, v->key);
        if (row != NULL && !has_own_meaning(v->key) && !is_given(s, v->key))
            TRY(settings_set(s, row, GIVEN_BY_STORY, called, json_string(v, ""), e));
    }
    const char *font = recipe_value(r, "font");
    if (font != NULL && s->font_count == 0 && s->comic_type != PAGE_NONE)
        return fail(e, ERR_ARGUMENT, "%s has its captions in the font %.60s: give its file, `font` FILE", r->source,
                    font);
    return OK;
}

/* "3: 99, 12: 7" in a page's or a state's recipe; panel_seed in that of the panel. */
uint64_t recipe_seed(const struct recipe *r, int panel)
{
    uint64_t seed = strtoull(recipe_value(r, "seed"), NULL, 10);
    const char *own = recipe_value(r, "panel_seed"), *list = recipe_value(r, "panel_seeds");
    const char *number = recipe_value(r, "panel");
    if (panel < 0)
        return seed;
    if (own != NULL && strtol(number != NULL ? number : "0", NULL, 10) == panel + 1)
        return strtoull(own, NULL, 10);
    for (const char *p = list; p != NULL && *p != '\0';) {
        char *end;
        long listed = strtol(p, &end, 10);
        if (end == p || *end != ':')
            return seed;
        uint64_t value = strtoull(end + 1, &end, 10);
        if (listed == panel + 1)
            return value;
        p = end + strspn(end, ", ");
    }
    return seed;
}
