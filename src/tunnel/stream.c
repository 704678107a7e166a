/*
 * One stream: two halves, each a small state machine, and the reset that ends both.
 *
 *   send half    open ──finish──> finishing ──FIN in a record──> fin sent ──acknowledged──> done
 *   receive half open ──FIN arrives──> size known ──all taken──> finished (on_finish)
 *   reset        wanted ──committed data gone──> sent ──the peer's RESET──> done
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
    window_init(&s->window, STREAM_WINDOW_INITIAL, t->options.credit, session_now(t));
    s->send_limit = t->send_window;
    *out = s;
    return ERR_OK;
}

/* -- bookkeeping of held bytes -- */

static void drop_out(struct stream *s, uint64_t offset)
{
    uint64_t n = offset - s->out.start;

    if (n == 0)
        return;
    chain_drop(&s->out, offset);
    s->tunnel->send_held -= n;
    budget_give(s->tunnel->options.hold, n);
}

static void drop_in(struct stream *s, uint64_t len)
{
    chain_drop(&s->in, s->in.start + len);
    s->tunnel->recv_held -= len;
    window_take(&s->window, len, s->tunnel->options.credit);
}

/* Nothing more will be committed. */
static void stop_waiting(struct stream *s)
{
    s->wants_room = false;
    list_remove(&s->starved);
}

/* Nothing more will be sent: neither what is kept for repetition nor what was still to come. */
static void abandon_send(struct stream *s)
{
    s->send_abandoned = true;
    drop_out(s, s->out.end);
    schedule_remove(&s->turn);
    stop_waiting(s);
}

