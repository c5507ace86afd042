#include "storydiff/studio/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "storydiff/studio/check.h"
#include "storydiff/studio/child.h"
#include "storydiff/studio/command.h"
#include "tensor/file.h"

struct queue {
    const struct library *library;
    const struct catalog *catalog;
    const char *program;
    int lock; /* descriptor of LIBRARY/drawing.lock */
    pthread_t thread;
    pthread_mutex_t mutex; /* of everything below, and of the states of all comics */
    pthread_cond_t more;
    bool ending;
    pid_t pid; /* of the process that draws, or 0 */
    int stops; /* how often it has been asked to */
    struct progress_now now;
    pthread_mutex_t plan_mutex;
};

/* ------------------------------------------------------------------------------------------------------- events */

static void append_panels(char out[64], const struct json *panels)
{
    struct text list = {0};
    text_append(&list, "[");
    for (const struct json *v = panels != NULL ? panels->child : NULL; v != NULL; v = v->next)
        text_append(&list, "%s%lld", list.length > 1 ? ", " : "", (long long)json_int(v, 0));
    text_append(&list, "]");
    snprintf(out, 64, "%s", !list.failed && list.length < 64 ? list.data : "[]");
    text_free(&list);
}

/* The last words of a run: "finished", "stopped", "failed" or "". */
struct ending {
    char event[16];
    char text[1024];
};

static void see(struct queue *q, const struct json *event, struct ending *ending)
{
    struct progress_now *now = &q->now;
    const char *kind = json_string(json_get(event, "event"), "");
    const char *text = json_string(json_get(event, "text"), "");
    if (strcmp(kind, "begun") == 0) {
        now->step = (int)json_int(json_get(event, "step"), 0);
        now->steps = (int)json_int(json_get(event, "steps"), 0);
        now->panels = (int)json_int(json_get(event, "panels"), 0);
        strcpy(now->phase, "sampling");
    } else if (strcmp(kind, "panel") == 0) {
        append_panels(now->drawing, json_get(event, "panels"));
    } else if (strcmp(kind, "step") == 0) {
        now->step = (int)json_int(json_get(event, "step"), 0);
        now->seconds_left = json_double(json_get(event, "seconds_left"), -1);
    } else if (strcmp(kind, "preview") == 0) {
        now->previews++;
        now->columns = (int)json_int(json_get(event, "columns"), 1);
        now->rows = (int)json_int(json_get(event, "rows"), 1);
    } else if (strcmp(kind, "picture") == 0) {
        strcpy(now->phase, "picture");
        snprintf(now->drawing, sizeof now->drawing, "[%lld]", (long long)json_int(json_get(event, "panel"), 0));
    } else if (strcmp(kind, "notice") == 0) {
        struct text plain = {0};
        settings_spell(&plain, text, "");
        text_append(&now->notices, "%s%s", now->notices.length > 0 ? "\n" : "", plain.data != NULL ? plain.data : text);
        text_free(&plain);
    } else if (strcmp(kind, "finished") == 0 || strcmp(kind, "stopped") == 0 || strcmp(kind, "failed") == 0) {
        struct text plain = {0};
        settings_spell(&plain, text, "");
        snprintf(ending->event, sizeof ending->event, "%s", kind);
        snprintf(ending->text, sizeof ending->text, "%s", plain.data != NULL ? plain.data : text);
        text_free(&plain);
    }
}

/* ------------------------------------------------------------------------------------------------------- drawing */

/* Under the mutex. */
static void set_state(struct queue *q, const char *id, enum comic_state state, const char *message)
{
    struct comic_record r;
    if (library_read(q->library, id, &r, NULL) != OK)
        return; /* it has been deleted */
    r.state = state;
    snprintf(r.message, sizeof r.message, "%s", message);
    library_write(q->library, &r, NULL);
}

/* What became of it, under the mutex. */
static void settle(struct queue *q, const char *id, int code, const struct ending *ending)
{
    char message[512];
    if (strcmp(ending->event, "finished") == 0)
        set_state(q, id, COMIC_FINISHED, "");
    else if (q->ending)
        return; /* still being drawn, as far as the next studio is concerned */
    else if (strcmp(ending->event, "stopped") == 0 || q->stops > 0)
        set_state(q, id, COMIC_STOPPED, ending->text);
    else if (strcmp(ending->event, "failed") == 0)
        set_state(q, id, COMIC_FAILED, ending->text);
    else if (code == 127)
        set_state(q, id, COMIC_FAILED, "the program storydiff is not beside the studio");
    else {
        snprintf(message, sizeof message, "storydiff ended unexpectedly (%s %d); what it had done is saved: go on",
                 code > 128 ? "signal" : "exit status", code > 128 ? code - 128 : code);
        set_state(q, id, COMIC_STOPPED, message);
    }
}

