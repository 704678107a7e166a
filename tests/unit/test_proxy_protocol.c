#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const struct stream_address alice = {
    .address_len = 4, .address = {192, 0, 2, 1}, .port = 40000};
static const struct stream_address door = {
    .address_len = 4, .address = {198, 51, 100, 7}, .port = 443};
static const struct stream_address alice6 = {
    .address_len = 16, .address = {0x20, 1, 0x0d, 0xb8, [15] = 1}, .port = 40000};
static const struct stream_address door6 = {
    .address_len = 16, .address = {0x20, 1, 0x0d, 0xb8, [15] = 2}, .port = 443};
static const struct stream_address nobody = {.address_len = 0};

static struct proxy_header feed(const void *data, size_t len, size_t piece, enum err *error,
                                size_t *total)
{
    struct proxy_header h;

    proxy_header_init(&h);
    *error = ERR_OK;
    *total = 0;
    while (*error == ERR_OK && *total < len && h.state != PROXY_HEADER_DONE) {
        size_t n = len - *total < piece ? len - *total : piece;
        uint8_t *copy = malloc(n);
        size_t used;

        memcpy(copy, (const uint8_t *)data + *total, n);
        *error = proxy_header_feed(&h, copy, n, &used);
        assert_true(used <= n);
        *total += used;
        free(copy);
    }
    return h;
}

static void assert_client(const struct stream_address *a, const struct stream_address *b)
{
    assert_int_equal(a->address_len, b->address_len);
    assert_memory_equal(a->address, b->address, a->address_len);
    if (a->address_len > 0)
        assert_int_equal(a->port, b->port);
}

/* However it is cut, and with payload behind it. */
static void says(const void *data, size_t len, const struct stream_address *client,
                 const struct stream_address *local)
{
    uint8_t in[8192];
    enum err e;
    size_t used;

    assert_true(len + 5 <= sizeof(in));
    memcpy(in, data, len);
    memcpy(in + len, "PROXY", 5);
    for (size_t piece = 1; piece <= len + 5; piece = piece < 200 ? piece + 1 : piece * 2) {
        struct proxy_header h = feed(in, len + 5, piece, &e, &used);

        assert_int_equal(e, ERR_OK);
        assert_int_equal(h.state, PROXY_HEADER_DONE);
        assert_int_equal(used, len);
        assert_client(&h.client, client);
        assert_client(&h.local, local);
    }
    /* Never finished: it just waits. */
    for (size_t n = 0; n < len; n++) {
        struct proxy_header h = feed(in, n, 16, &e, &used);

        assert_int_equal(e, ERR_OK);
        assert_true(h.state < PROXY_HEADER_DONE);
    }
}

static void fails(const void *data, size_t len, enum err why)
{
    for (size_t piece = 1; piece <= len; piece++) {
        enum err e;
        size_t used;
        struct proxy_header h = feed(data, len, piece, &e, &used);

        assert_int_equal(e, why);
        assert_int_equal(h.state, PROXY_HEADER_FAILED);
        assert_int_equal(proxy_header_feed(&h, (const uint8_t *)"x", 1, &used), ERR_UNEXPECTED);
        assert_int_equal(used, 0);
    }
}

static void round_trip(enum proxy_protocol_version version, const struct stream_address *client,
                       const struct stream_address *local)
{
    uint8_t room[PROXY_PROTOCOL_ROOM];
    size_t len = proxy_protocol_encode(version, client, local, room);

    assert_true(len <= sizeof(room));
    says(room, len, client, local);
}

static void round_trips(void **state)
{
    (void)state;
    for (int v = PROXY_PROTOCOL_V1; v <= PROXY_PROTOCOL_V2; v++) {
        enum proxy_protocol_version version = (enum proxy_protocol_version)v;

        round_trip(version, &alice, &door);
        round_trip(version, &alice6, &door6);
        /* One header has one family: the IPv4 address travels mapped, and comes out as it was. */
        round_trip(version, &alice, &door6);
        round_trip(version, &alice6, &door);
        round_trip(version, &nobody, &nobody);
    }
}

