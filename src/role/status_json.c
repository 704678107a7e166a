/*
 * The JSON of struct status. Numbers carry their unit in the key; what is not known, or does not
 * apply, is null. Nothing here is secret: names, addresses and counts.
 */
#include "role/status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ops/json_text.h"
#include "ops/sandbox.h"
#include "tunnel/breaker.h"

#define US_PER_MS 1e3
#define US_PER_S  1e6

/* jansson's setters take the value, and refuse a NULL one: its caller sees that in the end. */
static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static void set_text(json_t *object, const char *key, const char *text)
{
    set(object, key, text == NULL || text[0] == 0 ? json_null() : json_text(text));
}

static void set_count(json_t *object, const char *key, uint64_t value)
{
    set(object, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

static void set_flag(json_t *object, const char *key, bool value)
{
    set(object, key, json_boolean(value));
}

/* Durations of 0 are unknown where is_known says so. */
static void set_secs(json_t *object, const char *key, uint64_t us)
{
    set(object, key, json_real((double)us / US_PER_S));
}

static void set_known_ms(json_t *object, const char *key, uint64_t us)
{
    set(object, key, us == 0 ? json_null() : json_real((double)us / US_PER_MS));
}

static void set_time(json_t *object, const char *key, int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm parts;
    char text[40];

    if (seconds == INT64_MAX || gmtime_r(&t, &parts) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        set(object, key, json_null());
    else
        set(object, key, json_string(text));
}

static uint64_t since(uint64_t then, uint64_t now)
{
    return now > then ? now - then : 0;
}

/* The wall clock at that time of the monotonic one; null for never. */
static void set_past(json_t *object, const char *key, const struct status *s, uint64_t then_us)
{
    uint64_t age_s = since(then_us, s->facts.now_us) / 1000000;

    set_time(object, key, then_us == 0 ? INT64_MAX : s->state->taken_at.tv_sec - (int64_t)age_s);
}

static void set_loss(json_t *object, const struct loss_note *loss, uint64_t age_us)
{
    json_t *o;

    if (!loss->is_set) {
        set(object, "last_error", json_null());
        return;
    }
    o = json_object();
    set_text(o, "error", err_name(loss->why));
    set_text(o, "text", loss->text);
    set_secs(o, "age_secs", age_us);
    set(object, "last_error", o);
}

/* -- health -- */

static void add_health(json_t *o, const struct status *s)
{
    const struct health_facts *f = &s->facts;

    set_text(o, "state", health_state_name(s->health.state));
    set_flag(o, "ready", s->health.is_ready);
    set_text(o, "message", s->health.message);
    set_secs(o, "uptime_secs", since(s->subject->started_us, f->now_us));
    set_count(o, "workers", f->workers);
    set_count(o, "workers_answering", f->answering);
    set_count(o, "workers_connected", f->carried);
    set_count(o, "sessions", f->sessions);
    set_known_ms(o, "rtt_ms", s->rtt_us);
    set_count(o, "missed_pongs", f->pongs_missing);
    set_count(o, "attempts", f->attempts);
    set_past(o, "last_success", s, f->last_pong_us);
    set_loss(o, &s->loss, s->loss_age_us);
}

static void add_head(json_t *o, const struct status *s)
{
    set_text(o, "role", s->subject->source != NULL ? "source" : "dest");
    set_text(o, "version", UTUN_VERSION);
}

json_t *status_health_json(const struct status *s)
{
    json_t *o = json_object();

    add_head(o, s);
    add_health(o, s);
    return o;
}

/* -- sessions -- */

/* Null where the peer has shown none. */
static json_t *cert_json(const struct status *s, const struct session_cert *cert)
{
    json_t *o = json_object();
    bool is_known = cert->expires_at != INT64_MAX;

    if (!cert->is_shown) {
        json_decref(o);
        return json_null();
    }
    set_text(o, "fingerprint", cert->fingerprint);
    set_text(o, "serial", cert->serial);
    set_text(o, "issuer", cert->issuer);
    set_time(o, "expires_at", cert->expires_at);
    set(o, "expires_in_secs",
        is_known ? json_integer(cert->expires_at - s->state->taken_at.tv_sec) : json_null());
    return o;
}

static json_t *session_json(const struct status *s, const struct role_session *session)
{
    json_t *o = json_object();

    set_count(o, "number", session->state.number);
    set_text(o, "phase", session_phase_name(session->state.phase));
    set_text(o, "peer", session->view.peer);
    set_text(o, "address", session->view.address);
    set(o, "certificate", cert_json(s, &session->view.cert));
    set_text(o, "kem_mode", session->view.kem_mode);
    set_text(o, "group", session->view.group);
    set_text(o, "signature", session->view.signature);
    set_text(o, "cipher", SESSION_CIPHER);
    set_secs(o, "age_secs", session->age_us);
    set_secs(o, "idle_secs", session->idle_us);
    set_count(o, "generation", session->state.generation);
    set_secs(o, "keys_age_secs", session->keys_age_us);
    set_known_ms(o, "handshake_ms", session->view.handshake_us);
    set_count(o, "handshake_bytes", session->view.handshake_bytes);
    set_known_ms(o, "rtt_ms", session->state.rtt_us);
    set_known_ms(o, "rtt_min_ms", session->state.rtt_min_us);
    set_count(o, "missed_pongs", session->state.missed_pongs);
    set_count(o, "bytes_in", session->traffic.bytes_in);
    set_count(o, "bytes_out", session->traffic.bytes_out);
    return o;
}

static json_t *tunnel_json(const struct status *s, const struct role_tunnel *t)
{
    json_t *o = json_object();
    json_t *sessions = json_array();
    char id[2 * sizeof(t->id) + 1] = "";

    for (size_t i = 0; i < sizeof(t->id); i++)
        snprintf(id + 2 * i, 3, "%02x", t->id[i]);
    set_text(o, "id", id);
    set_text(o, "phase", role_tunnel_phase_name(t->phase));
    set_flag(o, "leaving", t->is_leaving);
    set_secs(o, "age_secs", t->age_us);
    set_secs(o, "waiting_secs", t->waiting_us);
    set_count(o, "streams", t->held.streams);
    set_count(o, "bytes_unacknowledged", t->held.send_held);
    set_count(o, "bytes_undelivered", t->held.recv_held);
    set_count(o, "bytes_resent", t->held.resent_total);
    set_count(o, "sessions_total", t->sessions_total);
    set_count(o, "resumes_total", t->resumes_total);
    set_loss(o, &t->loss, t->loss_age_us);
    for (size_t i = 0; i < t->session_count; i++)
        (void)json_array_append_new(sessions, session_json(s, &t->sessions[i]));
    set(o, "sessions", sessions);
    return o;
}

static json_t *uplink_json(const struct role_uplink *u)
{
    json_t *o = json_object();

    set_text(o, "phase", role_uplink_phase_name(u->phase));
    set_flag(o, "refreshing", u->is_refreshing);
    set_text(o, "breaker", breaker_state_name(u->breaker));
    set_count(o, "attempts", u->attempts);
    set_secs(o, "next_try_in_secs", u->next_try_in_us);
    set_count(o, "dials_total", u->dials_total);
    set_count(o, "failures_total", u->failures_total);
    set_count(o, "losses_total", u->losses_total);
    set_count(o, "refreshes_total", u->refreshes_total);
    set_loss(o, &u->loss, u->loss_age_us);
    return o;
}

static json_t *worker_json(const struct status *s, const struct role_worker *w)
{
    json_t *o = json_object();
    json_t *tunnels = json_array();

    set_flag(o, "answered", w->has_answered);
    set_flag(o, "draining", w->is_draining);
    set(o, "uplink",
        s->subject->source != NULL && w->has_answered ? uplink_json(&w->uplink) : json_null());
    set_count(o, "tunnel_count", w->tunnel_count);
    for (size_t i = 0; i < w->tunnels_shown; i++)
        (void)json_array_append_new(tunnels, tunnel_json(s, &w->tunnels[i]));
    set(o, "tunnels", tunnels);
    return o;
}

/* -- services -- */

/* A target's state is what the last connection to it said; many hosts together have none. */
static json_t *target_json(const struct status *s, const struct collect_service *service)
{
    uint64_t last = service->connected_at_us > service->failed_at_us ? service->connected_at_us
                                                                     : service->failed_at_us;
    bool is_down = service->failed_at_us > service->connected_at_us;
    json_t *o = json_object();

    set_text(o, "host", service->target_host);
    set(o, "port", service->target_port == 0 ? json_null() : json_integer(service->target_port));
    set_text(o, "state", last == 0 || service->is_hosts ? "unknown" : is_down ? "down" : "up");
    set_text(o, "error", is_down && !service->is_hosts ? err_name(service->failure) : NULL);
    set(o, "age_secs",
        last == 0 ? json_null() : json_real((double)since(last, s->facts.now_us) / US_PER_S));
    return o;
}

static const char *protocol_of(const struct collect_service *service)
{
    if (service->has_streams && service->has_flows)
        return config_protocol_name(CONFIG_BOTH);
    return config_protocol_name(service->has_flows ? CONFIG_UDP : CONFIG_TCP);
}

/* By reason, those that there were. */
static void set_dropped(json_t *object, const struct collect_flows *flows)
{
    json_t *o = json_object();
    uint64_t sum = 0;
    const char *reason;
    uint64_t count;

    for (size_t i = 0; collect_get_drop(flows, i, &reason, &count); i++) {
        if (count > 0)
            set_count(o, reason, count);
        sum += count;
    }
    set_count(object, "datagrams_dropped", sum);
    set(object, "dropped", o);
}

static json_t *service_json(const struct status *s, const struct collect_service *service)
{
    json_t *o = json_object();
    json_t *ended = json_object();
    const struct collect_flows *flows = &service->flows;
    bool is_client = service->target_host == NULL;
    uint64_t errors = flows->flows_refused;

    for (size_t i = 0; i < ERR_COUNT; i++) {
        if (service->ended[i] > 0)
            set_count(ended, err_name((enum err)i), service->ended[i]);
        /* A reset is how programs end a connection in a hurry: no error of the tunnel's. */
        if (i != ERR_OK && i != ERR_RESET)
            errors += service->ended[i];
    }
    set_text(o, "name", service->label);
    set_text(o, "protocol", protocol_of(service));
    set_count(o, "port", service->port);
    if (service->target_host != NULL)
        set(o, "target", target_json(s, service));
    else if (service->path[0] != 0)
        set_text(o, "listening_path", service->path);
    else
        set_count(o, "listening_port", service->listening);
    set_count(o, "streams", service->active);
    set_count(o, "streams_total", service->opened);
    set_count(o, "flows", flows->flows_active);
    set_count(o, "flows_total", flows->flows_opened);
    set(o, "limit", service->limit > 0 ? json_integer(service->limit) : json_null());
    set_count(o, "bytes_to_target",
              service->bytes_to_target +
                  (is_client ? flows->datagram_bytes_from_local : flows->datagram_bytes_to_local));
    set_count(o, "bytes_to_client",
              service->bytes_to_client +
                  (is_client ? flows->datagram_bytes_to_local : flows->datagram_bytes_from_local));
    set_count(o, "datagrams_to_target",
              is_client ? flows->datagrams_from_local : flows->datagrams_to_local);
    set_count(o, "datagrams_to_client",
              is_client ? flows->datagrams_to_local : flows->datagrams_from_local);
    set_dropped(o, flows);
    set_count(o, "errors", errors);
    set(o, "ended", ended);
    return o;
}

static json_t *services_json(const struct status *s)
{
    struct collect_service service;
    json_t *list = json_array();

    for (size_t i = 0;
         s->subject->source != NULL ? source_get_service(s->subject->source, i, &service)
                                    : dest_get_service(s->subject->dest, i, &service);
         i++)
        (void)json_array_append_new(list, service_json(s, &service));
    return list;
}

/* -- all of it -- */

/* An array of what is written with commas between. */
static json_t *list_json(const char *text)
{
    json_t *list = json_array();

    while (text[0] != 0) {
        size_t len = strcspn(text, ",");

        (void)json_array_append_new(list, json_stringn(text, len));
        text += len + strspn(text + len, ", ");
    }
    return list;
}

static json_t *reload_json(const struct reload_note *note)
{
    json_t *o = json_object();
    json_t *last = note->at == 0 ? json_null() : json_object();
    uint64_t failed = 0;

    for (size_t i = 0; i < ERR_COUNT; i++)
        failed += i == ERR_OK ? 0 : note->counts[i];
    set_count(o, "good_total", note->counts[ERR_OK]);
    set_count(o, "failed_total", failed);
    set_time(o, "in_use_since", note->good_at);
    if (note->at != 0) {
        set_time(last, "at", note->at);
        set_text(last, "trigger", reload_trigger_name(note->trigger));
        set_text(last, "result", err_name(note->result));
        set_text(last, "reason", note->reason);
        set(last, "changed", list_json(note->changed));
    }
    set(o, "last", last);
    set(o, "needs_restart", list_json(note->needs_restart));
    return o;
}

static json_t *memory_json(const struct status *s)
{
    json_t *o = json_object();

    set_count(o, "buffers", s->sum.pool_bytes);
    set_count(o, "buffers_limit", s->sum.limits.pool_bytes);
    set_count(o, "unacknowledged", s->sum.hold_bytes);
    set_count(o, "unacknowledged_limit", s->sum.limits.hold_bytes);
    set_count(o, "credit", s->sum.credit_bytes);
    set_count(o, "credit_limit", s->sum.limits.credit_bytes);
    return o;
}

static json_t *expiries_json(const struct status *s)
{
    json_t *o = json_object();

    set_time(o, "own", s->expiries.own);
    set_time(o, "ca", s->expiries.ca);
    set_time(o, "crl", s->expiries.crl);
    return o;
}

/* {"seccomp": {"state": "on", "detail": null}, ...} */
static json_t *security_json(void)
{
    json_t *o = json_object();

    for (int i = 0; i < SANDBOX_PART_COUNT; i++) {
        enum sandbox_part part = (enum sandbox_part)i;
        json_t *one = json_object();

        set_text(one, "state", sandbox_state_name(sandbox_state(part)));
        set_text(one, "detail", sandbox_note(part));
        set(o, sandbox_part_name(part), one);
    }
    return o;
}

json_t *status_json(const struct status *s)
{
    json_t *o = json_object();
    json_t *health = json_object();
    json_t *workers = json_array();
    uint64_t refused = 0;

    add_head(o, s);
    set_time(o, "taken_at", s->state->taken_at.tv_sec);
    set(o, "taken_at_ms",
        json_integer((json_int_t)s->state->taken_at.tv_sec * 1000 +
                     s->state->taken_at.tv_nsec / 1000000));
    set_time(o, "started_at", s->subject->started_at);
    set_count(o, "pid", (uint64_t)getpid());
    set_text(o, "config", s->config->path);
    set_text(o, "kem_mode", config_kem_mode_name(s->config->crypto.kem_mode));
    set(o, "reload", reload_json(&s->reload));
    add_health(health, s);
    set(o, "health", health);
    set(o, "services", services_json(s));
    for (size_t i = 0; i < ERR_COUNT; i++)
        refused += s->sum.streams_refused[i];
    set_count(o, "streams", s->sum.streams_active);
    set_count(o, "streams_total", s->sum.streams_opened);
    set_count(o, "flows", s->sum.flows.flows_active);
    set_count(o, "flows_total", s->sum.flows.flows_opened);
    set_dropped(o, &s->sum.flows);
    set_count(o, "streams_refused", refused);
    set_count(o, "streams_paused", s->sum.streams_paused_send + s->sum.streams_paused_receive);
    set_count(o, "clients_waiting", s->sum.clients_waiting);
    set(o, "memory", memory_json(s));
    set(o, "expires_at", expiries_json(s));
    set(o, "security", security_json());
    for (unsigned i = 0; i < s->state->worker_count; i++)
        (void)json_array_append_new(workers, worker_json(s, &s->state->workers[i]));
    set(o, "workers", workers);
    return o;
}
