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

/* A member's string, or a number as its text in `room`; NULL: there is none. */
const char *api_text(const struct json *object, const char *key, char room[32]);

#endif
