#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/http_connect.h"

static bool is_right(const struct login *login, const uint8_t *name, size_t name_len,
                     const uint8_t *password, size_t password_len)
{
    (void)login;
    return name_len == 5 && memcmp(name, "alice", 5) == 0 && password_len == 6 &&
           memcmp(password, "secret", 6) == 0;
}

static const struct login users = {.is_right = is_right};

struct talk {
    struct http_connect http;
    enum err error;
    size_t used;
};

static struct talk *talk(const struct login *login, const char *in, size_t piece)
{
    static struct talk t;
    size_t len = strlen(in);

    memset(&t, 0, sizeof(t));
    http_connect_init(&t.http, login);
    while (t.error == ERR_OK && t.used < len && t.http.state != HTTP_CONNECT_DONE) {
        size_t n = len - t.used < piece ? len - t.used : piece;
        uint8_t *copy = malloc(n);
        size_t used;

        memcpy(copy, in + t.used, n);
        t.error = http_connect_feed(&t.http, copy, n, &used);
        assert_true(used <= n);
        t.used += used;
        free(copy);
    }
    http_connect_fini(&t.http);
    return &t;
}

/* However it is cut, and with the tunnel's first bytes behind it. */
static void leads_to(const struct login *login, const char *in, const char *host, uint16_t port)
{
    char with_more[9000];

    snprintf(with_more, sizeof(with_more), "%sSSH-2.0\r\n\r\n", in);
    for (size_t piece = 1; piece <= strlen(with_more); piece++) {
        struct talk *t = talk(login, with_more, piece);

        assert_int_equal(t->error, ERR_OK);
        assert_int_equal(t->http.state, HTTP_CONNECT_DONE);
        assert_int_equal(t->used, strlen(in));
        assert_string_equal(t->http.destination.host, host);
        assert_int_equal(t->http.destination.port, port);
    }
    /* Never finished: it just waits. */
    for (size_t len = 0; len < strlen(in); len++) {
        with_more[len] = '\0';
        assert_int_equal(talk(login, with_more, 9000)->error, ERR_OK);
        assert_true(talk(login, with_more, 9000)->http.state < HTTP_CONNECT_DONE);
        memcpy(with_more, in, strlen(in));
    }
}

static void assert_response(const char *room, size_t len, unsigned status)
{
    char start[32];
    char *body;
    char *length;

    assert_true(len < HTTP_CONNECT_REPLY_MAX);
    assert_int_equal(strlen(room), len);
    snprintf(start, sizeof(start), "HTTP/1.1 %u ", status);
    assert_memory_equal(room, start, strlen(start));
    body = strstr(room, "\r\n\r\n");
    assert_non_null(body);
    body += 4;
    if (status == 200) {
        assert_int_equal(body[0], '\0');
        return;
    }
    length = strstr(room, "Content-Length: ");
    assert_true(length != NULL && length < body);
    assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body));
    assert_non_null(strstr(room, "Connection: close\r\n"));
    assert_non_null(strstr(body, "SOCKS5"));
}

static const char *fails(const struct login *login, const char *in, unsigned status)
{
    static char room[HTTP_CONNECT_REPLY_MAX];

    for (size_t piece = 1; piece <= strlen(in); piece = piece < 8 ? piece + 1 : piece * 2) {
        struct talk *t = talk(login, in, piece);
        size_t used;

        assert_int_not_equal(t->error, ERR_OK);
        assert_int_equal(t->http.state, HTTP_CONNECT_FAILED);
        assert_int_equal(t->http.status, status);
        assert_true(t->http.fault != NULL && t->http.fault[0] != '\0');
        assert_int_equal(http_connect_feed(&t->http, (const uint8_t *)"x", 1, &used),
                         ERR_UNEXPECTED);
        assert_int_equal(used, 0);
        memset(room, 0, sizeof(room));
        assert_response(room, http_connect_encode_failure(&t->http, room), status);
    }
    return room;
}

static void requests(void **state)
{
    (void)state;
    leads_to(NULL, "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n", "web", 80);
    leads_to(NULL, "CONNECT 192.0.2.1:22 HTTP/1.0\r\n\r\n", "192.0.2.1", 22);
    leads_to(NULL, "CONNECT [::1]:443 HTTP/1.1\r\nhOsT:[::1]:443\r\nX: \t y z \t\r\nE:\r\n\r\n",
             "::1", 443);
    leads_to(NULL, "CONNECT w:1 HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n", "w", 1);
    /* Nobody has to log in, but one may. */
    leads_to(NULL, "CONNECT w:1 HTTP/1.0\r\nProxy-Authorization: Basic xxxx\r\n\r\n", "w", 1);
}

