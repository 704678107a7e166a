/*
 * One stream: its life, the reset that ends both its halves (stream_send.c, stream_recv.c), its
 * control frames, and how it gets from one session to the next.
 *
 *   wanted ──committed data gone──> sent ──the peer's RESET──> done
 *
 * For the protocol a stream is over when both FINs are acknowledged, or when a RESET has gone both
 * ways; it is freed when its owner has released it, too. Source: docs/PROTOCOL.md, section 7.
 */
#include "tunnel/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum err stream_new(struct stream **out, struct tunnel *t, uint64_t id)
{
    struct stream *s = calloc(1, sizeof(*s));
    enum err e;

    *out = NULL;
    if (s == NULL)
        return ERR_NOMEM;
    e = idmap_put(&t->streams, id, s);
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    s->tunnel = t;
    s->id = id;
    list_init(&s->all);
    list_append(&t->all, &s->all);
    list_init(&s->dead);
    list_init(&s->starved);
    list_init(&s->notice);
    schedule_item_init(&s->turn);
    chain_init(&s->out, t->options.pool);
    chain_init(&s->in, t->options.pool);
    window_init(&s->window, STREAM_WINDOW_INITIAL, &t->credit, session_now(t));
    s->send_limit = t->send_window;
    *out = s;
    return ERR_OK;
}

/* -- end of life -- */

static bool is_done(const struct stream *s)
{
    bool finished = s->fin_acked && s->fin_received && s->acked > s->in.end;

    /* A RESET that came must have been answered, whatever else is done: its sender waits for it. */
    if (s->reset_received)
        return s->reset_sent || s->is_lost;
    return finished || s->is_lost;
}

/* Two steps: unlinked here, freed when no event can be running that still holds the pointer. */
void stream_reap(struct stream *s)
{
    struct tunnel *t = s->tunnel;

    if (!s->is_released || !is_done(s) || list_is_linked(&s->dead))
        return;
    session_detach(s);
    stream_send_abandon(s);
    stream_recv_abandon(s);
    if (!s->is_lost)
        idmap_remove(&t->streams, s->id);
    list_remove(&s->all);
    list_append(&t->dead, &s->dead);
    tunnel_enter(t);
    tunnel_leave(t);
}

/* -- what the owner does -- */

void stream_set_owner(struct stream *s, struct stream_owner *owner)
{
    s->owner = owner;
}

/* Everything of both directions has arrived where it should: a reset would say nothing. */
static bool is_complete(const struct stream *s)
{
    return s->fin_acked && s->fin_received;
}

void stream_accept(struct stream *s)
{
    struct tunnel *t = s->tunnel;

    if (s->is_accepted || s->recv_abandoned || s->is_lost)
        return;
    tunnel_enter(t);
    s->is_accepted = true;
    if (!s->reset_received) {
        stream_widen(s);
        session_notify(s, NOTICE_ACCEPT);
    }
    stream_recv_deliver(s);
    tunnel_leave(t);
}

void stream_push_reset(struct stream *s)
{
    if (s->reset_wanted && !s->reset_sent && !stream_is_sendable(s) && !s->is_lost)
        session_notify(s, NOTICE_RESET);
}

void stream_reset(struct stream *s, enum wire_code code, enum stream_reset_when when)
{
    struct tunnel *t = s->tunnel;

    tunnel_enter(t);
    if (s->is_lost || s->reset_received) {
        stream_recv_abandon(s); /* there is nothing more to say, but nobody wants what is kept */
        tunnel_leave(t);
        return;
    }
    if (!s->reset_wanted) {
        s->reset_wanted = true;
        s->reset_code = (uint16_t)code;
        stream_send_stop_waiting(s);
        stream_recv_abandon(s);
    }
    if (when == STREAM_RESET_NOW && !s->reset_sent)
        stream_send_abandon(s);
    stream_push_reset(s);
    tunnel_leave(t);
}

void stream_release(struct stream *s)
{
    struct tunnel *t = s->tunnel;
    bool ended = s->finish && s->finish_told;

    tunnel_enter(t);
    if (!ended && !s->reset_received)
        stream_reset(s, WIRE_RESET, s->reset_wanted ? STREAM_RESET_AFTER_DATA : STREAM_RESET_NOW);
    s->is_released = true;
    s->owner = NULL;
    stream_send_stop_waiting(s);
    stream_recv_abandon(s);
    stream_reap(s);
    tunnel_leave(t);
}

void stream_get_state(const struct stream *s, struct stream_state *state)
{
    *state = (struct stream_state){
        .id = s->id,
        .send_finished = s->finish,
        .send_acked = s->fin_acked,
        .recv_finished = s->finish_told,
        .is_reset = s->reset_wanted || s->reset_received || s->is_lost,
        .sent = s->out.end,
        .received = s->in.end,
        .send_held = chain_held(&s->out),
        .recv_held = chain_held(&s->in),
    };
}

/* -- what goes into records -- */

void stream_make_frame(struct stream *s, enum notice notice, uint64_t now, struct frame *f)
{
    switch (notice) {
    case NOTICE_OPEN:
        f->type = FRAME_STREAM_OPEN;
        f->open.id = s->id;
        f->open.limit = stream_recv_advance(s, now);
        f->open.target = *s->target;
        break;
    case NOTICE_ACCEPT:
        f->type = FRAME_STREAM_ACCEPT;
        f->accept.id = s->id;
        f->accept.limit = stream_recv_advance(s, now);
        break;
    case NOTICE_CREDIT:
        f->type = FRAME_STREAM_CREDIT;
        f->credit.id = s->id;
        f->credit.limit = stream_recv_advance(s, now);
        f->credit.acked = stream_recv_arrived(s);
        break;
    case NOTICE_RESET:
        f->type = FRAME_STREAM_RESET;
        f->reset.id = s->id;
        f->reset.code = s->reset_code;
        f->reset.final_size = s->sent;
        break;
    }
}

