#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "role/dest_hosts.h"

#define SECOND   ((uint64_t)1000000)
#define INTERVAL (60 * SECOND)

static const struct address none = {.len = 0};

static void is_tried(const struct dest_hosts *h, size_t index)
{
    assert_int_equal(h->index, index);
    assert_int_equal(h->failed.count, 0);
}

static void come_up_at(struct dest_hosts *h, size_t index, uint64_t now)
{
    assert_true(dest_hosts_begin(h, HOSTS_ANY));
    while (h->index != index)
        assert_true(dest_hosts_failed(h, &none));
    dest_hosts_up(h, &none, now);
}

static void by_priority_at_first(void **state)
{
    struct dest_hosts h;

    (void)state;
    dest_hosts_init(&h, 3, INTERVAL);
    for (int round = 0; round < 2; round++) {
        assert_true(dest_hosts_begin(&h, HOSTS_ANY));
        is_tried(&h, 0);
        assert_true(dest_hosts_failed(&h, &none));
        is_tried(&h, 1);
        assert_true(dest_hosts_failed(&h, &none));
        is_tried(&h, 2);
        assert_false(dest_hosts_failed(&h, &none));
    }
    assert_int_equal(dest_hosts_wait_us(&h), 0);
}

/* Only the dest that has the tunnel can continue its streams. */
static void then_the_one_in_use_is_first(void **state)
{
    static const size_t order[] = {2, 0, 1, 3};
    struct dest_hosts h;

    (void)state;
    dest_hosts_init(&h, 4, INTERVAL);
    come_up_at(&h, 2, SECOND);
    assert_true(dest_hosts_begin(&h, HOSTS_ANY));
    for (size_t i = 0; i < 4; i++) {
        is_tried(&h, order[i]);
        assert_int_equal(dest_hosts_failed(&h, &none), i < 3);
    }
}

static void only_better_ones_for_a_fail_back(void **state)
{
    struct dest_hosts h;

    (void)state;
    dest_hosts_init(&h, 3, INTERVAL);
    come_up_at(&h, 0, SECOND);
    assert_false(dest_hosts_begin(&h, HOSTS_BETTER));
    come_up_at(&h, 2, 2 * INTERVAL);
    assert_true(dest_hosts_begin(&h, HOSTS_BETTER));
    is_tried(&h, 0);
    assert_true(dest_hosts_failed(&h, &none));
    is_tried(&h, 1);
    assert_false(dest_hosts_failed(&h, &none));
}

static void a_session_that_is_well_stays_where_it_is(void **state)
{
    struct dest_hosts h;
    struct address a;

    (void)state;
    assert_int_equal(address_parse(&a, "192.0.2.1", 7000), ERR_OK);
    dest_hosts_init(&h, 3, INTERVAL);
    assert_false(dest_hosts_begin(&h, HOSTS_SAME)); /* there is none yet */
    assert_true(dest_hosts_begin(&h, HOSTS_ANY));
    assert_true(dest_hosts_failed(&h, &none));
    assert_null(dest_hosts_stay(&h));
    dest_hosts_up(&h, &a, SECOND);
    assert_true(dest_hosts_begin(&h, HOSTS_SAME));
    is_tried(&h, 1);
    assert_non_null(dest_hosts_stay(&h));
    assert_memory_equal(dest_hosts_stay(&h), &a, sizeof(a));
    assert_true(dest_hosts_failed(&h, &a)); /* the name may have others by now */
    assert_int_equal(h.index, 1);
    assert_false(dest_hosts_failed(&h, &none));
    /* Once it is lost, all are tried again. */
    assert_true(dest_hosts_begin(&h, HOSTS_ANY));
    is_tried(&h, 1);
    assert_null(dest_hosts_stay(&h));
    assert_true(dest_hosts_failed(&h, &none));
    is_tried(&h, 0);
}

/* An address where a handshake has failed is left out, and then the host has another chance. */
static void every_address_of_a_name_counts(void **state)
{
    struct dest_hosts h;
    struct address a;
    struct address b;

    (void)state;
    assert_int_equal(address_parse(&a, "192.0.2.1", 7000), ERR_OK);
    assert_int_equal(address_parse(&b, "2001:db8::1", 7000), ERR_OK);
    dest_hosts_init(&h, 2, INTERVAL);
    assert_true(dest_hosts_begin(&h, HOSTS_ANY));
    assert_true(dest_hosts_failed(&h, &a));
    assert_int_equal(h.index, 0);
    assert_true(address_list_has(&h.failed, &a));
    assert_false(address_list_has(&h.failed, &b));
    assert_true(dest_hosts_failed(&h, &b));
    assert_int_equal(h.index, 0);
    assert_true(address_list_has(&h.failed, &b));
    assert_true(dest_hosts_failed(&h, &none)); /* it has no other */
    is_tried(&h, 1);
    assert_false(dest_hosts_failed(&h, &none));
}

/* A resolver that invents addresses does not keep a source busy with one host. */
static void addresses_are_bounded(void **state)
{
    struct dest_hosts h;
    struct address a;
    uint16_t tries = 0;

    (void)state;
    dest_hosts_init(&h, 1, INTERVAL);
    assert_true(dest_hosts_begin(&h, HOSTS_ANY));
    do {
        tries++;
        assert_int_equal(address_parse(&a, "192.0.2.1", tries), ERR_OK);
    } while (dest_hosts_failed(&h, &a));
    tries--;
    assert_int_equal(tries, ADDRESS_LIST_MAX);
}

/* The longer it has gone on, the more rarely it is returned to. */
static void a_dest_that_comes_and_goes(void **state)
{
    struct dest_hosts h;
    uint64_t now = SECOND;
    uint64_t expected = INTERVAL;
    unsigned moves = 0;

    (void)state;
    dest_hosts_init(&h, 2, INTERVAL);
    come_up_at(&h, 0, now);
    while (now < 24 * 3600 * SECOND) {
        now += 5 * SECOND; /* and then it is lost */
        expected = expected * 2 < HOSTS_WAIT_MAX_US ? expected * 2 : HOSTS_WAIT_MAX_US;
        come_up_at(&h, 1, now);
        assert_int_equal(dest_hosts_wait_us(&h), expected);
        now += dest_hosts_wait_us(&h);
        assert_true(dest_hosts_begin(&h, HOSTS_BETTER));
        dest_hosts_up(&h, &none, now);
        assert_int_equal(dest_hosts_wait_us(&h), 0);
        moves++;
    }
    assert_true(moves < 32); /* in a day */
    /* Once it has lasted, its past is forgotten. */
    now += HOSTS_WAIT_MAX_US;
    come_up_at(&h, 1, now);
    assert_int_equal(dest_hosts_wait_us(&h), INTERVAL);
}

static void no_fail_back_where_it_is_off(void **state)
{
    struct dest_hosts h;

    (void)state;
    dest_hosts_init(&h, 2, 0);
    come_up_at(&h, 1, SECOND);
    assert_int_equal(dest_hosts_wait_us(&h), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_priority_at_first),
        cmocka_unit_test(then_the_one_in_use_is_first),
        cmocka_unit_test(only_better_ones_for_a_fail_back),
        cmocka_unit_test(a_session_that_is_well_stays_where_it_is),
        cmocka_unit_test(every_address_of_a_name_counts),
        cmocka_unit_test(addresses_are_bounded),
        cmocka_unit_test(a_dest_that_comes_and_goes),
        cmocka_unit_test(no_fail_back_where_it_is_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
