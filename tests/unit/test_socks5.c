#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/socks5.h"

/* -- what is said -- */

struct bytes {
    const char *data;
    size_t len;
};

#define BYTES(literal)                                                                             \
    (struct bytes)                                                                                 \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static bool is_right(const struct login *login, const uint8_t *name, size_t name_len,
                     const uint8_t *password, size_t password_len)
{
    (void)login;
    return name_len == 5 && memcmp(name, "alice", 5) == 0 && password_len == 6 &&
           memcmp(password, "secret", 6) == 0;
}

static const struct login users = {.is_right = is_right};

struct talk {
    struct socks5 socks;
    enum err error;
    size_t used;
    uint8_t said[64];
    size_t said_len;
};

static void drain(struct talk *t)
{
    uint8_t room[SOCKS5_ANSWERS_MAX];
    size_t len = socks5_drain(&t->socks, room);

    assert_true(t->said_len + len <= sizeof(t->said));
    memcpy(t->said + t->said_len, room, len);
    t->said_len += len;
}

/* In pieces of the given size, each from memory that ends with it. */
static struct talk talk(const struct login *login, struct bytes in, size_t piece)
{
    struct talk t = {.error = ERR_OK};

    socks5_init(&t.socks, login);
    while (t.error == ERR_OK && t.used < in.len && t.socks.state != SOCKS5_DONE) {
        size_t n = in.len - t.used < piece ? in.len - t.used : piece;
        uint8_t *copy = malloc(n);
        size_t used;

        memcpy(copy, in.data + t.used, n);
        t.error = socks5_feed(&t.socks, copy, n, &used);
        assert_true(used <= n);
        t.used += used;
        drain(&t);
        free(copy);
    }
    socks5_fini(&t.socks);
    return t;
}

static void assert_said(const struct talk *t, struct bytes expected)
{
    assert_int_equal(t->said_len, expected.len);
    assert_memory_equal(t->said, expected.data, expected.len);
}

/* However it is cut, the result is the same, and what stands behind the request stays. */
static void leads_to(const struct login *login, struct bytes in, struct bytes said,
                     const char *host, uint16_t port)
{
    char with_more[700];

    memcpy(with_more, in.data, in.len);
    memcpy(with_more + in.len, "GET /", 5);
    for (size_t piece = 1; piece <= in.len + 5; piece++) {
        struct talk t = talk(login, (struct bytes){with_more, in.len + 5}, piece);

        assert_int_equal(t.error, ERR_OK);
        assert_int_equal(t.socks.state, SOCKS5_DONE);
        assert_int_equal(t.used, in.len);
        assert_string_equal(t.socks.destination.host, host);
        assert_int_equal(t.socks.destination.port, port);
        assert_said(&t, said);
    }
    /* Never finished: it just waits. */
    for (size_t len = 0; len < in.len; len++) {
        struct talk t = talk(login, (struct bytes){in.data, len}, 3);

        assert_int_equal(t.error, ERR_OK);
        assert_true(t.socks.state < SOCKS5_DONE);
        assert_int_equal(t.used, len);
    }
}

static void fails(const struct login *login, struct bytes in, enum err why, struct bytes said)
{
    for (size_t piece = 1; piece <= in.len; piece++) {
        struct talk t = talk(login, in, piece);
        size_t used;

        assert_int_equal(t.error, why);
        assert_int_equal(t.socks.state, SOCKS5_FAILED);
        assert_true(t.socks.fault != NULL && t.socks.fault[0] != '\0');
        assert_said(&t, said);
        assert_int_equal(socks5_feed(&t.socks, (const uint8_t *)"x", 1, &used), ERR_UNEXPECTED);
        assert_int_equal(used, 0);
    }
}

#define HELLO "\x05\x01\x00"
#define LOGIN                                                                                      \
    "\x05\x02\x00\x02\x01\x05"                                                                     \
    "alice\x06"                                                                                    \
    "secret"

static void requests(void **state)
{
    (void)state;
    leads_to(NULL, BYTES(HELLO "\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16"), BYTES("\x05\x00"),
             "127.0.0.1", 22);
    leads_to(NULL, BYTES(HELLO "\x05\x01\x00\x03\x03web\x1f\x90"), BYTES("\x05\x00"), "web", 8080);
    leads_to(NULL,
             BYTES(HELLO "\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff"),
             BYTES("\x05\x00"), "2001:db8::1", 65535);
    leads_to(NULL,
             BYTES(HELLO "\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x00\x00\x01\x00\x50"),
             BYTES("\x05\x00"), "10.0.0.1", 80);
    /* A client that knows other methods besides. */
    leads_to(NULL, BYTES("\x05\x03\x02\x80\x00\x05\x01\x00\x03\x01w\x00\x50"), BYTES("\x05\x00"),
             "w", 80);
}

