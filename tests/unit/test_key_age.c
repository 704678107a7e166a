#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tunnel/key_age.h"

#define SECOND ((uint64_t)1000 * 1000)
#define START  (1000 * SECOND)

static struct key_age hour;

static int new_hour(void **state)
{
    (void)state;
    key_age_init(&hour, KEY_AGE_BEGINS, 3600 * SECOND, 300 * SECOND, START);
    return 0;
}

static void an_exchange_is_due_before_the_end(void **state)
{
    (void)state;
    assert_int_equal(key_age_deadline(&hour), START + 3300 * SECOND);
    assert_int_equal(key_age_tick(&hour, START + 3300 * SECOND - 1), KEY_AGE_FRESH);
    assert_int_equal(key_age_tick(&hour, START + 3300 * SECOND), KEY_AGE_DUE);
}

static void due_is_said_again(void **state)
{
    (void)state;
    uint64_t now = START + 3300 * SECOND;
    for (int i = 0; i < 150; i++) {
        assert_int_equal(key_age_deadline(&hour), now);
        assert_int_equal(key_age_tick(&hour, now), KEY_AGE_DUE);
        assert_int_equal(key_age_tick(&hour, now), KEY_AGE_FRESH);
        now += KEY_AGE_AGAIN_US;
    }
    assert_int_equal(key_age_tick(&hour, now), KEY_AGE_LATE);
}

static void late_is_said_once_and_then_keys_expire(void **state)
{
    (void)state;
    assert_int_equal(key_age_tick(&hour, START + 3450 * SECOND), KEY_AGE_LATE);
    assert_int_equal(key_age_tick(&hour, START + 3451 * SECOND), KEY_AGE_FRESH);
    assert_int_equal(key_age_deadline(&hour), START + 3600 * SECOND);
    assert_int_equal(key_age_tick(&hour, START + 3600 * SECOND - 1), KEY_AGE_FRESH);
    assert_int_equal(key_age_tick(&hour, START + 3600 * SECOND), KEY_AGE_EXPIRED);
}

static void a_jump_over_everything_expires(void **state)
{
    (void)state;
    assert_int_equal(key_age_tick(&hour, START + 100000 * SECOND), KEY_AGE_EXPIRED);
}

static void replaced_keys_are_fresh_from_their_birth(void **state)
{
    (void)state;
    assert_int_equal(key_age_tick(&hour, START + 3450 * SECOND), KEY_AGE_LATE);
    key_age_replaced(&hour, START + 3440 * SECOND);
    assert_int_equal(key_age_tick(&hour, START + 3600 * SECOND), KEY_AGE_FRESH);
    assert_int_equal(key_age_deadline(&hour), START + 3440 * SECOND + 3300 * SECOND);
}

static void who_follows_only_sees_the_end(void **state)
{
    (void)state;
    key_age_init(&hour, KEY_AGE_FOLLOWS, 3600 * SECOND, 300 * SECOND, START);
    assert_int_equal(key_age_deadline(&hour), START + 3600 * SECOND);
    assert_int_equal(key_age_tick(&hour, START + 3600 * SECOND - 1), KEY_AGE_FRESH);
    assert_int_equal(key_age_tick(&hour, START + 3600 * SECOND), KEY_AGE_EXPIRED);
}

static void the_smaller_lifetime_counts(void **state)
{
    (void)state;
    key_age_limit(&hour, 7200 * SECOND);
    assert_int_equal(key_age_deadline(&hour), START + 3300 * SECOND);
    key_age_limit(&hour, 0);
    assert_int_equal(key_age_deadline(&hour), START + 3300 * SECOND);
    /* The margin shrinks with it. */
    key_age_limit(&hour, 100 * SECOND);
    assert_int_equal(key_age_deadline(&hour), START + 50 * SECOND);
    assert_int_equal(key_age_tick(&hour, START + 75 * SECOND), KEY_AGE_LATE);
    assert_int_equal(key_age_tick(&hour, START + 100 * SECOND), KEY_AGE_EXPIRED);
}

static void without_a_lifetime_keys_do_not_age(void **state)
{
    (void)state;
    key_age_init(&hour, KEY_AGE_BEGINS, 0, 300 * SECOND, START);
    assert_true(key_age_deadline(&hour) == UINT64_MAX);
    assert_int_equal(key_age_tick(&hour, UINT64_MAX - 1), KEY_AGE_FRESH);
    key_age_limit(&hour, 10 * SECOND);
    assert_int_equal(key_age_tick(&hour, START + 10 * SECOND), KEY_AGE_EXPIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_exchange_is_due_before_the_end, new_hour),
        cmocka_unit_test_setup(due_is_said_again, new_hour),
        cmocka_unit_test_setup(late_is_said_once_and_then_keys_expire, new_hour),
        cmocka_unit_test_setup(a_jump_over_everything_expires, new_hour),
        cmocka_unit_test_setup(replaced_keys_are_fresh_from_their_birth, new_hour),
        cmocka_unit_test_setup(who_follows_only_sees_the_end, new_hour),
        cmocka_unit_test_setup(the_smaller_lifetime_counts, new_hour),
        cmocka_unit_test_setup(without_a_lifetime_keys_do_not_age, new_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
