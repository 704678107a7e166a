#include "pki.h"

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/file.h"

static enum err read_named(const struct pki *p, const char *name, enum file_access access,
                           struct err_detail *d)
{
    struct file_bytes b;
    enum err e = file_read(&b, pki_path(p, name).text, "key", access, d);

    if (e != ERR_OK) {
        assert_null(b.data);
        assert_int_equal(b.len, 0);
    }
    file_bytes_free(&b);
    return e;
}

static void a_file_is_read_whole(void **state)
{
    struct file_bytes b;

    pki_write(*state, "plain", "abc\0def", 7, 0644);
    assert_int_equal(file_read(&b, pki_path(*state, "plain").text, "x", FILE_PUBLIC, NULL), ERR_OK);
    assert_int_equal(b.len, 7);
    assert_memory_equal(b.data, "abc\0def", 7);
    file_bytes_free(&b);
    assert_null(b.data);
}

static void a_missing_file_and_a_missing_folder_are_told_apart(void **state)
{
    struct err_detail d;

    assert_int_equal(read_named(*state, "none", FILE_PUBLIC, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, "no such file"));
    assert_int_equal(read_named(*state, "no/such/none", FILE_PUBLIC, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, "/no does not exist"));
}

static void what_is_not_a_regular_file_is_refused(void **state)
{
    struct err_detail d;

    assert_int_equal(mkdir(pki_path(*state, "folder").text, 0755), 0);
    assert_int_equal(read_named(*state, "folder", FILE_PUBLIC, &d), ERR_IO);
    assert_non_null(strstr(d.text, "is a folder"));
    /* Nobody writes to it: opening it the plain way would hang for good. */
    assert_int_equal(mkfifo(pki_path(*state, "pipe").text, 0600), 0);
    assert_int_equal(read_named(*state, "pipe", FILE_SECRET, &d), ERR_IO);
    assert_non_null(strstr(d.text, "not a regular file"));
}

static void empty_and_huge_files_are_refused(void **state)
{
    struct err_detail d;

    pki_write(*state, "empty", "", 0, 0600);
    assert_int_equal(read_named(*state, "empty", FILE_SECRET, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "empty"));
    pki_write(*state, "huge", "", 0, 0600);
    assert_int_equal(truncate(pki_path(*state, "huge").text, (off_t)FILE_MAX_SIZE), 0);
    assert_int_equal(read_named(*state, "huge", FILE_SECRET, &d), ERR_OK);
    assert_int_equal(truncate(pki_path(*state, "huge").text, (off_t)FILE_MAX_SIZE + 1), 0);
    assert_int_equal(read_named(*state, "huge", FILE_SECRET, &d), ERR_TOO_LARGE);
}

static void every_open_bit_of_a_secret_is_refused(void **state)
{
    static const mode_t bits[] = {0040, 0020, 0010, 0004, 0002, 0001};
    struct err_detail d;
    char mode[24];

    pki_write(*state, "secret", "s", 1, 0600);
    assert_int_equal(read_named(*state, "secret", FILE_SECRET, &d), ERR_OK);
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        assert_int_equal(chmod(pki_path(*state, "secret").text, 0600 | bits[i]), 0);
        assert_int_equal(read_named(*state, "secret", FILE_SECRET, &d), ERR_KEY_MODE);
        snprintf(mode, sizeof(mode), "mode %04o", (unsigned)(0600 | bits[i]));
        assert_non_null(strstr(d.text, mode));
        assert_non_null(strstr(d.text, "owner "));
        assert_non_null(strstr(d.text, "run: chmod 600 "));
        assert_int_equal(read_named(*state, "secret", FILE_SECRET_ANY_MODE, &d), ERR_OK);
        assert_int_equal(read_named(*state, "secret", FILE_PUBLIC, &d), ERR_OK);
    }
}

/* What root shares with an account's group; of anybody else it is a secret like others. */
static void what_root_shares_is_shared_with_a_group_only(void **state)
{
    static const mode_t never[] = {0620, 0610, 0604, 0602, 0601, 0644};
    bool is_root = geteuid() == 0;
    struct err_detail d;
    const struct pki_path path = pki_path(*state, "shared");

    pki_write(*state, "shared", "s", 1, 0600);
    assert_int_equal(read_named(*state, "shared", FILE_SECRET_FOR_GROUP, &d), ERR_OK);
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        assert_int_equal(chmod(path.text, never[i]), 0);
        assert_int_equal(read_named(*state, "shared", FILE_SECRET_FOR_GROUP, &d), ERR_KEY_MODE);
        assert_non_null(strstr(d.text, is_root ? "run: chmod 640 " : "run: chmod 600 "));
    }
    assert_int_equal(chmod(path.text, 0640), 0);
    assert_int_equal(read_named(*state, "shared", FILE_SECRET, &d), ERR_KEY_MODE);
    if (is_root) {
        assert_int_equal(read_named(*state, "shared", FILE_SECRET_FOR_GROUP, &d), ERR_OK);
        assert_int_equal(chown(path.text, 1, 0), 0);
    }
    assert_int_equal(read_named(*state, "shared", FILE_SECRET_FOR_GROUP, &d), ERR_KEY_MODE);
    assert_non_null(strstr(d.text, "open to its group"));
    assert_non_null(strstr(d.text, "run: chmod 600 "));
}