static void udp_association(void **state)
{
    (void)state;
    leads_to(NULL, BYTES(HELLO "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), BYTES("\x05\x00"),
             "0.0.0.0", 0);
    struct talk t = talk(NULL, BYTES(HELLO "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), 64);
    assert_int_equal(t.socks.command, SOCKS5_UDP_ASSOCIATE);
}

static void logins(void **state)
{
    (void)state;
    leads_to(&users, BYTES(LOGIN "\x05\x01\x00\x03\x03web\x00\x50"), BYTES("\x05\x02\x01\x00"),
             "web", 80);
    /* No method that would do. */
    fails(&users, BYTES(HELLO), ERR_NOT_ALLOWED, BYTES("\x05\xff"));
    fails(NULL, BYTES("\x05\x01\x02"), ERR_NOT_ALLOWED, BYTES("\x05\xff"));
    fails(NULL, BYTES("\x05\x00"), ERR_NOT_ALLOWED, BYTES("\x05\xff"));
    /* A wrong name, a wrong password, none. */
    fails(&users,
          BYTES("\x05\x01\x02\x01\x05"
                "alicf\x06"
                "secret"),
          ERR_NOT_ALLOWED, BYTES("\x05\x02\x01\x01"));
    fails(&users,
          BYTES("\x05\x01\x02\x01\x05"
                "alice\x06"
                "sEcret"),
          ERR_NOT_ALLOWED, BYTES("\x05\x02\x01\x01"));
    fails(&users, BYTES("\x05\x01\x02\x01\x00\x00"), ERR_NOT_ALLOWED, BYTES("\x05\x02\x01\x01"));
    /* Another version of the login. */
    fails(&users, BYTES("\x05\x01\x02\x05\x01"), ERR_MALFORMED, BYTES("\x05\x02\x01\x01"));
}

static void the_longest_login(void **state)
{
    char in[3 + 3 + 255 + 255] = "\x05\x01\x02\x01\xff";

    (void)state;
    memset(in + 5, 'n', 255);
    in[5 + 255] = (char)255;
    memset(in + 6 + 255, 'p', 255);
    struct talk t = talk(&users, (struct bytes){in, sizeof(in)}, 100);
    assert_int_equal(t.error, ERR_NOT_ALLOWED);
    assert_int_equal(t.used, sizeof(in));
    assert_said(&t, BYTES("\x05\x02\x01\x01"));
}

static void no_password_stays(void **state)
{
    static const uint8_t clear[SOCKS5_MESSAGE_MAX];

    (void)state;
    struct talk t = talk(&users, BYTES(LOGIN), 7);
    assert_int_equal(t.socks.state, SOCKS5_REQUEST);
    assert_memory_equal(t.socks.message, clear, sizeof(clear));
    t = talk(&users,
             BYTES("\x05\x01\x02\x01\x05"
                   "alice\x06"
                   "secre"),
             7);
    assert_int_equal(t.socks.state, SOCKS5_LOGIN);
    assert_memory_equal(t.socks.message, clear, sizeof(clear));
}

#define REFUSAL(code) "\x05\x00\x05" code "\x00\x01\x00\x00\x00\x00\x00\x00"

static void bad_requests(void **state)
{
    (void)state;
    fails(NULL, BYTES("\x04\x01"), ERR_MALFORMED, BYTES(""));
    fails(NULL, BYTES(HELLO "\x04\x01\x00\x01"), ERR_MALFORMED, BYTES(REFUSAL("\x01")));
    fails(NULL, BYTES(HELLO "\x05\x01\x01\x01"), ERR_MALFORMED, BYTES(REFUSAL("\x01")));
    /* BIND, and what is no command at all. */
    fails(NULL, BYTES(HELLO "\x05\x02\x00\x01"), ERR_MALFORMED, BYTES(REFUSAL("\x07")));
    fails(NULL, BYTES(HELLO "\x05\x00\x00\x01"), ERR_MALFORMED, BYTES(REFUSAL("\x07")));
    fails(NULL, BYTES(HELLO "\x05\xff\x00\x01"), ERR_MALFORMED, BYTES(REFUSAL("\x07")));
    /* Types of address. */
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x00"), ERR_MALFORMED, BYTES(REFUSAL("\x08")));
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x02"), ERR_MALFORMED, BYTES(REFUSAL("\x08")));
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x05"), ERR_MALFORMED, BYTES(REFUSAL("\x08")));
    /* No name, no port, bytes that no name has. */
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x03\x00\x00\x50"), ERR_MALFORMED, BYTES(REFUSAL("\x01")));
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x03\x01w\x00\x00"), ERR_MALFORMED,
          BYTES(REFUSAL("\x01")));
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x03\x03w\nb\x00\x50"), ERR_MALFORMED,
          BYTES(REFUSAL("\x01")));
    fails(NULL, BYTES(HELLO "\x05\x01\x00\x03\x03w\x00z\x00\x50"), ERR_MALFORMED,
          BYTES(REFUSAL("\x01")));
}

static void replies(void **state)
{
    static const struct {
        enum err why;
        uint8_t code;
    } expected[] = {
        {ERR_OK, 0},      {ERR_INTERNAL, 1},    {ERR_CLOSED, 1},     {ERR_SHUTDOWN, 1},
        {ERR_LIMIT, 1},   {ERR_NOT_ALLOWED, 2}, {ERR_NO_SERVICE, 2}, {ERR_UNREACHABLE, 3},
        {ERR_RESOLVE, 4}, {ERR_REFUSED, 5},     {ERR_TIMEOUT, 6},
    };
    uint8_t room[SOCKS5_REPLY_MAX];
    struct address bound;

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(socks5_encode_reply(expected[i].why, NULL, room), 10);
        assert_memory_equal(room, "\x05", 1);
        assert_int_equal(room[1], expected[i].code);
        assert_memory_equal(room + 2, "\x00\x01\x00\x00\x00\x00\x00\x00", 8);
    }
    assert_int_equal(address_parse(&bound, "::1", 4660), ERR_OK);
    assert_int_equal(socks5_encode_reply(ERR_OK, &bound, room), 22);
    assert_memory_equal(room, "\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34", 22);
}

