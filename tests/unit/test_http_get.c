#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ops/http_get.h"

static void urls_are_taken_apart(void **state)
{
    static const struct {
        const char *text;
        const char *host;
        const char *port;
        const char *path;
    } cases[] = {
        {"http://127.0.0.1:9191", "127.0.0.1", "9191", ""},
        {"http://127.0.0.1:9191/", "127.0.0.1", "9191", ""},
        {"http://utun.example:80/health", "utun.example", "80", "/health"},
        {"http://[::1]:9191/ready", "::1", "9191", "/ready"},
        {"http://[::1]", "::1", "9090", ""},
        {"localhost", "localhost", "9090", ""},
        {"localhost:65535/status", "localhost", "65535", "/status"},
    };
    struct http_url url;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(http_url_parse(&url, cases[i].text, NULL), ERR_OK);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.port, cases[i].port);
        assert_string_equal(url.path, cases[i].path);
    }
}

static void other_urls_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "http://",
        "https://127.0.0.1:9090",
        "http://:9090",
        "http://127.0.0.1:",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:123456",
        "http://127.0.0.1:port",
        "http://[::1",
        "http://[::1]9090",
        "http://host/a b",
        "http://host/a\r\nX: y",
    };
    struct http_url url;
    struct err_detail d;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(http_url_parse(&url, cases[i], &d), ERR_USAGE);
        assert_non_null(strstr(d.text, "http://HOST:PORT"));
    }
}

/* A server that answers one connection with these bytes, then closes; or never answers. */
struct server {
    const char *answer; /* NULL: it says nothing until the client has gone */
    pthread_t thread;
    int fd;
    struct http_url url;
    char request[512];
};

static void *serve(void *argument)
{
    struct server *s = argument;
    int fd = accept(s->fd, NULL, NULL);
    ssize_t n = recv(fd, s->request, sizeof(s->request) - 1, 0);

    if (n > 0 && s->answer != NULL) {
        (void)!send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
    }
    while (recv(fd, s->request + 500, 1, 0) > 0)
        continue;
    close(fd);
    return NULL;
}

static void start(struct server *s, const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    *s = (struct server){.answer = answer};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(s->fd, 1), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &len), 0);
    strcpy(s->url.host, "127.0.0.1");
    snprintf(s->url.port, sizeof(s->url.port), "%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static void an_answer_is_returned_whatever_its_status(void **state)
{
    struct http_reply reply;
    struct server s;

    (void)state;
    start(&s, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: x\r\n\r\n{\"a\": 1}\r\n\r\nrest");
    assert_int_equal(http_get(&reply, &s.url, "/ready", 5000, NULL), ERR_OK);
    stop(&s);
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "{\"a\": 1}\r\n\r\nrest");
    assert_int_equal(reply.body_len, strlen(reply.body));
    assert_memory_equal(s.request, "GET /ready HTTP/1.0\r\nHost: 127.0.0.1:", 37);
    free(reply.body);
}

static void a_name_it_does_not_go_by_is_said(void **state)
{
    struct http_reply reply;
    struct err_detail d;
    struct server s;

    (void)state;
    start(&s, "HTTP/1.1 421 Misdirected Request\r\n\r\nonly Host: localhost");
    assert_int_equal(http_get(&reply, &s.url, "/", 5000, &d), ERR_NOT_ALLOWED);
    stop(&s);
    assert_null(reply.body);
    assert_non_null(strstr(d.text, "write localhost or its IP address"));
}

static void what_is_no_http_is_refused(void **state)
{
    static const char *const cases[] = {"", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                                        "HTTP/1.1 abc\r\n\r\n"};
    struct http_reply reply;
    struct err_detail d;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server s;

        start(&s, cases[i]);
        assert_int_equal(http_get(&reply, &s.url, "/", 5000, &d), ERR_MALFORMED);
        stop(&s);
        assert_null(reply.body);
        assert_non_null(strstr(d.text, s.url.port));
    }
}

static void who_does_not_answer_times_out(void **state)
{
    struct http_reply reply;
    struct err_detail d;
    struct server s;

    (void)state;
    start(&s, NULL);
    assert_int_equal(http_get(&reply, &s.url, "/", 50, &d), ERR_TIMEOUT);
    stop(&s);
    assert_non_null(strstr(d.text, "no answer in time"));
}

static void nobody_there_is_refused(void **state)
{
    struct http_reply reply;
    struct err_detail d;
    struct server s;

    (void)state;
    start(&s, "HTTP/1.0 200 OK\r\n\r\n");
    assert_int_equal(http_get(&reply, &s.url, "/", 5000, NULL), ERR_OK);
    free(reply.body);
    stop(&s);
    assert_int_equal(http_get(&reply, &s.url, "/", 5000, &d), ERR_REFUSED);
    assert_non_null(strstr(d.text, "refused"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(other_urls_are_refused),
        cmocka_unit_test(an_answer_is_returned_whatever_its_status),
        cmocka_unit_test(a_name_it_does_not_go_by_is_said),
        cmocka_unit_test(what_is_no_http_is_refused),
        cmocka_unit_test(who_does_not_answer_times_out),
        cmocka_unit_test(nobody_there_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
