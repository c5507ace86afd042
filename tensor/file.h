/* Files: mapped read-only, and written so that a reader sees the old content or the new, never half of it. */
#ifndef TENSOR_FILE_H
#define TENSOR_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/status.h"

struct file_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
};

/* Maps a whole regular file read-only; symbolic links are followed. The caller unmaps it; after a failure there is
 * nothing to unmap. Errors name the path and the reason. */
status file_map(const char *path, struct file_map *map, struct error *e);
void file_unmap(struct file_map *map);

/* Writing aside: "<path>.tmp-<pid>" is created, written, synced to disk and renamed over `path`, then its directory
 * is synced. If anything fails, or file_discard is called, the temporary file is removed and `path` is untouched (but
 * for a directory that cannot be synced: then the new file is in place and only a crash could still undo it). After a
 * failure the writer is finished; file_discard is fine then, too. One writer per path at a time. A `path` that is a
 * symbolic link is replaced, not followed. */
struct file_writer {
    int fd; /* -1: not open */
    char path[4096], aside[4096 + 32];
};
status file_create(const char *path, struct file_writer *w, struct error *e);
status file_append(struct file_writer *w, const void *data, size_t size, struct error *e);
status file_commit(struct file_writer *w, struct error *e);
void file_discard(struct file_writer *w);

/* All three in one: the usual case. */
status file_write(const char *path, const void *data, size_t size, struct error *e);

bool file_exists(const char *path);      /* anything at all is there */
bool file_is_directory(const char *path);

/* Creates a directory and its parents; an existing one is fine. */
status file_make_directory(const char *path, struct error *e);

/* Joins with one slash: "a" and "b", "a/" and "b", "a" and "/b" are all "a/b"; "" and "b" are "b". Fails if it does
 * not fit into `size` bytes. */
status path_join(char *out, size_t size, const char *directory, const char *name, struct error *e);

#endif
