/* The demo's client against its own service, and against servers that are wrong in one way each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "role/demo_client.h"
#include "role/demo_data.h"
#include "role/demo_web.h"

#define SIZE ((uint64_t)300000)

static int stop_pipe[2];

static struct demo_transfer transfer_to(uint16_t port, uint64_t bytes)
{
    return (struct demo_transfer){.port = port, .stop_fd = stop_pipe[0], .bytes = bytes};
}

static void both_ways_from_its_own_service(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 7, 4096, 262144, 262145, 5000000};
    struct demo_web *web;
    struct err_detail d;

    assert_int_equal(demo_web_start(&web), ERR_OK);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct demo_transfer t = transfer_to(demo_web_port(web), sizes[i]);
        d.text[0] = 0;
        if (demo_client_download(&t, &d) != ERR_OK || demo_client_upload(&t, &d) != ERR_OK)
            fail_msg("%zu: %s", (size_t)sizes[i], d.text);
    }
    demo_web_stop(web);
}

/* -- a server that answers one request, perhaps wrongly -- */

struct server {
    pthread_t thread;
    int fd;
    uint16_t port;
    char head[256];
    uint64_t bytes; /* of data behind the head */
    uint64_t wrong; /* the byte that is wrong; UINT64_MAX: none */
    uint64_t taken; /* bytes read, the request's head and all */
};

static void *serve(void *argument)
{
    struct server *s = argument;
    int fd = accept(s->fd, NULL, NULL);
    size_t size = (size_t)s->bytes;
    uint8_t *data = malloc(size + 1);
    char request[65536];
    ssize_t n;

    (void)!read(fd, request, sizeof(request));
    demo_data_fill(DEMO_SEED_DOWN, 0, data, size);
    if (s->wrong < size)
        data[s->wrong] ^= 0x40;
    (void)!send(fd, s->head, strlen(s->head), MSG_NOSIGNAL);
    for (size_t sent = 0; sent < size;) {
        n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, request, sizeof(request))) > 0)
        s->taken += (size_t)n;
    free(data);
    close(fd);
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &len), 0);
    s->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static enum err download_from(struct server *s, struct err_detail *d)
{
    server_start(s);
    struct demo_transfer t = transfer_to(s->port, SIZE);
    enum err e = demo_client_download(&t, d);
    server_end(s);
    return e;
}

static void a_wrong_byte_is_found(void **state)
{
    (void)state;
    static const uint64_t places[] = {0, 1, 99999, SIZE - 1};

    for (size_t i = 0; i < 4; i++) {
        struct server s = {.head = "HTTP/1.1 200 OK\r\n\r\n", .bytes = SIZE, .wrong = places[i]};
        struct err_detail d;
        char expected[40];

        snprintf(expected, sizeof(expected), "byte %zu is wrong", (size_t)places[i]);
        assert_int_equal(download_from(&s, &d), ERR_MALFORMED);
        assert_string_equal(d.text, expected);
    }
}

static void too_few_bytes_are_found(void **state)
{
    (void)state;
    struct server s = {.head = "HTTP/1.1 200 OK\r\n\r\n", .bytes = SIZE - 1, .wrong = UINT64_MAX};
    struct err_detail d;

    assert_int_equal(download_from(&s, &d), ERR_CLOSED);
}

static void another_answer_is_shown(void **state)
{
    (void)state;
    struct server s = {.head = "HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n", .wrong = UINT64_MAX};
    struct err_detail d;

    assert_int_equal(download_from(&s, &d), ERR_MALFORMED);
    assert_non_null(strstr(d.text, "404 Not Found"));
    assert_null(strchr(d.text, '\r'));
}

static void no_answer_is_no_success(void **state)
{
    (void)state;
    struct server s = {.head = "", .wrong = UINT64_MAX};
    struct err_detail d;

    assert_int_equal(download_from(&s, &d), ERR_CLOSED);
}

static void an_upload_that_is_refused_has_failed(void **state)
{
    (void)state;
    struct server s = {.head = "HTTP/1.1 422 Unprocessable\r\n\r\n", .wrong = UINT64_MAX};
    struct err_detail d;

    server_start(&s);
    struct demo_transfer t = transfer_to(s.port, SIZE);
    assert_int_equal(demo_client_upload(&t, &d), ERR_MALFORMED);
    assert_non_null(strstr(d.text, "422"));
    server_end(&s);
}

static void nobody_there_is_refused(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct err_detail d;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    struct demo_transfer t = transfer_to(ntohs(address.sin_port), SIZE);
    assert_int_equal(demo_client_download(&t, &d), ERR_REFUSED);
    close(fd);
}

/* Last: the pipe stays readable. */
static void it_stops_when_told(void **state)
{
    (void)state;
    struct demo_web *web;
    struct err_detail d;

    assert_int_equal(demo_web_start(&web), ERR_OK);
    assert_int_equal(write(stop_pipe[1], "x", 1), 1);
    struct demo_transfer t = transfer_to(demo_web_port(web), UINT64_C(1) << 50);
    assert_int_equal(demo_client_download(&t, &d), ERR_SHUTDOWN);
    assert_int_equal(demo_client_upload(&t, &d), ERR_SHUTDOWN);
    demo_web_stop(web);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_from_its_own_service),
        cmocka_unit_test(a_wrong_byte_is_found),
        cmocka_unit_test(too_few_bytes_are_found),
        cmocka_unit_test(another_answer_is_shown),
        cmocka_unit_test(no_answer_is_no_success),
        cmocka_unit_test(an_upload_that_is_refused_has_failed),
        cmocka_unit_test(nobody_there_is_refused),
        cmocka_unit_test(it_stops_when_told),
    };

    signal(SIGPIPE, SIG_IGN);
    if (pipe(stop_pipe) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
