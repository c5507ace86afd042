/* Comics as JSON: what they are, how far they are, when each of their pictures was written. */
#include "storydiff/studio/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PICTURES = 1000 };

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
    text_append(out, ", \"progress\": {\"phase\": \"%s\", \"step\": %d, \"steps\": %d, \"drawing\": %s, "
                     "\"previews\": %d, \"columns\": %d, \"rows\": %d, \"stopping\": %s, \"seconds_left\": ",
                now->phase, now->step, now->steps, now->drawing[0] != '\0' ? now->drawing : "[]", now->previews,
                now->columns, now->rows, now->stopping ? "true" : "false");
    if (now->seconds_left < 0)
        text_append(out, "null}");
    else
        text_append(out, "%lld}", (long long)(now->seconds_left + 0.5));
}

struct reply api_list_comics(struct studio *s)
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

struct reply api_show_comic(struct studio *s, const char *id)
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