static void logins(void **state)
{
    const char *room;

    (void)state;
    leads_to(&users, "CONNECT w:1 HTTP/1.0\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n",
             "w", 1);
    leads_to(&users,
             "CONNECT w:1 HTTP/1.0\r\nproxy-authorization:  bAsIc  YWxpY2U6c2VjcmV0 \r\n\r\n", "w",
             1);
    room = fails(&users, "CONNECT w:1 HTTP/1.0\r\n\r\n", 407);
    assert_non_null(strstr(room, "Proxy-Authenticate: Basic realm=\"utun\""));
    static const char *const wrong[] = {
        "Basic YWxpY2U6c2VjcmVU",
        "Basic YWxpY2U6c2VjcmV0=",
        "Basic YWxpY2U6c2VjcmV",
        "Basic",
        "Basic ",
        "Basic ====",
        "Basic YWxpY2U=",
        "Basic YWxpY2U6c2Vjc$V0",
        "Bearer YWxpY2U6c2VjcmV0",
        "BasicYWxpY2U6c2VjcmV0",
        "YWxpY2U6c2VjcmV0",
        "Basic YWxpY2U6c2Vj cmV0",
        "Basic YWxpY2U6c2VjcmV0AAAA",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char in[200];

        snprintf(in, sizeof(in), "CONNECT w:1 HTTP/1.0\r\nProxy-Authorization: %s\r\n\r\n",
                 wrong[i]);
        fails(&users, in, 407);
    }
    fails(&users,
          "CONNECT w:1 HTTP/1.0\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n"
          "Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n",
          400);
}

static void no_password_stays(void **state)
{
    static const char clear[HTTP_CONNECT_LINE_MAX + 1];
    struct talk *t;

    (void)state;
    t = talk(&users, "CONNECT w:1 HTTP/1.0\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\nX", 9);
    assert_memory_equal(t->http.line, clear, sizeof(clear));
    t = talk(&users, "CONNECT w:1 HTTP/1.0\r\nProxy-Authorization: Basic YWxpY2U6c2Vjcm", 9);
    assert_memory_equal(t->http.line, clear, sizeof(clear));
}

static void other_methods(void **state)
{
    static const char *const known[] = {"GET",    "HEAD",    "POST",  "PUT",
                                        "DELETE", "OPTIONS", "TRACE", "PATCH"};

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char in[100];

        snprintf(in, sizeof(in), "%s http://web/ HTTP/1.1\r\nHost: web\r\n\r\n", known[i]);
        assert_non_null(strstr(fails(NULL, in, 405), "Allow: CONNECT\r\n"));
    }
    fails(NULL, "BREW /pot HTTP/1.1\r\nHost: web\r\n\r\n", 501);
    fails(NULL, "connect w:1 HTTP/1.1\r\nHost: w\r\n\r\n", 501);
    fails(NULL, "PRI * HTTP/2.0\r\n\r\n", 505);
    fails(NULL, "CONNECT w:1 HTTP/2.0\r\n\r\n", 505);
    /* A browser that was told to use the wrong kind of proxy learns that, and not to log in. */
    fails(&users, "POST http://web/ HTTP/1.0\r\nContent-Length: 5\r\n\r\n", 405);
}

