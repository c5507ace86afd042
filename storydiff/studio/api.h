/* What the studio answers: the page, and the interface for programs that the page uses itself (API.md). */
#ifndef STUDIO_API_H
#define STUDIO_API_H

#include "storydiff/studio/http.h"
#include "storydiff/studio/queue.h"
#include "tensor/json.h"

struct studio {
    struct library library;
    struct catalog catalog;
    struct queue *queue;
};

/* self: a struct studio. Called from many threads. */
struct reply api_handle(void *self, const struct request *r);

/* The part of the most used web UI's interface that front ends need for single pictures: paths below /sdapi/v1/. */
struct reply webui_handle(struct studio *studio, const struct request *r, const char *path);

/* Message and HTTP status of a failure, settings by their bare names. */
struct reply api_failure(const struct error *e);

/* Parses the body; false: *reply says what is wrong. The caller frees *root. */
bool api_body(const struct request *r, const struct json **root, struct reply *reply);

/* The same, and its member "story", a text of at most 1 MB. */
bool api_body_story(const struct request *r, const struct json **root, const struct json **story, struct reply *reply);

/* {"ok": true}, or the failure. */
struct reply api_outcome(status s, const struct error *e);

/* Of /api/comics: all of them; a new one; and what follows "comics/". */
struct reply api_list_comics(struct studio *s);                             /* api_describe.c */
struct reply api_show_comic(struct studio *s, const char *id);              /* likewise */
struct reply api_create_comic(struct studio *s, const struct request *r);   /* api_comics.c */
struct reply api_comic(struct studio *s, const struct request *r, const char *rest);

/* A picture ("panel", "page", with its number from 1), "preview", "pdf", "cbz", "story" or "log". api_files.c */
struct reply api_comic_file(struct studio *s, const struct request *r, const char *id, const char *kind, int number);

/* A member's string, or a number as its text in `room`; NULL: there is none. */
const char *api_text(const struct json *object, const char *key, char room[32]);

/* Whether an object has no members but `known`, which ends in NULL; false: *reply names the first of the others. */
bool api_knows(const struct json *object, const char *const known[], struct reply *reply);

#endif
