/*
 * An engine, its owners and its peer, all told what to do by the input: the peer by frames that are
 * right (peer.h) and by bytes of the input that it seals, owners from outside and from inside
 * events. Nothing may crash, hang or leak; a peer that obeys the protocol is never cut off; an
 * owner is told only what its contract says; no bound on memory is passed; the end leaves nothing
 * over.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"
#include "target.h"
#include "tunnel/engine.h"

#define OWNERS       24
#define EVENT_DEPTH  4
#define STREAM_SLACK 1024 /* PROTOCOL 6.2: streams that are refused and not yet over */

struct tunnel_owner {
    struct wire_reader in;
    struct tunnel *tunnel;
    struct session *session;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    enum tunnel_role role;
    uint32_t max_streams;
    uint64_t now;
    uint64_t switches_since; /* from here on the peer's are counted */
    uint64_t rotations;      /* of the session's keys */
    bool was_attached;
    bool is_ready;
    bool had_liar; /* a peer of an earlier session was not honest: its data may still be kept */
    bool acts_in_events;
    bool accepts_at_once;
    unsigned depth; /* of events */
    struct stream_owner *owners[OWNERS];
};

struct stream_owner {
    struct tunnel_owner *all;
    struct stream *stream;
    size_t slot;
    uint64_t id;
    uint64_t taken;
    uint64_t committed;
    bool is_accepted;
    bool is_finished; /* by stream_send_finish */
    bool is_waiting;  /* for on_writable */
    bool is_reset;    /* by stream_reset */
    bool has_kept;    /* something that on_data did not take */
    bool in_data;
    bool told_finish;
    bool told_reset;
    bool told_sent;
};

static struct peer peer;

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

static void release(struct stream_owner *o)
{
    struct stream *stream = o->stream;

    owner_free(o); /* no event may come for it any more, not even from inside */
    stream_release(stream);
}

static void check_data(const struct stream_owner *o, const uint8_t *data, size_t len,
                       uint64_t offset)
{
    if (peer.is_honest && !o->all->had_liar)
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

    if (all->role != TUNNEL_SOURCE)
        return;
    o = owner_new(all, NULL);
    if (o == NULL)
        return;
    e = stream_open(&o->stream, all->tunnel, &target, o);
    assert((e == ERR_OK) == (o->stream != NULL));
    if (e != ERR_OK) {
        assert(e == ERR_LIMIT || e == ERR_CLOSED);
        assert(e != ERR_CLOSED || !all->is_ready || all->session == NULL);
        owner_free(o);
        return;
    }
    stream_get_state(o->stream, &state);
    o->id = state.id;
}

/* A size, small or large: up to 254 KiB. */
static size_t read_size(struct wire_reader *in)
{
    uint8_t v = wire_u8(in);
    unsigned shift = (v >> 5) * 2U;

    return (size_t)(v & 0x1f) << (shift < 13 ? shift : 13);
}

static void act(struct tunnel_owner *all)
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
        size_t want = read_size(&all->in);

        send_some(o, want, op == 2 ? want : read_size(&all->in));
        break;
    }
    case 4:
        o->is_finished = true;
        o->is_waiting = false;
        stream_send_finish(o->stream);
        break;
    case 5:
        take_kept(o, read_size(&all->in));
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
        release(o);
        break;
    }
}

/* -- what owners are told -- */

static void act_in_event(struct tunnel_owner *all)
{
    if (!all->acts_in_events || all->depth == EVENT_DEPTH || wire_left(&all->in) == 0)
        return;
    all->depth++;
    if (wire_u8(&all->in) % 2 == 1)
        act(all);
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
    act_in_event(all);
}

static void on_accept(struct stream_owner *o, struct stream *stream)
{
    assert(o->stream == stream && o->all->role == TUNNEL_SOURCE);
    assert(!o->is_accepted && !o->is_reset && !o->told_reset);
    o->is_accepted = true;
    o->has_kept = false; /* what came before is offered now */
    act_in_event(o->all);
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
    act_in_event(all);
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
    act_in_event(o->all);
}

static void on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    (void)code;
    assert(o->stream == stream);
    /* A stream that ran out of memory may be reset by both sides; the owner hears of it once. */
    assert(!o->told_reset && !o->is_reset);
    o->told_reset = true;
    act_in_event(o->all);
}

static void on_writable(struct stream_owner *o, struct stream *stream)
{
    assert(o->stream == stream);
    assert(o->is_waiting && !o->is_finished && !o->is_reset && !o->told_reset);
    o->is_waiting = false;
    act_in_event(o->all);
}

static void on_sent(struct stream_owner *o, struct stream *stream)
{
    struct stream_state state;

    assert(o->stream == stream);
    assert(o->is_finished && !o->told_sent && !o->is_reset && !o->told_reset);
    stream_get_state(stream, &state);
    assert(state.send_acked && state.send_held == 0 && state.sent == o->committed);
    o->told_sent = true;
    act_in_event(o->all);
}

