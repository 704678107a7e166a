/*
 * The tunnel: its map of streams, the frames that name a stream, and the life of what is shared
 * among streams. Source: docs/PROTOCOL.md, section 7.
 */
#include "tunnel/tunnel.h"

#include <assert.h>
#include <stdlib.h>

#include "tunnel/engine.h"

/*
 * Streams that a peer may hold in the map beyond what the rules leave to it (streams_bound): one
 * that counts otherwise than we do is not worth a session.
 */
#define STREAMS_SLACK 1024

/* What each owner that has waited for memory gets, and must be free before one is told. */
#define GRANT_BYTES ((uint64_t)POOL_BULK_BYTES)

/* An owner that has been told and does not come for so long does not want it any more. */
#define GRANT_US ((uint64_t)100 * 1000)

void tunnel_share_memory(size_t bytes, size_t *pool_limit, struct budget *hold,
                         struct budget *credit)
{
    *pool_limit = bytes;
    *hold = (struct budget){.limit = bytes / 4};
    *credit = (struct budget){.limit = bytes / 16 * 3};
}

struct budget tunnel_exchange_budget(size_t bytes)
{
    size_t part = bytes / KEY_EXCHANGES_PART;

    return (struct budget){.limit = part > ROTATION_OFFER_MAX ? part : ROTATION_OFFER_MAX};
}

enum err tunnel_new(struct tunnel **out, const struct tunnel_options *options)
{
    struct tunnel *t = calloc(1, sizeof(*t));

    *out = NULL;
    if (t == NULL)
        return ERR_NOMEM;
    t->options = *options;
    t->most_streams = options->max_streams;
    t->only.is_only = true;
    t->peer = options->peer != NULL ? options->peer : &t->only;
    if (t->peer->tunnels++ == 0) {
        options->hold->holders++;
        options->credit->holders++;
    }
    credit_init(&t->credit, options->credit, t->peer);
    idmap_init(&t->streams, options->seed);
    list_init(&t->sessions);
    list_init(&t->all);
    list_init(&t->starved);
    t->grant_round = 1;
    list_init(&t->dead);
    idmap_init(&t->flows, options->seed);
    list_init(&t->all_flows);
    schedule_init(&t->flow_schedule);
    list_init(&t->sent_datagrams);
    *out = t;
    return ERR_OK;
}

