/* A storydiff process, and the lines that it writes to its --progress_fd. */
#ifndef STUDIO_CHILD_H
#define STUDIO_CHILD_H

#include <stdio.h>
#include <sys/types.h>

#include "tensor/json.h"

enum { CHILD_MAX_WORDS = 40 };

struct child {
    pid_t pid;
    FILE *events;
};

/* words: a list that ends with NULL, words[0] the program; it writes events to descriptor 3 (CHILD_EVENTS). log:
 * where its standard output and error go, appended; NULL: nowhere. keep: a descriptor that it holds as long as it
 * lives, -1: none. When this process dies, it is told to stop. */
enum { CHILD_EVENTS = 3 };
status child_start(struct child *c, const char *const *words, const char *log, int keep, struct error *e);

/* The next event, which the caller frees; NULL: there are no more. What is no JSON is skipped. */
const struct json *child_next(struct child *c);

/* Waits for its end; its exit status, or 128 + the signal that killed it. */
int child_wait(struct child *c);

#endif