static void on_session_ready(struct tunnel_owner *all, struct session *session)
{
    assert(!all->is_ready && session_is_ready(session));
    all->is_ready = true;
    act_in_event(all);
}

static void on_session_retired(struct tunnel_owner *all, struct session *session)
{
    (void)all;
    (void)session;
    assert(false && "there is no other session");
}

static void on_keys(struct tunnel_owner *all, struct session *session, enum key_event event)
{
    (void)session;
    assert(event == KEYS_ROTATED); /* keys do not age here */
    all->rotations++;
    assert(!peer.is_honest || session_generation(all->session) == all->rotations);
}

static void on_go_away(struct tunnel_owner *all, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)session;
    (void)code;
    (void)retry_after_ms;
    (void)text;
    assert(text_len <= GO_AWAY_TEXT_MAX);
    act_in_event(all);
}

static const struct tunnel_events events = {
    .on_open = on_open,
    .on_accept = on_accept,
    .on_data = on_data,
    .on_finish = on_finish,
    .on_reset = on_reset,
    .on_writable = on_writable,
    .on_sent = on_sent,
    .on_session_ready = on_session_ready,
    .on_session_retired = on_session_retired,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
};

/* -- the session -- */

static void attach(struct tunnel_owner *all)
{
    if (all->was_attached)
        return;
    all->was_attached = true;
    all->rotations = 0;
    peer_init(&peer, all->role);
    assert(session_new(&all->session, all->tunnel, peer_keys(), SESSION_FRESH, all->now) == ERR_OK);
}

static void detach(struct tunnel_owner *all)
{
    struct session *s = all->session;

    if (s == NULL)
        return;
    all->session = NULL; /* what events do from here on finds none */
    all->had_liar = all->had_liar || !peer.is_honest;
    session_close(s);
    tunnel_lose_streams(all->tunnel);
    peer_fini(&peer);
}

/* What has gone wrong must be the peer's fault. */
static void on_error(struct tunnel_owner *all)
{
    assert(!peer.is_honest);
    detach(all);
}

static void feed(struct tunnel_owner *all)
{
    static uint8_t room[RECORD_SIZE_MAX];
    size_t len = all->session == NULL ? 0 : peer_seal(&peer, room);
    uint8_t *copy;
    size_t used;
    enum err e;

    if (len == 0)
        return;
    copy = malloc(len); /* exactly, so that a read beyond shows */
    assert(copy != NULL);
    memcpy(copy, room, len);
    e = session_feed(all->session, copy, len, &used, all->now);
    free(copy);
    assert(e != ERR_OK || used == len);
    if (e != ERR_OK)
        on_error(all);
}

/* At most so many bytes; with SIZE_MAX, all that the engine has to say. */
static void drain(struct tunnel_owner *all, size_t most)
{
    while (most > 0 && all->session != NULL) {
        const uint8_t *data;
        size_t len;

        if (session_drain(all->session, &data, &len, all->now) != ERR_OK) {
            on_error(all);
            return;
        }
        if (len == 0) {
            assert(!session_has_output(all->session));
            peer_took_all(&peer);
            return;
        }
        if (len > most)
            len = most;
        peer_take(&peer, data, len);
        session_drained(all->session, len);
        if (most != SIZE_MAX)
            return;
    }
}

static void pass_time(struct tunnel_owner *all, uint64_t us)
{
    all->now += us;
    if (all->session == NULL)
        return;
    if (all->now >= all->switches_since + 2000000) {
        all->switches_since = all->now;
        peer.switches = 0;
    }
    assert(session_tick(all->session, all->now) == ERR_OK); /* there is no heartbeat */
    drain(all, SIZE_MAX);
    /* Whoever sleeps until the deadline must not wake up at once. */
    assert(all->session == NULL || session_deadline(all->session) > all->now);
}

/* To where keys are switched, or are at their end. */
static void skip_records(struct tunnel_owner *all)
{
    drain(all, SIZE_MAX);
    if (all->session == NULL || peer.opened > RECORD_SOFT_LIMIT_RECORDS - 3)
        return;
    session_skip_to_for_test(all->session, RECORD_SOFT_LIMIT_RECORDS - 3, peer.sealed);
    record_opener_skip_to_for_test(peer.opener, RECORD_SOFT_LIMIT_RECORDS - 3);
    peer.opened = RECORD_SOFT_LIMIT_RECORDS - 3;
}

/* A source's keys are renewed; whether it can is the engine's matter. */
static void rotate(struct tunnel_owner *all)
{
    enum err e;

    if (all->role != TUNNEL_SOURCE)
        return;
    e = session_rotate(all->session, NULL);
    assert(e == ERR_OK || e == ERR_UNEXPECTED);
}

/* -- all of it -- */

