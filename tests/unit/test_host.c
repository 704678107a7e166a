#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "config/host.h"

static void addresses_are_told_from_names(void **state)
{
    (void)state;
    assert_true(host_is_address("192.0.2.1"));
    assert_true(host_is_address("::1"));
    assert_true(host_is_address("::ffff:192.0.2.1"));
    assert_false(host_is_address("localhost"));
    assert_false(host_is_address("192.0.2"));
    assert_false(host_is_address("[::1]"));
    assert_false(host_is_address("fe80::1%eth0"));
    assert_false(host_is_address(""));
}

static void names_follow_the_rules(void **state)
{
    static const char *const good[] = {"localhost", "a.b-c.example", "example.org.",
                                       "x1",        "_srv.example",  "3com.com"};
    static const char *const bad[] = {"",         ".",         "a..b",       "-a", "a-",
                                      "a.-b.c",   "a b",       "10.0.0.256", "1",  "host:80",
                                      "http://h", "h\xc3\xa4", "a.b.123.",   ".a"};
    char label[70];
    char *long_name = calloc(1, 400);

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(host_is_name(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(host_is_name(bad[i]));

    memset(label, 'a', sizeof(label));
    label[63] = 0;
    assert_true(host_is_name(label));
    label[63] = 'a';
    label[64] = 0;
    assert_false(host_is_name(label));
    assert_non_null(long_name);
    for (int i = 0; i < 127; i++)
        strcat(long_name, "a.");
    long_name[253] = 0;
    assert_true(host_is_name(long_name));
    strcpy(long_name + 253, "bc");
    assert_false(host_is_name(long_name));
    free(long_name);
}

static void loopback_is_of_this_machine(void **state)
{
    static const char *const here[] = {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"};
    static const char *const elsewhere[] = {"0.0.0.0",     "::",        "128.0.0.1",
                                            "126.0.0.1",   "::2",       "::ffff:10.0.0.1",
                                            "::127.0.0.1", "localhost", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++)
        assert_true(host_is_loopback(here[i]));
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        assert_false(host_is_loopback(elsewhere[i]));
}

static void wildcard_addresses_overlap_their_family(void **state)
{
    (void)state;
    assert_true(host_is_any("0.0.0.0"));
    assert_true(host_is_any("::"));
    assert_false(host_is_any("127.0.0.1"));
    assert_true(host_is_overlap("0.0.0.0", "127.0.0.1"));
    assert_true(host_is_overlap("127.0.0.1", "0.0.0.0"));
    assert_true(host_is_overlap("::", "127.0.0.1"));
    assert_true(host_is_overlap("::1", "::"));
    assert_true(host_is_overlap("192.0.2.1", "192.0.2.1"));
    assert_false(host_is_overlap("192.0.2.1", "192.0.2.2"));
    assert_false(host_is_overlap("0.0.0.0", "::1"));
    assert_false(host_is_overlap("name", "::"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_told_from_names),
        cmocka_unit_test(names_follow_the_rules),
        cmocka_unit_test(loopback_is_of_this_machine),
        cmocka_unit_test(wildcard_addresses_overlap_their_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
