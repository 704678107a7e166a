/*
 * The send half of a stream: what its owner commits is kept until the peer has acknowledged it, and
 * goes into records as far as the peer's credit goes.
 *
 *   open ──finish──> finishing ──FIN in a record──> fin sent ──acknowledged──> complete
 *
 * and from each of them to abandoned. Source: docs/PROTOCOL.md, section 7.
 */
#include "tunnel/engine.h"

static void drop_out(struct stream *s, uint64_t offset)
{
    uint64_t n = offset - s->out.start;

    if (n == 0)
        return;
    chain_drop(&s->out, offset);
    s->tunnel->send_held -= n;
    s->tunnel->peer->held -= n;
    budget_give(s->tunnel->options.hold, n);
}

/* Whether it had a grant. */
static bool use_grant(struct stream *s)
{
    if (s->grant != s->tunnel->grant_round)
        return false;
    s->grant = 0;
    s->tunnel->granted--;
    return true;
}

void stream_send_stop_waiting(struct stream *s)
{
    s->wants_room = false;
    (void)use_grant(s);
    list_remove(&s->starved);
}

void stream_send_abandon(struct stream *s)
{
    s->send_abandoned = true;
    drop_out(s, s->out.end);
    schedule_remove(&s->turn);
    stream_send_stop_waiting(s);
}

/* -- what the owner does -- */

static bool can_send(const struct stream *s)
{
    return !s->finish && !s->reset_wanted && !s->reset_received && !s->is_lost;
}

/* How much memory the stream may take: what it was granted, or what nobody waits for. */
static uint64_t memory_left(struct stream *s)
{
    const struct tunnel *t = s->tunnel;
    uint64_t left = tunnel_hold_left(t);
    uint64_t each = tunnel_grant_bytes(t);
    uint64_t own = use_grant(s) ? each : 0;
    uint64_t others = t->granted * each;
    uint64_t common = list_is_empty(&t->starved) && left > others ? left - others : 0;

    if (own > left)
        own = left;
    return common > own ? common : own;
}

size_t stream_send_reserve(struct stream *s, size_t want, struct iovec *parts, size_t n,
                           size_t *used)
{
    struct tunnel *t = s->tunnel;
    uint64_t credit = s->send_limit - s->out.end;
    uint64_t left;
    size_t room;

    *used = 0;
    if (!can_send(s))
        return 0;
    if (want > credit)
        want = (size_t)credit;
    left = memory_left(s);
    if (want > left)
        want = (size_t)left;
    room = want == 0 ? 0 : chain_reserve(&s->out, want, parts, n, used);
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
    s->tunnel->peer->held += len;
    budget_force(s->tunnel->options.hold, len);
    session_schedule(s);
}

void stream_send_finish(struct stream *s)
{
    if (!can_send(s))
        return;
    s->finish = true;
    stream_send_stop_waiting(s);
    session_schedule(s);
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
    stream_push_reset(s);
}

/* -- what the peer sends -- */

static bool is_to_be_told(const struct stream *s)
{
    return s->wants_room && !s->send_abandoned && s->send_limit > s->out.end;
}

static void tell_writable(struct stream *s)
{
    s->wants_room = false;
    s->tunnel->options.events->on_writable(s->owner, s);
}

void stream_grant(struct stream *s)
{
    struct tunnel *t = s->tunnel;

    list_remove(&s->starved);
    if (!is_to_be_told(s))
        return;
    s->grant = t->grant_round;
    t->granted++;
    t->granted_at = session_now(t);
    tell_writable(s);
}

void stream_send_raise_limit(struct stream *s, uint64_t limit)
{
    if (limit > s->send_limit)
        s->send_limit = limit;
    /* Who waits for memory has its turn with the others, not with each frame of the peer. */
    if (!list_is_linked(&s->starved) && is_to_be_told(s))
        tell_writable(s);
}

void stream_send_complete(struct stream *s)
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
        stream_send_complete(s);
    } else if (acked > s->out.start && acked <= s->out.end) {
        drop_out(s, acked);
    }
    stream_send_raise_limit(s, f->credit.limit);
    stream_reap(s);
    return ERR_OK;
}

/* -- from one session to the next -- */

void stream_send_rewind(struct stream *s, uint64_t offset)
{
    if (offset > s->out.start)
        drop_out(s, offset);
    if (s->sent > offset)
        s->tunnel->resent_total += s->sent - offset;
    s->sent = offset;
    s->fin_sent = false;
}
