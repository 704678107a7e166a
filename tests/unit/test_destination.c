#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/destination.h"

static void parses_to(const char *text, const char *host, uint16_t port)
{
    struct destination d;

    assert_int_equal(destination_parse(&d, text), ERR_OK);
    assert_string_equal(d.host, host);
    assert_int_equal(d.port, port);
}

static void good_ones(void **state)
{
    (void)state;
    parses_to("web:80", "web", 80);
    parses_to("a.b-c_d.example.:65535", "a.b-c_d.example.", 65535);
    parses_to("192.0.2.1:1", "192.0.2.1", 1);
    parses_to("[2001:DB8::0:1]:443", "2001:db8::1", 443);
    /* What the resolver would take for an address is a name here, and resolved at the dest. */
    parses_to("0x7f.1:80", "0x7f.1", 80);
    parses_to("127.1:0080", "127.1", 80);
    /* An address that is mapped into IPv6 is the IPv4 address. */
    parses_to("[::ffff:127.0.0.1]:22", "127.0.0.1", 22);
}

static void bad_ones(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        ":80",
        "web",
        "web:",
        "web:0",
        "web:65536",
        "web:+80",
        "web: 80",
        "web:80 ",
        "web:8a",
        "web:000080",
        "we b:80",
        "web/:80",
        "user@web:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[]:80",
        "[web]:80",
        "[1.2.3.4]:80",
        "[::1%1]:80",
        "[::1%lo]:80",
        "w\xc3\xa4:80",
        "a,b:80",
        "a\tb:80",
        "[::1]]:80",
        "[[::1]:80",
        "http://web:80",
    };
    struct destination d;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(destination_parse(&d, texts[i]), ERR_MALFORMED);
        assert_string_equal(d.host, "");
    }
}

static void set(const char *name, size_t len, enum err expected, const char *host)
{
    struct destination d;

    assert_int_equal(destination_set_host(&d, (const uint8_t *)name, len), expected);
    assert_string_equal(d.host, host);
}

static void names_that_are_addresses(void **state)
{
    (void)state;
    set("::1", 3, ERR_OK, "::1");
    set("::FFFF:10.0.0.1", 15, ERR_OK, "10.0.0.1");
    set("10.0.0.1", 8, ERR_OK, "10.0.0.1");
    set("fe80::1%1", 9, ERR_MALFORMED, "");
    set("a:b:c", 5, ERR_MALFORMED, "");
    set("::g", 3, ERR_MALFORMED, "");
}

static void lengths(void **state)
{
    char name[300];

    (void)state;
    memset(name, 'n', sizeof(name));
    struct destination d;
    assert_int_equal(destination_set_host(&d, (uint8_t *)name, 255), ERR_OK);
    assert_int_equal(strlen(d.host), 255);
    set(name, 256, ERR_MALFORMED, "");
    set("", 0, ERR_MALFORMED, "");
    set("a\0b", 3, ERR_MALFORMED, "");
}

static void bytes(void **state)
{
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1};
    static const uint8_t v6[16] = {0x20, 1, [15] = 7};
    struct destination d;

    (void)state;
    destination_set_ip(&d, mapped, 16);
    assert_string_equal(d.host, "127.0.0.1");
    destination_set_ip(&d, mapped + 12, 4);
    assert_string_equal(d.host, "127.0.0.1");
    destination_set_ip(&d, v6, 16);
    assert_string_equal(d.host, "2001::7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(names_that_are_addresses),
        cmocka_unit_test(lengths),
        cmocka_unit_test(bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
