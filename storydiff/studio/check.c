#include "storydiff/studio/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/sampling/sampler.h"
#include "storydiff/story/plan.h"
#include "storydiff/story/styles.h"

static const char NAME[] = "story";

static bool is_text(const struct setting *row)
{
    return row->kind == SETTING_TEXT || row->kind == SETTING_TEXT_LIST;
}

/* Texts that are texts; every other text may be a path. */
static bool is_plain_text(const struct setting *row)
{
    return strcmp(row->value, "TEXT") == 0 || strcmp(row->value, "NAME") == 0 ||
           strcmp(row->value, "FROM-TO") == 0;
}

bool check_is_offered(const struct setting *row)
{
    if (!setting_belongs_in_story(row) || strcmp(row->key, "local_files_only") == 0)
        return false;
    return !is_text(row) || is_plain_text(row) || strcmp(row->key, "font") == 0;
}

static status check_setting(const struct catalog *c, const struct story_setting *s, struct check_paths *paths,
                            struct error *e)
{
    const char *key = strcmp(s->key, "style") == 0 ? "style_name" : s->key;
    const struct setting *row = settings_find(key, strlen(key));
    const struct catalog_item *item = NULL;
    if (row == NULL || !setting_belongs_in_story(row)) /* whose messages are good */
        return OK;
    if (!check_is_offered(row) && is_text(row) && strcmp(key, "format") != 0)
        return fail(e, ERR_ARGUMENT,
                    "%s:%d:%d: `%s` names a file of this machine; the studio takes models by "
                    "sd_model_name and fonts by name, from its lists",
                    NAME, s->line, s->key_column, key);
    if (strcmp(key, "font") == 0) {
        item = catalog_font(c, s->value);
        if (item == NULL)
            return fail(e, ERR_ARGUMENT, "%s:%d:%d: `font` %.80s is not one of the installed fonts", NAME, s->line,
                        s->value_column, s->value);
        if (paths->font != NULL)
            return fail(e, ERR_ARGUMENT,
                        "%s:%d:%d: one `font` is enough: other installed ones help out where it lacks a "
                        "letter",
                        NAME, s->line, s->key_column);
        paths->font = item->path;
    }
    if (strcmp(key, "sd_model_name") == 0) {
        item = catalog_model(c, s->value);
        if (item == NULL || s->value[0] == '\0')
            return fail(e, ERR_ARGUMENT, "%s:%d:%d: `sd_model_name` %.80s is not on this machine; choose one from the "
                                         "list, which also says how to get others", NAME, s->line, s->value_column,
                        s->value);
        paths->model = item->path;
    }
    return OK;
}

/* Where a setting stands, for messages about its value. */
static status at_setting(const struct story *story, const char *key, const char *other, struct error *e)
{
    const struct story_setting *s = story_setting_find(story, key);
    if (s == NULL && other != NULL)
        s = story_setting_find(story, other);
    return s != NULL ? fail_context(e, "%s:%d:%d", NAME, s->line, s->value_column) : e->code;
}

static status check_values(const struct story *story, const struct settings *o, struct error *e)
{
    const struct styles styles = styles_builtin();
    const struct style *style;
    if (styles_find(&styles, o->style_name, &style, e) != OK)
        return at_setting(story, "style_name", "style", e);
    return OK;
}

status check_story(const struct catalog *c, const char *text, size_t length, struct story *story,
                   struct settings *settings, struct check_paths *paths, struct error *e)
{
    struct check_paths room = {0};
    *settings = settings_default();
    TRY(story_parse(NAME, text, length, story, e));
    status s = OK;
    for (int i = 0; s == OK && i < story->setting_count; i++)
        s = check_setting(c, &story->settings[i], &room, e);
    if (s == OK)
        s = settings_from_story(settings, story, e);
    if (s == OK)
        s = check_values(story, settings, e);
    if (s != OK)
        story_free(story);
    if (paths != NULL)
        *paths = room;
    return s;
}

const char *check_position(const char *message, int *line, int *column)
{
    int consumed = 0, room;
    *line = 0;
    if (sscanf(message, "story:%d:%d: %n", line, column != NULL ? column : &room, &consumed) == 2 && consumed > 0)
        return message + consumed;
    *line = 0;
    if (column != NULL)
        *column = 0;
    return message;
}

/* The first `key` of a message that is a setting. */
static void append_key(struct text *out, const char *message)
{
    char key[64] = "";
    for (const char *p = strchr(message, '`'); p != NULL && key[0] == '\0'; p = strchr(p + 1, '`')) {
        size_t length = strcspn(p + 1, "`");
        if (length < sizeof key && settings_find(p + 1, length) != NULL)
            snprintf(key, sizeof key, "%.*s", (int)length, p + 1);
    }
    text_append_json_string(out, key);
}

static void append_failure(struct text *out, const char *message)
{
    int line, column;
    struct text plain = {0};
    const char *what = check_position(message, &line, &column);
    settings_spell(&plain, what, "");
    text_append(out, "{\"ok\": false, \"line\": %d, \"column\": %d, \"key\": ", line, column);
    append_key(out, what);
    text_append(out, ", \"message\": ");
    text_append_json_string(out, plain.data != NULL ? plain.data : what);
    text_append(out, "}");
    text_free(&plain);
}

static void append_panels(struct text *out, const struct story *story, const struct story_plan *plan)
{
    text_append(out, ", \"panels\": [");
    for (int i = 0; i < story->panel_count; i++) {
        const struct story_panel *p = &story->panels[i];
        bool id = plan->passes[plan->places[i].pass].kind == STORY_WRITE;
        text_append(out, "%s{\"line\": %d, \"role\": \"%s\", \"caption\": ", i > 0 ? ", " : "", p->line,
                    id ? "id" : "story");
        text_append_json_string(out, p->caption);
        text_append(out, ", \"characters\": [");
        for (int k = 0; k < p->character_count; k++) {
            text_append(out, "%s", k > 0 ? ", " : "");
            text_append_json_string(out, story->characters[p->characters[k]].key);
        }
        text_append(out, "]}");
    }
    text_append(out, "]");
}

void check_append(const struct catalog *c, const char *text, size_t length, struct text *out)
{
    struct story story = {0};
    struct settings *settings = malloc(sizeof *settings);
    struct story_plan plan = {0};
    struct error e = {0};
    status s = settings != NULL ? check_story(c, text, length, &story, settings, NULL, &e)
                                : fail(&e, ERR_MEMORY, "not enough memory");
    if (s == OK)
        s = story_plan_make(&story, (int)settings->id_length, &plan, &e);
    if (s != OK) {
        append_failure(out, e.message);
    } else {
        const struct story_setting *title = story_setting_find(&story, "title");
        struct text notice = {0};
        settings_spell(&notice, plan.notice, "");
        text_append(out, "{\"ok\": true, \"title\": ");
        text_append_json_string(out, title != NULL ? title->value : "");
        append_panels(out, &story, &plan);
        text_append(out, ", \"id_length\": %d, \"notices\": ", plan.id_length);
        text_append_json_string(out, notice.data != NULL ? notice.data : "");
        text_append(out, "}");
        text_free(&notice);
    }
    story_plan_free(&plan);
    story_free(&story);
    free(settings);
}