static void run_child(struct queue *q, struct child *child, struct ending *ending)
{
    const struct json *event;
    while ((event = child_next(child)) != NULL) {
        pthread_mutex_lock(&q->mutex);
        see(q, event, ending);
        pthread_mutex_unlock(&q->mutex);
        json_free(event);
    }
}

/* One comic, from its place in the queue to its end. Called with the mutex held, and returns so. */
static void draw(struct queue *q, struct comic_record *r)
{
    struct command *command = calloc(1, sizeof *command);
    struct child child;
    struct ending ending = {0};
    struct error e = {0};
    bool again = r->state == COMIC_DRAWING;
    status s = command != NULL ? command_compose(command, q->library, q->catalog, q->program, r, again, &e)
                                 : fail(&e, ERR_MEMORY, "not enough memory");
    if (s == OK)
        s = child_start(&child, command->words, command->log, q->lock, &e);
    if (s != OK) {
        set_state(q, r->id, COMIC_FAILED, e.message);
        free(command);
        return;
    }
    set_state(q, r->id, COMIC_DRAWING, "");
    q->now = (struct progress_now){.seconds_left = -1, .phase = "starting", .drawing = "[]"};
    strcpy(q->now.id, r->id);
    q->pid = child.pid;
    q->stops = 0;
    pthread_mutex_unlock(&q->mutex);
    run_child(q, &child, &ending);
    pthread_mutex_lock(&q->mutex);
    q->pid = 0; /* before its number can be another's */
    int code = child_wait(&child);
    settle(q, r->id, code, &ending);
    text_free(&q->now.notices);
    q->now = (struct progress_now){.seconds_left = -1};
    free(command);
}

/* The one that has waited longest; one that was being drawn comes first. */
static bool next_comic(struct queue *q, struct comic_record *next)
{
    struct comic_record *all;
    int count;
    bool found = false;
    if (library_list(q->library, &all, &count, NULL) != OK)
        return false;
    for (int i = 0; i < count; i++) {
        bool drawing = all[i].state == COMIC_DRAWING;
        if (!drawing && all[i].state != COMIC_QUEUED)
            continue;
        if (!found || (drawing && next->state != COMIC_DRAWING) ||
            (drawing == (next->state == COMIC_DRAWING) && all[i].queued < next->queued))
            *next = all[i];
        found = true;
    }
    free(all);
    return found;
}

bool queue_has_ended(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    bool ended = q->ending && q->pid == 0;
    pthread_mutex_unlock(&q->mutex);
    return ended;
}

/* Waits until the process of a studio before this one has ended. */
static void wait_for_lock(struct queue *q)
{
    while (flock(q->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        if (queue_has_ended(q))
            return;
        usleep(200000);
    }
}

static void *draw_all(void *self)
{
    struct queue *q = self;
    struct comic_record next;
    wait_for_lock(q);
    pthread_mutex_lock(&q->mutex);
    while (!q->ending) {
        if (next_comic(q, &next))
            draw(q, &next);
        else
            pthread_cond_wait(&q->more, &q->mutex);
    }
    pthread_mutex_unlock(&q->mutex);
    return NULL;
}

status queue_start(struct queue **out, const struct library *library, const struct catalog *catalog,
                   const char *program, struct error *e)
{
    char path[COMIC_PATH];
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return fail(e, ERR_MEMORY, "not enough memory");
    *q = (struct queue){.library = library, .catalog = catalog, .program = program, .now = {.seconds_left = -1}};
    status s = path_join(path, sizeof path, library->path, "drawing.lock", e);
    q->lock = s == OK ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (s == OK && q->lock < 0)
        s = fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    pthread_mutex_init(&q->mutex, NULL);
    pthread_mutex_init(&q->plan_mutex, NULL);
    pthread_cond_init(&q->more, NULL);
    if (s == OK && pthread_create(&q->thread, NULL, draw_all, q) != 0)
        s = fail(e, ERR_MEMORY, "no thread can be started");
    if (s != OK) {
        if (q->lock >= 0)
            close(q->lock);
        free(q);
        return s;
    }
    *out = q;
    return OK;
}

void queue_end(struct queue *q)
{
    if (q == NULL)
        return;
    pthread_mutex_lock(&q->mutex);
    q->ending = true;
    if (q->pid > 0)
        kill(q->pid, SIGINT);
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->mutex);
    pthread_join(q->thread, NULL);
}

void queue_free(struct queue *q)
{
    if (q == NULL)
        return;
    close(q->lock);
    pthread_mutex_destroy(&q->mutex);
    pthread_mutex_destroy(&q->plan_mutex);
    pthread_cond_destroy(&q->more);
    free(q);
}

/* ------------------------------------------------------------------------------------------------------- requests */

