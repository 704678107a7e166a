#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "ops/admin_server.h"

#define MANY (3 * ADMIN_CONNECTIONS_MAX)

/* Two of them are too much; a socket's buffers do not take one. */
#define LARGE (ADMIN_PENDING_MAX / 4 * 3)

struct fixture {
    struct admin_owner owner;
    struct admin_server *server;
    struct sockaddr_in address;
    unsigned asked; /* on the server's thread; read when an answer has come */
};

static enum err on_request(struct admin_owner *owner, const char *path, struct admin_reply *reply)
{
    struct fixture *f = list_entry(owner, struct fixture, owner);

    f->asked++;
    if (strcmp(path, "/broken") == 0)
        return ERR_NOMEM;
    if (strcmp(path, "/large") == 0) {
        reply->content_type = "text/plain";
        reply->body_len = LARGE;
        reply->body = malloc(LARGE);
        memset(reply->body, 'x', LARGE);
        return ERR_OK;
    }
    if (strcmp(path, "/there") != 0)
        return ERR_NOT_FOUND;
    reply->content_type = "text/plain";
    reply->body = strdup("body");
    reply->body_len = 4;
    return ERR_OK;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    socklen_t len = sizeof(f->address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    assert_non_null(f);
    f->owner.on_request = on_request;
    f->address.sin_family = AF_INET;
    f->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&f->address, sizeof(f->address)), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&f->address, &len), 0);
    assert_int_equal(admin_server_start(&f->server, fd, &f->owner), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    admin_server_free(f->server);
    free(f);
    return 0;
}

static int connect_to(const struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address, sizeof(f->address)), 0);
    return fd;
}