static void free_dead(struct tunnel *t)
{
    struct list *l;

    while ((l = list_first(&t->dead)) != NULL) {
        struct stream *s = list_entry(l, struct stream, dead);

        list_remove(l);
        chain_fini(&s->out);
        chain_fini(&s->in);
        free(s->target);
        free(s);
    }
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t difference(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static bool is_alone(const struct tunnel *t)
{
    return t->options.hold->holders == 1 && t->peer->tunnels == 1;
}

/* Half of the memory is divided evenly among peers, and what a peer has of it among its tunnels. */
static uint64_t part_of(const struct tunnel *t)
{
    const struct budget *hold = t->options.hold;

    return hold->limit / 2 / hold->holders / t->peer->tunnels;
}

/*
 * What the pool has for those who send, by no more than half of it, and what of that nobody can
 * take from the tunnel. One that is alone has an eighth in any case: what came for owners that do
 * not read may have filled all the rest (credit_may_keep).
 */
static uint64_t pool_left(const struct tunnel *t)
{
    const struct pool *pool = t->options.pool;
    uint64_t in_use = pool_in_use(pool);
    uint64_t left = difference(pool_limit(pool) / 2, in_use);
    uint64_t own = difference(pool_limit(pool) / 8, in_use - t->recv_blocks - t->flow_bytes);

    return is_alone(t) && own > left ? own : left;
}

/*
 * No peer takes more than it leaves: one that acknowledges nothing stops its own streams only. As
 * many peers together, or one tunnel of a peer, could leave next to nothing, each tunnel always has
 * its part as well; one that is alone has no need of it. With the parts of all, hold is passed by
 * half at most. Their blocks may hold little, so three eighths of the pool are not for them, but
 * for what peers have credit for.
 */
uint64_t tunnel_hold_left(const struct tunnel *t)
{
    const struct pool *pool = t->options.pool;
    uint64_t common =
        smaller(difference(budget_left(t->options.hold), t->peer->held), pool_left(t));
    uint64_t own = smaller(difference(part_of(t), t->send_held),
                           difference(pool_limit(pool) / 8 * 5, pool_in_use(pool)));

    return is_alone(t) || common > own ? common : own;
}

/* Where little may be held at all, an eighth of it is much, or half of a tunnel's part. */
uint64_t tunnel_grant_bytes(const struct tunnel *t)
{
    uint64_t much = t->options.hold->limit / 8;

    if (!is_alone(t))
        much = smaller(much, part_of(t) / 2);
    return smaller(much, GRANT_BYTES);
}

/*
 * Tells those that wait for memory, in their order, as many as there is some for. They may come for
 * it later, and until then it is theirs; who wants more then waits behind all others. What one
 * takes is gone twice, where as much has to be left.
 */
static void feed_starved(struct tunnel *t)
{
    uint64_t each = tunnel_grant_bytes(t);
    struct list waiting;
    struct list *l;

    list_init(&waiting);
    list_join(&waiting, &t->starved);
    while (tunnel_hold_left(t) >= (2 * t->granted + 1) * each && (l = list_first(&waiting)) != NULL)
        stream_grant(list_entry(l, struct stream, starved));
    /* Who has come already and found no more is on t->starved by now. */
    list_join(&waiting, &t->starved);
    list_join(&t->starved, &waiting);
}

void tunnel_expire_grants(struct tunnel *t)
{
    if (t->granted == 0 || session_now(t) < t->granted_at + GRANT_US)
        return;
    t->grant_round++;
    t->granted = 0;
}

void tunnel_enter(struct tunnel *t)
{
    t->in_events++;
}

/*
 * Owners are told of memory here and nowhere else: not in the middle of what gave it back, least of
 * all while a record is made of bytes that an owner might drop.
 */
void tunnel_leave(struct tunnel *t)
{
    assert(t->in_events > 0);
    if (t->in_events == 1 && !list_is_empty(&t->starved))
        feed_starved(t);
    t->in_events--;
    if (t->in_events == 0)
        free_dead(t);
}

/* What a tunnel that is being freed tells: nothing. */
static void silent_open(struct tunnel_owner *owner, struct stream *stream,
                        const struct stream_target *target)
{
    (void)owner;
    (void)stream;
    (void)target;
}

static void silent(struct stream_owner *owner, struct stream *stream)
{
    (void)owner;
    (void)stream;
}

static size_t silent_data(struct stream_owner *owner, struct stream *stream, const uint8_t *data,
                          size_t len)
{
    (void)owner;
    (void)stream;
    (void)data;
    (void)len;
    return 0;
}

static void silent_reset(struct stream_owner *owner, struct stream *stream, enum wire_code code)
{
    (void)owner;
    (void)stream;
    (void)code;
}

static void silent_flow(struct flow_owner *owner, enum wire_code code)
{
    (void)owner;
    (void)code;
}

static const struct tunnel_events silent_events = {
    .on_open = silent_open,
    .on_accept = silent,
    .on_data = silent_data,
    .on_finish = silent,
    .on_reset = silent_reset,
    .on_writable = silent,
    .on_sent = silent,
    .on_flow_closed = silent_flow,
};

static struct stream *stream_at(struct list *l)
{
    return list_entry(l, struct stream, all);
}

void tunnel_set_bounds(struct tunnel *t, const struct tunnel_bounds *bounds)
{
    struct tunnel_options *o = &t->options;

    o->max_streams = bounds->max_streams;
    if (o->max_streams > t->most_streams)
        t->most_streams = o->max_streams;
    o->max_flows = bounds->max_flows;
    o->window_max = bounds->window_max;
    o->output_max = bounds->output_max;
    o->heartbeat = bounds->heartbeat;
    o->key_lifetime_us = bounds->key_lifetime_us;
    o->key_margin_us = bounds->key_margin_us;
}

void tunnel_free(struct tunnel *t)
{
    struct list *l;

    if (t == NULL)
        return;
    assert(t->in_events == 0);
    t->options.events = &silent_events;
    while ((l = list_first(&t->sessions)) != NULL)
        session_close(session_of_link(l));
    while ((l = list_first(&t->all)) != NULL) {
        struct stream *s = stream_at(l);

        tunnel_enter(t); /* s lives until the leave */
        stream_on_lost(s);
        if (!s->is_released)
            stream_release(s);
        tunnel_leave(t);
    }
    flow_lose_all(t);
    assert(t->send_held == 0 && t->recv_held == 0 && t->flow_bytes == 0);
    assert(t->recv_blocks == 0 && t->credit.given == 0 && t->granted == 0);
    idmap_fini(&t->streams);
    flow_forget_closes(t);
    idmap_fini(&t->flows);
    if (--t->peer->tunnels == 0) {
        t->options.hold->holders--;
        t->options.credit->holders--;
    }
    free(t);
}

void tunnel_detach_streams(struct tunnel *t)
{
    for (struct list *l = t->all.next; l != &t->all; l = l->next)
        session_detach(stream_at(l));
}

void tunnel_lose_streams(struct tunnel *t)
{
    struct list visited;
    struct list *l;

    tunnel_enter(t);
    list_init(&visited);
    while ((l = list_first(&t->all)) != NULL) {
        list_remove(l);
        list_append(&visited, l);
        stream_on_lost(stream_at(l));
    }
    list_join(&t->all, &visited);
    flow_lose_all(t);
    tunnel_leave(t);
}

/* -- streams by frame -- */

/*
 * A peer that keeps to what it was told last has so many streams at most, refused ones among them;
 * and of those that it has let go of, so many may still have an owner here. max_streams may have
 * become less meanwhile: streams that are open stay, and OPENs are on their way, also again after
 * each resume, so a bound that went down with it would end every session from then on.
 */
static size_t streams_bound(const struct tunnel *t)
{
    return (size_t)t->most_streams * 2 + STREAMS_SLACK;
}

static enum err on_open(struct tunnel *t, const struct frame *f)
{
    struct stream *s;
    enum err e;

    if (t->options.role != TUNNEL_DEST)
        return ERR_UNEXPECTED;
    if (f->open.id < t->next_id || f->open.id == WIRE_VARINT_MAX)
        return ERR_STREAM_STATE;
    if (t->streams.count >= streams_bound(t))
        return ERR_LIMIT;
    e = stream_new(&s, t, f->open.id);
    if (e != ERR_OK)
        return e;
    t->next_id = f->open.id + 1;
    t->opened_total++;
    if (f->open.limit > s->send_limit)
        s->send_limit = f->open.limit;
    if (t->streams.count > t->options.max_streams) {
        stream_reset(s, WIRE_LIMIT, STREAM_RESET_NOW);
        stream_release(s);
        return ERR_OK;
    }
    t->options.events->on_open(t->options.owner, s, &f->open.target);
    return ERR_OK;
}

/*
 * The stream that a frame names. NULL with ERR_OK when it has ended for us and the frame was on its
 * way: it is ignored. A stream that was never opened is an error.
 */
static enum err find_stream(const struct tunnel *t, uint64_t id, struct stream **out)
{
    *out = idmap_get(&t->streams, id);
    if (*out == NULL)
        return id >= t->next_id ? ERR_STREAM_STATE : ERR_OK;
    if (((*out)->notices & NOTICE_OPEN) != 0) {
        *out = NULL; /* its OPEN has not been sent yet */
        return ERR_STREAM_STATE;
    }
    return ERR_OK;
}

enum err tunnel_on_frame(struct tunnel *t, const struct frame *f)
{
    struct stream *s;
    enum err e;

    switch (f->type) {
    case FRAME_STREAM_OPEN:
        return on_open(t, f);
    case FRAME_STREAM_ACCEPT:
        if (t->options.role != TUNNEL_SOURCE)
            return ERR_UNEXPECTED;
        e = find_stream(t, f->accept.id, &s);
        return s == NULL ? e : stream_on_accept(s, f);
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
        e = find_stream(t, f->data.id, &s);
        return s == NULL ? e : stream_on_data(s, f);
    case FRAME_STREAM_CREDIT:
        e = find_stream(t, f->credit.id, &s);
        return s == NULL ? e : stream_on_credit(s, f);
    case FRAME_STREAM_RESET:
        e = find_stream(t, f->reset.id, &s);
        return s == NULL ? e : stream_on_reset(s, f);
    case FRAME_FLOW_OPEN:
    case FRAME_FLOW_DATAGRAM:
    case FRAME_FLOW_CLOSE:
        return flow_on_frame(t, f);
    default:
        return ERR_UNKNOWN_FRAME;
    }
}

enum err stream_open(struct stream **out, struct tunnel *t, const struct stream_target *target,
                     struct stream_owner *owner)
{
    struct stream_target *copy;
    struct stream *s;
    enum err e;

    assert(t->options.role == TUNNEL_SOURCE);
    *out = NULL;
    if (!t->has_run)
        return ERR_CLOSED;
    if (t->streams.count >= t->options.max_streams || t->streams.count >= t->peer_max_streams)
        return ERR_LIMIT;
    copy = stream_target_copy(target);
    if (copy == NULL)
        return ERR_NOMEM;
    e = stream_new(&s, t, t->next_id);
    if (e != ERR_OK) {
        free(copy);
        return e;
    }
    s->target = copy;
    s->owner = owner;
    t->next_id++;
    t->opened_total++;
    stream_widen(s);
    session_notify(s, NOTICE_OPEN);
    *out = s;
    return ERR_OK;
}

void tunnel_get_state(const struct tunnel *t, struct tunnel_state *state)
{
    *state = (struct tunnel_state){
        .has_session = t->session != NULL,
        .streams = t->streams.count,
        .flows = t->flows.count,
        .send_held = t->send_held,
        .recv_held = t->recv_held,
        .opened_total = t->opened_total,
        .resent_total = t->resent_total,
    };
}
