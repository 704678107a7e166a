#include "fake_roles.h"

static struct status_subject subject;

static struct status taken(enum config_role role)
{
    struct status s;

    subject = fake_subject(role);
    assert_int_equal(status_take(&s, &subject), ERR_OK);
    return s;
}

static void a_role_with_sessions_is_healthy(void **state)
{
    (void)state;
    for (enum config_role role = CONFIG_ROLE_SOURCE; role <= CONFIG_ROLE_DEST; role++) {
        struct status s = taken(role);

        assert_int_equal(s.health.state, HEALTH_HEALTHY);
        assert_true(s.health.is_ready);
        assert_int_equal(s.facts.workers, FAKE_WORKERS);
        assert_int_equal(s.facts.answering, FAKE_WORKERS);
        assert_int_equal(s.facts.carried, FAKE_WORKERS);
        assert_int_equal(s.facts.is_source, role == CONFIG_ROLE_SOURCE);
        assert_int_equal(s.expiries.own, 1795305600);
        status_fini(&s);
        assert_null(s.state);
    }
}

static void an_error_leaves_nothing_to_free(void **state)
{
    struct status s;

    (void)state;
    subject = fake_subject(CONFIG_ROLE_DEST);
    fake.e = ERR_NOMEM;
    assert_int_equal(status_take(&s, &subject), ERR_NOMEM);
    assert_null(s.state);
}

static void a_worker_that_is_silent_is_degraded(void **state)
{
    (void)state;
    fake.workers[1] = (struct role_worker){.has_answered = false};
    struct status s = taken(CONFIG_ROLE_DEST);
    assert_int_equal(s.facts.answering, 1);
    assert_int_equal(s.health.state, HEALTH_DEGRADED);
    assert_non_null(strstr(s.health.message, "1 of 2 workers do not answer"));
    status_fini(&s);
}

static void a_worker_of_a_source_without_a_session_is_degraded(void **state)
{
    (void)state;
    fake.tunnels[1][0] = (struct role_tunnel){.phase = ROLE_TUNNEL_WAITING};
    struct status s = taken(CONFIG_ROLE_SOURCE);
    assert_int_equal(s.facts.carried, 1);
    assert_int_equal(s.health.state, HEALTH_DEGRADED);
    assert_true(s.health.is_ready);
    status_fini(&s);
    s = taken(CONFIG_ROLE_DEST); /* to which fewer sources have come: nothing is wrong */
    assert_int_equal(s.health.state, HEALTH_HEALTHY);
    status_fini(&s);
}

static void a_worker_takes_clients_while_one_of_its_tunnels_does(void **state)
{
    struct status s;

    (void)state;
    for (unsigned i = 0; i < FAKE_WORKERS; i++) {
        fake.tunnels[i][0].is_leaving = true;
        /* What waits takes nobody, and what drains says nothing about the next. */
        fake.workers[i].tunnels_shown = 2;
        fake.tunnels[i][1].phase = i == 0 ? ROLE_TUNNEL_WAITING : ROLE_TUNNEL_DRAINING;
    }
    s = taken(CONFIG_ROLE_SOURCE);
    assert_int_equal(s.facts.carried, FAKE_WORKERS);
    assert_int_equal(s.facts.leaving, FAKE_WORKERS);
    assert_int_equal(s.health.state, HEALTH_DEGRADED);
    assert_false(s.health.is_ready);
    status_fini(&s);
    fake.tunnels[1][1].phase = ROLE_TUNNEL_CARRIED;
    s = taken(CONFIG_ROLE_SOURCE);
    assert_int_equal(s.facts.leaving, 1);
    assert_true(s.health.is_ready);
    status_fini(&s);
}

static void several_carried_tunnels_of_a_worker_count_once(void **state)
{
    (void)state;
    fake.workers[0].tunnels_shown = 2;
    fake.tunnels[0][1].phase = ROLE_TUNNEL_CARRIED;
    struct status s = taken(CONFIG_ROLE_DEST);
    assert_int_equal(s.facts.carried, FAKE_WORKERS);
    status_fini(&s);
}

static void a_draining_worker_makes_it_stopping(void **state)
{
    (void)state;
    fake.workers[1].is_draining = true;
    struct status s = taken(CONFIG_ROLE_SOURCE);
    assert_false(s.health.is_ready);
    assert_string_equal(s.health.message, "shutting down");
    status_fini(&s);
}