static void the_mending_command_survives_a_shell(void **state)
{
    struct err_detail d;

    pki_write(*state, "it's; a key", "s", 1, 0644);
    assert_int_equal(read_named(*state, "it's; a key", FILE_SECRET, &d), ERR_KEY_MODE);
    assert_non_null(strstr(d.text, "/it'\\''s; a key'"));
}

static mode_t mode_of(const struct pki *p, const char *name)
{
    struct stat st;

    assert_int_equal(stat(pki_path(p, name).text, &st), 0);
    return st.st_mode & 07777;
}

static bool holds(const struct pki *p, const char *name, const char *text)
{
    struct file_bytes b;
    bool same = false;

    if (file_read(&b, pki_path(p, name).text, "x", FILE_PUBLIC, NULL) != ERR_OK)
        return false;
    same = b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
    file_bytes_free(&b);
    return same;
}

/* How many names start with prefix: a temporary file that was left behind would count. */
static int count_with_prefix(const struct pki *p, const char *prefix)
{
    DIR *dir = opendir(p->dir);
    const struct dirent *entry = NULL;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            n++;
    closedir(dir);
    return n;
}

static enum err create_pair(const struct pki *p, const char *key, const char *cert,
                            const char *text, enum file_overwrite overwrite, struct err_detail *d)
{
    struct pki_path key_path = pki_path(p, key);
    struct pki_path cert_path = pki_path(p, cert);
    const struct file_new files[] = {
        {key_path.text, "key", text, strlen(text), FILE_SECRET},
        {cert_path.text, "certificate", text, strlen(text), FILE_PUBLIC},
    };

    return file_create_all(files, 2, overwrite, d);
}

static void modes_do_not_depend_on_the_umask(void **state)
{
    struct err_detail d;
    mode_t before = umask(0);

    assert_int_equal(create_pair(*state, "open.key", "open.crt", "1", FILE_KEEP_EXISTING, &d),
                     ERR_OK);
    umask(0777);
    assert_int_equal(create_pair(*state, "shut.key", "shut.crt", "1", FILE_KEEP_EXISTING, &d),
                     ERR_OK);
    umask(before);
    assert_int_equal(mode_of(*state, "open.key"), 0600);
    assert_int_equal(mode_of(*state, "open.crt"), 0644);
    assert_int_equal(mode_of(*state, "shut.crt"), 0644);
    /* A umask may close a key further, never open it. */
    assert_int_equal(mode_of(*state, "shut.key") & 0077, 0);
}

static void one_file_that_exists_keeps_both_from_being_written(void **state)
{
    struct err_detail d;

    pki_write(*state, "k1.crt", "old", 3, 0644);
    assert_int_equal(create_pair(*state, "k1.key", "k1.crt", "new", FILE_KEEP_EXISTING, &d),
                     ERR_EXISTS);
    assert_non_null(strstr(d.text, "--force"));
    assert_true(holds(*state, "k1.crt", "old"));
    assert_int_equal(count_with_prefix(*state, "k1"), 1);

    pki_write(*state, "k2.key", "old", 3, 0600);
    assert_int_equal(create_pair(*state, "k2.key", "k2.crt", "new", FILE_KEEP_EXISTING, &d),
                     ERR_EXISTS);
    assert_true(holds(*state, "k2.key", "old"));
    assert_int_equal(count_with_prefix(*state, "k2"), 1);

    /* A dangling link is a name that is taken, too. */
    assert_int_equal(symlink("nowhere", pki_path(*state, "k3.key").text), 0);
    assert_int_equal(create_pair(*state, "k3.key", "k3.crt", "new", FILE_KEEP_EXISTING, &d),
                     ERR_EXISTS);
}

