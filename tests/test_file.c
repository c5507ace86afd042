/* Files: what a reader of a path can see, before, during and after a write; and after one that failed. */
#include "tensor/file.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "tensor/mapped.h"

#include "tests/check.h"
#include "tests/folder.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int count_entries(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    int count = 0;
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count - 2; /* . and .. */
}

static void put(const char *path, const char *content)
{
    struct error e = {0};
    assert_int_equal(file_write(path, content, strlen(content), &e), OK);
    assert_string_equal(e.message, "");
}

static void assert_content(const char *path, const char *content)
{
    struct error e = {0};
    struct file_map map;
    assert_int_equal(file_map(path, &map, &e), OK);
    assert_int_equal(map.size, strlen(content));
    if (map.size > 0)
        assert_memory_equal(map.data, content, map.size);
    file_unmap(&map);
}

static void assert_says(const struct error *e, const char *path, const char *what)
{
    if (strstr(e->message, path) == NULL || strstr(e->message, what) == NULL)
        fail_msg("'%s' does not mention '%s' and '%s'", e->message, path, what);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    put(in_folder("a"), "some content\n");
    assert_content(in_folder("a"), "some content\n");
    put(in_folder("a"), "other");
    assert_content(in_folder("a"), "other");
    assert_int_equal(count_entries(own_folder()->path), 1);
}

static void an_empty_file_maps_to_nothing(void **state)
{
    (void)state;
    put(in_folder("empty"), "");
    struct file_map map;
    assert_int_equal(file_map(in_folder("empty"), &map, NULL), OK);
    assert_null(map.data);
    assert_int_equal(map.size, 0);
    file_unmap(&map);
    file_unmap(&map);
}

static void pieces_are_joined_in_order(void **state)
{
    (void)state;
    enum { PIECES = 1000 };
    static unsigned char expected[PIECES * (PIECES - 1) / 2];
    struct error e = {0};
    struct file_writer w;
    assert_int_equal(file_create(in_folder("pieces"), &w, &e), OK);
    size_t length = 0;
    for (size_t i = 0; i < PIECES; i++) { /* piece i has i bytes */
        for (size_t k = 0; k < i; k++)
            expected[length + k] = (unsigned char)(i * 31 + k);
        assert_int_equal(file_append(&w, expected + length, i, &e), OK);
        length += i;
    }
    assert_int_equal(file_commit(&w, &e), OK);
    struct file_map map;
    assert_int_equal(file_map(in_folder("pieces"), &map, &e), OK);
    assert_int_equal(map.size, sizeof expected);
    assert_memory_equal(map.data, expected, sizeof expected);
    file_unmap(&map);
}

static void readers_see_the_old_content_until_commit(void **state)
{
    (void)state;
    put(in_folder("page"), "old");
    struct file_writer w;
    assert_int_equal(file_create(in_folder("page"), &w, NULL), OK);
    assert_int_equal(file_append(&w, "new", 3, NULL), OK);
    assert_content(in_folder("page"), "old");
    struct file_map old;
    assert_int_equal(file_map(in_folder("page"), &old, NULL), OK);
    assert_int_equal(file_commit(&w, NULL), OK);
    assert_memory_equal(old.data, "old", 3); /* who has it open keeps it */
    file_unmap(&old);
    assert_content(in_folder("page"), "new");
    file_discard(&w); /* fine after commit */
    assert_content(in_folder("page"), "new");
    assert_int_equal(count_entries(own_folder()->path), 1);
}

static void discard_leaves_no_trace(void **state)
{
    (void)state;
    put(in_folder("page"), "old");
    struct file_writer w;
    assert_int_equal(file_create(in_folder("page"), &w, NULL), OK);
    assert_int_equal(file_append(&w, "new", 3, NULL), OK);
    assert_int_equal(count_entries(own_folder()->path), 2);
    file_discard(&w);
    file_discard(&w);
    assert_content(in_folder("page"), "old");
    assert_int_equal(count_entries(own_folder()->path), 1);
}