void stream_on_notice_sent(struct stream *s, const struct frame *f)
{
    switch ((enum frame_type)f->type) {
    case FRAME_STREAM_CREDIT:
        s->acked = f->credit.acked;
        stream_reap(s);
        break;
    case FRAME_STREAM_RESET:
        s->reset_sent = true;
        stream_reap(s);
        break;
    case FRAME_STREAM_OPEN:
    case FRAME_STREAM_ACCEPT:
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_SETTINGS:
    case FRAME_GO_AWAY:
    case FRAME_KEY_SWITCH:
    case FRAME_RESUME:
    case FRAME_FLOW_OPEN:
    case FRAME_FLOW_DATAGRAM:
    case FRAME_FLOW_CLOSE:
    case FRAME_KEY_EXCHANGE:
        break;
    }
}

/* -- what the peer sends -- */

enum err stream_on_accept(struct stream *s, const struct frame *f)
{
    if (s->is_accepted || s->reset_received)
        return ERR_STREAM_STATE;
    s->is_accepted = true;
    free(s->target);
    s->target = NULL;
    if (!s->recv_abandoned)
        s->tunnel->options.events->on_accept(s->owner, s);
    stream_send_raise_limit(s, f->accept.limit);
    if (!s->recv_abandoned)
        stream_recv_deliver(s);
    return ERR_OK;
}

void stream_tell_reset(struct stream *s, enum wire_code code)
{
    if (s->is_released || s->reset_told)
        return;
    s->reset_told = true;
    s->tunnel->options.events->on_reset(s->owner, s, code);
}

enum err stream_on_reset(struct stream *s, const struct frame *f)
{
    if (s->reset_received)
        return ERR_STREAM_STATE;
    if (f->reset.final_size != s->in.end)
        return ERR_STREAM_STATE;
    s->reset_received = true;
    stream_send_abandon(s);
    stream_recv_end(s);
    if (!s->reset_wanted)
        stream_tell_reset(s, (enum wire_code)f->reset.code);
    if (!s->reset_sent) {
        /* A RESET is answered by a RESET: then both sides know that nothing more will come. */
        s->reset_wanted = true;
        session_notify(s, NOTICE_RESET);
    }
    stream_reap(s);
    return ERR_OK;
}

void stream_on_lost(struct stream *s)
{
    if (s->is_lost)
        return;
    session_detach(s);
    s->notices = 0;
    idmap_remove(&s->tunnel->streams, s->id);
    s->is_lost = true;
    stream_send_abandon(s);
    if (!is_complete(s) && !s->reset_wanted)
        stream_tell_reset(s, WIRE_SESSION_LOST);
    stream_reap(s);
}

/* -- from one session to the next -- */

struct resume_entry stream_make_resume_entry(struct stream *s)
{
    s->acked = stream_recv_arrived(s);
    if (s->reset_received) {
        s->reset_sent = true;
        s->notices &= (uint8_t)~NOTICE_RESET;
    }
    return (struct resume_entry){
        .id = s->id,
        .received = s->acked,
        .limit = s->window.limit,
        .is_accepted = s->is_accepted,
        .has_reset = s->reset_received,
    };
}

enum err stream_on_resume(struct stream *s, const struct resume_entry *e)
{
    if (e->received > s->sent + (s->fin_sent ? 1 : 0) ||
        (e->received < s->out.start && !s->send_abandoned) ||
        (s->fin_acked && e->received <= s->out.end))
        return ERR_RESUME;
    if (e->received <= s->out.end)
        stream_send_rewind(s, e->received);
    else if (!s->fin_acked)
        stream_send_complete(s);
    if (e->has_reset && s->reset_wanted)
        s->reset_received = true; /* it counts as the answer */
    else if (!s->reset_received)
        s->reset_sent = false;
    if (s->tunnel->options.role == TUNNEL_DEST && s->is_accepted && !e->is_accepted)
        s->notices |= NOTICE_ACCEPT;
    stream_send_raise_limit(s, e->limit);
    stream_reap(s);
    return ERR_OK;
}

enum err stream_on_unopened(struct stream *s)
{
    bool was_heard_of = s->is_accepted || s->fin_acked || s->fin_received || s->reset_received ||
                        (s->out.start > 0 && !s->send_abandoned) || s->in.end > 0;

    if (was_heard_of)
        return ERR_RESUME;
    stream_send_rewind(s, 0);
    s->reset_sent = false;
    s->notices |= NOTICE_OPEN;
    return ERR_OK;
}

void stream_on_forgotten(struct stream *s)
{
    if (s->reset_wanted) {
        s->reset_sent = true;
        s->reset_received = true;
        stream_reap(s);
    } else if (s->fin_received && s->finish && s->sent == s->out.end) {
        s->acked = stream_recv_arrived(s);
        if (!s->fin_acked)
            stream_send_complete(s);
        stream_reap(s);
    } else {
        stream_on_lost(s);
    }
}

void stream_requeue(struct stream *s)
{
    if (s->is_lost)
        return;
    session_detach(s);
    /* Data that must be sent again goes before a RESET that was about to be sent. */
    s->notices &= (uint8_t)~NOTICE_RESET;
    if (s->reset_received)
        s->notices = 0; /* the answer is all that the peer still waits for */
    if (s->notices != 0)
        session_notify(s, 0);
    session_schedule(s);
    stream_push_reset(s);
}