static void bad_requests(void **state)
{
    static const char *const bad[] = {
        /* The request line. */
        "\r\n",
        " \r\n",
        "CONNECT\r\n",
        "CONNECT \r\n",
        "CONNECT w:1\r\n",
        "CONNECT w:1 \r\n",
        "CONNECT  HTTP/1.1\r\n",
        "CONNECT  w:1 HTTP/1.1\r\n",
        "CONNECT w:1  HTTP/1.1\r\n",
        "CONNECT w:1 HTTP/1.1 \r\n",
        "CONNECT w:1 http/1.1\r\n",
        "CONNECT w:1 HTTP/1\r\n",
        "CONNECT w:1 HTTP/1.10\r\n",
        "CONNECT w:1 HTTP/a.1\r\n",
        "CONNECT w:1 HTTP/1.x\r\n",
        "CONN(ECT w:1 HTTP/1.1\r\n",
        "CONNECT\tw:1 HTTP/1.1\r\n",
        "\x16\x03\x01",
        "CONNECT w:1 HTTP/1.1 x\r\n",
        /* The target. */
        "CONNECT w HTTP/1.0\r\n\r\n",
        "CONNECT w:0 HTTP/1.0\r\n\r\n",
        "CONNECT w:65536 HTTP/1.0\r\n\r\n",
        "CONNECT /w:1 HTTP/1.0\r\n\r\n",
        "CONNECT u@w:1 HTTP/1.0\r\n\r\n",
        "CONNECT http://w:1 HTTP/1.0\r\n\r\n",
        "CONNECT ::1:1 HTTP/1.0\r\n\r\n",
        "CONNECT [::1 HTTP/1.0\r\n\r\n",
        /* Ends of lines. */
        "CONNECT w:1 HTTP/1.0\n",
        "CONNECT w:1 HTTP/1.0\r\nA: b\n",
        "CONNECT w:1 HTTP/1.0\rX",
        "CONNECT w:1 HTTP/1.0\r\n\n",
        "CONNECT w:1 HTTP/1.0\r\n\r\r",
        /* Header fields. */
        "CONNECT w:1 HTTP/1.0\r\nA\r\n",
        "CONNECT w:1 HTTP/1.0\r\n: b\r\n",
        "CONNECT w:1 HTTP/1.0\r\nA : b\r\n",
        "CONNECT w:1 HTTP/1.0\r\nA: b\r\n c\r\n",
        "CONNECT w:1 HTTP/1.0\r\n A: b\r\n",
        "CONNECT w:1 HTTP/1.0\r\nA: b\x01\r\n",
        "CONNECT w:1 HTTP/1.0\r\nA: b\x7f\r\n",
        "CONNECT w:1 HTTP/1.0\r\nA(b: c\r\n",
        "CONNECT w:1 HTTP/1.1\r\n\r\n",
        "CONNECT w:1 HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        /* Content, which would be taken for the tunnel's. */
        "CONNECT w:1 HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
        "CONNECT w:1 HTTP/1.0\r\nContent-Length: 0x\r\n\r\n",
        "CONNECT w:1 HTTP/1.0\r\nContent-Length: -0\r\n\r\n",
        "CONNECT w:1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        fails(NULL, bad[i], 400);
}

static void zero_bytes(void **state)
{
    static const uint8_t in[] = "CONNECT w\0:1 HTTP/1.0\r\n\r\n";
    struct http_connect h;
    size_t used;

    (void)state;
    http_connect_init(&h, NULL);
    assert_int_equal(http_connect_feed(&h, in, sizeof(in) - 1, &used), ERR_MALFORMED);
    assert_int_equal(h.status, 400);
    assert_int_equal(used, 10);
}

static void bounds(void **state)
{
    static char in[20000];
    char *at;

    (void)state;
    /* The longest line that is good, and one byte more. */
    strcpy(in, "CONNECT w:1 HTTP/1.0\r\nA:");
    at = in + strlen(in);
    memset(at, 'a', HTTP_CONNECT_LINE_MAX - 2);
    strcpy(at + HTTP_CONNECT_LINE_MAX - 2, "\r\n\r\n");
    assert_int_equal(talk(NULL, in, 4096)->http.state, HTTP_CONNECT_DONE);
    strcpy(at + HTTP_CONNECT_LINE_MAX - 2, "a\r\n\r\n");
    fails(NULL, in, 431);
    /* A line that never ends; the whole request. */
    memset(in, 'G', sizeof(in) - 1);
    fails(NULL, in, 414);
    strcpy(in, "CONNECT w:1 HTTP/1.0\r\n");
    for (at = in + strlen(in); at < in + sizeof(in) - 100; at += 100) {
        memset(at, 'a', 100);
        memcpy(at, "N: ", 3);
        memcpy(at + 98, "\r\n", 3);
    }
    fails(NULL, in, 431);
    assert_int_equal(talk(NULL, in, 77)->used, HTTP_CONNECT_REQUEST_MAX + 1);
}

static void replies(void **state)
{
    static const struct {
        enum err why;
        unsigned status;
        const char *error;
    } expected[] = {
        {ERR_OK, 200, NULL},
        {ERR_NOT_ALLOWED, 403, "destination_ip_prohibited"},
        {ERR_NO_SERVICE, 403, "http_request_denied"},
        {ERR_REFUSED, 502, "connection_refused"},
        {ERR_UNREACHABLE, 502, "destination_ip_unroutable"},
        {ERR_RESOLVE, 502, "dns_error"},
        {ERR_TIMEOUT, 504, "connection_timeout"},
        {ERR_LIMIT, 503, "connection_limit_reached"},
        {ERR_BUDGET, 503, "connection_limit_reached"},
        {ERR_CLOSED, 503, "destination_unavailable"},
        {ERR_SHUTDOWN, 503, "destination_unavailable"},
        {ERR_RESET, 502, "proxy_internal_error"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        char room[HTTP_CONNECT_REPLY_MAX] = "";

        assert_response(room, http_connect_encode_reply(expected[i].why, room), expected[i].status);
        if (expected[i].error != NULL)
            assert_non_null(strstr(room, expected[i].error));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(logins),
        cmocka_unit_test(no_password_stays),
        cmocka_unit_test(other_methods),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(zero_bytes),
        cmocka_unit_test(bounds),
        cmocka_unit_test(replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
