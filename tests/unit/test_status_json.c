#include "fake_roles.h"

#include <unistd.h>

static json_t *shown(enum config_role role)
{
    struct status_subject subject = fake_subject(role);
    struct status s;
    json_t *json;

    assert_int_equal(status_take(&s, &subject), ERR_OK);
    json = status_json(&s);
    assert_non_null(json);
    status_fini(&s);
    return json;
}

/* The value behind keys and, for arrays, numbers: "workers.0.tunnels". */
static json_t *at(json_t *json, const char *path)
{
    char copy[128];
    char *rest = copy;
    const char *key;

    snprintf(copy, sizeof(copy), "%s", path);
    while ((key = strtok_r(rest, ".", &rest)) != NULL) {
        json = json_is_array(json) ? json_array_get(json, strtoul(key, NULL, 10))
                                   : json_object_get(json, key);
        if (json == NULL)
            fail_msg("no %s in %s", key, path);
    }
    return json;
}

static void assert_text(json_t *json, const char *path, const char *wanted)
{
    assert_true(json_is_string(at(json, path)));
    assert_string_equal(json_string_value(at(json, path)), wanted);
}

static void assert_number(json_t *json, const char *path, double wanted)
{
    double value = json_number_value(at(json, path));

    assert_true(json_is_number(at(json, path)));
    if (value < wanted - 1e-6 || value > wanted + 1e-6)
        fail_msg("%s: %f instead of %f", path, value, wanted);
}

static void assert_nothing(json_t *json, const char *path)
{
    assert_true(json_is_null(at(json, path)));
}

static void the_head_says_who_and_when(void **state)
{
    json_t *json = shown(CONFIG_ROLE_SOURCE);

    (void)state;
    assert_text(json, "role", "source");
    assert_text(json, "version", UTUN_VERSION);
    assert_text(json, "taken_at", "2026-11-22T00:00:00Z");
    assert_number(json, "taken_at_ms", 1795305600250.0);
    assert_text(json, "started_at", "2026-11-21T23:59:50Z");
    assert_number(json, "pid", getpid());
    assert_text(json, "config", "/etc/utun/config.toml");
    assert_text(json, "kem_mode", "hybrid");
    assert_text(json, "health.state", "healthy");
    assert_true(json_is_true(at(json, "health.ready")));
    assert_true(json_number_value(at(json, "health.uptime_secs")) >= 10);
    assert_text(json, "expires_at.own", "2026-11-22T00:00:00Z");
    assert_text(json, "expires_at.ca", "2026-11-23T00:00:00Z");
    assert_nothing(json, "expires_at.crl");
    json_decref(json);
}

static void health_is_the_same_alone(void **state)
{
    struct status_subject subject = fake_subject(CONFIG_ROLE_DEST);
    struct status s;
    json_t *json;

    (void)state;
    assert_int_equal(status_take(&s, &subject), ERR_OK);
    json = status_health_json(&s);
    assert_text(json, "role", "dest");
    assert_text(json, "state", "healthy");
    assert_text(json, "message", "2 sessions");
    assert_number(json, "workers", FAKE_WORKERS);
    assert_number(json, "workers_answering", FAKE_WORKERS);
    assert_number(json, "workers_connected", FAKE_WORKERS);
    assert_nothing(json, "rtt_ms");
    assert_nothing(json, "last_error");
    assert_true(json_is_string(at(json, "last_success")));
    json_decref(json);
    status_fini(&s);
}

static void what_has_never_been_is_null(void **state)
{
    json_t *json;

    (void)state;
    fake.sum.last_pong_us = 0;
    json = shown(CONFIG_ROLE_SOURCE);
    assert_nothing(json, "health.last_success");
    assert_nothing(json, "workers.0.uplink.last_error");
    assert_nothing(json, "workers.0.tunnels.0.sessions.0.rtt_min_ms");
    assert_nothing(json, "workers.0.tunnels.0.sessions.0.peer");
    assert_nothing(json, "workers.0.tunnels.0.sessions.0.certificate");
    json_decref(json);
}

