#include "owners.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_DEPTH  4
#define STREAM_SLACK 1024 /* PROTOCOL 6.2: streams that are refused and not yet over */

/* -- what owners do -- */

static struct stream_owner *owner_new(struct tunnel_owner *all, struct stream *stream)
{
    for (size_t i = 0; i < OWNERS; i++) {
        struct stream_state state;
        struct stream_owner *o;

        if (all->owners[i] != NULL)
            continue;
        o = calloc(1, sizeof(*o));
        assert(o != NULL);
        o->all = all;
        o->slot = i;
        all->owners[i] = o;
        if (stream == NULL)
            return o;
        o->stream = stream;
        stream_get_state(stream, &state);
        o->id = state.id;
        return o;
    }
    return NULL;
}

static void owner_free(struct stream_owner *o)
{
    o->all->owners[o->slot] = NULL;
    free(o);
}

void owners_release(struct stream_owner *o)
{
    struct stream *stream = o->stream;

    owner_free(o); /* no event may come for it any more, not even from inside */
    stream_release(stream);
}

void owners_release_all(struct tunnel_owner *all)
{
    for (size_t i = 0; i < OWNERS; i++) {
        if (all->owners[i] != NULL)
            owners_release(all->owners[i]);
    }
}

static void check_data(const struct stream_owner *o, const uint8_t *data, size_t len,
                       uint64_t offset)
{
    if (o->all->side.known.is_honest)
        assert(memcmp(data, peer_bytes_of_peer(o->id, offset), len) == 0);
}

static void send_some(struct stream_owner *o, size_t want, size_t commit)
{
    struct iovec parts[4];
    size_t used;
    size_t room;
    size_t done = 0;

    if (want == 0)
        return;
    room = stream_send_reserve(o->stream, want, parts, 4, &used);
    assert(room <= want);
    if (room == 0) {
        o->is_waiting = true;
        return;
    }
    assert(!o->is_finished && !o->is_reset && !o->told_reset);
    if (commit > room)
        commit = room;
    for (size_t i = 0; i < used && done < commit; i++) {
        size_t n = parts[i].iov_len < commit - done ? parts[i].iov_len : commit - done;

        memcpy(parts[i].iov_base, peer_bytes_of_engine(o->id, o->committed + done), n);
        done += n;
    }
    assert(done == commit);
    o->committed += commit;
    stream_send_commit(o->stream, commit);
}

static void take_kept(struct stream_owner *o, size_t most)
{
    struct iovec parts[3];
    struct stream_state state;
    size_t viewed;
    size_t n;
    uint64_t offset = o->taken;

    if (o->in_data)
        return;
    n = stream_recv_view(o->stream, parts, 3, &viewed);
    for (size_t i = 0; i < n; i++) {
        check_data(o, parts[i].iov_base, parts[i].iov_len, offset);
        offset += parts[i].iov_len;
    }
    assert(offset == o->taken + viewed);
    if (most > viewed)
        most = viewed;
    o->taken += most;
    stream_get_state(o->stream, &state);
    o->has_kept = state.recv_held > most;
    if (most > 0)
        stream_recv_consume(o->stream, most); /* o may be gone behind it */
}

static void accept_it(struct stream_owner *o)
{
    if (o->all->role != TUNNEL_DEST || o->is_accepted)
        return;
    o->is_accepted = true;
    o->has_kept = false;
    stream_accept(o->stream);
}

static void reset(struct stream_owner *o, enum wire_code code, enum stream_reset_when when)
{
    o->is_reset = true;
    stream_reset(o->stream, code, when);
}

static void open_one(struct tunnel_owner *all, uint8_t port)
{
    static const struct stream_address client = {.address_len = 4, .address = {192, 0, 2, 1}};
    struct stream_target target = {.port = port, .name = "web", .client = client};
    struct stream_state state;
    struct stream_owner *o;
    enum err e;

    if (all->role != TUNNEL_SOURCE || all->opened == all->max_opened)
        return;
    o = owner_new(all, NULL);
    if (o == NULL)
        return;
    e = stream_open(&o->stream, all->side.tunnel, &target, o);
    assert((e == ERR_OK) == (o->stream != NULL));
    if (e != ERR_OK) {
        assert(e == ERR_LIMIT || e == ERR_CLOSED);
        assert(e != ERR_CLOSED || !all->is_ready);
        owner_free(o);
        return;
    }
    all->opened++;
    stream_get_state(o->stream, &state);
    o->id = state.id;
}

/* A size, small or large: up to 254 KiB. */
size_t owners_read_size(struct wire_reader *in)
{
    uint8_t v = wire_u8(in);
    unsigned shift = (v >> 5) * 2U;

    return (size_t)(v & 0x1f) << (shift < 13 ? shift : 13);
}