static void as_written(void **state)
{
    uint8_t room[PROXY_PROTOCOL_ROOM];
    size_t len;

    (void)state;
#define ASSERT_ROOM(literal)                                                                       \
    assert_int_equal(len, sizeof(literal) - 1);                                                    \
    assert_memory_equal(room, literal, len)

    len = proxy_protocol_encode(PROXY_PROTOCOL_V1, &alice, &door, room);
    ASSERT_ROOM("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n");
    len = proxy_protocol_encode(PROXY_PROTOCOL_V1, &alice6, &door6, room);
    ASSERT_ROOM("PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n");
    len = proxy_protocol_encode(PROXY_PROTOCOL_V1, &alice, &door6, room);
    ASSERT_ROOM("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 40000 443\r\n");
    len = proxy_protocol_encode(PROXY_PROTOCOL_V1, &alice, &nobody, room);
    ASSERT_ROOM("PROXY UNKNOWN\r\n");
    len = proxy_protocol_encode(PROXY_PROTOCOL_V2, &alice, &door, room);
    ASSERT_ROOM(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb");
    len = proxy_protocol_encode(PROXY_PROTOCOL_V2, &alice6, &door6, room);
    ASSERT_ROOM(SIGNATURE "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d"
                          "\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x9c\x40\x01\xbb");
    len = proxy_protocol_encode(PROXY_PROTOCOL_V2, &nobody, &door, room);
    ASSERT_ROOM(SIGNATURE "\x20\x00\x00\x00");
#undef ASSERT_ROOM
}

#define GOOD(literal, client, local) says(literal, sizeof(literal) - 1, client, local)
#define BAD(literal)                 fails(literal, sizeof(literal) - 1, ERR_MALFORMED)

static void version_1(void **state)
{
    (void)state;
    GOOD("PROXY UNKNOWN\r\n", &nobody, &nobody);
    GOOD("PROXY UNKNOWN what ever\r\n", &nobody, &nobody);
    GOOD("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         &nobody, &nobody);
    BAD("GET / HTTP/1.1\r\n");
    BAD("PROXy ");
    BAD("PROXY\r\n");
    BAD("PROXY \r\n");
    BAD("PROXY TCP4\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 40000\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443 \r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443 1\r\n");
    BAD("PROXY  TCP4 192.0.2.1 198.51.100.7 40000 443\r\n");
    BAD("PROXY TCP4 192.0.2.1  198.51.100.7 40000 443\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 040 443\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 -1 443\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.7 4000000000 443\r\n");
    BAD("PROXY TCP4 192.0.2 198.51.100.7 40000 443\r\n");
    BAD("PROXY TCP4 ::1 ::2 40000 443\r\n");
    BAD("PROXY TCP6 192.0.2.1 198.51.100.7 40000 443\r\n");
    BAD("PROXY UDP4 192.0.2.1 198.51.100.7 40000 443\r\n");
    BAD("PROXY tcp4 192.0.2.1 198.51.100.7 40000 443\r\n");
    BAD("PROXY UNKNOWN\n");
    BAD("PROXY UNKNOWNX\r\n");
    BAD("PROXY UNKNOWN\0x\r\n");
    /* One byte too long. */
    BAD("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655356\r\n");
}

#define ADDRESSES4 "\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb"

static void version_2(void **state)
{
    (void)state;
    /* LOCAL, whatever it carries; a family without addresses; a socket of the balancer's host. */
    GOOD(SIGNATURE "\x20\x00\x00\x00", &nobody, &nobody);
    GOOD(SIGNATURE "\x20\x11\x00\x0c" ADDRESSES4, &nobody, &nobody);
    GOOD(SIGNATURE "\x21\x00\x00\x05hello", &nobody, &nobody);
    /* Additions behind the addresses. */
    GOOD(SIGNATURE "\x21\x11\x00\x14" ADDRESSES4 "\x04\x00\x05padme", &alice, &door);
    BAD(SIGNATURE "\x11\x11\x00\x0c");
    BAD(SIGNATURE "\x22\x11\x00\x0c");
    BAD(SIGNATURE "\x21\x12\x00\x0c");
    BAD(SIGNATURE "\x21\x13\x00\x0c");
    BAD(SIGNATURE "\x21\x41\x00\x0c");
    BAD(SIGNATURE "\x21\x11\x00\x0b");
    BAD(SIGNATURE "\x21\x21\x00\x23");
    BAD("\r\n\r\n\0\r\nQUIT\r");
    BAD("\r\n\r\n\r");
}

static void a_unix_socket(void **state)
{
    uint8_t in[16 + 216] = SIGNATURE "\x21\x31\x00\xd8";

    (void)state;
    says(in, sizeof(in), &nobody, &nobody);
}

static void size_of_version_2(void **state)
{
    static uint8_t in[PROXY_PROTOCOL_V2_MAX] = SIGNATURE "\x21\x11\x0f\xf0" ADDRESSES4;

    (void)state;
    says(in, sizeof(in), &alice, &door);
    fails(SIGNATURE "\x21\x11\x0f\xf1", 16, ERR_TOO_LARGE);
    fails(SIGNATURE "\x20\x00\xff\xff", 16, ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),   cmocka_unit_test(as_written),
        cmocka_unit_test(version_1),     cmocka_unit_test(version_2),
        cmocka_unit_test(a_unix_socket), cmocka_unit_test(size_of_version_2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
