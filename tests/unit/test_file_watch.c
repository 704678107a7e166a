#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "role/file_watch.h"

#define PATIENCE_MS 20000
/* Long enough for what must not come to be seen if it came. */
#define QUIET_MS 50

/* Folders "a" and "b", and a folder for each layout of a case in it. */
static char root[64];

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/utun-file-watch-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    static const char *const files[] = {"a/file", "a/other",  "a/new",  "a/link",
                                        "b/file", "b/second", "..data", "..data_new"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, files[i]);
        (void)unlink(path);
    }
    snprintf(path, sizeof(path), "%s/a", root);
    (void)rmdir(path);
    snprintf(path, sizeof(path), "%s/b", root);
    (void)rmdir(path);
    return rmdir(root);
}

static const char *in(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", root, name);
    return path;
}

static void make_folder(const char *name)
{
    char path[128];

    assert_int_equal(mkdir(in(path, name), 0700), 0);
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    FILE *f = fopen(in(path, name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void move(const char *from, const char *to)
{
    char old[128];
    char new[128];

    assert_int_equal(rename(in(old, from), in(new, to)), 0);
}

static void make_link(const char *target, const char *name)
{
    char path[128];

    assert_int_equal(symlink(target, in(path, name)), 0);
}

static enum file_watch_reach set(struct file_watch *w, const char *name)
{
    char path[128];
    const char *const paths[] = {NULL, in(path, name)};

    return file_watch_set(w, paths, 2);
}

static void expect_news(struct file_watch *w)
{
    struct pollfd p = {.fd = file_watch_fd(w), .events = POLLIN};

    do
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    while (!file_watch_drain(w));
}

static void expect_silence(struct file_watch *w)
{
    struct pollfd p = {.fd = file_watch_fd(w), .events = POLLIN};

    if (poll(&p, 1, QUIET_MS) == 1)
        assert_false(file_watch_drain(w));
}

/* The writes of one change may come as several pieces of news. */
static void settle(struct file_watch *w)
{
    struct pollfd p = {.fd = file_watch_fd(w), .events = POLLIN};

    while (poll(&p, 1, 0) == 1)
        (void)file_watch_drain(w);
}

static void hears_of_a_file_that_is_written_replaced_or_removed(void **state)
{
    struct file_watch *w;
    char path[128];

    (void)state;
    make_folder("a");
    write_file("a/file", "one");
    assert_int_equal(file_watch_new(&w), ERR_OK);
    assert_int_equal(set(w, "a/file"), FILE_WATCH_ALL);
    expect_silence(w);
    write_file("a/file", "two");
    expect_news(w);
    settle(w);
    assert_int_equal(chmod(in(path, "a/file"), 0400), 0);
    expect_news(w);
    write_file("a/new", "three");
    expect_news(w);
    settle(w);
    move("a/new", "a/file");
    expect_news(w);
    /* The one that is there now is another one. */
    assert_int_equal(set(w, "a/file"), FILE_WATCH_ALL);
    settle(w);
    write_file("a/file", "four");
    expect_news(w);
    settle(w);
    assert_int_equal(unlink(in(path, "a/file")), 0);
    expect_news(w);
    assert_int_equal(set(w, "a/file"), FILE_WATCH_ALL);
    settle(w);
    write_file("a/file", "five");
    expect_news(w);
    file_watch_free(w);
}

static void hears_where_links_lead(void **state)
{
    struct file_watch *w;

    (void)state;
    make_folder("a");
    make_folder("b");
    write_file("b/file", "one");
    write_file("b/second", "two");
    make_link("../b/file", "a/link");
    assert_int_equal(file_watch_new(&w), ERR_OK);
    assert_int_equal(set(w, "a/link"), FILE_WATCH_ALL);
    write_file("b/file", "another");
    expect_news(w);
    settle(w);
    move("b/second", "b/file");
    expect_news(w);
    file_watch_free(w);
}

/* As Kubernetes replaces the files of a volume: a link to a folder is renamed over another. */
static void hears_of_a_folder_that_is_replaced_by_a_link(void **state)
{
    struct file_watch *w;
    char path[128];

    (void)state;
    make_folder("a");
    make_folder("b");
    write_file("a/file", "one");
    write_file("b/file", "two");
    make_link("a", "..data");
    make_link("b", "..data_new");
    assert_int_equal(symlink("..data/file", in(path, "link")), 0);
    assert_int_equal(file_watch_new(&w), ERR_OK);
    assert_int_equal(set(w, "link"), FILE_WATCH_ALL);
    move("..data_new", "..data");
    expect_news(w);
    assert_int_equal(set(w, "link"), FILE_WATCH_ALL);
    settle(w);
    write_file("b/file", "three");
    expect_news(w);
    settle(w);
    write_file("a/file", "no longer of interest");
    expect_silence(w);
    assert_int_equal(unlink(path), 0);
    file_watch_free(w);
}

/* As a release is changed: the link is in the middle of the path. */
static void hears_of_a_folder_on_the_way_that_is_a_link(void **state)
{
    struct file_watch *w;

    (void)state;
    make_folder("a");
    make_folder("b");
    write_file("a/file", "one");
    write_file("b/file", "two");
    make_link("a", "..data");
    make_link("b", "..data_new");
    assert_int_equal(file_watch_new(&w), ERR_OK);
    assert_int_equal(set(w, "..data/file"), FILE_WATCH_ALL);
    move("..data_new", "..data");
    expect_news(w);
    make_link("..data", "..data_new");
    assert_int_equal(set(w, "..data_new/file"), FILE_WATCH_SOME);
    file_watch_free(w);
}

static void says_what_it_cannot_watch(void **state)
{
    struct file_watch *w;

    (void)state;
    make_folder("a");
    assert_int_equal(file_watch_new(&w), ERR_OK);
    assert_int_equal(set(w, "b/file"), FILE_WATCH_SOME); /* no such folder */
    assert_int_equal(set(w, "a/file"), FILE_WATCH_ALL);
    make_link("link", "a/link"); /* to itself */
    assert_int_equal(set(w, "a/link"), FILE_WATCH_ALL);
    file_watch_free(w);
    file_watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hears_of_a_file_that_is_written_replaced_or_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(hears_where_links_lead, setup, teardown),
        cmocka_unit_test_setup_teardown(hears_of_a_folder_that_is_replaced_by_a_link, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(hears_of_a_folder_on_the_way_that_is_a_link, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(says_what_it_cannot_watch, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