static void replacing_replaces_both_and_closes_the_key(void **state)
{
    struct err_detail d;

    pki_write(*state, "r.key", "old", 3, 0666);
    pki_write(*state, "r.crt", "old", 3, 0600);
    assert_int_equal(create_pair(*state, "r.key", "r.crt", "new", FILE_REPLACE_EXISTING, &d),
                     ERR_OK);
    assert_true(holds(*state, "r.key", "new"));
    assert_true(holds(*state, "r.crt", "new"));
    assert_int_equal(mode_of(*state, "r.key"), 0600);
    assert_int_equal(mode_of(*state, "r.crt"), 0644);
    assert_int_equal(count_with_prefix(*state, "r."), 2);
}

static void a_failure_in_the_second_file_leaves_no_first(void **state)
{
    struct err_detail d;

    assert_int_equal(create_pair(*state, "half.key", "gone/half.crt", "x", FILE_KEEP_EXISTING, &d),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, "mkdir -p "));
    assert_int_equal(count_with_prefix(*state, "half"), 0);
    assert_int_equal(mkdir(pki_path(*state, "half.crt").text, 0755), 0);
    assert_int_equal(create_pair(*state, "half.key", "half.crt", "x", FILE_REPLACE_EXISTING, &d),
                     ERR_EXISTS);
    assert_int_equal(count_with_prefix(*state, "half.key"), 0);
}

static void two_names_for_one_file_are_refused(void **state)
{
    struct err_detail d;

    assert_int_equal(create_pair(*state, "same", "same", "x", FILE_REPLACE_EXISTING, &d),
                     ERR_USAGE);
    assert_int_equal(create_pair(*state, "same", "./same", "x", FILE_REPLACE_EXISTING, &d),
                     ERR_USAGE);
    assert_int_equal(count_with_prefix(*state, "same"), 0);
}

/* All of them pass the look at what exists before the first has its name. */
static void of_many_that_create_at_once_one_wins(void **state)
{
    enum { RACERS = 8 };
    int gate[2];
    pid_t racers[RACERS];
    int winners = 0;

    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = fork();
        assert_true(racers[i] >= 0);
        if (racers[i] == 0) {
            char byte = 0;

            close(gate[1]);
            _exit(read(gate[0], &byte, 1) == 0 && create_pair(*state, "race.key", "race.crt", "x",
                                                              FILE_KEEP_EXISTING, NULL) == ERR_OK
                      ? 0
                      : 1);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < RACERS; i++) {
        int status = -1;

        assert_int_equal(waitpid(racers[i], &status, 0), racers[i]);
        assert_true(WIFEXITED(status));
        winners += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(winners, 1);
    assert_int_equal(count_with_prefix(*state, "race"), 2);
}

static void a_folder_is_locked_by_one_at_a_time(void **state)
{
    const struct pki_path path = pki_path(*state, "listed");
    struct err_detail d;
    int first = -1;
    int second = -1;

    assert_int_equal(file_lock_folder(&first, path.text, "list", 0, &d), ERR_OK);
    assert_int_equal(file_lock_folder(&second, path.text, "list", 0, &d), ERR_LIMIT);
    assert_int_equal(second, -1);
    assert_non_null(strstr(d.text, "another process keeps the folder"));
    close(first);
    assert_int_equal(file_lock_folder(&second, path.text, "list", 0, &d), ERR_OK);
    close(second);
}

static void a_folder_that_is_missing_cannot_be_locked(void **state)
{
    struct err_detail d;
    int fd = 0;

    assert_int_equal(file_lock_folder(&fd, pki_path(*state, "gone/list").text, "list", 0, &d),
                     ERR_NOT_FOUND);
    assert_int_equal(fd, -1);
    assert_non_null(strstr(d.text, "mkdir -p"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(a_missing_file_and_a_missing_folder_are_told_apart),
        cmocka_unit_test(what_is_not_a_regular_file_is_refused),
        cmocka_unit_test(empty_and_huge_files_are_refused),
        cmocka_unit_test(every_open_bit_of_a_secret_is_refused),
        cmocka_unit_test(what_root_shares_is_shared_with_a_group_only),
        cmocka_unit_test(the_mending_command_survives_a_shell),
        cmocka_unit_test(modes_do_not_depend_on_the_umask),
        cmocka_unit_test(one_file_that_exists_keeps_both_from_being_written),
        cmocka_unit_test(replacing_replaces_both_and_closes_the_key),
        cmocka_unit_test(a_failure_in_the_second_file_leaves_no_first),
        cmocka_unit_test(two_names_for_one_file_are_refused),
        cmocka_unit_test(of_many_that_create_at_once_one_wins),
        cmocka_unit_test(a_folder_is_locked_by_one_at_a_time),
        cmocka_unit_test(a_folder_that_is_missing_cannot_be_locked),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
