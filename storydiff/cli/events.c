#include "storydiff/cli/events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/comic/draw.h"

status events_open(struct events *events, int64_t fd, struct error *e)
{
    int flags = fcntl((int)fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return fail(e, ERR_ARGUMENT, "--progress_fd %" PRId64 ": this descriptor is not open for writing; a shell "
                                     "opens it with %" PRId64 ">FILE", fd, fd);
    events->fd = (int)fd;
    signal(SIGPIPE, SIG_IGN);
    return OK;
}

/* Sends one line and frees it. */
static void send(struct events *events, struct text *line)
{
    text_append(line, "}\n");
    for (size_t sent = 0; !line->failed && events->fd >= 0 && sent < line->length;) {
        ssize_t n = write(events->fd, line->data + sent, line->length - sent);
        if (n > 0)
            sent += (size_t)n;
        else if (n == 0 || errno != EINTR)
            events->fd = -1;
    }
    text_free(line);
}

static struct text begin(const char *event)
{
    struct text line = {0};
    text_append(&line, "{\"event\": \"%s\"", event);
    return line;
}

static void member(struct text *line, const char *key, const char *value)
{
    text_append(line, ", \"%s\": ", key);
    text_append_json_string(line, value);
}

/* Not %f: a locale may have another decimal point than JSON's. */
static void seconds(struct text *line, const char *key, double value)
{
    long long tenths = isfinite(value) && value > 0 && value < 1e15 ? llround(value * 10) : 0;
    text_append(line, ", \"%s\": %lld.%lld", key, tenths / 10, tenths % 10);
}

void events_begun(struct events *events, const struct comic *c, int step)
{
    const struct settings *o = &c->settings;
    struct text line = begin("begun");
    text_append(&line, ", \"step\": %d, \"steps\": %d, \"panels\": %d, \"width\": %" PRId64 ", \"height\": %" PRId64
                       ", \"seed\": \"%" PRIu64 "\"", step, c->sampler.steps, c->story.panel_count, o->width,
                o->height, o->seed);
    member(&line, "model", c->model_name);
    send(events, &line);
}

void events_panels(struct events *events, const struct story_pass *pass, int step)
{
    struct text line = begin("panel");
    text_append(&line, ", \"panels\": [");
    for (int i = 0; i < pass->panel_count; i++)
        text_append(&line, "%s%d", i > 0 ? ", " : "", pass->panels[i] + 1);
    text_append(&line, "], \"step\": %d", step + 1);
    send(events, &line);
}

void events_step(struct events *events, int step, int steps, double seconds_left)
{
    struct text line = begin("step");
    text_append(&line, ", \"step\": %d, \"steps\": %d", step + 1, steps);
    seconds(&line, "seconds_left", seconds_left);
    send(events, &line);
}

void events_picture(struct events *events, int panel)
{
    struct text line = begin("picture");
    text_append(&line, ", \"panel\": %d", panel + 1);
    send(events, &line);
}

void events_written(struct events *events, const struct comic *c, const char *path)
{
    const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
    bool preview = strcmp(file, "preview.png") == 0;
    struct text line = begin(preview ? "preview" : "written");
    member(&line, "file", file);
    if (preview) {
        int columns = draw_preview_columns(c->story.panel_count);
        text_append(&line, ", \"columns\": %d, \"rows\": %d", columns,
                    (c->story.panel_count + columns - 1) / columns);
    }
    send(events, &line);
}

void events_notice(struct events *events, const char *text)
{
    struct text line = begin("notice");
    member(&line, "text", text);
    send(events, &line);
}

void events_notices(struct events *events, const char *lines)
{
    while (lines != NULL && *lines != '\0') {
        struct text one = {0};
        size_t length = strcspn(lines, "\n");
        text_append_bytes(&one, lines, length);
        if (!one.failed)
            events_notice(events, one.data != NULL ? one.data : "");
        text_free(&one);
        lines += length + (lines[length] == '\n');
    }
}

void events_finished(struct events *events, int panels, int pages, double took)
{
    struct text line = begin("finished");
    text_append(&line, ", \"panels\": %d, \"pages\": %d", panels, pages);
    seconds(&line, "seconds", took);
    send(events, &line);
}

void events_stopped(struct events *events, const char *text)
{
    struct text line = begin("stopped");
    member(&line, "text", text);
    send(events, &line);
}

void events_failed(struct events *events, const char *text, int exit_status)
{
    struct text line = begin("failed");
    member(&line, "text", text);
    text_append(&line, ", \"exit\": %d", exit_status);
    send(events, &line);
}

/* ---------------------------------------------------------------------------------------------------------- plan */

static void send_panel(struct events *events, const struct comic *c, int panel, const struct comic_tokens *tokens)
{
    const struct story_pass *pass = &c->plan.passes[c->plan.places[panel].pass];
    struct text line = begin("plan");
    text_append(&line, ", \"panel\": %d", panel + 1);
    member(&line, "prompt", c->prompts[panel]);
    member(&line, "caption", c->story.panels[panel].caption);
    member(&line, "role", pass->kind == STORY_WRITE ? "id" : "story");
    text_append(&line, ", \"characters\": [");
    for (int i = 0; i < pass->character_count; i++) {
        text_append(&line, i > 0 ? ", " : "");
        text_append_json_string(&line, c->story.characters[c->plan.cast[pass->characters[i]]].key);
    }
    text_append(&line, "], \"tokens\": %zu, \"cut\": %zu", tokens->total, tokens->cut);
    send(events, &line);
}

void events_plan(struct events *events, const struct comic *c, const struct comic_report *report)
{
    const struct settings *o = &c->settings;
    for (int i = 0; i < c->story.panel_count; i++)
        send_panel(events, c, i, &report->tokens[i]);
    struct text line = begin("cost");
    member(&line, "negative_prompt", c->negatives[0] != NULL ? c->negatives[0] : "");
    member(&line, "model", c->model_name);
    member(&line, "sampler", sampler_name(&c->sampler));
    text_append(&line, ", \"width\": %" PRId64 ", \"height\": %" PRId64 ", \"steps\": %d", o->width, o->height,
                c->sampler.steps);
    seconds(&line, "guidance_scale", o->guidance_scale);
    text_append(&line, ", \"memory\": %zu, \"memory_decode\": %zu, \"weights\": %zu", report->memory,
                report->memory_decode, report->weights);
    seconds(&line, "seconds", report->seconds);
    send(events, &line);
}
