/* The program as a user runs it: a command line in, exit status and text out. The program is the one that the
 * environment variable STORYDIFF names, build/storydiff without it. Include it after tests/check.h and folder.h.
 *
 * Where a command line names no model, it gets the tiny random one of tests/models.
 *
 * Command lines go through the shell, so that they read as they are typed; $F in them is the test's folder. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

/* Small and quick: no page, which takes longer than the panels. Two panels with one character. */
#define SMALL " --height 64 --width 64 --sampling_steps 6 --comic_type none "
#define BOB " --general_prompt 'a man, black suit' -p 'in the park' -p 'at home' "

struct outcome {
    int status; /* what it exited with; 128 + the signal that ended it */
    char *out, *err;
};

static inline const char *program(void)
{
    const char *path = getenv("STORYDIFF");
    return path != NULL ? path : "build/storydiff";
}

/* Starts `storydiff <words>`; its output goes to out.txt and err.txt in the folder, if the words do not say more. */
static inline pid_t program_start(const struct folder *f, const char *words)
{
    char command[4096];
    int length = snprintf(command, sizeof command, "exec '%s' >'%s/out.txt' 2>'%s/err.txt' %s", program(), f->path,
                          f->path, words);
    assert_true(length > 0 && (size_t)length < sizeof command);
    assert_int_equal(setenv("F", f->path, 1), 0);
    assert_int_equal(setenv("STORYDIFF_MODEL", "tests/models/default", 0), 0); /* tiny and random */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGINT, SIG_DFL); /* whoever started the tests in the background ignores it */
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return child;
}

static inline struct outcome program_wait(const struct folder *f, pid_t child)
{
    int status;
    size_t size;
    struct outcome o;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    o.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    o.out = read_bytes(folder_path(f, "out.txt").text, &size);
    o.err = read_bytes(folder_path(f, "err.txt").text, &size);
    return o;
}

static inline void outcome_free(struct outcome *o)
{
    free(o->out);
    free(o->err);
    *o = (struct outcome){0};
}

static inline struct outcome run(const struct folder *f, const char *words)
{
    return program_wait(f, program_start(f, words));
}

static inline struct outcome run_to(const struct folder *f, const char *words, int status)
{
    struct outcome o = run(f, words);
    if (o.status != status)
        fail_msg("storydiff %s\nexit status %d, not %d; standard error:\n%s", words, o.status, status, o.err);
    return o;
}

/* Runs it; it must exit with `status` and say each of the texts, somewhere. The list of texts ends with NULL. */
static inline void assert_outcome(const struct folder *f, const char *words, int status, const char *const *texts)
{
    struct outcome o = run_to(f, words, status);
    for (; *texts != NULL; texts++)
        if (strstr(o.out, *texts) == NULL && strstr(o.err, *texts) == NULL)
            fail_msg("storydiff %s\ndoes not say \"%s\" but\n%s%s", words, *texts, o.out, o.err);
    outcome_free(&o);
}

#define SAYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void assert_done(const struct folder *f, const char *words)
{
    struct outcome o = run_to(f, words, 0);
    outcome_free(&o);
}

/* ------------------------------------------------------------------------------------------------------ folders */

/* Shell commands in which $F is the folder. */
static inline void prepare(const struct folder *f, const char *commands)
{
    assert_int_equal(setenv("F", f->path, 1), 0);
    assert_int_equal(setenv("STORYDIFF_MODEL", "tests/models/default", 0), 0); /* tiny and random */
    assert_int_equal(system(commands), 0);
}

static inline bool has(const struct folder *f, const char *name)
{
    return file_exists(folder_path(f, name).text);
}

/* Everything in a folder: names in order, and a checksum of each content. */
struct listing {
    int count;
    struct {
        char name[256];
        uint64_t content; /* FNV-1a */
        size_t size;
    } files[64];
};

static inline int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* the name is the first member */
}

static inline struct listing listing_of(const struct folder *f, const char *name)
{
    struct listing l = {0};
    struct file_path folder = folder_path(f, name);
    DIR *entries = opendir(folder.text);
    if (entries == NULL)
        return l;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        assert_true(l.count < (int)(sizeof l.files / sizeof *l.files));
        snprintf(path, sizeof path, "%s/%s", folder.text, entry->d_name);
        strcpy(l.files[l.count].name, entry->d_name);
        char *bytes = read_bytes(path, &l.files[l.count].size);
        l.files[l.count].content = 14695981039346656037u;
        for (size_t i = 0; i < l.files[l.count].size; i++)
            l.files[l.count].content = (l.files[l.count].content ^ (unsigned char)bytes[i]) * 1099511628211u;
        free(bytes);
        l.count++;
    }
    closedir(entries);
    qsort(l.files, (size_t)l.count, sizeof *l.files, by_name);
    return l;
}

/* Both folders hold the same files with the same bytes. */
static inline void assert_same_folder(const struct listing *a, const struct listing *b)
{
    for (int i = 0; i < a->count && i < b->count; i++)
        if (strcmp(a->files[i].name, b->files[i].name) != 0 || a->files[i].content != b->files[i].content)
            fail_msg("%s (%zu bytes) is not %s (%zu bytes)", a->files[i].name, a->files[i].size, b->files[i].name,
                     b->files[i].size);
    assert_int_equal(a->count, b->count);
}

static inline void assert_same_pictures(const struct folder *f, const char *one, const char *other)
{
    struct listing a = listing_of(f, one), b = listing_of(f, other);
    assert_true(a.count > 0);
    assert_same_folder(&a, &b);
}

/* The index of a file in a listing, or -1. */
static inline int listing_find(const struct listing *l, const char *name)
{
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->files[i].name, name) == 0)
            return i;
    return -1;
}

#endif
