/* A folder of a test's own, and files in it. Include it after tests/check.h. TEST(name) in a list of tests gives every
 * test an empty folder: it is *state, and in_folder(name) names a file there. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <unistd.h>

struct folder {
    char path[64];
};

/* In memory if that can be, where syncing files costs nothing. */
static inline struct folder folder_new(void)
{
    struct folder f = {"/dev/shm/storydiff-test-XXXXXX"};
    if (mkdtemp(f.path) != NULL)
        return f;
    f = (struct folder){"/tmp/storydiff-test-XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    return f;
}

/* Removes it with all that is in it. */
static inline void folder_remove(const struct folder *f)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", f->path);
    assert_int_equal(system(command), 0);
}

/* A file's path, in a buffer of the caller's. */
struct file_path {
    char text[256];
};
static inline struct file_path folder_path(const struct folder *f, const char *name)
{
    struct file_path p;
    snprintf(p.text, sizeof p.text, "%s/%s", f->path, name);
    return p;
}

/* Plain reading and writing: the functions under test have no part in it. The caller frees what is read; it is
 * terminated. */
static inline char *read_bytes(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("%s cannot be read: tests run from the repository root", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = room((int64_t)*size, 1);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

static inline void write_bytes(const char *path, const void *bytes, size_t size)
{
    unlink(path); /* some file systems send a file to the disk at once when another is written in its place */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* ------------------------------------------------------------------------------------------------------- fixture */

/* The folder of the running test. */
static inline struct folder *own_folder(void)
{
    static struct folder f;
    return &f;
}

static inline int make_folder(void **state)
{
    *own_folder() = folder_new();
    *state = own_folder();
    return 0;
}

static inline int drop_folder(void **state)
{
    folder_remove(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, drop_folder)

/* A path in the running test's folder, good until the fourth call after it. */
static inline const char *in_folder(const char *name)
{
    static struct file_path paths[4];
    static int next;
    struct file_path *path = &paths[next++ % 4];
    *path = folder_path(own_folder(), name);
    return path->text;
}

#endif
