#include "storydiff/comic/output_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/file.h"

enum { LONGEST = 16 << 20 }; /* bytes of a lock file that are read */

/* All of a file that is open, terminated; NULL if there is nothing of use. The caller frees it. */
static char *read_all(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size <= 0 || info.st_size > LONGEST)
        return NULL;
    char *text = calloc(1, (size_t)info.st_size + 1);
    ssize_t got = text != NULL ? pread(fd, text, (size_t)info.st_size, 0) : 0;
    if (got <= 0) {
        free(text);
        return NULL;
    }
    text[got] = '\0';
    return text;
}

static status taken(const char *folder, int fd, struct error *e)
{
    char *text = read_all(fd);
    long process = text != NULL ? strtol(text, NULL, 10) : 0;
    free(text);
    if (process > 0)
        return fail(e, ERR_ARGUMENT,
                    "another storydiff (process %ld) draws into %s: wait for it, stop it (kill %ld), or "
                    "choose another `output_dir`",
                    process, folder, process);
    return fail(e, ERR_ARGUMENT, "another storydiff draws into %s: wait for it, or choose another `output_dir`",
                folder);
}

/* Between opening a file and locking it, the one that had it may have removed it. */
static bool is_still_there(const char *path, int fd)
{
    struct stat here, there;
    return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino &&
           here.st_dev == there.st_dev;
}

/* What follows the line with the process number. */
static char *recipe_left(int fd)
{
    char *text = read_all(fd), *line = text != NULL ? strchr(text, '\n') : NULL;
    char *recipe = line != NULL && line[1] != '\0' ? strdup(line + 1) : NULL;
    free(text);
    return recipe;
}

status output_lock_take(struct output_lock *lock, const char *folder, struct error *e)
{
    *lock = (struct output_lock){0};
    TRY(path_join(lock->path, sizeof lock->path, folder, "drawing.lock", e));
    for (;;) {
        int fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0)
            return fail(e, ERR_IO, "%s: cannot open it: %s", lock->path, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            status s = taken(folder, fd, e);
            close(fd);
            return s;
        } /* a file system without locks: nobody can be kept out */
        if (is_still_there(lock->path, fd)) {
            lock->fd = fd;
            lock->begun = recipe_left(fd);
            return OK;
        }
        close(fd);
    }
}

status output_lock_begin(struct output_lock *lock, const char *recipe, struct error *e)
{
    size_t size = strlen(recipe) + 32;
    char *text = malloc(size);
    if (text == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the recipe");
    size_t length = (size_t)snprintf(text, size, "%ld\n%s", (long)getpid(), recipe);
    bool written = ftruncate(lock->fd, 0) == 0 && pwrite(lock->fd, text, length, 0) == (ssize_t)length &&
                   fsync(lock->fd) == 0;
    free(text);
    return written ? OK : fail(e, ERR_IO, "%s: cannot write it: %s", lock->path, strerror(errno));
}

void output_lock_drop(struct output_lock *lock, enum output_end end)
{
    if (lock->fd > 0 && end == OUTPUT_DONE)
        unlink(lock->path);
    if (lock->fd > 0)
        close(lock->fd);
    free(lock->begun);
    *lock = (struct output_lock){0};
}