static void check_bounds(const struct tunnel_owner *all)
{
    struct tunnel_state state;
    uint64_t send_held = 0;
    uint64_t recv_held = 0;

    tunnel_get_state(all->tunnel, &state);
    assert(state.streams <= (size_t)all->max_streams + STREAM_SLACK);
    assert(state.send_held == all->hold.used && all->hold.used <= all->hold.limit);
    assert(state.recv_held <= all->credit.used);
    /* What is promised to every stream comes on top, and what keeps a slow one going. */
    assert(all->credit.used <= all->credit.limit + (OWNERS + 1) * STREAM_WINDOW_INITIAL);
    assert(pool_in_use(all->pool) <= pool_limit(all->pool));
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

static void speak(struct tunnel_owner *all)
{
    struct wire_reader *in = &all->in;
    uint8_t op = wire_u8(in) % 12;
    uint8_t arg = wire_u8(in);

    if (all->session == NULL)
        return;
    switch (op) {
    case 0:
        peer_settings(&peer, read_size(in), arg);
        break;
    case 1:
        peer_ping(&peer, arg);
        break;
    case 2:
        peer_pong(&peer, arg); /* the engine's tokens count from 1 */
        break;
    case 3:
        peer_go_away(&peer, arg);
        break;
    case 4:
        if (arg % 2 == 0)
            peer_key_switch(&peer);
        else
            peer_key_exchange(&peer, (size_t)arg * 8);
        feed(all);
        break;
    case 5:
        peer_open(&peer, read_size(in), arg % 2 == 0 ? "" : "web");
        break;
    case 6:
        peer_accept(&peer, arg, read_size(in));
        break;
    case 7:
        peer_data(&peer, arg, read_size(in), FRAME_STREAM_DATA);
        break;
    case 8:
        peer_data(&peer, arg, read_size(in), FRAME_STREAM_DATA_FIN);
        break;
    case 9:
        peer_credit(&peer, arg, read_size(in));
        break;
    case 10:
        peer_reset(&peer, arg, wire_u8(in));
        break;
    default: {
        size_t n = arg < wire_left(in) ? arg : wire_left(in);

        peer_raw(&peer, wire_bytes(in, n), n);
        break;
    }
    }
}

static void step(struct tunnel_owner *all)
{
    uint8_t op = wire_u8(&all->in);

    if (op < 96) {
        act(all);
    } else if (op < 192) {
        speak(all);
        if (op >= 128)
            feed(all);
    } else {
        switch (op % 8) {
        case 0:
            feed(all);
            break;
        case 1:
            drain(all, SIZE_MAX);
            break;
        case 2:
            drain(all, read_size(&all->in));
            break;
        case 3:
            pass_time(all, (uint64_t)wire_u8(&all->in) * 1000);
            break;
        case 4:
            if (all->session != NULL && op % 16 == 4)
                session_ping(all->session, all->now);
            else if (all->session != NULL)
                rotate(all);
            break;
        case 5:
            if (all->session != NULL)
                session_go_away(all->session, WIRE_SHUTDOWN, op, op % 16 == 5 ? "bye" : NULL);
            break;
        case 6:
            skip_records(all);
            break;
        default:
            detach(all);
            attach(all);
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t memories[] = {(size_t)512 * 1024, (size_t)2048 * 1024, (size_t)16384 * 1024,
                                      (size_t)65536 * 1024};
    struct tunnel_owner all = {.now = 1000};
    struct tunnel_options options = {
        .window_max = 1024 * 1024,
        .events = &events,
        .hold = &all.hold,
        .credit = &all.credit,
        .owner = &all,
    };
    uint8_t how;
    size_t limit;

    wire_reader_init(&all.in, data, size);
    how = wire_u8(&all.in);
    all.role = (how & 1) != 0 ? TUNNEL_DEST : TUNNEL_SOURCE;
    all.acts_in_events = (how & 2) != 0;
    all.accepts_at_once = (how & 4) != 0;
    all.max_streams = (how & 8) != 0 ? 3 : 40;
    options.role = all.role;
    options.max_streams = all.max_streams;
    tunnel_share_memory(memories[how >> 4 & 3], &limit, &all.hold, &all.credit);
    assert(pool_new(&all.pool, limit) == ERR_OK);
    options.pool = all.pool;
    assert(tunnel_new(&all.tunnel, &options) == ERR_OK);
    attach(&all);
    if ((how & 0x40) == 0) {
        peer_settings(&peer, STREAM_WINDOW_INITIAL, 100);
        feed(&all);
    }
    while (wire_left(&all.in) > 0) {
        step(&all);
        check_bounds(&all);
    }

    if ((how & 0x80) != 0) { /* an orderly end, or all at once */
        for (size_t i = 0; i < OWNERS; i++) {
            if (all.owners[i] != NULL)
                release(all.owners[i]);
        }
        drain(&all, SIZE_MAX);
        detach(&all);
    }
    tunnel_free(all.tunnel);
    if (all.session != NULL)
        peer_fini(&peer);
    for (size_t i = 0; i < OWNERS; i++)
        free(all.owners[i]);
    assert(all.hold.used == 0 && all.credit.used == 0 && pool_in_use(all.pool) == 0);
    pool_free(all.pool);
    return 0;
}
