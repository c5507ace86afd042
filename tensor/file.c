/* Files, as tensor/file.h promises them.
 *
 * Replacing a file safely takes four steps in this order: write a new one beside it, fsync it, rename it over the
 * old name, fsync the directory. Without the first fsync a crash can leave the new name on an empty file; without
 * the second the rename itself may be lost. The rename is atomic only inside one file system: hence beside it, not
 * in /tmp. */
#include "tensor/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a person can do about the reasons that people actually meet. */
static const char *advice(int reason)
{
    switch (reason) {
    case ENOENT:
    case ENOTDIR:
        return "; check the path";
    case EACCES:
    case EPERM:
        return "; check the permissions";
    case ENOSPC:
    case EDQUOT:
        return "; free some space and try again";
    case EROFS:
        return "; choose a place that can be written";
    case EFBIG:
        return "; the file system or `ulimit -f` allows no file of this size";
    case EMFILE:
    case ENFILE:
        return "; close some files or raise `ulimit -n`";
    case EIO:
        return "; the disk may be failing";
    default:
        return "";
    }
}

/* Takes errno as an argument because cleaning up before the report may change it. */
static status fail_errno(struct error *e, const char *path, const char *verb, int reason)
{
    status code = reason == ENOMEM ? ERR_MEMORY : ERR_IO;
    return fail(e, code, "%s: cannot %s: %s%s", path, verb, strerror(reason), advice(reason));
}

static int open_retrying(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static status map_open_file(const char *path, int fd, struct file_map *map, struct error *e)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail_errno(e, path, "read its size", errno);
    if (S_ISDIR(info.st_mode))
        return fail(e, ERR_IO, "%s: is a directory, a file is wanted", path);
    if (!S_ISREG(info.st_mode))
        return fail(e, ERR_IO, "%s: is not a regular file", path);
    if ((uintmax_t)info.st_size > PTRDIFF_MAX)
        return fail(e, ERR_MEMORY, "%s: is too large for this machine's address space", path);
    if (info.st_size == 0)
        return OK; /* mmap refuses a length of zero */
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return fail_errno(e, path, "map it into memory", errno);
    *map = (struct file_map){.data = data, .size = (size_t)info.st_size};
    return OK;
}

status file_map(const char *path, struct file_map *map, struct error *e)
{
    *map = (struct file_map){0};
    int fd = open_retrying(path, O_RDONLY | O_NONBLOCK, 0); /* or a named pipe would wait for its writer */
    if (fd < 0)
        return fail_errno(e, path, "open it", errno);
    status result = map_open_file(path, fd, map, e);
    close(fd); /* the mapping stays */
    return result;
}

void file_unmap(struct file_map *map)
{
    if (map->data != NULL)
        munmap((void *)map->data, map->size);
    *map = (struct file_map){0};
}

status file_create(const char *path, struct file_writer *w, struct error *e)
{
    w->fd = -1;
    size_t length = strlen(path);
    if (length == 0)
        return fail(e, ERR_ARGUMENT, "cannot write a file without a name");
    if (length >= sizeof w->path)
        return fail(e, ERR_ARGUMENT, "%.60s...: the path is longer than %zu bytes", path, sizeof w->path - 1);
    memcpy(w->path, path, length + 1);
    snprintf(w->aside, sizeof w->aside, "%s.tmp-%ld", path, (long)getpid());
    /* A process that was killed may have left this name behind: in a container the number soon comes again. */
    unlink(w->aside);
    w->fd = open_retrying(w->aside, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (w->fd < 0)
        return fail_errno(e, path, "create a file beside it", errno);
    return OK;
}

status file_append(struct file_writer *w, const void *data, size_t size, struct error *e)
{
    const unsigned char *next = data;
    while (size > 0) {
        ssize_t written = write(w->fd, next, size < SSIZE_MAX ? size : SSIZE_MAX);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            int reason = errno;
            file_discard(w);
            return fail_errno(e, w->path, "write it", reason);
        }
        next += written;
        size -= (size_t)written;
    }
    return OK;
}

/* Some file systems have no fsync for directories and say EINVAL; a directory may also be writable but not readable,
 * and then it cannot be opened. Neither makes the new file wrong. */
static status sync_directory(const struct file_writer *w, struct error *e)
{
    char directory[sizeof w->path];
    const char *path = w->path, *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(directory, sizeof directory, ".");
    else
        snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int fd = open_retrying(directory, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return errno == EACCES ? OK : fail_errno(e, directory, "open the directory to sync it", errno);
    int reason = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    if (reason != 0 && reason != EINVAL)
        return fail_errno(e, directory, "sync the directory", reason);
    return OK;
}

status file_commit(struct file_writer *w, struct error *e)
{
    const char *verb = "sync it to disk";
    int reason = fsync(w->fd) == 0 ? 0 : errno;
    if (reason == 0) {
        verb = "close it";
        reason = close(w->fd) == 0 || errno == EINTR ? 0 : errno;
        w->fd = -1; /* Linux has closed it even when close failed */
    }
    if (reason == 0) {
        verb = "rename the new file to it";
        reason = rename(w->aside, w->path) == 0 ? 0 : errno;
    }
    if (reason != 0) {
        unlink(w->aside);
        file_discard(w);
        return fail_errno(e, w->path, verb, reason);
    }
    return sync_directory(w, e);
}

void file_discard(struct file_writer *w)
{
    if (w->fd < 0)
        return;
    close(w->fd);
    w->fd = -1;
    unlink(w->aside);
}

status file_write(const char *path, const void *data, size_t size, struct error *e)
{
    struct file_writer w;
    TRY(file_create(path, &w, e));
    TRY(file_append(&w, data, size, e));
    return file_commit(&w, e);
}

bool file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool file_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static status make_one_directory(const char *path, struct error *e)
{
    if (file_is_directory(path) || mkdir(path, 0777) == 0)
        return OK;
    int reason = errno;
    if (reason == EEXIST && file_is_directory(path)) /* somebody else was faster */
        return OK;
    if (reason == EEXIST)
        return fail(e, ERR_IO, "%s: cannot make a directory of this name: a file has it", path);
    return fail_errno(e, path, "make the directory", reason);
}

status file_make_directory(const char *path, struct error *e)
{
    char prefix[4096];
    size_t length = strlen(path);
    if (length == 0)
        return fail(e, ERR_ARGUMENT, "cannot make a directory without a name");
    if (length >= sizeof prefix)
        return fail(e, ERR_ARGUMENT, "%.60s...: the path is longer than %zu bytes", path, sizeof prefix - 1);
    memcpy(prefix, path, length + 1);
    for (char *slash = strchr(prefix + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        TRY(make_one_directory(prefix, e));
        *slash = '/';
    }
    return make_one_directory(prefix, e);
}

status path_join(char *out, size_t size, const char *directory, const char *name, struct error *e)
{
    size_t length = strlen(directory);
    bool rooted = length > 0 && directory[0] == '/';
    while (length > 0 && directory[length - 1] == '/')
        length--;
    name += strspn(name, "/");
    const char *slash = length > 0 || rooted ? "/" : "";
    if (length > INT_MAX)
        return fail(e, ERR_ARGUMENT, "%.60s...: the path is too long", directory);
    int needed = snprintf(out, size, "%.*s%s%s", (int)length, directory, slash, name);
    if (needed < 0 || (size_t)needed >= size)
        return fail(e, ERR_ARGUMENT, "%.60s.../%.60s: the path is longer than %zu bytes", directory, name, size);
    return OK;
}
