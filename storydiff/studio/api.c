#include "storydiff/studio/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/models.h"
#include "storydiff/comic/recipe_read.h"
#include "storydiff/picture/png.h"
#include "storydiff/studio/assets.h"
#include "storydiff/studio/check.h"
#include "tensor/file.h"

enum { MAX_PICTURES = 1000, LOG_TAIL = 64 << 10, CAST_MAX = 256 << 10 };

/* ------------------------------------------------------------------------------------------------------- helpers */

struct reply api_failure(const struct error *e)
{
    struct text plain = {0};
    bool missing = strstr(e->message, "there is no such comic") != NULL;
    settings_spell(&plain, e->message, "");
    struct reply r = http_error(e->code == ERR_MEMORY ? 503 : e->code == ERR_IO ? 500 : missing ? 404 : 400,
                                plain.data != NULL ? plain.data : e->message);
    text_free(&plain);
    return r;
}

static struct reply done(void)
{
    struct text out = {0};
    text_append(&out, "{\"ok\": true}");
    return http_json(out);
}

static struct reply outcome(status s, const struct error *e)
{
    return s == OK ? done() : api_failure(e);
}

bool api_body(const struct request *r, const struct json **root, struct reply *reply)
{
    struct error e = {0};
    *root = NULL;
    if (json_parse("body", r->body, r->size, root, &e) != OK || (*root)->kind != JSON_OBJECT) {
        *reply = http_error(400, e.message[0] != '\0' ? e.message : "the body must be a JSON object");
        json_free(*root);
        *root = NULL;
        return false;
    }
    return true;
}

const char *api_text(const struct json *object, const char *key, char room[32])
{
    const struct json *v = json_get(object, key);
    if (v != NULL && v->kind == JSON_NUMBER && v->is_integer)
        snprintf(room, 32, "%lld", (long long)v->integer);
    else if (v != NULL && v->kind == JSON_NUMBER)
        snprintf(room, 32, "%.9g", v->number);
    else
        return json_string(v, NULL);
    return room;
}

/* The member "story" of the body. */
static bool body_story(const struct request *r, const struct json **root, const struct json **story,
                       struct reply *reply)
{
    if (!api_body(r, root, reply))
        return false;
    *story = json_get(*root, "story");
    if (*story != NULL && (*story)->kind == JSON_STRING && (*story)->string_length <= STORY_MAX_BYTES)
        return true;
    *reply = *story != NULL && (*story)->kind == JSON_STRING
                 ? http_error(413, "the story is larger than 1 MB")
                 : http_error(400, "the body must have \"story\", a text");
    json_free(*root);
    return false;
}

/* -------------------------------------------------------------------------------------------------- description */

static void member(struct text *out, const char *key, const char *value)
{
    text_append(out, ", \"%s\": ", key);
    text_append_json_string(out, value);
}

/* The value of "title:" in a script that need not be right. */
static void append_title(struct text *out, const struct text *story)
{
    char title[160] = "";
    for (const char *line = story->data; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "---", 3) == 0)
            break;
        if (strncmp(line, "title:", 6) == 0) {
            const char *value = line + 6 + strspn(line + 6, " \t");
            snprintf(title, sizeof title, "%.*s", (int)strcspn(value, "\r\n"), value);
            break;
        }
    }
    member(out, "title", title);
}

static void append_head(const struct library *l, struct text *out, const struct comic_record *c,
                        const struct text *story)
{
    text_append(out, "\"id\": \"%s\", \"state\": \"%s\", \"task\": \"%s\", \"created\": %lld, \"thumb\": %lld", c->id,
                comic_state_names[c->state], comic_task_names[c->task], (long long)c->created,
                (long long)library_time(l, c->id, "panel-01.png"));
    append_title(out, story);
    member(out, "message", c->message);
    member(out, "only", c->task == TASK_REDRAW ? c->panels : "");
}

/* When each numbered picture was written, from 1 on; 0 where one is missing among them. */
static void append_pictures(const struct library *l, struct text *out, const char *key, const char *id,
                            const char *kind)
{
    int last = 0, missing = 0;
    struct text list = {0};
    for (int i = 1; i <= MAX_PICTURES && missing < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s-%02d.png", kind, i);
        int64_t time = library_time(l, id, name);
        missing = time != 0 ? 0 : missing + 1;
        for (; time != 0 && last < i - 1; last++)
            text_append(&list, "%s0", last > 0 ? ", " : "");
        if (time != 0)
            text_append(&list, "%s%lld", last++ > 0 ? ", " : "", (long long)time);
    }
    text_append(out, ", \"%s\": [%s]", key, list.data != NULL ? list.data : "");
    text_free(&list);
}