/* -- UDP -- */

static enum err decode(struct bytes in, struct destination *d, size_t *header)
{
    uint8_t *copy = malloc(in.len > 0 ? in.len : 1);
    enum err e;

    memcpy(copy, in.data, in.len);
    e = socks5_udp_decode(copy, in.len, d, header);
    free(copy);
    return e;
}

static void datagram(struct bytes in, const char *host, uint16_t port)
{
    uint8_t room[SOCKS5_UDP_HEADER_MAX];
    struct destination d;
    size_t header;

    assert_int_equal(decode(in, &d, &header), ERR_OK);
    assert_int_equal(header, in.len - 4);
    assert_string_equal(d.host, host);
    assert_int_equal(d.port, port);
    assert_int_equal(socks5_udp_encode(&d, room), header);
    assert_memory_equal(room, in.data, header);
    for (size_t len = 0; len < header; len++)
        assert_int_equal(decode((struct bytes){in.data, len}, &d, &header), ERR_MALFORMED);
}

static void datagrams(void **state)
{
    struct destination d;
    size_t header;

    (void)state;
    datagram(BYTES("\0\0\0\x01\x7f\x00\x00\x01\x00\x35"
                   "data"),
             "127.0.0.1", 53);
    datagram(BYTES("\0\0\0\x03\x03"
                   "dns\x00\x35"
                   "data"),
             "dns", 53);
    datagram(BYTES("\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x35"
                   "data"),
             "::1", 53);
    /* Without any data. */
    assert_int_equal(decode(BYTES("\0\0\0\x03\x01w\x00\x35"), &d, &header), ERR_OK);
    assert_int_equal(header, 8);
    /* Fragments are dropped. */
    assert_int_equal(decode(BYTES("\0\0\x01\x01\x7f\x00\x00\x01\x00\x35"), &d, &header),
                     ERR_UNEXPECTED);
    assert_int_equal(decode(BYTES("\0\0\x80\x01\x7f\x00\x00\x01\x00\x35"), &d, &header),
                     ERR_UNEXPECTED);
    static const struct bytes bad[] = {
        {"\0\x01\0\x01\x7f\x00\x00\x01\x00\x35", 10},
        {"\x01\0\0\x01\x7f\x00\x00\x01\x00\x35", 10},
        {"\0\0\0\x02\x7f\x00\x00\x01\x00\x35", 10},
        {"\0\0\0\x01\x7f\x00\x00\x01\x00\x00", 10},
        {"\0\0\0\x03\x00\x00\x35", 7},
        {"\0\0\0\x03\x02 w\x00\x35", 9},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], &d, &header), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(udp_association),
        cmocka_unit_test(logins),
        cmocka_unit_test(the_longest_login),
        cmocka_unit_test(no_password_stays),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(replies),
        cmocka_unit_test(datagrams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
