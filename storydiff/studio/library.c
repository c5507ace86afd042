#include "storydiff/studio/library.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tensor/file.h"
#include "tensor/json.h"

const char *const comic_state_names[] = {"draft", "queued", "drawing", "stopped", "finished", "failed", NULL};
const char *const comic_task_names[] = {"draw", "resume", "redraw", "pages", NULL};

static const char RECORD[] = "studio.json", STORY[] = "comic.story";

int64_t library_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

status library_open(struct library *l, const char *path, struct error *e)
{
    if (strlen(path) >= sizeof l->path - COMIC_ID - 64)
        return fail(e, ERR_ARGUMENT, "--library: the path is too long");
    strcpy(l->path, path);
    return file_make_directory(path, e);
}

bool library_is_id(const char *id)
{
    size_t length = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz-");
    return length > 0 && length <= COMIC_ID && id[length] == '\0' && id[0] != '-';
}

status library_path(const struct library *l, const char *id, const char *name, char path[COMIC_PATH],
                    struct error *e)
{
    if (!library_is_id(id))
        return fail(e, ERR_ARGUMENT, "this is no comic's id");
    if (snprintf(path, COMIC_PATH, "%s/%s/%s", l->path, id, name) >= COMIC_PATH)
        return fail(e, ERR_ARGUMENT, "the path of a comic is too long");
    return OK;
}

int64_t library_time(const struct library *l, const char *id, const char *name)
{
    char path[COMIC_PATH];
    struct stat info;
    if (library_path(l, id, name, path, NULL) != OK || stat(path, &info) != 0)
        return 0;
    return (int64_t)info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------------------------------------------- records */

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

status library_read(const struct library *l, const char *id, struct comic_record *c, struct error *e)
{
    char path[COMIC_PATH];
    const struct json *root;
    TRY(library_path(l, id, RECORD, path, e));
    if (!file_exists(path))
        return fail(e, ERR_ARGUMENT, "there is no such comic");
    TRY(json_read(path, &root, e));
    int state = index_of(comic_state_names, json_string(json_get(root, "state"), ""));
    int task = index_of(comic_task_names, json_string(json_get(root, "task"), ""));
    *c = (struct comic_record){
        .state = state >= 0 ? (enum comic_state)state : COMIC_STOPPED,
        .task = task >= 0 ? (enum comic_task)task : TASK_DRAW,
        .created = json_int(json_get(root, "created"), 0),
        .queued = json_int(json_get(root, "queued"), 0),
    };
    snprintf(c->id, sizeof c->id, "%s", id);
    snprintf(c->panels, sizeof c->panels, "%s", json_string(json_get(root, "panels"), ""));
    snprintf(c->seed, sizeof c->seed, "%s", json_string(json_get(root, "seed"), ""));
    snprintf(c->message, sizeof c->message, "%s", json_string(json_get(root, "message"), ""));
    json_free(root);
    return OK;
}

status library_write(const struct library *l, const struct comic_record *c, struct error *e)
{
    char path[COMIC_PATH];
    struct text out = {0};
    TRY(library_path(l, c->id, RECORD, path, e));
    text_append(&out, "{\"state\": \"%s\", \"task\": \"%s\", \"created\": %lld, \"queued\": %lld, \"panels\": ",
                comic_state_names[c->state], comic_task_names[c->task], (long long)c->created, (long long)c->queued);
    text_append_json_string(&out, c->panels);
    text_append(&out, ", \"seed\": ");
    text_append_json_string(&out, c->seed);
    text_append(&out, ", \"message\": ");
    text_append_json_string(&out, c->message);
    text_append(&out, "}\n");
    status s = out.failed ? fail(e, ERR_MEMORY, "not enough memory") : file_write(path, out.data, out.length, e);
    text_free(&out);
    return s;
}

static void new_id(char id[COMIC_ID + 1])
{
    unsigned char random[3] = {0};
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    size_t length = strftime(id, COMIC_ID, "%Y%m%d-%H%M%S", &local);
    if (getrandom(random, sizeof random, 0) != sizeof random)
        random[0] = (unsigned char)getpid();
    snprintf(id + length, COMIC_ID - length, "-%02x%02x%02x", random[0], random[1], random[2]);
}

/* The script is there before the record: what has a record is whole. */
status library_create(const struct library *l, const char *story, size_t length, struct comic_record *c,
                      struct error *e)
{
    char path[COMIC_PATH];
    *c = (struct comic_record){.state = COMIC_DRAFT, .created = library_now()};
    new_id(c->id);
    TRY(library_path(l, c->id, "", path, e));
    TRY(file_make_directory(path, e));
    TRY(library_write_story(l, c->id, story, length, e));
    return library_write(l, c, e);
}

/* The record goes first: what is left after a kill is no comic any more. Folders in it are not ours. */
status library_delete(const struct library *l, const char *id, struct error *e)
{
    char path[COMIC_PATH], folder[COMIC_PATH];
    struct comic_record c;
    TRY(library_read(l, id, &c, e));
    TRY(library_path(l, id, RECORD, path, e));
    TRY(library_path(l, id, "", folder, e));
    if (unlink(path) != 0)
        return fail(e, ERR_IO, "it cannot be deleted: %s", strerror(errno));
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;)
        if (entry->d_name[0] != '.' && library_path(l, id, entry->d_name, path, NULL) == OK)
            unlink(path);
    if (entries != NULL)
        closedir(entries);
    rmdir(folder);
    return OK;
}

static int newest_first(const void *a, const void *b)
{
    const struct comic_record *x = a, *y = b;
    return x->created != y->created ? (x->created < y->created ? 1 : -1) : strcmp(y->id, x->id);
}

status library_list(const struct library *l, struct comic_record **records, int *count, struct error *e)
{
    int room = 0;
    *records = NULL;
    *count = 0;
    DIR *entries = opendir(l->path);
    if (entries == NULL)
        return fail(e, ERR_IO, "%s cannot be read: %s", l->path, strerror(errno));
    status s = OK;
    for (struct dirent *entry; s == OK && (entry = readdir(entries)) != NULL;) {
        struct comic_record c;
        if (!library_is_id(entry->d_name) || library_read(l, entry->d_name, &c, NULL) != OK)
            continue;
        if (*count == room) {
            room = room ? 2 * room : 32;
            struct comic_record *more = realloc(*records, (size_t)room * sizeof *more);
            s = more != NULL ? OK : fail(e, ERR_MEMORY, "not enough memory");
            *records = more != NULL ? more : *records;
        }
        if (s == OK)
            (*records)[(*count)++] = c;
    }
    closedir(entries);
    if (s == OK && *count > 0)
        qsort(*records, (size_t)*count, sizeof **records, newest_first);
    return s;
}

/* ------------------------------------------------------------------------------------------------------- scripts */

status library_read_story(const struct library *l, const char *id, struct text *story, struct error *e)
{
    char path[COMIC_PATH];
    struct file_map map;
    TRY(library_path(l, id, STORY, path, e));
    TRY(file_map(path, &map, e));
    text_append_bytes(story, (const char *)map.data, map.size);
    file_unmap(&map);
    return story->failed ? fail(e, ERR_MEMORY, "not enough memory") : OK;
}

status library_write_story(const struct library *l, const char *id, const char *story, size_t length,
                           struct error *e)
{
    char path[COMIC_PATH];
    TRY(library_path(l, id, STORY, path, e));
    return file_write(path, story, length, e);
}