/* Nothing more will be taken. */
static void abandon_recv(struct stream *s)
{
    s->recv_abandoned = true;
    drop_in(s, chain_held(&s->in));
    window_close(&s->window, s->tunnel->options.credit);
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
    abandon_send(s);
    abandon_recv(s);
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

static bool can_send(const struct stream *s)
{
    return !s->finish && !s->reset_wanted && !s->reset_received && !s->is_lost;
}

size_t stream_send_reserve(struct stream *s, size_t want, struct iovec *parts, size_t n,
                           size_t *used)
{
    struct tunnel *t = s->tunnel;
    uint64_t credit = s->send_limit - s->out.end;
    uint64_t left = tunnel_hold_left(t);
    size_t room;

    *used = 0;
    if (!can_send(s))
        return 0;
    if (want > credit)
        want = (size_t)credit;
    if (want > left)
        want = (size_t)left;
    room = want == 0 || !tunnel_is_turn(t) ? 0 : chain_reserve(&s->out, want, parts, n, used);
    if (room > 0)
        return room;
    s->wants_room = true;
    if (credit > 0 && !list_is_linked(&s->starved))
        list_append(&t->starved, &s->starved);
    return 0;
}

void stream_send_commit(struct stream *s, size_t len)
{
    chain_commit(&s->out, len);
    if (len == 0)
        return;
    s->tunnel->send_held += len;
    budget_force(s->tunnel->options.hold, len);
    session_schedule(s);
}

void stream_send_finish(struct stream *s)
{
    if (!can_send(s))
        return;
    s->finish = true;
    stop_waiting(s);
    session_schedule(s);
}

size_t stream_recv_view(struct stream *s, struct iovec *parts, size_t n, size_t *viewed)
{
    return chain_view(&s->in, s->in.start, (size_t)chain_held(&s->in), parts, n, viewed);
}

/* All data is taken and the FIN is there: tell the owner, once. */
static void finish_receiving(struct stream *s)
{
    if (!s->fin_received || s->finish_told || s->recv_abandoned || !s->is_accepted ||
        chain_held(&s->in) > 0)
        return;
    s->finish_told = true;
    s->tunnel->options.events->on_finish(s->owner, s);
}

static void ask_for_more(struct stream *s)
{
    if (!s->fin_received && !s->reset_received && window_is_due(&s->window))
        session_notify(s, NOTICE_CREDIT);
}

/* Everything of both directions has arrived where it should: a reset would say nothing. */
static bool is_complete(const struct stream *s)
{
    return s->fin_acked && s->fin_received;
}

void stream_recv_consume(struct stream *s, size_t len)
{
    struct tunnel *t = s->tunnel;

    tunnel_enter(t);
    drop_in(s, len);
    ask_for_more(s);
    finish_receiving(s);
    tunnel_leave(t);
}

/* Hands to the owner what has been kept, as far as it takes it. */
static void deliver_kept(struct stream *s)
{
    while (chain_held(&s->in) > 0) {
        struct iovec part;
        size_t viewed;
        size_t taken;

        chain_view(&s->in, s->in.start, (size_t)chain_held(&s->in), &part, 1, &viewed);
        taken = s->tunnel->options.events->on_data(s->owner, s, part.iov_base, part.iov_len);
        assert(taken <= part.iov_len);
        if (s->recv_abandoned)
            return;
        drop_in(s, taken);
        if (taken < viewed)
            break;
    }
    ask_for_more(s);
    finish_receiving(s);
}

void stream_widen(struct stream *s)
{
    const struct tunnel_options *o = &s->tunnel->options;

    window_widen(&s->window,
                 o->window_max < STREAM_WINDOW_START ? o->window_max : STREAM_WINDOW_START,
                 o->credit);
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
    deliver_kept(s);
    tunnel_leave(t);
}

/* The RESET goes out once nothing is left that must go before it. */
static void push_reset(struct stream *s)
{
    if (s->reset_wanted && !s->reset_sent && !stream_is_sendable(s) && !s->is_lost)
        session_notify(s, NOTICE_RESET);
}

void stream_reset(struct stream *s, enum wire_code code, enum stream_reset_when when)
{
    struct tunnel *t = s->tunnel;

    if (s->is_lost || s->reset_received)
        return;
    tunnel_enter(t);
    if (!s->reset_wanted) {
        s->reset_wanted = true;
        s->reset_code = (uint16_t)code;
        stop_waiting(s);
        abandon_recv(s);
    }
    if (when == STREAM_RESET_NOW && !s->reset_sent)
        abandon_send(s);
    push_reset(s);
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
    stop_waiting(s);
    abandon_recv(s);
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

bool stream_is_sendable(const struct stream *s)
{
    if (s->send_abandoned)
        return false;
    return s->sent < s->out.end || (s->finish && !s->fin_sent);
}

void stream_on_sent(struct stream *s, size_t len, bool fin)
{
    s->sent += len;
    if (fin)
        s->fin_sent = true;
    push_reset(s);
}

/* The FIN counts as one more offset, so that its arrival can be acknowledged. */
static uint64_t arrived(const struct stream *s)
{
    return s->in.end + (s->fin_received ? 1 : 0);
}

/* The limit to announce, put forward as far as it may be. */
static uint64_t advance_limit(struct stream *s, uint64_t now)
{
    const struct tunnel_options *o = &s->tunnel->options;

    if (!s->fin_received && !s->recv_abandoned)
        window_advance(&s->window, session_rtt_min_us(s->tunnel->session), o->window_max, o->credit,
                       now);
    return s->window.limit;
}

void stream_make_frame(struct stream *s, enum notice notice, uint64_t now, struct frame *f)
{
    switch (notice) {
    case NOTICE_OPEN:
        f->type = FRAME_STREAM_OPEN;
        f->open.id = s->id;
        f->open.limit = advance_limit(s, now);
        f->open.target = *s->target;
        break;
    case NOTICE_ACCEPT:
        f->type = FRAME_STREAM_ACCEPT;
        f->accept.id = s->id;
        f->accept.limit = advance_limit(s, now);
        break;
    case NOTICE_CREDIT:
        f->type = FRAME_STREAM_CREDIT;
        f->credit.id = s->id;
        f->credit.limit = advance_limit(s, now);
        f->credit.acked = arrived(s);
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

void stream_tell_writable(struct stream *s)
{
    if (!s->wants_room || s->send_abandoned || s->send_limit == s->out.end)
        return;
    s->wants_room = false;
    list_remove(&s->starved);
    s->tunnel->options.events->on_writable(s->owner, s);
}

static void raise_limit(struct stream *s, uint64_t limit)
{
    if (limit > s->send_limit)
        s->send_limit = limit;
    /* Who waits for memory has its turn with the others, not with each frame of the peer. */
    if (!list_is_linked(&s->starved))
        stream_tell_writable(s);
}

enum err stream_on_accept(struct stream *s, const struct frame *f)
{
    if (s->is_accepted || s->reset_received)
        return ERR_STREAM_STATE;
    s->is_accepted = true;
    free(s->target);
    s->target = NULL;
    if (!s->recv_abandoned)
        s->tunnel->options.events->on_accept(s->owner, s);
    raise_limit(s, f->accept.limit);
    if (!s->recv_abandoned)
        deliver_kept(s);
    return ERR_OK;
}

static void tell_reset(struct stream *s, enum wire_code code)
{
    if (s->is_released || s->reset_told)
        return;
    s->reset_told = true;
    s->tunnel->options.events->on_reset(s->owner, s, code);
}

static void deliver(struct stream *s, const uint8_t *data, size_t len)
{
    size_t taken = 0;

    if (s->is_accepted && chain_held(&s->in) == 0) {
        taken = s->tunnel->options.events->on_data(s->owner, s, data, len);
        assert(taken <= len);
        chain_skip(&s->in, taken);
        window_take(&s->window, taken, s->tunnel->options.credit);
    }
    if (taken == len)
        return;
    if (s->recv_abandoned) {
        chain_skip(&s->in, len - taken);
    } else if (chain_append(&s->in, data + taken, len - taken) == ERR_OK) {
        s->tunnel->recv_held += len - taken;
    } else {
        /* The credit was reserved, but thousands of blocks that each hold little used it up. */
        stream_reset(s, WIRE_LIMIT, STREAM_RESET_NOW);
        chain_skip(&s->in, len - taken);
        tell_reset(s, WIRE_LIMIT);
    }
}

enum err stream_on_data(struct stream *s, const struct frame *f)
{
    uint64_t end = f->data.offset + f->data.len;

    if (s->fin_received || s->reset_received)
        return ERR_STREAM_STATE;
    if (f->data.offset != s->in.end)
        return ERR_STREAM_STATE;
    if (s->recv_abandoned) {
        /* Nobody wants it any more; the RESET that says so may still be on its way. */
        chain_skip(&s->in, f->data.len);
    } else {
        if (end > s->window.limit)
            return ERR_FLOW_CONTROL;
        if (f->data.len > 0)
            deliver(s, f->data.data, f->data.len);
    }
    if (f->type == FRAME_STREAM_DATA_FIN)
        s->fin_received = true;
    finish_receiving(s);
    ask_for_more(s);
    if (!s->reset_sent) /* a peer that gets it will keep nothing to be acknowledged */
        session_notify_lazily(s, NOTICE_CREDIT);
    return ERR_OK;
}

/* The peer has everything, our FIN too. */
static void finish_sending(struct stream *s)
{
    s->fin_sent = true;
    s->fin_acked = true;
    s->sent = s->out.end;
    drop_out(s, s->out.end);
    if (!s->is_released && !s->reset_wanted)
        s->tunnel->options.events->on_sent(s->owner, s);
}

enum err stream_on_credit(struct stream *s, const struct frame *f)
{
    uint64_t acked = f->credit.acked;

    if (acked > s->sent + (s->fin_sent ? 1 : 0))
        return ERR_FLOW_CONTROL;
    if (s->reset_received)
        return ERR_OK;
    if (s->fin_sent && acked == s->out.end + 1 && !s->fin_acked) {
        finish_sending(s);
    } else if (acked > s->out.start && acked <= s->out.end) {
        drop_out(s, acked);
    }
    raise_limit(s, f->credit.limit);
    stream_reap(s);
    return ERR_OK;
}

enum err stream_on_reset(struct stream *s, const struct frame *f)
{
    if (s->reset_received)
        return ERR_STREAM_STATE;
    if (f->reset.final_size != s->in.end)
        return ERR_STREAM_STATE;
    s->reset_received = true;
    abandon_send(s);
    if (!s->reset_wanted)
        tell_reset(s, (enum wire_code)f->reset.code);
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
    abandon_send(s);
    if (!is_complete(s) && !s->reset_wanted)
        tell_reset(s, WIRE_SESSION_LOST);
    stream_reap(s);
}

/* -- from one session to the next -- */

struct resume_entry stream_make_resume_entry(struct stream *s)
{
    s->acked = arrived(s);
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

/* Sending goes on from offset. */
static void rewind_to(struct stream *s, uint64_t offset)
{
    if (offset > s->out.start)
        drop_out(s, offset);
    if (s->sent > offset)
        s->tunnel->resent_total += s->sent - offset;
    s->sent = offset;
    s->fin_sent = false;
}

enum err stream_on_resume(struct stream *s, const struct resume_entry *e)
{
    if (e->received > s->sent + (s->fin_sent ? 1 : 0) ||
        (e->received < s->out.start && !s->send_abandoned))
        return ERR_RESUME;
    if (s->fin_acked || (s->fin_sent && e->received > s->out.end))
        finish_sending(s);
    else
        rewind_to(s, e->received);
    if (e->has_reset && s->reset_wanted)
        s->reset_received = true; /* it counts as the answer */
    else if (!s->reset_received)
        s->reset_sent = false;
    if (s->tunnel->options.role == TUNNEL_DEST && s->is_accepted && !e->is_accepted)
        s->notices |= NOTICE_ACCEPT;
    raise_limit(s, e->limit);
    stream_reap(s);
    return ERR_OK;
}

enum err stream_on_unopened(struct stream *s)
{
    if (s->is_accepted || (s->out.start > 0 && !s->send_abandoned) || s->in.end > 0)
        return ERR_RESUME;
    rewind_to(s, 0);
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
        s->acked = arrived(s);
        if (!s->fin_acked)
            finish_sending(s);
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
    push_reset(s);
}