/* A limit on file sizes stands in for a full disk: the write that crosses it is cut short, the next one refused. */
static void a_failing_write_leaves_the_old_file(void **state)
{
    (void)state;
    put(in_folder("page"), "old");
    static const char large[5000];
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct error e = {0};
    struct file_writer w;
    setrlimit(RLIMIT_FSIZE, &small);
    status created = file_create(in_folder("page"), &w, &e), appended = file_append(&w, large, sizeof large, &e);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(created, OK);
    assert_int_equal(appended, ERR_IO);
    assert_says(&e, in_folder("page"), "File too large");
    assert_content(in_folder("page"), "old");
    assert_int_equal(count_entries(own_folder()->path), 1);
    file_discard(&w);
    assert_content(in_folder("page"), "old");
}

static void a_failing_rename_leaves_the_old_entry(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_folder("page"), 0777), 0);
    struct error e = {0};
    assert_int_equal(file_write(in_folder("page"), "new", 3, &e), ERR_IO);
    assert_says(&e, in_folder("page"), "Is a directory");
    assert_true(file_is_directory(in_folder("page")));
    assert_int_equal(count_entries(own_folder()->path), 1);
}

static void a_leftover_of_a_killed_process_is_no_obstacle(void **state)
{
    (void)state;
    char leftover[300];
    snprintf(leftover, sizeof leftover, "%s.tmp-%ld", in_folder("page"), (long)getpid());
    put(leftover, "half of something much longer than the new content");
    put(in_folder("page"), "new");
    assert_content(in_folder("page"), "new");
    assert_int_equal(count_entries(own_folder()->path), 1);
}

static void writing_into_a_missing_folder_says_so(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(file_write(in_folder("missing/page"), "new", 3, &e), ERR_IO);
    assert_says(&e, in_folder("missing/page"), "No such file or directory; check the path");
    error_clear(&e);
    assert_int_equal(file_write("", "new", 3, &e), ERR_ARGUMENT);
    assert_string_equal(e.message, "cannot write a file without a name");
}

static void an_overlong_path_is_refused(void **state)
{
    (void)state;
    char path[5000];
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    struct error e = {0};
    struct file_map map;
    assert_int_equal(file_write(path, "x", 1, &e), ERR_ARGUMENT);
    assert_int_equal(file_make_directory(path, NULL), ERR_ARGUMENT);
    assert_int_equal(file_map(path, &map, NULL), ERR_IO);
    assert_non_null(strstr(e.message, "longer than 4095 bytes"));
}

static void what_cannot_be_mapped_is_named(void **state)
{
    (void)state;
    struct error e = {0};
    struct file_map map;
    assert_int_equal(file_map(in_folder("missing"), &map, &e), ERR_IO);
    assert_says(&e, in_folder("missing"), "cannot open it: No such file or directory; check the path");
    assert_null(map.data);
    error_clear(&e);
    assert_int_equal(file_map(own_folder()->path, &map, &e), ERR_IO);
    assert_says(&e, own_folder()->path, "is a directory");
    error_clear(&e);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(file_map(in_folder("pipe"), &map, &e), ERR_IO); /* and does not wait for a writer */
    assert_says(&e, in_folder("pipe"), "not a regular file");
}

static void links_are_followed_by_readers_and_replaced_by_writers(void **state)
{
    (void)state;
    put(in_folder("blob"), "content");
    assert_int_equal(symlink("blob", in_folder("link")), 0);
    assert_content(in_folder("link"), "content");
    put(in_folder("link"), "new");
    assert_content(in_folder("link"), "new");
    assert_content(in_folder("blob"), "content");
}

