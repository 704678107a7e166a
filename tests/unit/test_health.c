#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "ops/health.h"

#define S ((uint64_t)1000000)

/* A source with two workers, both connected, 100 s on. */
static struct health_facts connected(void)
{
    return (struct health_facts){
        .is_source = true,
        .now_us = 100 * S,
        .workers = 2,
        .answering = 2,
        .carried = 2,
        .sessions = 2,
        .last_up_us = 10 * S,
        .last_pong_us = 99 * S,
        .pong_age_us = 30 * S,
        .last_failure = "",
    };
}

static void expect(const struct health_facts *facts, enum health_state state, bool is_ready,
                   const char *message)
{
    struct health h;

    health_assess(&h, facts);
    assert_string_equal(health_state_name(h.state), health_state_name(state));
    assert_int_equal(h.is_ready, is_ready);
    assert_string_equal(h.message, message);
}

static void a_source_with_sessions_is_healthy(void **state)
{
    struct health_facts f = connected();

    (void)state;
    expect(&f, HEALTH_HEALTHY, true, "connected");
}

static void it_begins_with_starting(void **state)
{
    struct health_facts f = {.is_source = true,
                             .now_us = S,
                             .workers = 2,
                             .answering = 2,
                             .pong_age_us = S,
                             .last_failure = ""};

    (void)state;
    expect(&f, HEALTH_STARTING, false, "the first session is being made");
    f.carried = 2;
    f.last_up_us = S;
    expect(&f, HEALTH_STARTING, false, "no answer has come through a session yet");
}

static void tries_in_vain_end_in_unhealthy(void **state)
{
    struct health_facts f = connected();

    (void)state;
    f.carried = 0;
    expect(&f, HEALTH_CONNECTING, false, "the session was lost; connecting again");
    f.attempts = 1;
    f.last_failure = "connection refused";
    expect(&f, HEALTH_CONNECTING, false, "the last try failed: connection refused");
    f.attempts = HEALTH_ATTEMPTS;
    expect(&f, HEALTH_UNHEALTHY, false, "no session after 3 tries: connection refused");
}

static void what_is_missing_degrades(void **state)
{
    struct health_facts f = connected();

    (void)state;
    f.carried = 1;
    expect(&f, HEALTH_DEGRADED, true, "1 of 2 workers have a session");
    f = connected();
    f.pongs_missing = 2;
    expect(&f, HEALTH_DEGRADED, true, "2 probes were not answered in time");
    f = connected();
    f.answering = 1;
    expect(&f, HEALTH_DEGRADED, true, "1 of 2 workers do not answer");
    f = connected();
    f.last_pong_us = 60 * S;
    expect(&f, HEALTH_DEGRADED, false, "no answer came through a session for 40 s");
}

static void an_old_answer_is_not_ready_from_one_moment_on(void **state)
{
    struct health_facts f = connected();
    struct health h;

    (void)state;
    f.last_pong_us = f.now_us - f.pong_age_us;
    health_assess(&h, &f);
    assert_true(h.is_ready);
    f.last_pong_us--;
    health_assess(&h, &f);
    assert_false(h.is_ready);
}

static void who_shuts_down_is_not_ready(void **state)
{
    struct health_facts f = connected();

    (void)state;
    f.is_stopping = true;
    expect(&f, HEALTH_DEGRADED, false, "shutting down");
}

static void a_dest_that_says_goodbye_takes_nobody_new(void **state)
{
    struct health_facts f = connected();

    (void)state;
    f.leaving = 1;
    expect(&f, HEALTH_DEGRADED, true, "1 of 2 workers have a session");
    f.leaving = 2;
    expect(&f, HEALTH_DEGRADED, false,
           "the dest shuts down: new clients wait for the next session");
    f.carried = 1;
    f.leaving = 1;
    expect(&f, HEALTH_DEGRADED, false,
           "the dest shuts down: new clients wait for the next session");
    f = connected();
    f.is_source = false; /* of which sources leave, and others come */
    f.leaving = 2;
    expect(&f, HEALTH_HEALTHY, true, "2 sessions");
}

static void a_dest_waits_for_sources(void **state)
{
    struct health_facts f = connected();

    (void)state;
    f.is_source = false;
    f.carried = 0;
    f.attempts = 9;
    expect(&f, HEALTH_CONNECTING, false, "no source is connected");
    f.carried = 1;
    f.sessions = 1;
    expect(&f, HEALTH_HEALTHY, true, "1 session");
    f.sessions = 3;
    expect(&f, HEALTH_HEALTHY, true, "3 sessions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_with_sessions_is_healthy),
        cmocka_unit_test(it_begins_with_starting),
        cmocka_unit_test(tries_in_vain_end_in_unhealthy),
        cmocka_unit_test(what_is_missing_degrades),
        cmocka_unit_test(an_old_answer_is_not_ready_from_one_moment_on),
        cmocka_unit_test(who_shuts_down_is_not_ready),
        cmocka_unit_test(a_dest_that_says_goodbye_takes_nobody_new),
        cmocka_unit_test(a_dest_waits_for_sources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
