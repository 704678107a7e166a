#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/socket_file.h"
#include "tunnel/frame.h"

#define PATIENCE_MS 20000

static char folder[64];
static char path[ADDRESS_PATH_MAX + 1];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/utun-socket-file-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/door", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)chmod(folder, 0700);
    (void)unlink(path);
    return rmdir(folder);
}

/* What somebody else does while it is being made: after bind, before it gets its rights. */
static void (*meanwhile)(void);

int listen(int fd, int backlog)
{
    if (meanwhile != NULL)
        meanwhile();
    return (int)syscall(SYS_listen, fd, backlog);
}

static int connect_there(void)
{
    struct address a;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(address_unix(&a, path), ERR_OK);
    if (connect(fd, (const struct sockaddr *)&a.sockaddr, a.len) == 0)
        return fd;
    close(fd);
    return -1;
}

static void listens_with_its_rights(void **state)
{
    static const mode_t rights[] = {0600, 0660, 0666};
    struct socket_file f;
    struct stat st;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
        assert_int_equal(socket_file_listen(&f, &fd, path, rights[i], NULL), ERR_OK);
        assert_int_equal(lstat(path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 07777, rights[i]);
        socket_file_remove(&f);
        assert_int_equal(lstat(path, &st), -1);
        socket_file_remove(&f); /* harmless */
        close(fd);
    }
}

static void the_client_is_a_process(void **state)
{
    struct stream_address client;
    struct address none = {.len = 0};
    char text[ADDRESS_TEXT_MAX];
    char wanted[ADDRESS_TEXT_MAX];
    struct socket_file f;
    int listener;
    int mine;
    int fd;

    (void)state;
    assert_int_equal(socket_file_listen(&f, &listener, path, 0600, NULL), ERR_OK);
    mine = connect_there();
    assert_true(mine >= 0);
    assert_int_equal(poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, PATIENCE_MS), 1);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    address_identify(&none, fd, &client);
    assert_int_equal(client.address_len, 0);
    assert_true(client.is_process);
    assert_int_equal(client.uid, getuid());
    assert_int_equal(client.pid, getpid());
    address_format_stream(&client, text);
    snprintf(wanted, sizeof(wanted), "unix:uid=%u,pid=%d", getuid(), getpid());
    assert_string_equal(text, wanted);
    close(fd);
    close(mine);
    socket_file_remove(&f);
    close(listener);
}

static void a_stale_one_is_replaced(void **state)
{
    struct socket_file left;
    struct socket_file f;
    int fd;
    int client;

    (void)state;
    assert_int_equal(socket_file_listen(&left, &fd, path, 0666, NULL), ERR_OK);
    close(fd); /* as a process that was killed leaves it */
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, NULL), ERR_OK);
    client = connect_there();
    assert_true(client >= 0);
    close(client);
    socket_file_remove(&f);
    close(fd);
}

static void one_in_use_stays(void **state)
{
    struct err_detail d;
    struct socket_file f;
    struct socket_file second;
    struct stat before;
    struct stat after;
    int fd;
    int none;

    (void)state;
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, NULL), ERR_OK);
    assert_int_equal(lstat(path, &before), 0);
    assert_int_equal(socket_file_listen(&second, &none, path, 0600, &d), ERR_ADDR_IN_USE);
    assert_int_equal(none, -1);
    assert_non_null(strstr(d.text, path));
    assert_non_null(strstr(d.text, "another process listens there"));
    socket_file_remove(&second); /* has none */
    assert_int_equal(lstat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    socket_file_remove(&f);
    close(fd);
}

/* A queue that is full, and a socket for datagrams, are in use too. */
static void one_that_takes_nobody_stays(void **state)
{
    struct address a;
    struct socket_file f;
    int waiting[16];
    int n = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int none;

    (void)state;
    assert_int_equal(address_unix(&a, path), ERR_OK);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a.sockaddr, a.len), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (; n < 16; n++) {
        waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(waiting[n], (const struct sockaddr *)&a.sockaddr, a.len) < 0)
            break;
    }
    assert_true(n < 16);
    assert_int_equal(socket_file_listen(&f, &none, path, 0600, NULL), ERR_ADDR_IN_USE);
    for (int i = 0; i <= n; i++)
        close(waiting[i]);
    close(fd);
    assert_int_equal(unlink(path), 0);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a.sockaddr, a.len), 0);
    assert_int_equal(socket_file_listen(&f, &none, path, 0600, NULL), ERR_ADDR_IN_USE);
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
}

static void other_files_stay(void **state)
{
    struct err_detail d;
    struct socket_file f;
    struct stat st;
    int fd;
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)state;
    assert_int_equal(write(file, "kept", 4), 4);
    close(file);
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, &d), ERR_ADDR_IN_USE);
    assert_int_equal(fd, -1);
    assert_non_null(strstr(d.text, "not a socket"));
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(unlink(path), 0);
    /* Nor a link, wherever it leads. */
    assert_int_equal(symlink("/nowhere", path), 0);
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, &d), ERR_ADDR_IN_USE);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, &d), ERR_ADDR_IN_USE);
    assert_int_equal(rmdir(path), 0);
}