static void append_progress(struct text *out, const struct progress_now *now)
{
    text_append(out,
                ", \"progress\": {\"phase\": \"%s\", \"step\": %d, \"steps\": %d, \"drawing\": %s, \"previews\": %d, "
                "\"columns\": %d, \"rows\": %d, \"stopping\": %s, \"seconds_left\": ",
                now->phase, now->step, now->steps, now->drawing[0] != '\0' ? now->drawing : "[]", now->previews,
                now->columns, now->rows, now->stopping ? "true" : "false");
    if (now->seconds_left < 0)
        text_append(out, "null}");
    else
        text_append(out, "%lld}", (long long)(now->seconds_left + 0.5));
}

static struct reply list_comics(struct studio *s)
{
    struct comic_record *all;
    int count;
    struct error e = {0};
    struct text out = {0};
    struct progress_now now = queue_progress(s->queue, NULL);
    if (library_list(&s->library, &all, &count, &e) != OK)
        return api_failure(&e);
    text_append(&out, "{\"drawing\": \"%s\", \"comics\": [", now.id);
    for (int i = 0; i < count; i++) {
        struct text story = {0};
        library_read_story(&s->library, all[i].id, &story, NULL);
        text_append(&out, "%s{", i > 0 ? ",\n" : "");
        append_head(&s->library, &out, &all[i], &story);
        if (strcmp(all[i].id, now.id) == 0)
            append_progress(&out, &now);
        text_append(&out, "}");
        text_free(&story);
    }
    free(all);
    text_append(&out, "]}");
    return http_json(out);
}

static int queued_before(const struct studio *s, const struct comic_record *c)
{
    struct comic_record *all;
    int count, before = 0;
    if (c->state != COMIC_QUEUED || library_list(&s->library, &all, &count, NULL) != OK)
        return 0;
    for (int i = 0; i < count; i++)
        before += all[i].state == COMIC_DRAWING || (all[i].state == COMIC_QUEUED && all[i].queued < c->queued);
    free(all);
    return before;
}

static struct reply show_comic(struct studio *s, const char *id)
{
    struct comic_record c;
    struct error e = {0};
    struct text out = {0}, story = {0}, notices = {0};
    struct progress_now now = queue_progress(s->queue, &notices);
    if (library_read(&s->library, id, &c, &e) != OK || library_read_story(&s->library, id, &story, &e) != OK) {
        text_free(&notices);
        return api_failure(&e);
    }
    text_append(&out, "{");
    append_head(&s->library, &out, &c, &story);
    member(&out, "story", story.data != NULL ? story.data : "");
    append_pictures(&s->library, &out, "panels", id, "panel");
    append_pictures(&s->library, &out, "pages", id, "page");
    text_append(&out, ", \"pdf\": %lld, \"cbz\": %lld, \"preview\": %lld, \"queued_before\": %d",
                (long long)library_time(&s->library, id, "comic.pdf"),
                (long long)library_time(&s->library, id, "comic.cbz"),
                (long long)library_time(&s->library, id, "preview.png"), queued_before(s, &c));
    if (strcmp(now.id, id) == 0) {
        append_progress(&out, &now);
        member(&out, "notices", notices.data != NULL ? notices.data : "");
    }
    text_append(&out, "}");
    text_free(&story);
    text_free(&notices);
    return http_json(out);
}

/* ----------------------------------------------------------------------------------------------- requests: comics */

/* A script that storydiff would refuse is refused here, with its line. */
static bool check(struct studio *s, const struct json *story, struct reply *reply)
{
    struct story parsed = {0};
    struct settings *settings = malloc(sizeof *settings);
    struct error e = {0};
    status result = settings != NULL ? check_story(&s->catalog, story->string, story->string_length, &parsed, settings,
                                                   NULL, &e)
                                     : fail(&e, ERR_MEMORY, "not enough memory");
    story_free(&parsed);
    free(settings);
    if (result != OK)
        *reply = api_failure(&e);
    return result == OK;
}

static struct reply with_id(const char *id)
{
    struct text out = {0};
    text_append(&out, "{\"ok\": true, \"id\": \"%s\"}", id);
    return http_json(out);
}

static struct reply create(struct studio *s, const struct request *r)
{
    const struct json *root, *story;
    struct reply reply;
    struct comic_record c;
    struct error e = {0};
    if (!body_story(r, &root, &story, &reply))
        return reply;
    bool start = json_bool(json_get(root, "start"), true);
    if (!start || check(s, story, &reply)) {
        status result = library_create(&s->library, story->string, story->string_length, &c, &e);
        if (result == OK && start)
            result = queue_add(s->queue, c.id, TASK_DRAW, NULL, NULL, &e);
        reply = result == OK ? with_id(c.id) : api_failure(&e);
    }
    json_free(root);
    return reply;
}