void owners_act(struct tunnel_owner *all)
{
    uint8_t op = wire_u8(&all->in) % 10;
    struct stream_owner *o = all->owners[wire_u8(&all->in) % OWNERS];

    if (op == 0) {
        open_one(all, wire_u8(&all->in));
        return;
    }
    if (o == NULL)
        return;
    /* A dest answers before it sends. */
    if (op >= 2 && op <= 4 && all->role == TUNNEL_DEST && !o->is_accepted)
        return;
    switch (op) {
    case 1:
        accept_it(o);
        break;
    case 2:
    case 3: {
        size_t want = owners_read_size(&all->in);

        send_some(o, want, op == 2 ? want : owners_read_size(&all->in));
        break;
    }
    case 4:
        o->is_finished = true;
        o->is_waiting = false;
        stream_send_finish(o->stream);
        break;
    case 5:
        take_kept(o, owners_read_size(&all->in));
        break;
    case 6:
        take_kept(o, SIZE_MAX);
        break;
    case 7:
        reset(o, WIRE_RESET, STREAM_RESET_NOW);
        break;
    case 8:
        reset(o, WIRE_TIMEOUT, STREAM_RESET_AFTER_DATA);
        break;
    default:
        owners_release(o);
        break;
    }
}

/* -- what owners are told -- */

void owners_act_in_event(struct tunnel_owner *all)
{
    if (!all->acts_in_events || all->depth == EVENT_DEPTH || wire_left(&all->in) == 0)
        return;
    all->depth++;
    if (wire_u8(&all->in) % 2 == 1)
        owners_act(all);
    all->depth--;
}

static void on_open(struct tunnel_owner *all, struct stream *stream,
                    const struct stream_target *target)
{
    struct stream_owner *o = owner_new(all, stream);

    assert(all->role == TUNNEL_DEST && all->is_ready);
    assert(strnlen(target->name, sizeof(target->name)) < sizeof(target->name));
    if (o == NULL) {
        stream_reset(stream, WIRE_REFUSED, STREAM_RESET_NOW);
        stream_release(stream);
        return;
    }
    stream_set_owner(stream, o);
    if (all->accepts_at_once)
        accept_it(o);
    owners_act_in_event(all);
}

static void on_accept(struct stream_owner *o, struct stream *stream)
{
    struct tunnel_owner *all = o->all;
    size_t slot = o->slot;

    assert(o->stream == stream && all->role == TUNNEL_SOURCE);
    assert(!o->is_accepted && !o->is_reset && !o->told_reset);
    o->is_accepted = true;
    owners_act_in_event(all);
    if (all->owners[slot] == o) /* it may have released the stream */
        o->has_kept = false;    /* what came before, and was not taken here, is offered now */
}

static size_t on_data(struct stream_owner *o, struct stream *stream, const uint8_t *data,
                      size_t len)
{
    struct tunnel_owner *all = o->all;
    size_t slot = o->slot;
    size_t n = len;

    assert(o->stream == stream && len > 0);
    assert(o->is_accepted && !o->has_kept);
    assert(!o->in_data && !o->is_reset && !o->told_finish);
    check_data(o, data, len, o->taken);
    if (all->acts_in_events && wire_left(&all->in) > 0) {
        uint8_t share = wire_u8(&all->in);

        n = share >= 128 ? len : len * share / 128;
    }
    o->taken += n;
    o->has_kept = n < len;
    o->in_data = true;
    owners_act_in_event(all);
    if (all->owners[slot] == o) /* it may have released the stream */
        o->in_data = false;
    return n;
}

static void on_finish(struct stream_owner *o, struct stream *stream)
{
    struct stream_state state;

    assert(o->stream == stream);
    assert(o->is_accepted && !o->told_finish && !o->is_reset && !o->in_data);
    stream_get_state(stream, &state);
    assert(state.recv_held == 0 && state.recv_finished && state.received == o->taken);
    o->told_finish = true;
    owners_act_in_event(o->all);
}

static void on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    (void)code;
    assert(o->stream == stream);
    /* A stream that ran out of memory may be reset by both sides; the owner hears of it once. */
    assert(!o->told_reset && !o->is_reset);
    o->told_reset = true;
    owners_act_in_event(o->all);
}

static void on_writable(struct stream_owner *o, struct stream *stream)
{
    assert(o->stream == stream);
    assert(o->is_waiting && !o->is_finished && !o->is_reset && !o->told_reset);
    o->is_waiting = false;
    owners_act_in_event(o->all);
}

static void on_sent(struct stream_owner *o, struct stream *stream)
{
    struct stream_state state;

    assert(o->stream == stream);
    assert(o->is_finished && !o->told_sent && !o->is_reset && !o->told_reset);
    stream_get_state(stream, &state);
    assert(state.send_acked && state.send_held == 0 && state.sent == o->committed);
    o->told_sent = true;
    owners_act_in_event(o->all);
}

