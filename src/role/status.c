#include "role/status.h"

#include <string.h>

#include "base/clock.h"

/*
 * How old the last answer may be while the endpoint calls itself ready. A dest's own heartbeat
 * (role/dest_tunnel.c) gives a silent source up in half of it.
 */
#define DEST_PONG_AGE_US ((uint64_t)60 * 1000000)
#define PONG_SLACK_US    ((uint64_t)1 * 1000000)

static uint64_t pong_age(const struct status *s)
{
    const struct config_source *c = &s->config->source;

    if (s->subject->source == NULL)
        return DEST_PONG_AGE_US;
    return (c->heartbeat_interval_ms + (uint64_t)c->heartbeat_timeout_ms * c->max_missed_pongs) *
               1000 +
           PONG_SLACK_US;
}

static void note_loss(struct status *s, const struct loss_note *loss, uint64_t age_us)
{
    if (!loss->is_set || (s->loss.is_set && s->loss_age_us <= age_us))
        return;
    s->loss = *loss;
    s->loss_age_us = age_us;
}

static void look_at_sessions(struct status *s, const struct role_tunnel *t)
{
    for (size_t i = 0; i < t->session_count; i++) {
        const struct session_state *session = &t->sessions[i].state;

        s->facts.pongs_missing += session->missed_pongs;
        if (session->phase != SESSION_CURRENT)
            continue;
        if (session->rtt_us > s->rtt_us)
            s->rtt_us = session->rtt_us;
        if (t->sessions[i].keys_age_us > s->keys_age_us)
            s->keys_age_us = t->sessions[i].keys_age_us;
    }
}

static void look_at_worker(struct status *s, const struct role_worker *w)
{
    bool is_carried = false;
    bool is_taking = false; /* new streams */

    if (!w->has_answered)
        return;
    s->facts.answering++;
    if (w->is_draining)
        s->facts.is_stopping = true;
    for (size_t i = 0; i < w->tunnels_shown; i++) {
        const struct role_tunnel *t = &w->tunnels[i];

        if (t->phase == ROLE_TUNNEL_CARRIED) {
            is_carried = true;
            is_taking = is_taking || !t->is_leaving;
        }
        note_loss(s, &t->loss, t->loss_age_us);
        look_at_sessions(s, t);
    }
    s->facts.carried += is_carried ? 1 : 0;
    s->facts.leaving += is_carried && !is_taking ? 1 : 0;
    if (w->uplink.attempts > s->facts.attempts)
        s->facts.attempts = w->uplink.attempts;
    note_loss(s, &w->uplink.loss, w->uplink.loss_age_us);
}

enum err status_take(struct status *out, const struct status_subject *subject)
{
    struct health_facts *f = &out->facts;
    enum err e;

    *out = (struct status){.subject = subject};
    if (subject->source != NULL) {
        e = source_state(subject->source, STATUS_PATIENCE_MS, &out->state);
        source_sum(subject->source, &out->sum);
        source_get_expiries(subject->source, &out->expiries);
    } else {
        e = dest_state(subject->dest, STATUS_PATIENCE_MS, &out->state);
        dest_sum(subject->dest, &out->sum);
        dest_get_expiries(subject->dest, &out->expiries);
    }
    if (e != ERR_OK)
        return e;
    out->config =
        subject->source != NULL ? source_config(subject->source) : dest_config(subject->dest);
    reloader_get_note(subject->reloader, &out->reload);
    f->is_source = subject->source != NULL;
    f->now_us = clock_us();
    f->workers = out->state->worker_count;
    f->sessions = out->sum.sessions_up;
    f->last_up_us = out->sum.last_up_us;
    f->last_pong_us = out->sum.last_pong_us;
    f->pong_age_us = pong_age(out);
    for (unsigned i = 0; i < f->workers; i++)
        look_at_worker(out, &out->state->workers[i]);
    f->last_failure = out->loss.is_set ? out->loss.text : "";
    health_assess(&out->health, f);
    return ERR_OK;
}

void status_fini(struct status *s)
{
    role_state_free(s->state);
    config_free(s->config);
    s->state = NULL;
    s->config = NULL;
}