static status add(struct queue *q, const char *id, enum comic_task task, const char *panels, const char *seed,
                  struct error *e)
{
    struct comic_record r;
    TRY(library_read(q->library, id, &r, e));
    if (r.state == COMIC_QUEUED || r.state == COMIC_DRAWING)
        return fail(e, ERR_ARGUMENT, "this comic is %s already", r.state == COMIC_QUEUED ? "queued" : "being drawn");
    r.state = COMIC_QUEUED;
    r.queued = library_now();
    r.message[0] = '\0';
    /* Going on is going on with what was interrupted, be it a drawing or a panel. */
    if (task != TASK_RESUME || r.task != TASK_REDRAW) {
        r.task = task;
        snprintf(r.panels, sizeof r.panels, "%s", panels != NULL ? panels : "");
        snprintf(r.seed, sizeof r.seed, "%s", seed != NULL ? seed : "");
    }
    TRY(library_write(q->library, &r, e));
    pthread_cond_signal(&q->more);
    return OK;
}

status queue_add(struct queue *q, const char *id, enum comic_task task, const char *panels, const char *seed,
                 struct error *e)
{
    pthread_mutex_lock(&q->mutex);
    status s = add(q, id, task, panels, seed, e);
    pthread_mutex_unlock(&q->mutex);
    return s;
}

static status stop(struct queue *q, const char *id, struct error *e)
{
    struct comic_record r;
    TRY(library_read(q->library, id, &r, e));
    if (strcmp(q->now.id, id) == 0 && q->pid > 0) {
        q->now.stopping = true;
        q->stops++;
        kill(q->pid, SIGINT);
        return OK;
    }
    if (r.state != COMIC_QUEUED && r.state != COMIC_DRAWING)
        return fail(e, ERR_ARGUMENT, "this comic is not being drawn");
    r.state = library_time(q->library, id, "page-01.png") != 0 ? COMIC_FINISHED
              : command_has_begun(q->library, id)              ? COMIC_STOPPED
                                                               : COMIC_DRAFT;
    return library_write(q->library, &r, e);
}

status queue_stop(struct queue *q, const char *id, struct error *e)
{
    pthread_mutex_lock(&q->mutex);
    status s = stop(q, id, e);
    pthread_mutex_unlock(&q->mutex);
    return s;
}

struct progress_now queue_progress(struct queue *q, struct text *notices)
{
    pthread_mutex_lock(&q->mutex);
    struct progress_now now = q->now;
    if (notices != NULL && now.notices.data != NULL)
        text_append(notices, "%s", now.notices.data);
    pthread_mutex_unlock(&q->mutex);
    now.notices = (struct text){0};
    return now;
}

status queue_locked(struct queue *q, status (*work)(void *self, struct error *e), void *self, struct error *e)
{
    pthread_mutex_lock(&q->mutex);
    status s = work(self, e);
    pthread_mutex_unlock(&q->mutex);
    return s;
}

/* ---------------------------------------------------------------------------------------------------------- plan */

static status plan(struct queue *q, const char *path, const struct check_paths *paths, struct text *out,
                   struct error *e)
{
    struct child child;
    const char *words[CHILD_MAX_WORDS] = {q->program, "--story", path, "--dry_run", "--output_dir", "plan",
                                          "--progress_fd", "3"};
    int count = 8;
    if (paths->model != NULL)
        words[count++] = "--model", words[count++] = paths->model;
    if (paths->font != NULL)
        words[count++] = "--font", words[count++] = paths->font;
    TRY(child_start(&child, words, NULL, -1, e));
    char *line = NULL;
    size_t room = 0;
    bool first = true;
    text_append(out, "[");
    for (ssize_t length; (length = getline(&line, &room, child.events)) > 0; first = false) {
        text_append(out, "%s", first ? "" : ", ");
        text_append_bytes(out, line, (size_t)length - (line[length - 1] == '\n'));
    }
    text_append(out, "]");
    free(line);
    child_wait(&child);
    return OK;
}

status queue_plan(struct queue *q, const char *text, size_t length, struct text *out, struct error *e)
{
    char path[COMIC_PATH];
    struct story story = {0};
    struct check_paths paths;
    struct settings *settings = malloc(sizeof *settings);
    status s = settings != NULL ? check_story(q->catalog, text, length, &story, settings, &paths, e)
                                : fail(e, ERR_MEMORY, "not enough memory");
    story_free(&story);
    free(settings);
    TRY(s);
    TRY(path_join(path, sizeof path, q->library->path, "plan.story", e));
    pthread_mutex_lock(&q->plan_mutex);
    s = file_write(path, text, length, e);
    if (s == OK)
        s = plan(q, path, &paths, out, e);
    unlink(path);
    pthread_mutex_unlock(&q->plan_mutex);
    return s;
}
