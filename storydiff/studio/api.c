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

enum { CAST_MAX = 256 << 10 };

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

struct reply api_outcome(status s, const struct error *e)
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

bool api_knows(const struct json *object, const char *const known[], struct reply *reply)
{
    for (const struct json *v = object->child; v != NULL; v = v->next) {
        int i = 0;
        while (known[i] != NULL && strcmp(v->key, known[i]) != 0)
            i++;
        if (known[i] == NULL) {
            char text[160];
            snprintf(text, sizeof text, "there is no member \"%.100s\" here", v->key);
            *reply = http_error(400, text);
            return false;
        }
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

bool api_body_story(const struct request *r, const struct json **root, const struct json **story, struct reply *reply)
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

/* -------------------------------------------------------------------------------------------- requests: the rest */

static struct reply check_body(struct studio *s, const struct request *r, bool plan)
{
    const struct json *root, *story;
    struct reply reply;
    struct text out = {0};
    struct error e = {0};
    if (!api_body_story(r, &root, &story, &reply))
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

/* {"characters": [{"name", "description"}]}; false: *reply says what is wrong. */
static bool is_cast(const struct json *root, struct reply *reply)
{
    static const char *const members[] = {"characters", NULL}, *const of_one[] = {"name", "description", NULL};
    const struct json *all = json_get(root, "characters");
    if (!api_knows(root, members, reply))
        return false;
    bool ok = all != NULL && all->kind == JSON_ARRAY;
    for (const struct json *one = ok ? all->child : NULL; one != NULL && ok; one = one->next) {
        ok = one->kind == JSON_OBJECT && json_string(json_get(one, "name"), "")[0] != '\0' &&
             json_string(json_get(one, "description"), NULL) != NULL;
        if (ok && !api_knows(one, of_one, reply))
            return false;
    }
    if (!ok)
        *reply = http_error(400, "\"characters\" must be a list of {\"name\", \"description\"}: two texts, and no name "
                                 "is empty");
    return ok;
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
    if (is_cast(root, &reply))
        reply = api_outcome(file_write(path, r->body, r->size, &e), &e);
    json_free(root);
    return reply;
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
        return api_list_comics(s);
    if (strcmp(path, "comics") == 0 && post)
        return api_create_comic(s, r);
    if (strncmp(path, "comics/", 7) == 0)
        return api_comic(s, r, path + 7);
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