static void an_old_answer_is_none(void **state)
{
    struct status s;

    (void)state;
    /* 15 s + 3 x 5 s and a second for the way. */
    fake.sum.last_pong_us = fake_now_us() - 29 * FAKE_S;
    s = taken(CONFIG_ROLE_SOURCE);
    assert_true(s.health.is_ready);
    status_fini(&s);
    fake.sum.last_pong_us = fake_now_us() - 32 * FAKE_S;
    s = taken(CONFIG_ROLE_SOURCE);
    assert_false(s.health.is_ready);
    assert_int_equal(s.health.state, HEALTH_DEGRADED);
    status_fini(&s);
    s = taken(CONFIG_ROLE_DEST);
    assert_true(s.health.is_ready);
    status_fini(&s);
    fake.sum.last_pong_us = fake_now_us() - 61 * FAKE_S;
    s = taken(CONFIG_ROLE_DEST);
    assert_false(s.health.is_ready);
    status_fini(&s);
}

static void the_latest_loss_and_the_most_attempts_are_shown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        fake.tunnels[i][0] = (struct role_tunnel){.phase = ROLE_TUNNEL_CONNECTING};
    loss_note_set(&fake.tunnels[0][0].loss, ERR_HEARTBEAT, WIRE_NO_ERROR, "older", 0);
    fake.tunnels[0][0].loss_age_us = 9 * FAKE_S;
    loss_note_set(&fake.workers[1].uplink.loss, ERR_REFUSED, WIRE_NO_ERROR, "newest", 0);
    fake.workers[1].uplink.loss_age_us = 2 * FAKE_S;
    loss_note_set(&fake.workers[0].uplink.loss, ERR_TIMEOUT, WIRE_NO_ERROR, "middle", 0);
    fake.workers[0].uplink.loss_age_us = 5 * FAKE_S;
    fake.workers[0].uplink.attempts = 7;
    fake.workers[1].uplink.attempts = 4;
    struct status s = taken(CONFIG_ROLE_SOURCE);
    assert_string_equal(s.loss.text, "newest");
    assert_int_equal(s.loss_age_us, 2 * FAKE_S);
    assert_int_equal(s.facts.attempts, 7);
    assert_int_equal(s.health.state, HEALTH_UNHEALTHY);
    assert_string_equal(s.health.message, "no session after 7 tries: newest");
    status_fini(&s);
}

static void only_sessions_that_carry_count_for_age_and_rtt(void **state)
{
    (void)state;
    fake.tunnels[0][0].sessions[0].state.rtt_us = 2000;
    fake.tunnels[0][0].sessions[0].keys_age_us = 70;
    fake.tunnels[1][0].sessions[0].state.rtt_us = 3000;
    fake.tunnels[1][0].sessions[0].keys_age_us = 60;
    struct role_session *retired = fake_session(&fake.tunnels[1][0], SESSION_RETIRED);
    retired->state.rtt_us = 9000;
    retired->keys_age_us = 900;
    retired->state.missed_pongs = 2;
    struct status s = taken(CONFIG_ROLE_DEST);
    assert_int_equal(s.rtt_us, 3000);
    assert_int_equal(s.keys_age_us, 70);
    assert_int_equal(s.facts.pongs_missing, 2);
    assert_int_equal(s.health.state, HEALTH_DEGRADED);
    status_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_role_with_sessions_is_healthy, fake_begin),
        cmocka_unit_test_setup(an_error_leaves_nothing_to_free, fake_begin),
        cmocka_unit_test_setup(a_worker_that_is_silent_is_degraded, fake_begin),
        cmocka_unit_test_setup(a_worker_of_a_source_without_a_session_is_degraded, fake_begin),
        cmocka_unit_test_setup(a_worker_takes_clients_while_one_of_its_tunnels_does, fake_begin),
        cmocka_unit_test_setup(several_carried_tunnels_of_a_worker_count_once, fake_begin),
        cmocka_unit_test_setup(a_draining_worker_makes_it_stopping, fake_begin),
        cmocka_unit_test_setup(an_old_answer_is_none, fake_begin),
        cmocka_unit_test_setup(the_latest_loss_and_the_most_attempts_are_shown, fake_begin),
        cmocka_unit_test_setup(only_sessions_that_carry_count_for_age_and_rtt, fake_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
