/*
 * An engine with flows, its owners, and a peer that has the keys and seals whatever the input says:
 * frames of flows and any other bytes. Nothing may crash or leak; owners are told only of flows
 * they have; what waits, and what is open, stays inside its bounds.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "side.h"
#include "target.h"
#include "tunnel/engine.h"

#define FLOWS_MAX 8

struct flow_owner {
    struct tunnel_owner *all;
    struct flow *flow;
    size_t slot;
};

struct tunnel_owner {
    struct side side;
    struct wire_reader in;
    enum tunnel_role role;
    unsigned depth;
    struct flow_owner *owners[FLOWS_MAX];
};

static struct line line;

static struct flow_owner *owner_new(struct tunnel_owner *all)
{
    for (size_t i = 0; i < FLOWS_MAX; i++) {
        if (all->owners[i] != NULL)
            continue;
        all->owners[i] = calloc(1, sizeof(*all->owners[i]));
        assert(all->owners[i] != NULL);
        *all->owners[i] = (struct flow_owner){.all = all, .slot = i};
        return all->owners[i];
    }
    return NULL;
}

static void owner_free(struct flow_owner *o)
{
    o->all->owners[o->slot] = NULL;
    free(o);
}

static void open_one(struct tunnel_owner *all)
{
    static const struct stream_target target = {.port = 53, .name = "dns"};
    struct flow_owner *o = all->role == TUNNEL_SOURCE ? owner_new(all) : NULL;
    enum err e;

    if (o == NULL)
        return;
    e = flow_open(&o->flow, all->side.tunnel, &target, o);
    assert(e == ERR_OK || e == ERR_CLOSED || e == ERR_LIMIT);
    if (e != ERR_OK)
        owner_free(o);
}

/* 0 to 65,535: small, or near the largest. */
static size_t read_size(struct wire_reader *in)
{
    uint8_t v = wire_u8(in);

    return v < 200 ? (size_t)v * 8 : (size_t)65535 - (255U - v);
}

static void act(struct tunnel_owner *all)
{
    static const uint8_t data[UINT16_MAX + 1];
    uint8_t op = wire_u8(&all->in);
    struct flow_owner *o = all->owners[op % FLOWS_MAX];

    switch (op / FLOWS_MAX % 4) {
    case 0:
        open_one(all);
        break;
    case 1:
        if (o != NULL) {
            struct flow *flow = o->flow;

            owner_free(o);
            flow_close(flow, (enum wire_code)op);
        }
        break;
    default:
        if (o != NULL)
            flow_send(o->flow, data, read_size(&all->in));
        break;
    }
}

/* -- events -- */

static void on_flow_open(struct tunnel_owner *all, struct flow *flow,
                         const struct stream_target *target)
{
    struct flow_owner *o = wire_u8(&all->in) % 4 == 0 ? NULL : owner_new(all);

    assert(all->role == TUNNEL_DEST);
    assert(strnlen(target->name, sizeof(target->name)) < sizeof(target->name));
    if (o == NULL) {
        flow_close(flow, WIRE_REFUSED);
        return;
    }
    o->flow = flow;
    flow_set_owner(flow, o);
}

static void on_datagram(struct flow_owner *o, struct flow *flow, const uint8_t *data, size_t len)
{
    struct tunnel_owner *all = o->all;
    uint8_t sum = 0;

    assert(o->flow == flow && all->owners[o->slot] == o);
    assert(len <= FLOW_DATAGRAM_MAX);
    for (size_t i = 0; i < len; i++) /* all of it can be read */
        sum ^= data[i];
    if (all->depth < 4 && (sum & 1) != 0) {
        all->depth++;
        act(all);
        all->depth--;
    }
}

static void on_flow_closed(struct flow_owner *o, enum wire_code code)
{
    (void)code;
    assert(o->all->owners[o->slot] == o);
    owner_free(o);
}

static void on_dropped(struct tunnel_owner *all, struct flow_owner *o, enum flow_drop why)
{
    (void)all;
    (void)o;
    assert(why < FLOW_DROPS);
}

/* Streams are another target's matter: every one is refused. */
static void on_open(struct tunnel_owner *all, struct stream *stream,
                    const struct stream_target *target)
{
    (void)all;
    (void)target;
    stream_reset(stream, WIRE_REFUSED, STREAM_RESET_NOW);
    stream_release(stream);
}

static void on_session(struct tunnel_owner *all, struct session *session)
{
    (void)all;
    (void)session;
}

