#include "storydiff/studio/command.h"

#include <stdio.h>
#include <stdlib.h>

#include "storydiff/studio/check.h"

static void word(struct command *c, const char *text)
{
    c->words[c->count++] = text;
}

static void option(struct command *c, const char *key, const char *value)
{
    word(c, key);
    word(c, value);
}

bool command_has_begun(const struct library *l, const char *id)
{
    return library_time(l, id, "unfinished.safetensors") != 0 ||
           library_time(l, id, "drawing.lock") != 0;
}

/* A preview now and then: at most 20 of them. Without a word about steps the model decides, and has 40 or 50. */
static const char *preview_every(struct command *c, const struct settings *s)
{
    snprintf(c->every, sizeof c->every, "%lld", (long long)(s->sampling_steps > 20 ? s->sampling_steps / 20 : 1));
    return s->sampling_steps == 0 ? "2" : c->every;
}

static void add_task(const struct library *l, struct command *c, const struct comic_record *r, bool again)
{
    bool resume = r->task == TASK_RESUME || (again && command_has_begun(l, r->id));
    if (r->task == TASK_PAGES) {
        word(c, "--pages_only");
        word(c, "--overwrite");
        return;
    }
    if (r->task == TASK_REDRAW) {
        option(c, "--only", r->panels);
        if (r->seed[0] != '\0')
            option(c, "--seed", r->seed);
    }
    if (resume)
        word(c, "--resume");
    else if (r->task == TASK_DRAW)
        word(c, "--overwrite");
}

status command_compose(struct command *c, const struct library *l, const struct catalog *catalog, const char *program,
                       const struct comic_record *r, bool again, struct error *e)
{
    struct text text = {0};
    struct story story = {0};
    struct check_paths paths;
    struct settings *settings = malloc(sizeof *settings);
    *c = (struct command){0};
    status s = settings != NULL ? library_read_story(l, r->id, &text, e) : fail(e, ERR_MEMORY, "no memory");
    if (s == OK)
        s = check_story(catalog, text.data != NULL ? text.data : "", text.length, &story, settings, &paths, e);
    if (s == OK)
        s = library_path(l, r->id, "comic.story", c->story, e);
    if (s == OK)
        s = library_path(l, r->id, "", c->folder, e);
    if (s == OK)
        s = library_path(l, r->id, "log.txt", c->log, e);
    if (s == OK) {
        word(c, program);
        option(c, "--story", c->story);
        option(c, "--output_dir", c->folder);
        option(c, "--format", "png,pdf,cbz");
        option(c, "--progress_fd", "3");
        option(c, "--preview_every", preview_every(c, settings));
        if (paths.model != NULL)
            option(c, "--model", paths.model);
        if (paths.font != NULL)
            option(c, "--font", paths.font);
        add_task(l, c, r, again);
    }
    story_free(&story);
    text_free(&text);
    free(settings);
    return s;
}
