#include "tensor/mapped.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

struct mapped_file {
    char *path;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

/* A line of /proc/self/maps: "7f2c4e000000-7f2c4e200000 r--p 00000000 fe:00 1234      /path". Parsed by hand: a signal
 * handler reads it, too. Returns the path, or NULL where no file is mapped. */
static const char *parse_line(const char *line, uintptr_t *first, uintptr_t *last, bool *readable_data)
{
    uintptr_t value[2] = {0};
    const char *p = line;
    for (int i = 0; i < 2; i++, p++)
        for (; (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'); p++)
            value[i] = value[i] << 4 | (uintptr_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
    *first = value[0];
    *last = value[1];
    *readable_data = strncmp(p, "r--", 3) == 0;
    return strchr(p, '/');
}

static bool is_library(const char *path)
{
    const char *name = strrchr(path, '/'), *ending = strstr(name, ".so");
    return ending != NULL && (ending[3] == '\0' || ending[3] == '.');
}

static bool is_program(const char *path)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    return strcmp(path, program) == 0;
}

static status note(struct mapped_files *m, const char *path, struct error *e)
{
    struct stat info;
    if (is_library(path) || is_program(path) || stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return OK;
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->files[i].path, path) == 0)
            return OK;
    struct mapped_file *files = realloc(m->files, (m->count + 1) * sizeof *files);
    char *copy = strdup(path);
    if (files != NULL)
        m->files = files;
    if (files == NULL || copy == NULL) {
        free(copy);
        return fail(e, ERR_MEMORY, "not enough memory for a list of files");
    }
    files[m->count++] = (struct mapped_file){copy, info.st_dev, info.st_ino, info.st_size, info.st_mtim};
    return OK;
}

/* By path: where the system maps a file, and so the order of /proc/self/maps, differs from run to run. */
static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct mapped_file *)a)->path, ((const struct mapped_file *)b)->path);
}

status mapped_files_note(struct mapped_files *m, struct error *e)
{
    char *line = NULL;
    size_t room = 0;
    status s = OK;
    *m = (struct mapped_files){0};
    FILE *f = fopen("/proc/self/maps", "r");
    while (f != NULL && s == OK && getline(&line, &room, f) > 0) {
        uintptr_t first, last;
        bool data;
        line[strcspn(line, "\n")] = '\0';
        const char *path = parse_line(line, &first, &last, &data);
        if (path != NULL && data)
            s = note(m, path, e);
    }
    if (f != NULL)
        fclose(f);
    free(line);
    if (s != OK)
        mapped_files_free(m);
    else if (m->count > 0)
        qsort(m->files, m->count, sizeof *m->files, by_path);
    return s;
}

void mapped_files_free(struct mapped_files *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->files[i].path);
    free(m->files);
    *m = (struct mapped_files){0};
}

status mapped_files_same(const struct mapped_files *m, struct error *e)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct mapped_file *f = &m->files[i];
        struct stat now;
        bool there = stat(f->path, &now) == 0 && now.st_dev == f->device && now.st_ino == f->inode;
        if (there && (now.st_size != f->size || now.st_mtim.tv_sec != f->changed.tv_sec ||
                      now.st_mtim.tv_nsec != f->changed.tv_nsec))
            return fail(e, ERR_IO, "%s was changed while it was in use: put the file back as it was (or start anew)",
                        f->path);
    }
    return OK;
}

void mapped_files_describe(const struct mapped_files *m, struct text *out)
{
    uLong crc = crc32(0, NULL, 0);
    double bytes = 0;
    time_t last = 0;
    char when[64];
    struct tm day;
    for (size_t i = 0; i < m->count; i++) {
        const struct mapped_file *f = &m->files[i];
        const int64_t facts[] = {f->size, f->changed.tv_sec, f->changed.tv_nsec};
        crc = crc32(crc32(crc, (const Bytef *)f->path, (uInt)strlen(f->path)), (const Bytef *)facts, sizeof facts);
        bytes += (double)f->size;
        last = f->changed.tv_sec > last ? f->changed.tv_sec : last;
    }
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", gmtime_r(&last, &day));
    text_append(out, "%zu, %.1f MB, changed %s UTC, %08lx", m->count, bytes / 1e6, when, crc);
}

bool mapped_file_at(const void *address, char *path, size_t size)
{
    static const size_t longest = 4096 + 128;
    char buffer[8192];
    size_t have = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    bool found = false;
    for (ssize_t got = 1; fd >= 0 && !found && got > 0;) {
        got = read(fd, buffer + have, sizeof buffer - 1 - have);
        have += got > 0 ? (size_t)got : 0;
        buffer[have] = '\0';
        char *line = buffer, *end;
        for (; !found && (end = strchr(line, '\n')) != NULL; line = end + 1) {
            uintptr_t first, last;
            bool data;
            *end = '\0';
            const char *name = parse_line(line, &first, &last, &data);
            found = name != NULL && (uintptr_t)address >= first && (uintptr_t)address < last && strlen(name) < size;
            if (found)
                memcpy(path, name, strlen(name) + 1);
        }
        have = strlen(line);
        if (have > longest)
            break;
        memmove(buffer, line, have);
    }
    if (fd >= 0)
        close(fd);
    return found;
}
