#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "role/outbound.h"
#include "role/reach.h"

static struct cidr ranges[4];
static struct cidr_list list = {.items = ranges};

static void allow(size_t n, const char *const *texts)
{
    list.count = n;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(cidr_parse(&ranges[i], texts[i], NULL), ERR_OK);
}

static struct address at(const char *ip)
{
    struct address a;

    assert_int_equal(address_parse(&a, ip, 80), ERR_OK);
    return a;
}

static bool is_allowed(const char *ip)
{
    struct address a = at(ip);

    return reach_is_allowed(&list, &a);
}

static void inside_and_outside(void **state)
{
    (void)state;
    allow(2, (const char *const[]){"10.0.0.0/8", "fd00::/8"});
    assert_true(is_allowed("10.255.0.1"));
    assert_true(is_allowed("::ffff:10.0.0.1"));
    assert_true(is_allowed("fd12::1"));
    assert_false(is_allowed("11.0.0.1"));
    assert_false(is_allowed("::1"));
    assert_false(is_allowed("::10.0.0.1"));
    allow(0, NULL);
    assert_false(is_allowed("10.0.0.1"));
}

static void nowhere_is_never_allowed(void **state)
{
    (void)state;
    allow(4, (const char *const[]){"0.0.0.0/0", "::/0", "127.0.0.0/8", "::1"});
    assert_true(is_allowed("127.0.0.1"));
    assert_true(is_allowed("::1"));
    assert_false(is_allowed("0.0.0.0"));
    assert_false(is_allowed("0.1.2.3"));
    assert_false(is_allowed("::"));
    assert_false(is_allowed("::ffff:0.0.0.0"));
}

static void assert_near(const char *range, const char *const *addresses, bool is_in)
{
    uint8_t room[REACH_RANGES_MAX];
    size_t len;

    allow(1, &range);
    len = reach_encode(&list, room);
    for (const char *const *a = addresses; *a != NULL; a++) {
        struct address address = at(*a);

        if (reach_is_allowed(&list, &address) != is_in || reach_has(room, len, &address) != is_in)
            fail_msg("%s %s %s", *a, is_in ? "not in" : "in", range);
    }
}

/* What only the machine itself reaches has to be meant. */
static void wide_ranges_have_no_loopback_and_no_link(void **state)
{
    static const char *const four[] = {"127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1",
                                       "169.254.169.254", NULL};
    static const char *const six[] = {"::1", "fe80::1", "febf::1", NULL};

    (void)state;
    assert_near("0.0.0.0/0", four, false);
    assert_near("0.0.0.0/1", (const char *const[]){"127.0.0.1", NULL}, false);
    assert_near("126.0.0.0/7", (const char *const[]){"127.0.0.1", NULL}, false);
    assert_near("126.0.0.0/7", (const char *const[]){"126.0.0.1", NULL}, true);
    assert_near("169.0.0.0/8", (const char *const[]){"169.254.169.254", NULL}, false);
    assert_near("169.0.0.0/8", (const char *const[]){"169.253.0.1", "169.255.0.1", NULL}, true);
    assert_near("0.0.0.0/0", (const char *const[]){"128.0.0.1", "10.0.0.1", NULL}, true);
    assert_near("127.0.0.0/8", (const char *const[]){"127.0.0.1", "127.255.0.1", NULL}, true);
    assert_near("127.0.0.1", (const char *const[]){"127.0.0.1", "::ffff:127.0.0.1", NULL}, true);
    assert_near("169.254.0.0/16", (const char *const[]){"169.254.169.254", NULL}, true);
    assert_near("::/0", six, false);
    assert_near("::/127", (const char *const[]){"::1", NULL}, false);
    assert_near("fe00::/9", (const char *const[]){"fe80::1", NULL}, false);
    assert_near("::/0", (const char *const[]){"2001:db8::1", "fec0::1", "::2", NULL}, true);
    assert_near("::1", (const char *const[]){"::1", NULL}, true);
    assert_near("fe80::/10", (const char *const[]){"fe80::1", NULL}, true);
}

/* What a cloud tells its machines is not on their link everywhere. */
static void wide_ranges_have_no_credentials_of_clouds(void **state)
{
    static const char *const four[] = {"100.100.100.200", "168.63.129.16", "192.0.0.192",
                                       "::ffff:168.63.129.16", NULL};
    static const char *const six[] = {"fd00:ec2::254", "fd00:c1::a9fe:a9fe", "fd20:ce::254", NULL};

    (void)state;
    assert_near("0.0.0.0/0", four, false);
    assert_near("100.64.0.0/10", (const char *const[]){"100.100.100.200", NULL}, false);
    assert_near("100.100.100.200/31", (const char *const[]){"100.100.100.200", NULL}, false);
    assert_near("100.100.100.200/31", (const char *const[]){"100.100.100.201", NULL}, true);
    assert_near("100.100.100.200", (const char *const[]){"100.100.100.200", NULL}, true);
    assert_near("168.63.129.16", (const char *const[]){"168.63.129.16", NULL}, true);
    assert_near("192.0.0.192", (const char *const[]){"192.0.0.192", NULL}, true);
    assert_near("0.0.0.0/0", (const char *const[]){"168.63.129.17", "192.0.0.191", NULL}, true);
    assert_near("::/0", six, false);
    assert_near("fd00::/8", six, false);
    assert_near("fd00::/8", (const char *const[]){"fd00:ec2::253", "fd20:ce::1", NULL}, true);
    for (const char *const *a = six; *a != NULL; a++)
        assert_near(*a, (const char *const[]){*a, NULL}, true);
}