static void a_session_is_shown_with_what_was_agreed(void **state)
{
    struct role_tunnel *t = &fake.tunnels[1][0];
    struct role_session *session = &t->sessions[0];
    json_t *json;

    (void)state;
    memset(t->id, 0xa5, sizeof(t->id));
    t->held.streams = 4;
    t->held.resent_total = 99;
    t->resumes_total = 3;
    t->is_leaving = true;
    t->age_us = 1500000;
    snprintf(session->view.peer, sizeof(session->view.peer), "edge-1");
    snprintf(session->view.group, sizeof(session->view.group), "X25519MLKEM768");
    session->view.cert = (struct session_cert){.is_shown = true, .expires_at = 1795305600 + 86400};
    snprintf(session->view.cert.fingerprint, sizeof(session->view.cert.fingerprint), "a1b2");
    snprintf(session->view.cert.serial, sizeof(session->view.cert.serial), "1A:2B");
    snprintf(session->view.cert.issuer, sizeof(session->view.cert.issuer), "CN=utun CA");
    session->view.handshake_us = 7400;
    session->state.rtt_us = 12345;
    session->state.generation = 6;
    session->traffic.bytes_in = (uint64_t)1 << 40;
    loss_note_set(&t->loss, ERR_RESET, WIRE_NO_ERROR, NULL, 0);
    t->loss_age_us = 2500000;
    json = shown(CONFIG_ROLE_DEST);
    assert_text(json, "workers.1.tunnels.0.phase", "carried");
    assert_true(json_is_true(at(json, "workers.1.tunnels.0.leaving")));
    assert_true(json_is_false(at(json, "workers.0.tunnels.0.leaving")));
    assert_int_equal(json_string_length(at(json, "workers.1.tunnels.0.id")), 2 * sizeof(t->id));
    assert_number(json, "workers.1.tunnels.0.streams", 4);
    assert_number(json, "workers.1.tunnels.0.bytes_resent", 99);
    assert_number(json, "workers.1.tunnels.0.resumes_total", 3);
    assert_number(json, "workers.1.tunnels.0.age_secs", 1.5);
    assert_text(json, "workers.1.tunnels.0.last_error.error", "reset");
    assert_text(json, "workers.1.tunnels.0.last_error.text", err_text(ERR_RESET));
    assert_number(json, "workers.1.tunnels.0.last_error.age_secs", 2.5);
    assert_text(json, "workers.1.tunnels.0.sessions.0.phase", "current");
    assert_text(json, "workers.1.tunnels.0.sessions.0.peer", "edge-1");
    assert_text(json, "workers.1.tunnels.0.sessions.0.certificate.fingerprint", "a1b2");
    assert_text(json, "workers.1.tunnels.0.sessions.0.certificate.serial", "1A:2B");
    assert_text(json, "workers.1.tunnels.0.sessions.0.certificate.issuer", "CN=utun CA");
    assert_text(json, "workers.1.tunnels.0.sessions.0.certificate.expires_at",
                "2026-11-23T00:00:00Z");
    assert_number(json, "workers.1.tunnels.0.sessions.0.certificate.expires_in_secs", 86400);
    assert_text(json, "workers.1.tunnels.0.sessions.0.group", "X25519MLKEM768");
    assert_text(json, "workers.1.tunnels.0.sessions.0.cipher", SESSION_CIPHER);
    assert_number(json, "workers.1.tunnels.0.sessions.0.rtt_ms", 12.345);
    assert_number(json, "workers.1.tunnels.0.sessions.0.handshake_ms", 7.4);
    assert_number(json, "workers.1.tunnels.0.sessions.0.generation", 6);
    assert_number(json, "workers.1.tunnels.0.sessions.0.bytes_in", 1099511627776.0);
    json_decref(json);
}

static void a_certificate_may_be_over_or_without_end(void **state)
{
    struct session_cert *over = &fake.tunnels[0][0].sessions[0].view.cert;
    struct session_cert *endless = &fake.tunnels[1][0].sessions[0].view.cert;
    json_t *json;

    (void)state;
    *over = (struct session_cert){.is_shown = true, .expires_at = 1795305600 - 5};
    *endless = (struct session_cert){.is_shown = true, .expires_at = INT64_MAX};
    json = shown(CONFIG_ROLE_DEST);
    assert_number(json, "workers.0.tunnels.0.sessions.0.certificate.expires_in_secs", -5);
    assert_nothing(json, "workers.0.tunnels.0.sessions.0.certificate.serial");
    assert_nothing(json, "workers.1.tunnels.0.sessions.0.certificate.expires_at");
    assert_nothing(json, "workers.1.tunnels.0.sessions.0.certificate.expires_in_secs");
    json_decref(json);
}

