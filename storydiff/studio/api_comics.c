/* Requests that make, change, draw or delete a comic. */
#include "storydiff/studio/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/studio/check.h"

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

struct reply api_create_comic(struct studio *s, const struct request *r)
{
    const struct json *root, *story;
    struct reply reply;
    struct comic_record c;
    struct error e = {0};
    if (!api_body_story(r, &root, &story, &reply))
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
    if (!api_body_story(r, &root, &story, &reply))
        return reply;
    struct change c = {s, id, story->string, story->string_length, false};
    reply = api_outcome(queue_locked(s->queue, change, &c, &e), &e);
    json_free(root);
    return reply;
}

static struct reply delete_comic(struct studio *s, const char *id)
{
    struct error e = {0};
    struct change c = {.s = s, .id = id, .remove = true};
    return api_outcome(queue_locked(s->queue, change, &c, &e), &e);
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
    static const char *const members[] = {"panel", "seed", NULL};
    const char *panels = api_text(root, "panel", a), *seed = api_text(root, "seed", b);
    bool is_seed = seed == NULL || (seed[0] != '\0' && strlen(seed) < 20 && seed[strspn(seed, "0123456789")] == '\0');
    bool known = api_knows(root, members, &reply);
    if (known && (panels == NULL || !is_panel_list(panels)))
        reply = http_error(400, "\"panel\" must be the number of a panel, or a text such as \"3,5\"");
    else if (known && !is_seed)
        reply = http_error(400, "\"seed\" must be a whole number from 0 on");
    else if (known)
        reply = api_outcome(queue_add(s->queue, id, TASK_REDRAW, panels, seed, &e), &e);
    json_free(root);
    return reply;
}

static struct reply act(struct studio *s, const struct request *r, const char *id, const char *action)
{
    struct error e = {0};
    if (strcmp(action, "draw") == 0)
        return api_outcome(queue_add(s->queue, id, TASK_DRAW, NULL, NULL, &e), &e);
    if (strcmp(action, "resume") == 0)
        return api_outcome(queue_add(s->queue, id, TASK_RESUME, NULL, NULL, &e), &e);
    if (strcmp(action, "pages") == 0)
        return api_outcome(queue_add(s->queue, id, TASK_PAGES, NULL, NULL, &e), &e);
    if (strcmp(action, "stop") == 0)
        return api_outcome(queue_stop(s->queue, id, &e), &e);
    if (strcmp(action, "redraw") == 0)
        return redraw(s, r, id);
    if (strcmp(action, "duplicate") == 0)
        return duplicate(s, id);
    return http_error(404, "there is nothing of this name");
}

/* /api/comics/ID, /api/comics/ID/THING, /api/comics/ID/THING/NUMBER */
struct reply api_comic(struct studio *s, const struct request *r, const char *rest)
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
        return api_show_comic(s, id);
    if (fields == 1 && strcmp(r->method, "PUT") == 0)
        return save_story(s, r, id);
    if (fields == 1 && strcmp(r->method, "DELETE") == 0)
        return delete_comic(s, id);
    if (fields >= 2 && get)
        return api_comic_file(s, r, id, thing, number);
    if (fields == 2 && strcmp(r->method, "POST") == 0)
        return act(s, r, id, thing);
    return http_error(405, "not with this method");
}