static void encoded_ranges_say_the_same(void **state)
{
    static const char *const addresses[] = {"10.1.2.3",    "10.2.0.0", "192.0.2.128", "192.0.2.127",
                                            "2001:db8::1", "::1",      "255.1.1.1"};
    static const bool expected[] = {true, false, true, false, true, false, false};
    uint8_t room[REACH_RANGES_MAX];
    size_t len;

    (void)state;
    allow(3, (const char *const[]){"10.1.0.0/16", "192.0.2.128/25", "2001:db8::/33"});
    len = reach_encode(&list, room);
    assert_int_equal(len, 4 + 6 + 7);
    assert_memory_equal(
        room, "\x04\x10\x0a\x01\x04\x19\xc0\x00\x02\x80\x06\x21\x20\x01\x0d\xb8\x00", len);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct address a = at(addresses[i]);
        assert_int_equal(reach_has(room, len, &a), expected[i]);
        assert_int_equal(reach_is_allowed(&list, &a), expected[i]);
    }
    allow(2, (const char *const[]){"0.0.0.0/0", "::/0"});
    assert_int_equal(reach_encode(&list, room), 4);
    struct address a = at("203.0.113.1");
    assert_true(reach_has(room, 4, &a));
    assert_false(reach_has(room + 2, 2, &a));
    assert_false(reach_has(room, 0, &a));
}

static void a_list_that_does_not_fit(void **state)
{
    static struct cidr many[43];
    struct cidr_list long_list = {.items = many, .count = 42};
    uint8_t room[REACH_RANGES_MAX];

    (void)state;
    for (size_t i = 0; i < 43; i++)
        many[i] = (struct cidr){.family = AF_INET, .bits = 32, .address = {10, 0, 0, (uint8_t)i}};
    assert_int_equal(reach_encode(&long_list, room), 252);
    long_list.count = 43;
    assert_int_equal(reach_encode(&long_list, room), 0);
    long_list.count = 0;
    assert_int_equal(reach_encode(&long_list, room), 0);
}

/* -- what a source makes of it -- */

static enum err ask(const struct outbound *o, const char *host, struct stream_target *target)
{
    struct destination d = {.port = 80};

    strcpy(d.host, host);
    return outbound_target(o, &d, target);
}

static void targets_of_a_source(void **state)
{
    struct config_source config = {.allowed_outbound = {.items = ranges}};
    struct stream_target target;
    struct outbound o;

    (void)state;
    allow(1, (const char *const[]){"10.0.0.0/8"});
    outbound_init(&o, &config);
    /* No list: a name is a service, an address is nothing. */
    assert_int_equal(ask(&o, "web", &target), ERR_OK);
    assert_int_equal(target.kind, STREAM_TARGET_SERVICE);
    assert_string_equal(target.name, "web");
    assert_int_equal(target.port, 80);
    assert_null(target.ranges);
    assert_int_equal(ask(&o, "10.0.0.1", &target), ERR_NOT_ALLOWED);
    /* A list: addresses inside it, and names with it. */
    config.allowed_outbound.count = 1;
    outbound_init(&o, &config);
    assert_int_equal(ask(&o, "10.0.0.1", &target), ERR_OK);
    assert_int_equal(target.kind, STREAM_TARGET_HOST);
    assert_int_equal(target.ranges_len, 0);
    assert_int_equal(ask(&o, "192.0.2.1", &target), ERR_NOT_ALLOWED);
    assert_int_equal(ask(&o, "0.0.0.0", &target), ERR_NOT_ALLOWED);
    assert_int_equal(ask(&o, "web", &target), ERR_OK);
    assert_int_equal(target.kind, STREAM_TARGET_HOST);
    assert_int_equal(target.ranges_len, 3);
    assert_memory_equal(target.ranges, "\x04\x08\x0a", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inside_and_outside),
        cmocka_unit_test(nowhere_is_never_allowed),
        cmocka_unit_test(wide_ranges_have_no_loopback_and_no_link),
        cmocka_unit_test(wide_ranges_have_no_credentials_of_clouds),
        cmocka_unit_test(encoded_ranges_say_the_same),
        cmocka_unit_test(a_list_that_does_not_fit),
        cmocka_unit_test(targets_of_a_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