static void only_a_source_has_uplinks(void **state)
{
    json_t *json;

    (void)state;
    fake.workers[0].uplink = (struct role_uplink){
        .phase = ROLE_UPLINK_WAITING, .next_try_in_us = 1500000, .dials_total = 8};
    fake.workers[1] = (struct role_worker){.has_answered = false};
    json = shown(CONFIG_ROLE_SOURCE);
    assert_text(json, "workers.0.uplink.phase", "waiting");
    assert_number(json, "workers.0.uplink.next_try_in_secs", 1.5);
    assert_number(json, "workers.0.uplink.dials_total", 8);
    assert_true(json_is_false(at(json, "workers.1.answered")));
    assert_nothing(json, "workers.1.uplink");
    json_decref(json);
    json = shown(CONFIG_ROLE_DEST);
    assert_nothing(json, "workers.0.uplink");
    json_decref(json);
}

static void a_service_of_a_dest_has_a_target_with_a_state(void **state)
{
    struct collect_service *web = &fake.services[0];
    struct collect_service *dns = &fake.services[1];
    json_t *json;

    (void)state;
    fake.service_count = 2;
    snprintf(web->label, sizeof(web->label), "web");
    web->port = 8080;
    web->target_host = "10.0.0.5";
    web->target_port = 80;
    web->has_streams = true;
    web->limit = 100;
    web->opened = 9;
    web->ended[ERR_OK] = 4;
    web->ended[ERR_RESET] = 2;
    web->ended[ERR_REFUSED] = 3;
    web->connected_at_us = fake_now_us() - 9 * FAKE_S;
    web->failed_at_us = fake_now_us() - 3 * FAKE_S;
    web->failure = ERR_REFUSED;
    snprintf(dns->label, sizeof(dns->label), "dns");
    dns->target_host = "10.0.0.6";
    dns->target_port = 53;
    dns->has_flows = true;
    dns->flows.flows_active = 2;
    dns->flows.flows_refused = 5;
    dns->flows.datagrams_to_local = 30;
    dns->flows.datagram_bytes_to_local = 3000;
    dns->flows.datagram_bytes_from_local = 9000;
    dns->flows.dropped_queue = 1;
    dns->flows.dropped_closed = 2;
    json = shown(CONFIG_ROLE_DEST);
    assert_text(json, "services.0.name", "web");
    assert_text(json, "services.0.protocol", "tcp");
    assert_number(json, "services.0.target.port", 80);
    assert_text(json, "services.0.target.state", "down");
    assert_text(json, "services.0.target.error", "refused");
    assert_number(json, "services.0.limit", 100);
    assert_number(json, "services.0.errors", 3); /* neither an end nor a reset is one */
    assert_number(json, "services.0.ended.reset", 2);
    assert_number(json, "services.0.ended.ok", 4);
    assert_text(json, "services.1.protocol", "udp");
    assert_text(json, "services.1.target.state", "unknown");
    assert_nothing(json, "services.1.target.age_secs");
    assert_nothing(json, "services.1.limit");
    assert_number(json, "services.1.errors", 5);
    assert_number(json, "services.1.flows", 2);
    assert_number(json, "services.1.datagrams_to_target", 30);
    assert_number(json, "services.1.bytes_to_target", 3000);
    assert_number(json, "services.1.bytes_to_client", 9000);
    assert_number(json, "services.1.datagrams_dropped", 3);
    json_decref(json);
    web->connected_at_us = fake_now_us();
    json = shown(CONFIG_ROLE_DEST);
    assert_text(json, "services.0.target.state", "up");
    assert_nothing(json, "services.0.target.error");
    json_decref(json);
}

static void a_service_of_a_source_has_a_listener(void **state)
{
    struct collect_service *both = &fake.services[0];
    struct collect_service *path = &fake.services[1];
    json_t *json;

    (void)state;
    fake.service_count = 2;
    snprintf(both->label, sizeof(both->label), "53");
    both->listening = 53;
    both->has_streams = true;
    both->has_flows = true;
    both->bytes_to_target = 7;
    both->flows.datagram_bytes_from_local = 100;
    snprintf(path->label, sizeof(path->label), "/run/x");
    snprintf(path->path, sizeof(path->path), "/run/x");
    path->has_streams = true;
    json = shown(CONFIG_ROLE_SOURCE);
    assert_text(json, "services.0.protocol", "both");
    assert_number(json, "services.0.listening_port", 53);
    assert_number(json, "services.0.bytes_to_target", 107);
    assert_null(json_object_get(at(json, "services.0"), "target"));
    assert_text(json, "services.1.listening_path", "/run/x");
    json_decref(json);
}