static void on_go_away(struct tunnel_owner *all, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)session;
    (void)code;
    (void)retry_after_ms;
    (void)text;
    assert(text_len <= GO_AWAY_TEXT_MAX);
    owners_act_in_event(all);
}

static struct tunnel_events events_with(const struct tunnel_events *of_sessions)
{
    struct tunnel_events events = *of_sessions;

    events.on_open = on_open;
    events.on_accept = on_accept;
    events.on_data = on_data;
    events.on_finish = on_finish;
    events.on_reset = on_reset;
    events.on_writable = on_writable;
    events.on_sent = on_sent;
    events.on_go_away = on_go_away;
    return events;
}

/* -- the whole -- */

uint8_t owners_init(struct tunnel_owner *all, const uint8_t *data, size_t size,
                    const struct tunnel_events *of_sessions)
{
    static struct tunnel_events events;
    static const size_t memories[] = {(size_t)512 * 1024, (size_t)2048 * 1024, (size_t)16384 * 1024,
                                      (size_t)65536 * 1024};
    struct tunnel_options options = {
        .window_max = 1024 * 1024,
        .events = &events,
        .owner = all,
    };
    uint8_t how;

    events = events_with(of_sessions);
    wire_reader_init(&all->in, data, size);
    how = wire_u8(&all->in);
    all->role = (how & 1) != 0 ? TUNNEL_DEST : TUNNEL_SOURCE;
    all->acts_in_events = (how & 2) != 0;
    all->accepts_at_once = (how & 4) != 0;
    all->max_streams = (how & 8) != 0 ? 3 : 40;
    options.role = all->role;
    options.max_streams = all->max_streams;
    side_init(&all->side, &options, memories[how >> 4 & 3]);
    return how;
}

void owners_fini(struct tunnel_owner *all)
{
    side_fini(&all->side);
    for (size_t i = 0; i < OWNERS; i++)
        free(all->owners[i]);
}

void owners_check_bounds(const struct tunnel_owner *all)
{
    struct tunnel_state state;
    uint64_t send_held = 0;
    uint64_t recv_held = 0;

    tunnel_get_state(all->side.tunnel, &state);
    assert(state.streams <= (size_t)all->max_streams + STREAM_SLACK);
    assert(state.send_held == all->side.hold.used && all->side.hold.used <= all->side.hold.limit);
    assert(state.recv_held <= all->side.credit.used);
    /* What is promised to every stream comes on top, and what keeps a slow one going. */
    assert(all->side.credit.used <= all->side.credit.limit + (OWNERS + 1) * STREAM_WINDOW_INITIAL);
    assert(pool_in_use(all->side.pool) <= pool_limit(all->side.pool));
    for (size_t i = 0; i < OWNERS; i++) {
        struct stream_state s;

        if (all->owners[i] == NULL)
            continue;
        stream_get_state(all->owners[i]->stream, &s);
        assert(s.id == all->owners[i]->id && s.sent == all->owners[i]->committed);
        assert(s.received >= all->owners[i]->taken);
        send_held += s.send_held;
        recv_held += s.recv_held;
    }
    assert(send_held <= state.send_held && recv_held <= state.recv_held);
}

/* -- what the peer says -- */

bool owners_speak(struct tunnel_owner *all, struct peer *peer)
{
    struct wire_reader *in = &all->in;
    uint8_t op = wire_u8(in) % 12;
    uint8_t arg = wire_u8(in);

    switch (op) {
    case 0:
        peer_settings(peer, owners_read_size(in), arg);
        break;
    case 1:
        peer_ping(peer, arg);
        break;
    case 2:
        peer_pong(peer, arg); /* the engine's tokens count from 1 */
        break;
    case 3:
        peer_go_away(peer, arg);
        break;
    case 4:
        if (arg % 2 == 0)
            peer_key_switch(peer, all->side.now);
        else
            peer_key_exchange(peer, (size_t)arg * 8);
        return true; /* nothing may follow a switch in its record */
    case 5:
        peer_open(peer, owners_read_size(in), arg % 2 == 0 ? "" : "web");
        break;
    case 6:
        peer_accept(peer, arg, owners_read_size(in));
        break;
    case 7:
        peer_data(peer, arg, owners_read_size(in), FRAME_STREAM_DATA);
        break;
    case 8:
        peer_data(peer, arg, owners_read_size(in), FRAME_STREAM_DATA_FIN);
        break;
    case 9:
        peer_credit(peer, arg, owners_read_size(in));
        break;
    case 10:
        peer_reset(peer, arg, wire_u8(in));
        break;
    default: {
        size_t n = arg < wire_left(in) ? arg : wire_left(in);

        peer_raw(peer, wire_bytes(in, n), n);
        break;
    }
    }
    return false;
}
