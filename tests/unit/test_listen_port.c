/* Ports and Unix sockets, taken for several workers at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "role/listen_port.h"

#define WORKERS 3

static const struct listen_port_bind exact = {.count = WORKERS};
static const struct listen_port_bind others_will_do = {.count = WORKERS,
                                                       .fallback = LISTENER_FALLBACK};

static char folder[64];
static char path[100];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/utun-listen-port-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/door", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void close_all(int *fds)
{
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(close(fds[i]), 0);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in a = {.sin_port = 0};
    socklen_t len = sizeof(a);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

static void every_worker_gets_a_socket_of_the_port(void **state)
{
    static const enum listener_kind kinds[] = {LISTENER_TCP, LISTENER_UDP};

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct listen_port port = {.ip = "127.0.0.1", .kind = kinds[k]};
        struct err_detail d;
        int fds[WORKERS];
        char text[20];
        char wanted[20];

        assert_int_equal(listen_port_bind(&port, fds, &exact, &d), ERR_OK);
        assert_true(port.port != 0);
        for (size_t i = 0; i < WORKERS; i++)
            assert_int_equal(port_of(fds[i]), port.port);
        snprintf(wanted, sizeof(wanted), "%u%s", port.port, k == 0 ? "" : "/udp");
        assert_int_equal(listen_port_format(&port, text, sizeof(text)), strlen(wanted));
        assert_string_equal(text, wanted);
        close_all(fds);
    }
}

static void a_port_in_use_is_refused_unless_others_will_do(void **state)
{
    struct listen_port first = {.ip = "127.0.0.1", .kind = LISTENER_TCP};
    struct listen_port second = first;
    struct err_detail d;
    int fds[WORKERS];
    int more[WORKERS];

    (void)state;
    assert_int_equal(listen_port_bind(&first, fds, &exact, &d), ERR_OK);
    second.configured = first.port;
    assert_int_equal(listen_port_bind(&second, more, &exact, &d), ERR_ADDR_IN_USE);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(more[i], -1);
    assert_int_equal(listen_port_bind(&second, more, &others_will_do, &d), ERR_OK);
    assert_true(second.port != first.port);
    close_all(more);
    close_all(fds);
}

/* The workers' sockets are one, so that there is one file and one queue of clients. */
static void a_unix_socket_is_shared(void **state)
{
    struct listen_port port = {
        .ip = "127.0.0.1", .path = path, .path_mode = 0600, .kind = LISTENER_TCP};
    struct err_detail d;
    struct stat first;
    struct stat other;
    char text[5];
    int fds[WORKERS];

    (void)state;
    assert_int_equal(listen_port_bind(&port, fds, &exact, &d), ERR_OK);
    assert_int_equal(port.port, 0);
    assert_int_equal(fstat(fds[0], &first), 0);
    for (size_t i = 1; i < WORKERS; i++) {
        assert_int_equal(fstat(fds[i], &other), 0);
        assert_int_equal(other.st_ino, first.st_ino);
    }
    assert_int_equal(listen_port_format(&port, text, sizeof(text)), 4);
    assert_string_equal(text, "/tmp");
    socket_file_remove(&port.file);
    assert_int_equal(access(path, F_OK), -1);
    close_all(fds);
}

static void a_unix_socket_of_somebody_else_is_left_alone(void **state)
{
    struct listen_port port = {.path = path, .path_mode = 0600, .kind = LISTENER_TCP};
    struct listen_port second = port;
    struct err_detail d;
    int fds[WORKERS];
    int more[WORKERS];

    (void)state;
    assert_int_equal(listen_port_bind(&port, fds, &exact, &d), ERR_OK);
    assert_int_equal(listen_port_bind(&second, more, &exact, &d), ERR_ADDR_IN_USE);
    assert_non_null(strstr(d.text, path));
    assert_int_equal(access(path, F_OK), 0);
    socket_file_remove(&port.file);
    close_all(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_worker_gets_a_socket_of_the_port),
        cmocka_unit_test(a_port_in_use_is_refused_unless_others_will_do),
        cmocka_unit_test_setup_teardown(a_unix_socket_is_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(a_unix_socket_of_somebody_else_is_left_alone, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