/* What changes a comic, while no state changes. */
struct change {
    struct studio *s;
    const char *id, *story;
    size_t length;
    bool remove;
};

static status change(void *self, struct error *e)
{
    const struct change *c = self;
    struct comic_record r;
    TRY(library_read(&c->s->library, c->id, &r, e));
    if (r.state == COMIC_QUEUED || r.state == COMIC_DRAWING)
        return fail(e, ERR_ARGUMENT, "this comic is %s: stop it first",
                    r.state == COMIC_QUEUED ? "queued" : "being drawn");
    return c->remove ? library_delete(&c->s->library, c->id, e)
                     : library_write_story(&c->s->library, c->id, c->story, c->length, e);
}

static struct reply save_story(struct studio *s, const struct request *r, const char *id)
{
    const struct json *root, *story;
    struct reply reply;
    struct error e = {0};
    if (!body_story(r, &root, &story, &reply))
        return reply;
    struct change c = {s, id, story->string, story->string_length, false};
    reply = outcome(queue_locked(s->queue, change, &c, &e), &e);
    json_free(root);
    return reply;
}

static struct reply delete_comic(struct studio *s, const char *id)
{
    struct error e = {0};
    struct change c = {.s = s, .id = id, .remove = true};
    return outcome(queue_locked(s->queue, change, &c, &e), &e);
}

static struct reply duplicate(struct studio *s, const char *id)
{
    struct text story = {0};
    struct comic_record c;
    struct error e = {0};
    status result = library_read(&s->library, id, &c, &e);
    if (result == OK)
        result = library_read_story(&s->library, id, &story, &e);
    if (result == OK)
        result = library_create(&s->library, story.data != NULL ? story.data : "", story.length, &c, &e);
    text_free(&story);
    return result == OK ? with_id(c.id) : api_failure(&e);
}

/* A list like "3" or "3,5-7": digits, commas and dashes, which cannot be an option. */
static bool is_panel_list(const char *text)
{
    size_t length = strspn(text, "0123456789,-");
    return length > 0 && length < COMIC_MAX_PANELS_TEXT && text[length] == '\0' && text[0] != '-';
}

static struct reply redraw(struct studio *s, const struct request *r, const char *id)
{
    const struct json *root;
    struct reply reply;
    struct error e = {0};
    char a[32], b[32];
    if (!api_body(r, &root, &reply))
        return reply;
    const char *panels = api_text(root, "panel", a), *seed = api_text(root, "seed", b);
    bool is_seed = seed == NULL || (seed[0] != '\0' && strlen(seed) < 20 && seed[strspn(seed, "0123456789")] == '\0');
    if (panels == NULL || !is_panel_list(panels))
        reply = http_error(400, "\"panel\" must be the number of a panel, or a text such as \"3,5\"");
    else if (!is_seed)
        reply = http_error(400, "\"seed\" must be a whole number from 0 on");
    else
        reply = outcome(queue_add(s->queue, id, TASK_REDRAW, panels, seed, &e), &e);
    json_free(root);
    return reply;
}

static struct reply act(struct studio *s, const struct request *r, const char *id, const char *action)
{
    struct error e = {0};
    if (strcmp(action, "draw") == 0)
        return outcome(queue_add(s->queue, id, TASK_DRAW, NULL, NULL, &e), &e);
    if (strcmp(action, "resume") == 0)
        return outcome(queue_add(s->queue, id, TASK_RESUME, NULL, NULL, &e), &e);
    if (strcmp(action, "pages") == 0)
        return outcome(queue_add(s->queue, id, TASK_PAGES, NULL, NULL, &e), &e);
    if (strcmp(action, "stop") == 0)
        return outcome(queue_stop(s->queue, id, &e), &e);
    if (strcmp(action, "redraw") == 0)
        return redraw(s, r, id);
    if (strcmp(action, "duplicate") == 0)
        return duplicate(s, id);
    return http_error(404, "there is nothing of this name");
}

/* ---------------------------------------------------------------------------------------------------- files */

static struct reply picture_recipe(const char *path)
{
    char *text = NULL;
    struct error e = {0};
    struct text out = {0};
    if (!file_exists(path))
        return http_error(404, "it is not there (yet)");
    if (png_read_text(path, RECIPE_KEY, &text, &e) != OK)
        return api_failure(&e);
    text_append(&out, "%s", text != NULL ? text : "{}");
    free(text);
    return http_json(out);
}