/* The whole answer, which ends with the connection; "" if it was reset. */
static void ask(const struct fixture *f, const char *request, char *answer, size_t size)
{
    int fd = connect_to(f);
    size_t len = 0;
    ssize_t n;

    (void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
    while (len + 1 < size && (n = recv(fd, answer + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    answer[len] = 0;
    close(fd);
}

static void assert_begins(const char *text, const char *begin)
{
    if (strncmp(text, begin, strlen(begin)) != 0)
        assert_string_equal(text, begin);
}

static void a_path_is_answered(void **state)
{
    struct fixture *f = *state;
    char answer[4096];

    ask(f, "GET /there?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 200 ");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nbody");
    assert_non_null(strstr(answer, "Content-Security-Policy: default-src 'none'; frame-"));
    assert_non_null(strstr(answer, "X-Content-Type-Options: nosniff"));
    assert_non_null(strstr(answer, "Connection: close"));
    assert_int_equal(f->asked, 1);
}

/* A web page that has its own name point to 127.0.0.1 must not read what stands there. */
static void on_loopback_no_other_name_is_answered(void **state)
{
    static const char *const good[] = {"Host: localhost:9090", "Host: 192.0.2.1", "Host: [::1]:80",
                                       "Host:", "HOST: LOCALHOST"};
    static const char *const bad[] = {"Host: attacker.example", "Host: attacker.example:9090",
                                      "host: localhost.attacker.example"};
    struct fixture *f = *state;
    char request[200];
    char answer[4096];

    f->owner.is_local = true;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(request, sizeof(request), "GET /there HTTP/1.1\r\n%s\r\n\r\n", good[i]);
        ask(f, request, answer, sizeof(answer));
        assert_begins(answer, "HTTP/1.1 200 ");
    }
    ask(f, "GET /there HTTP/1.0\r\n\r\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, " 200 "));
    f->asked = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(request, sizeof(request), "GET /there HTTP/1.1\r\n%s\r\n\r\n", bad[i]);
        ask(f, request, answer, sizeof(answer));
        assert_begins(answer, "HTTP/1.1 421 ");
        assert_null(strstr(answer, "body"));
        snprintf(request, sizeof(request), "HEAD /there HTTP/1.1\r\n%s\r\n\r\n", bad[i]);
        ask(f, request, answer, sizeof(answer));
        assert_begins(answer, "HTTP/1.1 421 ");
    }
    assert_int_equal(f->asked, 0);
}

static void elsewhere_any_name_is_answered(void **state)
{
    char answer[4096];

    ask(*state, "GET /there HTTP/1.1\r\nHost: dest.example\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 200 ");
}

static void a_head_has_no_body(void **state)
{
    char answer[4096];

    ask(*state, "HEAD /there HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 200 ");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    assert_non_null(strstr(answer, "Content-Length: 4"));
}

static void what_the_owner_does_not_know_is_not_found(void **state)
{
    char answer[4096];

    ask(*state, "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 404 ");
    assert_non_null(strstr(answer, "/metrics"));
    ask(*state, "GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 500 ");
}

static void other_methods_never_reach_the_owner(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS"};
    struct fixture *f = *state;
    char request[256];
    char answer[4096];

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        snprintf(request, sizeof(request),
                 "%s /there HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody",
                 methods[i]);
        ask(f, request, answer, sizeof(answer));
        assert_begins(answer, "HTTP/1.1 405 ");
        assert_non_null(strstr(answer, "Allow: GET, HEAD"));
    }
    assert_int_equal(f->asked, 0);
}

static void headers_are_bounded(void **state)
{
    struct fixture *f = *state;
    size_t len = 4 * ADMIN_HEADERS_MAX;
    char *request = malloc(len + 64);
    char answer[4096];

    assert_non_null(request);
    strcpy(request, "GET /there HTTP/1.1\r\nHost: localhost\r\nX: ");
    memset(request + strlen(request), 'a', len);
    strcpy(request + len, "\r\n\r\n");
    ask(f, request, answer, sizeof(answer));
    free(request);
    /* The answer may be lost with the reset that follows unread bytes. */
    if (answer[0] != 0)
        assert_begins(answer, "HTTP/1.1 4");
    assert_int_equal(f->asked, 0);
}

static void the_newest_is_served_whoever_else_waits(void **state)
{
    int idle[MANY];
    char answer[4096];

    for (size_t i = 0; i < MANY; i++) {
        idle[i] = connect_to(*state);
        if (i % 2 == 0)
            (void)!send(idle[i], "GET /there", 10, MSG_NOSIGNAL);
    }
    ask(*state, "GET /there HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 200 ");
    /* The oldest has given way, the newest has not. */
    assert_int_equal(recv(idle[0], answer, sizeof(answer), 0), 0);
    assert_int_equal(recv(idle[MANY - 1], answer, sizeof(answer), MSG_DONTWAIT), -1);
    for (size_t i = 0; i < MANY; i++)
        close(idle[i]);
}

static void answers_that_nobody_reads_are_bounded(void **state)
{
    static const char request[] = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int lazy = connect_to(*state);
    char answer[4096];
    size_t len = 0;
    ssize_t n;

    (void)!send(lazy, request, strlen(request), MSG_NOSIGNAL);
    assert_true(recv(lazy, answer, 12, MSG_WAITALL) == 12);
    ask(*state, request, answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 503 ");
    ask(*state, "GET /there HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 200 ");
    while ((n = recv(lazy, answer, sizeof(answer), 0)) > 0)
        len += (size_t)n;
    assert_true(len > LARGE);
    close(lazy);
    ask(*state, request, answer, sizeof(answer));
    assert_begins(answer, "HTTP/1.1 200 ");
}

static void it_ends_with_connections_open(void **state)
{
    int fd = connect_to(*state);
    char answer[4096];

    ask(*state, "GET /there HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof(answer));
    assert_int_equal(teardown(state), 0);
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0);
    close(fd);
    admin_server_free(NULL);
    setup(state);
}

static double processor_seconds(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Where there are no descriptors left it waits for one, and does not spin. */
static void without_descriptors_it_waits(void **state)
{
    static const char request[] = "GET /there HTTP/1.0\r\n\r\n";
    struct fixture *f = *state;
    struct rlimit before;
    struct rlimit none;
    char answer[4096];
    double used;
    ssize_t n;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    int next = dup(client);

    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(connect(client, (const struct sockaddr *)&f->address, sizeof(f->address)), 0);
    assert_int_equal(send(client, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    used = processor_seconds();
    poll(NULL, 0, 600);
    used = processor_seconds() - used;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(used < 0.3);
    n = recv(client, answer, sizeof(answer) - 1, 0);
    assert_true(n > 0);
    answer[n] = 0;
    assert_non_null(strstr(answer, " 200 "));
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_path_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(on_loopback_no_other_name_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(elsewhere_any_name_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_has_no_body, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_owner_does_not_know_is_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(other_methods_never_reach_the_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_is_served_whoever_else_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_that_nobody_reads_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(without_descriptors_it_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(it_ends_with_connections_open, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