static void on_go_away(struct tunnel_owner *all, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)all;
    (void)session;
    (void)code;
    (void)retry_after_ms;
    (void)text;
    (void)text_len;
}

static void on_keys(struct tunnel_owner *all, struct session *session, enum key_event event)
{
    (void)all;
    (void)session;
    (void)event;
}

static const struct tunnel_events events = {
    .on_open = on_open,
    .on_flow_open = on_flow_open,
    .on_datagram = on_datagram,
    .on_flow_closed = on_flow_closed,
    .on_datagram_dropped = on_dropped,
    .on_session_ready = on_session,
    .on_session_retired = on_session,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
};

/* -- the session -- */

/* What has gone wrong is the peer's fault. */
static void check(enum err e)
{
    if (e != ERR_OK)
        line_close(&line);
}

/* A frame of a flow with the input's numbers, or bytes as they are. */
static void speak(struct tunnel_owner *all)
{
    static const uint8_t zeros[FLOW_DATAGRAM_MAX];
    uint8_t op = wire_u8(&all->in);
    uint8_t id = wire_u8(&all->in) % 16;
    uint8_t room[64];
    struct peer *peer = &line.peer;
    struct frame f = {.type = FRAME_FLOW_OPEN};
    struct wire_writer w;
    size_t n;

    wire_writer_init(&w, room, sizeof(room));
    switch (op % 4) {
    case 0:
        f.flow_open.id = id;
        f.flow_open.target.port = op;
        assert(frame_encode(&w, &f));
        break;
    case 1:
        n = wire_u8(&all->in) * (size_t)255;
        assert(frame_encode_datagram_header(&w, id, n));
        if (peer->w.end - peer->w.at > (ptrdiff_t)(n + sizeof(room))) {
            peer_raw(peer, room, wire_written(&w));
            peer_raw(peer, zeros, n);
        }
        return;
    case 2:
        f.type = FRAME_FLOW_CLOSE;
        f.flow_close.id = id;
        f.flow_close.code = op;
        assert(frame_encode(&w, &f));
        break;
    default:
        n = op / 4 < wire_left(&all->in) ? op / 4 : wire_left(&all->in);
        peer_raw(peer, wire_bytes(&all->in, n), n);
        return;
    }
    peer_raw(peer, room, wire_written(&w));
}

static void check_bounds(const struct tunnel_owner *all)
{
    struct tunnel_state state;

    tunnel_get_state(all->side.tunnel, &state);
    assert(state.flows <= FLOWS_MAX);
    assert(all->side.tunnel->n_flow_closes <= FLOW_CLOSES_MAX);
    assert(all->side.tunnel->flow_bytes <= 2 * (pool_limit(all->side.pool) / FLOW_POOL_PART));
    assert(pool_in_use(all->side.pool) <= pool_limit(all->side.pool));
    for (size_t i = 0; i < FLOWS_MAX; i++) {
        if (all->owners[i] == NULL)
            continue;
        assert(all->owners[i]->flow->queued <= FLOW_QUEUE_DATAGRAMS);
        assert(all->owners[i]->flow->queued_bytes <= FLOW_QUEUE_BYTES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tunnel_owner all = {0};
    struct tunnel_options options = {
        .max_streams = 4,
        .max_flows = FLOWS_MAX,
        .window_max = 1024 * 1024,
        .events = &events,
        .owner = &all,
    };
    uint8_t how;

    wire_reader_init(&all.in, data, size);
    how = wire_u8(&all.in);
    all.role = (how & 1) != 0 ? TUNNEL_DEST : TUNNEL_SOURCE;
    options.role = all.role;
    side_init(&all.side, &options, (how & 2) != 0 ? (size_t)1 << 20 : (size_t)64 << 20);
    line_open(&line, &all.side, SESSION_FRESH);
    peer_settings(&line.peer, STREAM_WINDOW_INITIAL, 100);
    check(line_feed(&line));
    while (wire_left(&all.in) > 0) {
        uint8_t op = wire_u8(&all.in);

        if (op < 100)
            act(&all);
        else if (op < 200 && line.session != NULL)
            speak(&all);
        else if (op < 230)
            check(line_feed(&line));
        else if (op < 250)
            check(line_drain(&line, SIZE_MAX));
        else
            line_close(&line);
        check_bounds(&all);
    }
    if ((how & 4) != 0)
        tunnel_lose_streams(all.side.tunnel);
    line_close(&line);
    side_fini(&all.side);
    for (size_t i = 0; i < FLOWS_MAX; i++)
        free(all.owners[i]);
    return 0;
}