static void directories_are_made_with_their_parents(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(file_make_directory(in_folder("a/b//c/"), &e), OK);
    assert_true(file_is_directory(in_folder("a/b/c")));
    assert_int_equal(file_make_directory(in_folder("a/b/c"), &e), OK);
    assert_int_equal(file_make_directory("/", &e), OK);
    assert_int_equal(file_make_directory(".", &e), OK);

    put(in_folder("a/file"), "");
    assert_int_equal(file_make_directory(in_folder("a/file"), &e), ERR_IO);
    assert_says(&e, in_folder("a/file"), "a file has it");
    error_clear(&e);
    assert_int_equal(file_make_directory(in_folder("a/file/b"), &e), ERR_IO);
    assert_says(&e, in_folder("a/file"), "a file has it");
    assert_int_equal(file_make_directory("", NULL), ERR_ARGUMENT);
}

static void existence_counts_anything(void **state)
{
    (void)state;
    assert_false(file_exists(in_folder("a")));
    assert_int_equal(symlink("nowhere", in_folder("a")), 0);
    assert_true(file_exists(in_folder("a"))); /* a dangling link is something in the way */
    assert_false(file_is_directory(in_folder("a")));
    assert_true(file_exists(own_folder()->path));
    assert_true(file_is_directory(own_folder()->path));
    put(in_folder("b"), "");
    assert_true(file_exists(in_folder("b")));
    assert_false(file_is_directory(in_folder("b")));
}

static void paths_are_joined_with_one_slash(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"},     {"a", "/b", "a/b"},     {"a//", "//b", "a/b"},
        {"", "b", "b"},    {"/", "b", "/b"},       {"a/b", "c", "a/b/c"},  {"a", "", "a/"},
        {".", "b", "./b"}, {"//", "b/c", "/b/c"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[32];
        assert_int_equal(path_join(out, sizeof out, cases[i][0], cases[i][1], NULL), OK);
        assert_string_equal(out, cases[i][2]);
    }
    char out[4];
    struct error e = {0};
    assert_int_equal(path_join(out, sizeof out, "a", "b", &e), OK); /* three and the terminator */
    assert_int_equal(path_join(out, sizeof out, "a", "bc", &e), ERR_ARGUMENT);
    assert_non_null(strstr(e.message, "longer than"));
}

/* The same files, however the system has laid them out. */
static void a_description_knows_no_order(void **state)
{
    (void)state;
    struct error e = {0};
    struct text said[2] = {0};
    put(in_folder("a"), "first");
    put(in_folder("b"), "second");
    for (int i = 0; i < 2; i++) {
        struct file_map maps[2];
        struct mapped_files files;
        assert_int_equal(file_map(in_folder(i == 0 ? "a" : "b"), &maps[0], &e), OK);
        assert_int_equal(file_map(in_folder(i == 0 ? "b" : "a"), &maps[1], &e), OK);
        assert_true(maps[0].data != maps[1].data);
        assert_int_equal(mapped_files_note(&files, &e), OK);
        mapped_files_describe(&files, &said[i]);
        mapped_files_free(&files);
        file_unmap(&maps[0]);
        file_unmap(&maps[1]);
    }
    assert_string_equal(said[0].data, said[1].data);
    text_free(&said[0]);
    text_free(&said[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read),
        TEST(an_empty_file_maps_to_nothing),
        TEST(pieces_are_joined_in_order),
        TEST(readers_see_the_old_content_until_commit),
        TEST(discard_leaves_no_trace),
        TEST(a_failing_write_leaves_the_old_file),
        TEST(a_failing_rename_leaves_the_old_entry),
        TEST(a_leftover_of_a_killed_process_is_no_obstacle),
        TEST(writing_into_a_missing_folder_says_so),
        cmocka_unit_test(an_overlong_path_is_refused),
        TEST(what_cannot_be_mapped_is_named),
        TEST(links_are_followed_by_readers_and_replaced_by_writers),
        TEST(directories_are_made_with_their_parents),
        TEST(existence_counts_anything),
        TEST(a_description_knows_no_order),
        cmocka_unit_test(paths_are_joined_with_one_slash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