static struct reply tail(const char *path)
{
    struct file_map map;
    struct reply r = {.status = 200, .type = "text/plain; charset=utf-8", .fd = -1};
    if (file_map(path, &map, NULL) != OK)
        return r;
    size_t begin = map.size > LOG_TAIL ? map.size - LOG_TAIL : 0;
    text_append_bytes(&r.body, (const char *)map.data + begin, map.size - begin);
    file_unmap(&map);
    return r;
}

/* The name is composed here, of a kind and a number. */
static struct reply file_of(struct studio *s, const struct request *r, const char *id, const char *kind, int number)
{
    char name[32], path[COMIC_PATH], download[96];
    const char *type = "image/png";
    bool picture = strcmp(kind, "panel") == 0 || strcmp(kind, "page") == 0;
    struct error e = {0};
    if (picture)
        snprintf(name, sizeof name, "%s-%02d.png", kind, number);
    else if (strcmp(kind, "preview") == 0)
        snprintf(name, sizeof name, "preview.png");
    else if (strcmp(kind, "pdf") == 0)
        snprintf(name, sizeof name, "comic.pdf"), type = "application/pdf";
    else if (strcmp(kind, "cbz") == 0)
        snprintf(name, sizeof name, "comic.cbz"), type = "application/vnd.comicbook+zip";
    else if (strcmp(kind, "story") == 0)
        snprintf(name, sizeof name, "comic.story"), type = "text/plain; charset=utf-8";
    else if (strcmp(kind, "log") == 0)
        snprintf(name, sizeof name, "log.txt");
    else
        return http_error(404, "there is nothing of this name");
    if (library_path(&s->library, id, name, path, &e) != OK)
        return api_failure(&e);
    if (strcmp(kind, "log") == 0)
        return tail(path);
    if (picture && r->query(r, "recipe") != NULL)
        return picture_recipe(path);
    snprintf(download, sizeof download, "%s-%s", id, name);
    struct reply reply = http_file(path, type, r->query(r, "download") != NULL ? download : NULL);
    reply.keep = reply.keep && r->query(r, "v") != NULL;
    return reply;
}

/* /api/comics/ID, /api/comics/ID/THING, /api/comics/ID/THING/NUMBER */
static struct reply route_comic(struct studio *s, const struct request *r, const char *rest)
{
    char id[COMIC_ID + 1], thing[16], surplus;
    int number = 0, fields = sscanf(rest, "%40[^/]/%15[a-z]/%4d%c", id, thing, &number, &surplus);
    bool get = strcmp(r->method, "GET") == 0;
    struct comic_record c;
    struct error e = {0};
    if (fields < 1 || fields == 4 || strlen(rest) > 80 || number < 0)
        return http_error(404, "there is nothing of this name");
    if (library_read(&s->library, id, &c, &e) != OK)
        return http_error(404, "there is no such comic");
    if (fields == 1 && strcmp(rest, id) != 0)
        return http_error(404, "there is nothing of this name");
    if (fields == 1 && get)
        return show_comic(s, id);
    if (fields == 1 && strcmp(r->method, "PUT") == 0)
        return save_story(s, r, id);
    if (fields == 1 && strcmp(r->method, "DELETE") == 0)
        return delete_comic(s, id);
    if (fields >= 2 && get)
        return file_of(s, r, id, thing, number);
    if (fields == 2 && strcmp(r->method, "POST") == 0)
        return act(s, r, id, thing);
    return http_error(405, "not with this method");
}

/* -------------------------------------------------------------------------------------------- requests: the rest */

static struct reply check_body(struct studio *s, const struct request *r, bool plan)
{
    const struct json *root, *story;
    struct reply reply;
    struct text out = {0};
    struct error e = {0};
    if (!body_story(r, &root, &story, &reply))
        return reply;
    if (!plan)
        check_append(&s->catalog, story->string, story->string_length, &out);
    else if (queue_plan(s->queue, story->string, story->string_length, &out, &e) != OK)
        text_free(&out);
    reply = e.code != OK ? api_failure(&e) : http_json(out);
    json_free(root);
    return reply;
}

