/*
 * A source and a dest that are nothing but what they say when they are asked. What the test sets in
 * `fake` is what status.c hears; the real roles are not linked.
 */
#ifndef UTUN_TESTS_UNIT_FAKE_ROLES_H
#define UTUN_TESTS_UNIT_FAKE_ROLES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "role/status.h"

#define FAKE_WORKERS 2
#define FAKE_S       ((uint64_t)1000000)

struct source {
    char unused;
};

struct dest {
    char unused;
};

static struct fake {
    enum err e;
    struct role_worker workers[FAKE_WORKERS]; /* tunnels: of the next */
    struct role_tunnel tunnels[FAKE_WORKERS][2];
    struct collect_workers sum;
    struct collect_service services[2];
    size_t service_count;
    struct config config;
    struct reload_note reload;
    struct source source;
    struct dest dest;
} fake;

static inline uint64_t fake_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * FAKE_S + (uint64_t)t.tv_nsec / 1000;
}

static inline enum err fake_state(struct role_state **out)
{
    struct role_state *state = calloc(1, sizeof(*state));

    *out = NULL;
    if (fake.e != ERR_OK) {
        free(state);
        return fake.e;
    }
    assert_non_null(state);
    state->taken_at.tv_sec = 1795305600; /* 2026-11-22T00:00:00Z */
    state->taken_at.tv_nsec = 250000000;
    state->worker_count = FAKE_WORKERS;
    state->workers = calloc(FAKE_WORKERS, sizeof(*state->workers));
    assert_non_null(state->workers);
    for (unsigned i = 0; i < FAKE_WORKERS; i++) {
        size_t size = fake.workers[i].tunnels_shown * sizeof(struct role_tunnel);

        state->workers[i] = fake.workers[i];
        state->workers[i].tunnels = size > 0 ? malloc(size) : NULL;
        if (size > 0)
            memcpy(state->workers[i].tunnels, fake.tunnels[i], size);
    }
    *out = state;
    return ERR_OK;
}

enum err source_state(struct source *s, uint32_t timeout_ms, struct role_state **out)
{
    assert_ptr_equal(s, &fake.source);
    assert_int_equal(timeout_ms, STATUS_PATIENCE_MS);
    return fake_state(out);
}

enum err dest_state(struct dest *d, uint32_t timeout_ms, struct role_state **out)
{
    assert_ptr_equal(d, &fake.dest);
    assert_int_equal(timeout_ms, STATUS_PATIENCE_MS);
    return fake_state(out);
}

void source_sum(struct source *s, struct collect_workers *sum)
{
    (void)s;
    *sum = fake.sum;
}

void dest_sum(struct dest *d, struct collect_workers *sum)
{
    (void)d;
    *sum = fake.sum;
}

static inline void fake_expiries(struct identity_expiries *out)
{
    *out = (struct identity_expiries){.own = 1795305600, .ca = 1795392000, .crl = INT64_MAX};
}

void source_get_expiries(struct source *s, struct identity_expiries *out)
{
    (void)s;
    fake_expiries(out);
}

void dest_get_expiries(struct dest *d, struct identity_expiries *out)
{
    (void)d;
    fake_expiries(out);
}

static inline bool fake_service(size_t index, struct collect_service *out)
{
    if (index >= fake.service_count)
        return false;
    *out = fake.services[index];
    return true;
}

bool source_get_service(struct source *s, size_t index, struct collect_service *out)
{
    (void)s;
    return fake_service(index, out);
}

bool dest_get_service(struct dest *d, size_t index, struct collect_service *out)
{
    (void)d;
    return fake_service(index, out);
}

const struct config *source_config(struct source *s)
{
    (void)s;
    return config_share(&fake.config);
}

const struct config *dest_config(struct dest *d)
{
    (void)d;
    return config_share(&fake.config);
}

/* Of the reloader, which would bring the real roles with it. */
const char *reload_trigger_name(enum reload_trigger trigger)
{
    return trigger == RELOAD_FILE ? "file" : "signal";
}

void reloader_get_note(struct reloader *r, struct reload_note *out)
{
    (void)r;
    *out = fake.reload;
}

/* -- what tests begin with -- */

static inline struct role_session *fake_session(struct role_tunnel *t, enum session_phase phase)
{
    struct role_session *session = &t->sessions[t->session_count++];

    session->state.phase = phase;
    session->view.kem_mode = "hybrid";
    return session;
}

/* Every worker answers, and has a tunnel that a session carries; an answer has come just now. */
static inline int fake_begin(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.config.path = "/etc/utun/config.toml";
    fake.config.source.heartbeat_interval_ms = 15000;
    fake.config.source.heartbeat_timeout_ms = 5000;
    fake.config.source.max_missed_pongs = 3;
    fake.sum.sessions_up = FAKE_WORKERS;
    fake.sum.last_up_us = fake_now_us();
    fake.sum.last_pong_us = fake_now_us();
    for (unsigned i = 0; i < FAKE_WORKERS; i++) {
        fake.workers[i].has_answered = true;
        fake.workers[i].tunnel_count = 1;
        fake.workers[i].tunnels_shown = 1;
        fake.tunnels[i][0].phase = ROLE_TUNNEL_CARRIED;
        fake_session(&fake.tunnels[i][0], SESSION_CURRENT);
    }
    return 0;
}

static inline struct status_subject fake_subject(enum config_role role)
{
    return (struct status_subject){
        .source = role == CONFIG_ROLE_SOURCE ? &fake.source : NULL,
        .dest = role == CONFIG_ROLE_DEST ? &fake.dest : NULL,
        .started_at = 1795305590,
        .started_us = fake_now_us() - 10 * FAKE_S,
    };
}

#endif
