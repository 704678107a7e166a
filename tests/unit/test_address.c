#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>

#include "net/address.h"
#include "tunnel/frame.h"

static void literals_round_trip(void **state)
{
    static const struct {
        const char *ip;
        const char *with_port;
    } cases[] = {
        {"0.0.0.0", "0.0.0.0:8443"},
        {"192.0.2.1", "192.0.2.1:8443"},
        {"::", "[::]:8443"},
        {"2001:db8::1", "[2001:db8::1]:8443"},
        {"fe80::1%1", "[fe80::1%1]:8443"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[ADDRESS_TEXT_MAX];
        struct address a;

        assert_int_equal(address_parse(&a, cases[i].ip, 8443), ERR_OK);
        address_format(&a, text);
        assert_string_equal(text, cases[i].with_port);
        address_format_ip(&a, text);
        assert_string_equal(text, cases[i].ip);
        assert_int_equal(address_port(&a), 8443);
    }
}

static void everything_else_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.0.0.1",
        "1.2.3.4 ",
        " 1.2.3.4",
        "::1::",
        "[::1]",
        "::1%",
        "::1%nosuchinterface",
        "1.2.3.4%lo",
        "12345::67890",
        "1.2.3.4:80",
        "fe80::1%4294967296",
        "fe80::1%-1",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address a;

        assert_int_equal(address_parse(&a, cases[i], 80), ERR_RESOLVE);
        assert_true(address_is_none(&a));
    }
}

static void none_is_a_dash(void **state)
{
    struct sockaddr local = {.sa_family = AF_UNIX};
    char text[ADDRESS_TEXT_MAX];
    struct stream_address client;
    struct address a;

    (void)state;
    address_from_sockaddr(&a, &local, sizeof(local));
    assert_true(address_is_none(&a));
    assert_int_equal(address_port(&a), 0);
    address_format(&a, text);
    assert_string_equal(text, "-");
    address_to_stream(&a, &client);
    assert_int_equal(client.address_len, 0);
}

static void a_short_sockaddr_is_none(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct address a;

    (void)state;
    address_from_sockaddr(&a, (struct sockaddr *)&in, sizeof(in) - 1);
    assert_true(address_is_none(&a));
}

static void mapped_addresses_are_shown_as_ipv4(void **state)
{
    char text[ADDRESS_TEXT_MAX];
    struct stream_address client;
    struct address a;
    struct address b;

    (void)state;
    assert_int_equal(address_parse(&a, "::ffff:192.0.2.7", 99), ERR_OK);
    address_format(&a, text);
    assert_string_equal(text, "192.0.2.7:99");
    address_to_stream(&a, &client);
    assert_int_equal(client.address_len, 4);
    assert_int_equal(client.port, 99);
    address_from_stream(&b, &client);
    assert_int_equal(b.sockaddr.ss_family, AF_INET);
    address_format(&b, text);
    assert_string_equal(text, "192.0.2.7:99");
}

static void loopback_is_known_in_each_form(void **state)
{
    static const char *const inside[] = {"127.0.0.1", "127.255.0.7", "::1", "::ffff:127.0.0.1"};
    static const char *const outside[] = {
        "126.0.0.1", "192.0.2.127", "0.0.0.0", "::", "::2", "7f00::1", "::ffff:10.0.0.1"};
    struct address a;

    (void)state;
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        assert_int_equal(address_parse(&a, inside[i], 80), ERR_OK);
        assert_true(address_is_loopback(&a));
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        assert_int_equal(address_parse(&a, outside[i], 80), ERR_OK);
        assert_false(address_is_loopback(&a));
    }
    assert_int_equal(address_unix(&a, "/run/127"), ERR_OK);
    assert_false(address_is_loopback(&a));
    assert_false(address_is_loopback(&(struct address){.len = 0}));
}

static void clients_round_trip(void **state)
{
    char text[ADDRESS_TEXT_MAX];
    struct stream_address client;
    struct address a;
    struct address b;

    (void)state;
    assert_int_equal(address_parse(&a, "2001:db8::9", 65535), ERR_OK);
    address_to_stream(&a, &client);
    assert_int_equal(client.address_len, 16);
    address_from_stream(&b, &client);
    address_format(&b, text);
    assert_string_equal(text, "[2001:db8::9]:65535");
    address_format_stream(&client, text);
    assert_string_equal(text, "[2001:db8::9]:65535");
    client.address_len = 5; /* no such family */
    address_from_stream(&b, &client);
    assert_true(address_is_none(&b));
    address_format_stream(&client, text);
    assert_string_equal(text, "-");
}

static void a_client_may_be_a_process(void **state)
{
    struct stream_address client = {.is_process = true, .uid = UINT32_MAX, .pid = 4194304};
    char text[ADDRESS_TEXT_MAX];

    (void)state;
    address_format_stream(&client, text);
    assert_string_equal(text, "unix:uid=4294967295,pid=4194304");
    client.address_len = 4; /* a balancer behind the socket knows better */
    memcpy(client.address, "\xc0\x00\x02\x07", 4);
    client.port = 9;
    address_format_stream(&client, text);
    assert_string_equal(text, "192.0.2.7:9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_round_trip),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(none_is_a_dash),
        cmocka_unit_test(a_short_sockaddr_is_none),
        cmocka_unit_test(mapped_addresses_are_shown_as_ipv4),
        cmocka_unit_test(loopback_is_known_in_each_form),
        cmocka_unit_test(clients_round_trip),
        cmocka_unit_test(a_client_may_be_a_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
