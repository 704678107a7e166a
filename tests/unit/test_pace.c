#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "role/pace.h"

#define MIN_MS      100
#define MAX_MS      5000
#define WINDOW_SECS 60
#define MAX_LOSSES  2

static struct config_source bounds(void)
{
    return (struct config_source){
        .initial_reconnect_delay_ms = MIN_MS,
        .max_reconnect_delay_ms = MAX_MS,
        .circuit_breaker_window_secs = WINDOW_SECS,
        .circuit_breaker_max_restarts = MAX_LOSSES,
    };
}

static struct pace new_pace(void)
{
    struct config_source config = bounds();
    struct pace p;

    assert_int_equal(pace_init(&p, &config), ERR_OK);
    return p;
}

static void lose_sessions(struct pace *p, int count, uint64_t now)
{
    for (int i = 0; i < count; i++) {
        pace_on_session(p);
        pace_on_up(p, now);
        pace_on_loss(p, now);
    }
}

static void the_first_try_is_at_once_and_those_after_it_are_not(void **state)
{
    struct pace p = new_pace();

    (void)state;
    lose_sessions(&p, 1, 0);
    assert_int_equal(pace_first_ms(&p, 0), 0);
    for (int i = 0; i < 100; i++)
        assert_in_range(pace_next_ms(&p, 0), MIN_MS, MAX_MS);
    pace_fini(&p);
}

static void a_session_is_lost_only_once(void **state)
{
    struct pace p = new_pace();

    (void)state;
    lose_sessions(&p, MAX_LOSSES, 0);
    pace_on_loss(&p, 0);
    pace_on_loss(&p, 0);
    assert_int_equal(pace_wait_us(&p, 0), 0);
    lose_sessions(&p, 1, 0);
    assert_int_equal(pace_wait_us(&p, 0), (uint64_t)MAX_MS * 1000);
    pace_fini(&p);
}

static void the_breaker_counts_where_it_asks_for_more(void **state)
{
    struct pace p = new_pace();

    (void)state;
    lose_sessions(&p, MAX_LOSSES + 1, 0);
    assert_int_equal(pace_first_ms(&p, 0), MAX_MS);
    assert_int_equal(pace_next_ms(&p, (uint64_t)(MAX_MS - MIN_MS / 2) * 1000) >= MIN_MS, 1);
    pace_advise(&p, 3 * MAX_MS);
    assert_true(pace_first_ms(&p, 0) >= 3 * MAX_MS);
    pace_fini(&p);
}

static void advice_is_for_one_delay(void **state)
{
    struct pace p = new_pace();

    (void)state;
    pace_advise(&p, 20000);
    assert_in_range(pace_first_ms(&p, 0), 20000, 30000);
    assert_int_equal(p.advised_ms, 20000);
    assert_int_equal(pace_first_ms(&p, 0), 0);
    assert_int_equal(p.advised_ms, 0);
    pace_advise(&p, 20000);
    pace_on_up(&p, 0);
    assert_int_equal(pace_first_ms(&p, 0), 0);
    pace_fini(&p);
}

static void a_refresh_waits_no_longer_than_its_interval_unless_advised(void **state)
{
    struct pace p = new_pace();

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_in_range(pace_refresh_ms(&p, MIN_MS / 2), 1, MIN_MS / 2);
    pace_advise(&p, 20000);
    assert_in_range(pace_refresh_ms(&p, MIN_MS / 2), 20000, 30000);
    pace_fini(&p);
}

static void other_bounds_keep_what_was_counted_where_they_can(void **state)
{
    struct config_source config = bounds();
    struct pace p = new_pace();
    struct pace fresh;

    (void)state;
    lose_sessions(&p, MAX_LOSSES, 0);
    config.initial_reconnect_delay_ms = MIN_MS / 2;
    assert_int_equal(pace_init(&fresh, &config), ERR_OK);
    pace_change(&p, &fresh);
    pace_fini(&fresh);
    assert_int_equal(p.backoff.min_ms, MIN_MS / 2);
    lose_sessions(&p, 1, 0);
    assert_true(pace_wait_us(&p, 0) > 0);

    config.circuit_breaker_window_secs = WINDOW_SECS * 2;
    assert_int_equal(pace_init(&fresh, &config), ERR_OK);
    pace_change(&p, &fresh);
    pace_fini(&fresh);
    assert_int_equal(pace_wait_us(&p, 0), 0);
    pace_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_try_is_at_once_and_those_after_it_are_not),
        cmocka_unit_test(a_session_is_lost_only_once),
        cmocka_unit_test(the_breaker_counts_where_it_asks_for_more),
        cmocka_unit_test(advice_is_for_one_delay),
        cmocka_unit_test(a_refresh_waits_no_longer_than_its_interval_unless_advised),
        cmocka_unit_test(other_bounds_keep_what_was_counted_where_they_can),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