static void many_hosts_together_have_no_state(void **state)
{
    json_t *json;

    (void)state;
    fake.service_count = 1;
    fake.services[0].target_host = "(hosts)";
    fake.services[0].is_hosts = true;
    fake.services[0].has_streams = true;
    fake.services[0].failed_at_us = fake_now_us();
    fake.services[0].failure = ERR_TIMEOUT;
    json = shown(CONFIG_ROLE_DEST);
    assert_nothing(json, "services.0.target.port");
    assert_text(json, "services.0.target.state", "unknown");
    assert_nothing(json, "services.0.target.error");
    json_decref(json);
}

static void counts_are_added_up(void **state)
{
    json_t *json;

    (void)state;
    fake.sum.streams_active = 3;
    fake.sum.streams_refused[ERR_LIMIT] = 4;
    fake.sum.streams_refused[ERR_NO_SERVICE] = 5;
    fake.sum.streams_paused_send = 1;
    fake.sum.streams_paused_receive = 1;
    fake.sum.flows.dropped_memory = 2;
    fake.sum.flows.dropped_unknown = 3;
    fake.sum.pool_bytes = 4096;
    json = shown(CONFIG_ROLE_SOURCE);
    assert_number(json, "streams", 3);
    assert_number(json, "streams_refused", 9);
    assert_number(json, "streams_paused", 2);
    assert_number(json, "datagrams_dropped", 5);
    assert_number(json, "memory.buffers", 4096);
    json_decref(json);
}

static void what_came_of_reloads(void **state)
{
    struct reload_note *note = &fake.reload;
    json_t *json;

    (void)state;
    note->good_at = 1795305590;
    json = shown(CONFIG_ROLE_DEST);
    assert_nothing(json, "reload.last");
    assert_number(json, "reload.good_total", 0);
    assert_text(json, "reload.in_use_since", "2026-11-21T23:59:50Z");
    json_decref(json);
    note->counts[ERR_OK] = 2;
    note->counts[ERR_CONFIG] = 3;
    note->counts[ERR_ADDR_IN_USE] = 1;
    note->at = 1795305600;
    note->trigger = RELOAD_FILE;
    note->result = ERR_CONFIG;
    snprintf(note->reason, sizeof(note->reason), "utun.toml:3:1: error: no such key");
    snprintf(note->needs_restart, sizeof(note->needs_restart), "dest.workers, dest.listen_ip");
    json = shown(CONFIG_ROLE_DEST);
    assert_number(json, "reload.good_total", 2);
    assert_number(json, "reload.failed_total", 4);
    assert_text(json, "reload.last.at", "2026-11-22T00:00:00Z");
    assert_text(json, "reload.last.trigger", "file");
    assert_text(json, "reload.last.result", "config");
    assert_text(json, "reload.last.reason", "utun.toml:3:1: error: no such key");
    assert_int_equal(json_array_size(at(json, "reload.last.changed")), 0);
    assert_text(json, "reload.needs_restart.0", "dest.workers");
    assert_text(json, "reload.needs_restart.1", "dest.listen_ip");
    assert_int_equal(json_array_size(at(json, "reload.needs_restart")), 2);
    json_decref(json);
}

/* jansson refuses what is no UTF-8, and its key would be missing. */
static void a_text_may_be_any_bytes(void **state)
{
    struct reload_note *note = &fake.reload;
    json_t *json;

    (void)state;
    note->at = 1795305600;
    note->result = ERR_CONFIG;
    snprintf(note->reason, sizeof(note->reason), "gr\xfc\xdf.toml:3:1: error: T\xc3\xbcr\xc3");
    json = shown(CONFIG_ROLE_DEST);
    assert_text(json, "reload.last.reason",
                "gr\xef\xbf\xbd\xef\xbf\xbd.toml:3:1: error: T\xc3\xbcr\xef\xbf\xbd");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_head_says_who_and_when, fake_begin),
        cmocka_unit_test_setup(health_is_the_same_alone, fake_begin),
        cmocka_unit_test_setup(what_has_never_been_is_null, fake_begin),
        cmocka_unit_test_setup(a_session_is_shown_with_what_was_agreed, fake_begin),
        cmocka_unit_test_setup(a_certificate_may_be_over_or_without_end, fake_begin),
        cmocka_unit_test_setup(only_a_source_has_uplinks, fake_begin),
        cmocka_unit_test_setup(a_service_of_a_dest_has_a_target_with_a_state, fake_begin),
        cmocka_unit_test_setup(a_service_of_a_source_has_a_listener, fake_begin),
        cmocka_unit_test_setup(many_hosts_together_have_no_state, fake_begin),
        cmocka_unit_test_setup(counts_are_added_up, fake_begin),
        cmocka_unit_test_setup(what_came_of_reloads, fake_begin),
        cmocka_unit_test_setup(a_text_may_be_any_bytes, fake_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
