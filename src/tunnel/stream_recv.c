/*
 * The receive half of a stream: what the peer sends within its credit goes to the owner, or is kept
 * until the owner takes it.
 *
 *   open ──FIN arrives──> size known ──all taken──> finished (on_finish)
 *
 * and from each of them to abandoned. Source: docs/PROTOCOL.md, section 7.
 */
#include "tunnel/engine.h"

#include <assert.h>

static void drop_in(struct stream *s, uint64_t len)
{
    struct tunnel *t = s->tunnel;
    uint64_t before = pool_in_use(t->options.pool);

    chain_drop(&s->in, s->in.start + len);
    t->recv_blocks -= before - pool_in_use(t->options.pool);
    t->recv_held -= len;
    window_take(&s->window, len, &t->credit);
}

static enum err keep(struct stream *s, const uint8_t *data, size_t len)
{
    struct tunnel *t = s->tunnel;
    uint64_t before = pool_in_use(t->options.pool);
    enum err e = ERR_LIMIT;

    if (credit_may_keep(&t->credit, t->options.pool, t->recv_blocks))
        e = chain_append(&s->in, data, len);
    t->recv_blocks += pool_in_use(t->options.pool) - before;
    if (e == ERR_OK)
        t->recv_held += len;
    return e;
}

void stream_recv_abandon(struct stream *s)
{
    s->recv_abandoned = true;
    drop_in(s, chain_held(&s->in));
    window_close(&s->window, &s->tunnel->credit);
}

void stream_recv_end(struct stream *s)
{
    if (!s->recv_abandoned)
        window_end(&s->window, s->in.end, &s->tunnel->credit);
}

void stream_widen(struct stream *s)
{
    const struct tunnel_options *o = &s->tunnel->options;

    window_widen(&s->window,
                 o->window_max < STREAM_WINDOW_START ? o->window_max : STREAM_WINDOW_START,
                 &s->tunnel->credit);
}

/* -- what the owner does -- */

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

void stream_recv_consume(struct stream *s, size_t len)
{
    struct tunnel *t = s->tunnel;

    tunnel_enter(t);
    drop_in(s, len);
    ask_for_more(s);
    finish_receiving(s);
    tunnel_leave(t);
}

void stream_recv_deliver(struct stream *s)
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

/* -- what the peer sends -- */

static void deliver(struct stream *s, const uint8_t *data, size_t len)
{
    size_t taken = 0;

    if (s->is_accepted && chain_held(&s->in) == 0) {
        taken = s->tunnel->options.events->on_data(s->owner, s, data, len);
        assert(taken <= len);
        chain_skip(&s->in, taken);
        window_take(&s->window, taken, &s->tunnel->credit);
    }
    if (taken == len)
        return;
    if (s->recv_abandoned) {
        chain_skip(&s->in, len - taken);
    } else if (keep(s, data + taken, len - taken) != ERR_OK) {
        /* More was promised than there is; or thousands of blocks that each hold little used it up.
         */
        stream_reset(s, WIRE_LIMIT, STREAM_RESET_NOW);
        chain_skip(&s->in, len - taken);
        stream_tell_reset(s, WIRE_LIMIT);
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
    if (f->type == FRAME_STREAM_DATA_FIN) {
        s->fin_received = true;
        stream_recv_end(s);
    }
    finish_receiving(s);
    ask_for_more(s);
    if (!s->reset_sent) /* a peer that gets it will keep nothing to be acknowledged */
        session_notify_lazily(s, NOTICE_CREDIT);
    return ERR_OK;
}

/* -- what the peer is told -- */

uint64_t stream_recv_arrived(const struct stream *s)
{
    return s->in.end + (s->fin_received ? 1 : 0);
}

uint64_t stream_recv_advance(struct stream *s, uint64_t now)
{
    const struct tunnel_options *o = &s->tunnel->options;

    if (!s->fin_received && !s->recv_abandoned)
        window_advance(&s->window, session_rtt_min_us(s->tunnel->session), o->window_max,
                       &s->tunnel->credit, now);
    return s->window.limit;
}