/* What has taken its place is neither given away nor followed. */
static void only_ours_is_given(void **state)
{
    char other[sizeof(folder) + 8];
    struct socket_file f;
    struct stat st;
    int fd;
    int file;

    (void)state;
    snprintf(other, sizeof(other), "%s/other", folder);
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, NULL), ERR_OK);
    assert_int_equal(socket_file_give(&f, getuid(), getgid()), ERR_OK);
    if (geteuid() == 0) {
        assert_int_equal(socket_file_give(&f, 65534, 65533), ERR_OK);
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_uid, 65534);
        assert_int_equal(st.st_gid, 65533);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    /* Under two names it may be somebody else's too. */
    assert_int_equal(link(path, other), 0);
    assert_int_equal(socket_file_give(&f, getuid(), getgid()), ERR_NOT_FOUND);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(socket_file_give(&f, getuid(), getgid()), ERR_NOT_FOUND);
    assert_int_equal(unlink(path), 0);
    file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(socket_file_give(&f, 65534, 65534), ERR_NOT_FOUND);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, getuid());
    assert_int_equal(unlink(other), 0);
    close(fd);
}

/* Other rights later, for nothing but the socket that was made. */
static void only_ours_gets_other_rights(void **state)
{
    struct socket_file f;
    struct stat st;
    int fd;
    int file;

    (void)state;
    assert_int_equal(socket_file_listen(&f, &fd, path, 0666, NULL), ERR_OK);
    assert_int_equal(socket_file_set_rights(&f, 0600), ERR_OK);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(socket_file_set_rights(&f, 0666), ERR_NOT_FOUND);
    file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(socket_file_set_rights(&f, 0666), ERR_NOT_FOUND);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    close(fd);
}

static void put_a_link_there(void)
{
    char victim[sizeof(folder) + 8];

    snprintf(victim, sizeof(victim), "%s/other", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(victim, path), 0);
}

static void put_a_second_name_there(void)
{
    char victim[sizeof(folder) + 8];

    snprintf(victim, sizeof(victim), "%s/other", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link(victim, path), 0);
}

/* Nobody gets rights to what he has put in its place. */
static void nothing_else_gets_its_rights(void **state)
{
    static void (*const tricks[])(void) = {put_a_link_there, put_a_second_name_there};
    char victim[sizeof(folder) + 8];
    struct socket_file f;
    struct err_detail d;
    struct address a;
    struct stat st;
    int fd;

    (void)state;
    snprintf(victim, sizeof(victim), "%s/other", folder);
    for (size_t i = 0; i < 2; i++) {
        int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(address_unix(&a, victim), ERR_OK);
        assert_int_equal(bind(other, (const struct sockaddr *)&a.sockaddr, a.len), 0);
        assert_int_equal(chmod(victim, 0), 0);
        meanwhile = tricks[i];
        assert_int_equal(socket_file_listen(&f, &fd, path, 0666, &d), ERR_ADDR_IN_USE);
        meanwhile = NULL;
        assert_int_equal(fd, -1);
        assert_non_null(strstr(d.text, "in the place of the socket"));
        assert_int_equal(stat(victim, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0);
        assert_int_equal(access(path, F_OK), 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(unlink(victim), 0);
        close(other);
    }
}

/* Whatever the umask leaves of rights. */
static void the_umask_does_not_count(void **state)
{
    mode_t before = umask(0777);
    struct socket_file f;
    struct stat st;
    int fd;

    (void)state;
    assert_int_equal(socket_file_listen(&f, &fd, path, 0666, NULL), ERR_OK);
    umask(before);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0666);
    socket_file_remove(&f);
    close(fd);
}

/* Somebody has put his own in the place of ours: that is not removed. */
static void only_ours_is_removed(void **state)
{
    struct socket_file f;
    struct socket_file other;
    int fd;
    int second;

    (void)state;
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, NULL), ERR_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(socket_file_listen(&other, &second, path, 0600, NULL), ERR_OK);
    socket_file_remove(&f);
    assert_int_equal(access(path, F_OK), 0);
    socket_file_remove(&other);
    assert_int_equal(access(path, F_OK), -1);
    close(fd);
    close(second);
}

static void places_that_cannot_be(void **state)
{
    char none[ADDRESS_PATH_MAX + 1];
    char longer[ADDRESS_PATH_MAX + 2];
    struct err_detail d;
    struct socket_file f;
    int fd;

    (void)state;
    snprintf(none, sizeof(none), "%s/none/door", folder);
    assert_int_equal(socket_file_listen(&f, &fd, none, 0600, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, "no such folder"));
    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(socket_file_listen(&f, &fd, longer, 0600, &d), ERR_TOO_LARGE);
    assert_non_null(strstr(d.text, "107"));
    assert_int_equal(fd, -1);
    if (geteuid() == 0)
        return; /* root may do anything */
    assert_int_equal(chmod(folder, 0500), 0);
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, &d), ERR_PERMISSION);
    assert_int_equal(chmod(folder, 0700), 0);
}

/* Whoever holds the lock for ever delays it, no more. */
static void a_locked_folder_is_no_obstacle(void **state)
{
    struct socket_file f;
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd;

    (void)state;
    assert_int_equal(flock(lock, LOCK_EX), 0);
    assert_int_equal(socket_file_listen(&f, &fd, path, 0600, NULL), ERR_OK);
    socket_file_remove(&f);
    close(fd);
    close(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(listens_with_its_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(the_client_is_a_process, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stale_one_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(one_in_use_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_takes_nobody_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(only_ours_is_given, setup, teardown),
        cmocka_unit_test_setup_teardown(only_ours_gets_other_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_else_gets_its_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(the_umask_does_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(only_ours_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(places_that_cannot_be, setup, teardown),
        cmocka_unit_test_setup_teardown(a_locked_folder_is_no_obstacle, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
