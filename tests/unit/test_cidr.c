#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "config/cidr.h"

static struct cidr range(const char *text)
{
    struct cidr cidr;

    assert_int_equal(cidr_parse(&cidr, text, NULL), ERR_OK);
    return cidr;
}

static bool is_in(const char *text, const char *address)
{
    struct cidr cidr = range(text);
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, address, &in4.sin_addr) == 1)
        return cidr_is_match(&cidr, (struct sockaddr *)&in4);
    assert_int_equal(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
    return cidr_is_match(&cidr, (struct sockaddr *)&in6);
}

static void ranges_contain_their_addresses_only(void **state)
{
    (void)state;
    assert_true(is_in("10.0.0.0/8", "10.255.255.255"));
    assert_false(is_in("10.0.0.0/8", "11.0.0.0"));
    assert_true(is_in("192.0.2.128/25", "192.0.2.128"));
    assert_false(is_in("192.0.2.128/25", "192.0.2.127"));
    assert_true(is_in("192.0.2.1", "192.0.2.1"));
    assert_false(is_in("192.0.2.1/32", "192.0.2.2"));
    assert_true(is_in("0.0.0.0/0", "255.255.255.255"));
    assert_true(is_in("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(is_in("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(is_in("::1", "::1"));
    assert_false(is_in("::1/128", "::2"));
}

static void families_do_not_match_each_other(void **state)
{
    (void)state;
    assert_false(is_in("::/0", "192.0.2.1"));
    assert_false(is_in("::/0", "::ffff:192.0.2.1"));
    assert_true(is_in("::/0", "2001:db8::1"));
    assert_false(is_in("0.0.0.0/0", "::1"));
}

static void mapped_addresses_are_ipv4(void **state)
{
    (void)state;
    assert_true(is_in("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_false(is_in("10.0.0.0/8", "::ffff:11.1.2.3"));
    assert_true(is_in("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_true(is_in("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
    assert_true(is_in("::ffff:0:0/96", "203.0.113.9"));
}

static void host_bits_are_an_error_with_a_correction(void **state)
{
    struct cidr cidr;
    struct err_detail detail;
    char text[CIDR_TEXT_MAX];

    (void)state;
    assert_int_equal(cidr_parse(&cidr, "10.1.2.3/8", &detail), ERR_CONFIG);
    cidr_format(&cidr, text);
    assert_string_equal(text, "10.0.0.0/8");
    assert_int_equal(cidr_parse(&cidr, "2001:db8::1/32", &detail), ERR_CONFIG);
    cidr_format(&cidr, text);
    assert_string_equal(text, "2001:db8::/32");
}

static void what_is_no_range_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "/",
        "/8",
        "10.0.0/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0.0/8 ",
        " 10.0.0.0/8",
        "10.0.0.256/32",
        "::/129",
        "example.org",
        "10.0.0.0/8/8",
        "10.0.0.0/1000",
        "10.0.0.0/999999999999999999999",
        "fe80::1%eth0",
        "[::1]/128",
        "010.0.0.1",
    };
    struct cidr cidr;
    struct err_detail detail;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        detail.text[0] = 0;
        assert_int_equal(cidr_parse(&cidr, cases[i], &detail), ERR_CONFIG);
        assert_int_equal(cidr.family, AF_UNSPEC);
        assert_true(strlen(detail.text) > 0);
    }
}

static void an_empty_list_matches_nothing(void **state)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct cidr items[] = {range("198.51.100.0/24"), range("0.0.0.0/32")};
    struct cidr_list list = {.items = items, .count = 2};

    (void)state;
    assert_false(cidr_list_is_match(&(struct cidr_list){0}, (struct sockaddr *)&in4));
    assert_true(cidr_list_is_match(&list, (struct sockaddr *)&in4));
    assert_false(cidr_list_is_match(&list, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_contain_their_addresses_only),
        cmocka_unit_test(families_do_not_match_each_other),
        cmocka_unit_test(mapped_addresses_are_ipv4),
        cmocka_unit_test(host_bits_are_an_error_with_a_correction),
        cmocka_unit_test(what_is_no_range_is_refused),
        cmocka_unit_test(an_empty_list_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
