/* HTTP as the studio needs it: libmicrohttpd reads requests and writes answers, one thread per connection; what is
 * between is a function from a request to a reply.
 *
 * Every request passes guard.h first. Every answer says that nothing may be loaded from, framed by or sent to anywhere
 * else (Content-Security-Policy). Bodies are limited, connections are limited in number and in how long they may do
 * nothing. */
#ifndef STUDIO_HTTP_H
#define STUDIO_HTTP_H

#include <stddef.h>

#include "storydiff/studio/guard.h"
#include "tensor/status.h"
#include "tensor/text.h"

enum {
    HTTP_MAX_BODY = 4 << 20,     /* a story as JSON */
    HTTP_MAX_PICTURE = 24 << 20, /* a PNG whose recipe is wanted */
    HTTP_MAX_CONNECTIONS = 96,
    HTTP_IDLE_SECONDS = 15,
};

struct request {
    const char *method, *path; /* path without the query, decoded */
    const char *body;          /* terminated */
    size_t size;
    const char *(*query)(const struct request *r, const char *key); /* a value of the query, or NULL */
    void *connection;
};

struct reply {
    int status;
    const char *type;       /* "application/json" */
    struct text body;       /* freed by who receives the reply */
    const void *constant;   /* instead of it: bytes that never change */
    size_t constant_size;
    int fd;                 /* instead of it: a file, closed by who receives the reply; -1: none */
    char download[96];      /* a name to save it under, or "" */
    bool keep;              /* the address changes when the content does: may be cached */
};

/* {"error": "text"} */
struct reply http_error(int status, const char *text);
struct reply http_json(struct text body); /* takes the text */
struct reply http_file(const char *path, const char *type, const char *download);

struct http;

/* Listens on `address` (IPv4, "127.0.0.1"). handle is called from many threads. */
status http_start(struct http **http, const char *address, const struct guard *guard,
                  struct reply (*handle)(void *self, const struct request *r), void *self, struct error *e);
void http_stop(struct http *http);

#endif
