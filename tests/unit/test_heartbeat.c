#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/heartbeat.h"

#define INTERVAL 1000
#define TIMEOUT  100
#define MISSED   3

static const struct heartbeat_options options = {
    .interval_us = INTERVAL, .timeout_us = TIMEOUT, .max_missed = MISSED};

/* Ticks whenever it is due until it says something, at most until `until`; *now is then. */
static enum heartbeat_verdict run(struct heartbeat *h, uint64_t *now, uint64_t until)
{
    while (heartbeat_deadline(h) <= until) {
        enum heartbeat_verdict verdict;

        if (heartbeat_deadline(h) > *now)
            *now = heartbeat_deadline(h);
        verdict = heartbeat_tick(h, *now);
        if (verdict != HEARTBEAT_WAIT)
            return verdict;
    }
    *now = until;
    return HEARTBEAT_WAIT;
}

static void a_silent_peer_is_found_in_time(void **state)
{
    struct heartbeat h;
    uint64_t now = 5000;

    (void)state;
    heartbeat_init(&h, &options, now);
    for (unsigned i = 0; i < MISSED; i++) {
        assert_int_equal(heartbeat_missed(&h), i > 0 ? i - 1 : 0);
        assert_int_equal(run(&h, &now, UINT64_MAX - 1), HEARTBEAT_PING);
        assert_int_equal(now, 5000 + INTERVAL + i * TIMEOUT);
    }
    assert_int_equal(run(&h, &now, UINT64_MAX - 1), HEARTBEAT_DEAD);
    assert_int_equal(now, 5000 + INTERVAL + MISSED * TIMEOUT);
}

static void an_idle_peer_that_answers_lives(void **state)
{
    struct heartbeat h;
    uint64_t now = 0;

    (void)state;
    heartbeat_init(&h, &options, now);
    for (int i = 0; i < 100; i++) {
        uint64_t before = now;

        assert_int_equal(run(&h, &now, UINT64_MAX - 1), HEARTBEAT_PING);
        assert_int_equal(now, before + INTERVAL);
        heartbeat_on_life(&h, now);
        assert_int_equal(heartbeat_missed(&h), 0);
    }
}

static void a_busy_session_is_never_probed(void **state)
{
    struct heartbeat h;

    (void)state;
    heartbeat_init(&h, &options, 0);
    for (uint64_t now = 0; now < 100 * INTERVAL; now += INTERVAL / 10) {
        heartbeat_on_life(&h, now);
        assert_int_equal(heartbeat_tick(&h, now), HEARTBEAT_WAIT);
        assert_true(heartbeat_deadline(&h) <= now + INTERVAL);
    }
}

static void an_answer_to_a_late_probe_counts(void **state)
{
    struct heartbeat h;
    uint64_t now = 0;

    (void)state;
    heartbeat_init(&h, &options, now);
    for (unsigned i = 0; i < MISSED; i++)
        assert_int_equal(run(&h, &now, UINT64_MAX - 1), HEARTBEAT_PING);
    assert_int_equal(heartbeat_missed(&h), MISSED - 1);
    now += TIMEOUT - 1;
    heartbeat_on_life(&h, now);
    assert_int_equal(heartbeat_missed(&h), 0);
    /* The count starts over. */
    assert_int_equal(run(&h, &now, UINT64_MAX - 1), HEARTBEAT_PING);
    assert_int_equal(heartbeat_missed(&h), 0);
}

static void a_clock_that_jumps_costs_a_probe(void **state)
{
    struct heartbeat h;

    (void)state;
    heartbeat_init(&h, &options, 0);
    assert_int_equal(heartbeat_tick(&h, (uint64_t)1000 * INTERVAL), HEARTBEAT_PING);
    assert_int_equal(heartbeat_deadline(&h), (uint64_t)1000 * INTERVAL + TIMEOUT);
    heartbeat_on_life(&h, (uint64_t)1000 * INTERVAL + 1);
    assert_int_equal(heartbeat_tick(&h, (uint64_t)1000 * INTERVAL + TIMEOUT), HEARTBEAT_WAIT);
}

static void without_an_interval_there_is_none(void **state)
{
    const struct heartbeat_options none = {.timeout_us = 1, .max_missed = 1};
    struct heartbeat h;

    (void)state;
    heartbeat_init(&h, &none, 0);
    assert_true(heartbeat_deadline(&h) == UINT64_MAX);
    assert_int_equal(heartbeat_tick(&h, UINT64_MAX - 1), HEARTBEAT_WAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_peer_is_found_in_time),
        cmocka_unit_test(an_idle_peer_that_answers_lives),
        cmocka_unit_test(a_busy_session_is_never_probed),
        cmocka_unit_test(an_answer_to_a_late_probe_counts),
        cmocka_unit_test(a_clock_that_jumps_costs_a_probe),
        cmocka_unit_test(without_an_interval_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