/* The script in a picture's recipe, with its settings: a story file again. */
static void append_recipe_story(struct text *out, const struct recipe *recipe)
{
    static const char *const skipped[] = {"story", "model", "font", "style_prompt", "style_negative_prompt", "only"};
    const char *story = recipe_value(recipe, "story"), *first = story;
    struct text script = {0};
    for (const struct json *v = recipe->values->child; v != NULL; v = v->next) {
        const struct setting *row = settings_find(v->key, strlen(v->key));
        bool skip = row == NULL || !check_is_offered(row) || json_string(v, "")[0] == '\0';
        for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
            skip = skip || strcmp(skipped[i], v->key) == 0;
        if (!skip)
            text_append(&script, "%s: %s\n", v->key, json_string(v, ""));
    }
    const char *model = recipe_value(recipe, "model");
    if (model != NULL && models_knows(model))
        text_append(&script, "sd_model_name: %s\n", model);
    text_append(&script, "\n");
    if (first[0] != '[' && strncmp(first, "---", 3) != 0) /* the one character of a general prompt */
        text_append(&script, "[Hero] ");
    text_append(&script, "%s\n", story);
    text_append_json_string(out, script.data != NULL ? script.data : "");
    out->failed = out->failed || script.failed;
    text_free(&script);
}

/* A PNG of ours, or a story file, as a script. */
static struct reply read_file(const struct request *r)
{
    char *text = NULL;
    struct recipe recipe;
    struct text out = {0};
    struct error e = {0};
    text_append(&out, "{\"story\": ");
    if (r->size < 8 || memcmp(r->body, "\x89PNG\r\n\x1a\n", 8) != 0) {
        if (r->size > STORY_MAX_BYTES || memchr(r->body, '\0', r->size) != NULL)
            fail(&e, ERR_ARGUMENT, "this is neither a PNG nor a story file");
        else
            text_append_json_string(&out, r->body);
    } else if (png_decode_text("the picture", (const unsigned char *)r->body, r->size, RECIPE_KEY, &text, &e) == OK) {
        if (text == NULL)
            fail(&e, ERR_ARGUMENT, "this picture has no recipe of storydiff");
        else if (recipe_parse("the picture", text, &recipe, &e) == OK) {
            append_recipe_story(&out, &recipe);
            recipe_free(&recipe);
        }
        free(text);
    }
    text_append(&out, "}");
    if (e.code == OK)
        return http_json(out);
    text_free(&out);
    return api_failure(&e);
}

static struct reply cast(struct studio *s, const struct request *r)
{
    char path[COMIC_PATH];
    struct error e = {0};
    const struct json *root;
    struct reply reply;
    if (path_join(path, sizeof path, s->library.path, "cast.json", &e) != OK)
        return api_failure(&e);
    if (strcmp(r->method, "GET") == 0) {
        struct text out = {0};
        reply = http_file(path, "application/json", NULL);
        reply.keep = false;
        if (reply.status == 200)
            return reply;
        text_free(&reply.body);
        text_append(&out, "{\"characters\": []}");
        return http_json(out);
    }
    if (strcmp(r->method, "PUT") != 0)
        return http_error(405, "not with this method");
    if (r->size > CAST_MAX)
        return http_error(413, "too many characters");
    if (!api_body(r, &root, &reply))
        return reply;
    json_free(root);
    return outcome(file_write(path, r->body, r->size, &e), &e);
}

static struct reply route_api(struct studio *s, const struct request *r, const char *path)
{
    bool get = strcmp(r->method, "GET") == 0, post = strcmp(r->method, "POST") == 0;
    if (strcmp(path, "studio") == 0 && get) {
        struct text out = {0};
        catalog_append(&s->catalog, &out);
        return http_json(out);
    }
    if (strcmp(path, "comics") == 0 && get)
        return list_comics(s);
    if (strcmp(path, "comics") == 0 && post)
        return create(s, r);
    if (strncmp(path, "comics/", 7) == 0)
        return route_comic(s, r, path + 7);
    if (strcmp(path, "check") == 0 && post)
        return check_body(s, r, false);
    if (strcmp(path, "plan") == 0 && post)
        return check_body(s, r, true);
    if (strcmp(path, "read") == 0 && post)
        return read_file(r);
    if (strcmp(path, "cast") == 0)
        return cast(s, r);
    return http_error(404, "there is nothing of this name");
}

struct reply api_handle(void *self, const struct request *r)
{
    bool get = strcmp(r->method, "GET") == 0;
    if (strncmp(r->path, "/api/", 5) == 0)
        return route_api(self, r, r->path + 5);
    if (strncmp(r->path, "/sdapi/v1/", 10) == 0)
        return webui_handle(self, r, r->path + 10);
    for (const struct asset *a = assets; a->path != NULL; a++)
        if (strcmp(a->path, r->path) == 0)
            return get || strcmp(r->method, "HEAD") == 0
                       ? (struct reply){.status = 200, .type = a->type, .constant = a->begin,
                                        .constant_size = (size_t)(a->end - a->begin), .fd = -1}
                       : http_error(405, "not with this method");
    return http_error(404, "there is nothing of this name");
}
