#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "net/address_table.h"
#include "net/rate_limit.h"

#define SECOND UINT64_C(1000000)

static struct rate_limit *limiter(uint32_t limit, uint64_t window)
{
    struct rate_limit *r = NULL;

    assert_int_equal(rate_limit_new(&r, limit, window), ERR_OK);
    return r;
}

static bool take(struct rate_limit *r, const char *text, uint64_t now)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &in4.sin_addr) == 1)
        return rate_limit_take(r, (struct sockaddr *)&in4, now);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return rate_limit_take(r, (struct sockaddr *)&in6, now);
}

static void refuses_what_is_over_the_limit(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(16, 10 * SECOND);

    for (int i = 0; i < 16; i++)
        assert_true(take(r, "192.0.2.1", 1000 * SECOND));
    assert_false(take(r, "192.0.2.1", 1000 * SECOND));
    assert_true(take(r, "192.0.2.2", 1000 * SECOND));
    rate_limit_free(r);
}

static void share_comes_back_with_time(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(10, 10 * SECOND);

    for (int i = 0; i < 10; i++)
        assert_true(take(r, "192.0.2.1", 1000 * SECOND));
    assert_false(take(r, "192.0.2.1", 1001 * SECOND - 1));
    assert_true(take(r, "192.0.2.1", 1001 * SECOND));
    assert_false(take(r, "192.0.2.1", 1001 * SECOND));
    /* Quiet for a whole window, and all of it is there again, but no more than that. */
    for (int i = 0; i < 10; i++)
        assert_true(take(r, "192.0.2.1", 1100 * SECOND));
    assert_false(take(r, "192.0.2.1", 1100 * SECOND));
    rate_limit_free(r);
}

static void hammering_gets_the_rate_and_not_more(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(16, 10 * SECOND);
    size_t allowed = 0;

    for (uint64_t now = 5 * SECOND; now < 205 * SECOND; now += 50000)
        allowed += take(r, "192.0.2.1", now);
    assert_in_range(allowed, 320, 336);
    rate_limit_free(r);
}

static void ipv6_counts_by_64(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(2, SECOND);

    assert_true(take(r, "2001:db8:1:2::1", 100 * SECOND));
    assert_true(take(r, "2001:db8:1:2:ffff::2", 100 * SECOND));
    assert_false(take(r, "2001:db8:1:2::3", 100 * SECOND));
    assert_true(take(r, "2001:db8:1:3::1", 100 * SECOND));
    assert_true(take(r, "::1", 100 * SECOND));
    assert_true(take(r, "::1", 100 * SECOND));
    assert_false(take(r, "::1", 100 * SECOND));
    rate_limit_free(r);
}

static void mapped_address_is_its_ipv4_address(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(2, SECOND);

    assert_true(take(r, "192.0.2.1", 100 * SECOND));
    assert_true(take(r, "::ffff:192.0.2.1", 100 * SECOND));
    assert_false(take(r, "192.0.2.1", 100 * SECOND));
    assert_true(take(r, "::ffff:192.0.2.2", 100 * SECOND));
    rate_limit_free(r);
}

static void zero_switches_it_off(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(0, SECOND);

    for (int i = 0; i < 1000; i++)
        assert_true(take(r, "192.0.2.1", 100 * SECOND));
    rate_limit_free(r);
}

static void other_families_are_not_counted(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(1, SECOND);
    struct sockaddr address = {.sa_family = AF_UNIX};

    assert_true(rate_limit_take(r, &address, 100 * SECOND));
    assert_true(rate_limit_take(r, &address, 100 * SECOND));
    rate_limit_free(r);
}

static void table_forgets_and_does_not_grow(void **state)
{
    (void)state;
    struct rate_limit *r = limiter(1, 10 * SECOND);
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    size_t remembered = 0;

    for (uint32_t i = 0; i < 4 * ADDRESS_TABLE_ENTRIES; i++) {
        in4.sin_addr.s_addr = htonl(0x0a000000 + i);
        assert_true(rate_limit_take(r, (struct sockaddr *)&in4, 100 * SECOND + i));
    }
    /* The latest are remembered, the earliest are not. */
    for (uint32_t i = 0; i < ADDRESS_TABLE_ENTRIES / 4; i++) {
        in4.sin_addr.s_addr = htonl(0x0a000000 + 4 * ADDRESS_TABLE_ENTRIES - 1 - i);
        remembered += !rate_limit_take(r, (struct sockaddr *)&in4, 101 * SECOND);
    }
    assert_true(remembered > ADDRESS_TABLE_ENTRIES / 4 * 9 / 10);
    in4.sin_addr.s_addr = htonl(0x0a000000);
    assert_true(rate_limit_take(r, (struct sockaddr *)&in4, 101 * SECOND));
    rate_limit_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_over_the_limit),
        cmocka_unit_test(share_comes_back_with_time),
        cmocka_unit_test(hammering_gets_the_rate_and_not_more),
        cmocka_unit_test(ipv6_counts_by_64),
        cmocka_unit_test(mapped_address_is_its_ipv4_address),
        cmocka_unit_test(zero_switches_it_off),
        cmocka_unit_test(other_families_are_not_counted),
        cmocka_unit_test(table_forgets_and_does_not_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
