/*
 * The same idea as sim.c, for flows: a source and a dest in one process, a fake clock, a network of
 * chance, sessions that are cut and refreshed, and a stream that always has something to send.
 *
 * What is checked in each run: a datagram arrives as it was sent, at the flow that it was sent on,
 * once at most, and in order; every one that does not arrive was counted as dropped or went down
 * with a session; memory stays inside its bounds; after the last storm every flow works; nothing is
 * left over.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/key_schedule.h"
#include "tunnel/tunnel.h"
#include "random.h"

#define FLOWS    12   /* at once, at the source */
#define TALKS    2048 /* conversations in a run */
#define CABLES   2
#define HEADER   17 /* of a datagram: talk, direction, number */
#define CAPACITY ((size_t)512 * 1024)

enum direction { UP, DOWN, DIRECTIONS };

/* What one FLOW_OPEN of the source has begun, with both its ends. */
struct talk {
    uint64_t sent[DIRECTIONS];           /* datagrams, numbered from 1 */
    uint64_t received[DIRECTIONS];       /* the number of the last */
    struct flow_owner *ends[DIRECTIONS]; /* who sends in that direction; NULL: none now */
};

struct flow_owner {
    struct world *world;
    struct flow *flow;
    uint64_t talk;
    enum direction sends;
};

struct side {
    struct world *world;
    struct tunnel *tunnel;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    enum tunnel_role role;
    uint64_t dropped[FLOW_DROPS];
};

struct tunnel_owner {
    struct side side;
};

/* One end of a cable, and what it has sent that is still on its way. */
struct plug {
    struct session *session;
    bool is_retired;
    uint8_t *data;
    size_t len;
};

struct cable {
    struct plug ends[2]; /* source, dest */
    bool is_broken;
};

struct stream_owner {
    struct stream *stream;
    uint64_t bytes;
};

struct world {
    struct rng rng;
    uint64_t seed;
    uint64_t now;
    uint64_t steps;
    unsigned n_sessions;
    struct tunnel_owner ends[2]; /* source, dest */
    struct cable cables[CABLES];
    struct talk talks[TALKS];
    uint64_t n_talks;
    struct flow_owner *flows[FLOWS]; /* of the source */
    struct stream_owner bulk[2];
    bool is_strict; /* the dest never refuses, so at last every flow must work */
};

static struct world world;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "sim: seed %" PRIu64 ", step %" PRIu64 ": ", world.seed, world.steps);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void must(enum err e, const char *what)
{
    if (e != ERR_OK)
        fail("%s: %s", what, err_text(e));
}

static uint64_t below(uint64_t n)
{
    return rng_below(&world.rng, n);
}

/* -- datagrams -- */

/* What datagram `number` of a talk looks like; short ones are the beginning of it. */
static void fill(uint8_t *data, size_t len, uint64_t talk, enum direction d, uint64_t number)
{
    uint8_t head[HEADER];

    memcpy(head, &talk, 8);
    head[8] = (uint8_t)d;
    memcpy(head + 9, &number, 8);
    memcpy(data, head, len < HEADER ? len : HEADER);
    for (size_t i = HEADER; i < len; i++)
        data[i] = (uint8_t)(talk * 7 + number * 13 + i % 251);
}

static void check_datagram(const struct flow_owner *o, const uint8_t *data, size_t len)
{
    static uint8_t expected[FLOW_DATAGRAM_MAX];
    enum direction d = o->sends == UP ? DOWN : UP;
    struct talk *t = &world.talks[o->talk];
    uint64_t number = 0;

    if (len >= HEADER)
        memcpy(&number, data + 9, 8);
    fill(expected, len < HEADER ? (len < 9 ? len : 9) : len, o->talk, d, number);
    if (memcmp(data, expected, len < HEADER ? (len < 9 ? len : 9) : len) != 0)
        fail("a datagram of %zu bytes is altered, or another flow's", len);
    if (len < HEADER)
        return;
    if (number <= t->received[d] || number > t->sent[d])
        fail("datagram %" PRIu64 " came after %" PRIu64 " of %" PRIu64, number, t->received[d],
             t->sent[d]);
    t->received[d] = number;
}

static void send_one(struct flow_owner *o, size_t len)
{
    static uint8_t data[FLOW_DATAGRAM_MAX];
    struct talk *t = &world.talks[o->talk];

    fill(data, len, o->talk, o->sends, ++t->sent[o->sends]);
    flow_send(o->flow, data, len);
}

/* -- events -- */

static struct flow_owner *owner_new(uint64_t talk, enum direction sends)
{
    struct flow_owner *o = calloc(1, sizeof(*o));

    if (o == NULL)
        fail("no memory");
    *o = (struct flow_owner){.world = &world, .talk = talk, .sends = sends};
    world.talks[talk].ends[sends] = o;
    return o;
}

static void owner_free(struct flow_owner *o)
{
    world.talks[o->talk].ends[o->sends] = NULL;
    for (size_t i = 0; i < FLOWS; i++) {
        if (world.flows[i] == o)
            world.flows[i] = NULL;
    }
    free(o);
}

static void close_one(struct flow_owner *o)
{
    struct flow *flow = o->flow;

    owner_free(o);
    flow_close(flow, WIRE_NO_ERROR);
}

static void on_flow_open(struct tunnel_owner *all, struct flow *flow,
                         const struct stream_target *target)
{
    struct flow_owner *o;
    uint64_t talk;

    if (all->side.role != TUNNEL_DEST)
        fail("a source was asked for a flow");
    memcpy(&talk, target->client.address, sizeof(talk));
    if (talk >= world.n_talks || world.talks[talk].ends[DOWN] != NULL)
        fail("a flow was opened twice, or by nobody");
    if (!world.is_strict && below(10) == 0) {
        flow_close(flow, WIRE_REFUSED);
        return;
    }
    o = owner_new(talk, DOWN);
    o->flow = flow;
    flow_set_owner(flow, o);
}

static void on_datagram(struct flow_owner *o, struct flow *flow, const uint8_t *data, size_t len)
{
    if (o->flow != flow)
        fail("a datagram came to another flow's owner");
    check_datagram(o, data, len);
    if (below(8) == 0)
        send_one(o, rng_size(&world.rng, 2000));
    else if (!world.is_strict && below(200) == 0)
        close_one(o);
}

static void on_flow_closed(struct flow_owner *o, enum wire_code code)
{
    (void)code;
    owner_free(o);
}

static void on_dropped(struct tunnel_owner *all, struct flow_owner *o, enum flow_drop why)
{
    (void)o;
    all->side.dropped[why]++;
}

static void on_open(struct tunnel_owner *all, struct stream *stream,
                    const struct stream_target *target)
{
    (void)all;
    (void)target;
    world.bulk[1].stream = stream;
    stream_set_owner(stream, &world.bulk[1]);
    stream_accept(stream);
}

static size_t on_data(struct stream_owner *o, struct stream *stream, const uint8_t *data,
                      size_t len)
{
    (void)stream;
    (void)data;
    o->bytes += len;
    return len;
}

static void on_any(struct stream_owner *o, struct stream *stream)
{
    (void)o;
    (void)stream;
}

static void on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    (void)o;
    (void)stream;
    fail("the stream was reset: %d", (int)code);
}

static void on_session_ready(struct tunnel_owner *all, struct session *session)
{
    (void)all;
    (void)session;
}

static void on_session_retired(struct tunnel_owner *all, struct session *session)
{
    (void)all;
    for (size_t i = 0; i < CABLES; i++) {
        for (size_t k = 0; k < 2; k++) {
            if (world.cables[i].ends[k].session == session)
                world.cables[i].ends[k].is_retired = true;
        }
    }
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

static const struct tunnel_events events = {
    .on_open = on_open,
    .on_accept = on_any,
    .on_data = on_data,
    .on_finish = on_any,
    .on_reset = on_reset,
    .on_writable = on_any,
    .on_sent = on_any,
    .on_flow_open = on_flow_open,
    .on_datagram = on_datagram,
    .on_flow_closed = on_flow_closed,
    .on_datagram_dropped = on_dropped,
    .on_session_ready = on_session_ready,
    .on_session_retired = on_session_retired,
    .on_go_away = on_go_away,
};

/* -- sessions -- */

static void plug_in(struct cable *c)
{
    uint8_t root[KDF_SIZE];
    enum session_start start = world.n_sessions == 0 ? SESSION_FRESH : SESSION_RESUMED;

    for (size_t i = 0; i < sizeof(root); i++)
        root[i] = (uint8_t)rng_next(&world.rng);
    for (size_t k = 0; k < 2; k++) {
        struct session_keys *keys;

        must(session_keys_new(&keys, KEM_MLKEM768, root, root), "keys");
        must(session_new(&c->ends[k].session, world.ends[k].side.tunnel, keys, start, world.now),
             "session");
    }
    c->is_broken = false;
    world.n_sessions++;
}

static void plug_out(struct plug *p)
{
    session_close(p->session);
    free(p->data);
    *p = (struct plug){0};
}

static bool is_free(const struct cable *c)
{
    return c->ends[0].session == NULL && c->ends[1].session == NULL;
}

/* A session whose other end is gone, or that is retired, is closed in its own time. */
static void mend(struct cable *c)
{
    bool is_over = c->is_broken || c->ends[0].is_retired || c->ends[1].is_retired;

    for (size_t k = 0; k < 2 && is_over; k++) {
        if (c->ends[k].session != NULL && below(4) == 0) {
            c->is_broken = true;
            plug_out(&c->ends[k]);
        }
    }
}

static void drain(struct cable *c, size_t k)
{
    struct plug *p = &c->ends[k];
    const uint8_t *data;
    size_t len;

    if (p->session == NULL)
        return;
    must(session_drain(p->session, &data, &len, world.now), "drain");
    if (len > CAPACITY - p->len)
        len = CAPACITY - p->len;
    if (len > 0 && below(3) == 0)
        len = rng_size(&world.rng, len);
    if (!c->is_broken && len > 0) {
        if (p->data == NULL)
            p->data = malloc(CAPACITY);
        if (p->data == NULL)
            fail("no memory");
        memcpy(p->data + p->len, data, len);
        p->len += len;
    }
    session_drained(p->session, len);
}

static void deliver(struct cable *c, size_t k)
{
    struct plug *from = &c->ends[k];
    struct plug *to = &c->ends[1 - k];
    size_t len = from->len;
    size_t used;
    uint8_t *copy;

    if (to->session == NULL || c->is_broken || len == 0)
        return;
    if (below(4) != 0)
        len = 1 + rng_size(&world.rng, len - 1);
    copy = malloc(len);
    if (copy == NULL)
        fail("no memory");
    memcpy(copy, from->data, len);
    must(session_feed(to->session, copy, len, &used, world.now), "feed");
    free(copy);
    memmove(from->data, from->data + used, from->len - used);
    from->len -= used;
}

/* -- steps -- */

static void open_one(void)
{
    size_t slot = (size_t)below(FLOWS);
    struct stream_target target = {.port = 53, .client = {.address_len = 16}};
    struct flow_owner *o;
    uint64_t talk = world.n_talks;

    if (world.flows[slot] != NULL || talk == TALKS)
        return;
    memcpy(target.client.address, &talk, sizeof(talk));
    world.n_talks++;
    o = owner_new(talk, UP);
    if (flow_open(&o->flow, world.ends[0].side.tunnel, &target, o) != ERR_OK) {
        owner_free(o);
        return;
    }
    world.flows[slot] = o;
}

static struct flow_owner *some_owner(void)
{
    return world.n_talks == 0 ? NULL : world.talks[below(world.n_talks)].ends[below(DIRECTIONS)];
}

static void send_some(void)
{
    struct flow_owner *o = below(2) == 0 ? world.flows[below(FLOWS)] : some_owner();
    size_t n = 1 + rng_size(&world.rng, below(20) == 0 ? 600 : 4);

    for (size_t i = 0; o != NULL && i < n; i++)
        send_one(o, rng_size(&world.rng, FLOW_DATAGRAM_MAX));
}

static void send_bulk(void)
{
    struct iovec parts[4];
    size_t used;
    size_t room;
    struct stream_target target = {.port = 80};

    if (world.bulk[0].stream == NULL &&
        stream_open(&world.bulk[0].stream, world.ends[0].side.tunnel, &target, &world.bulk[0]) !=
            ERR_OK)
        return;
    room = stream_send_reserve(world.bulk[0].stream, 200000, parts, 4, &used);
    for (size_t i = 0; i < used && room > 0; i++)
        memset(parts[i].iov_base, 'b', parts[i].iov_len);
    if (room > 0)
        stream_send_commit(world.bulk[0].stream, room);
}

static void check_memory(const struct side *s)
{
    if (pool_in_use(s->pool) > pool_limit(s->pool))
        fail("the pool is beyond its bound");
}

static void pass_time(void)
{
    world.now += below(30000);
    for (size_t i = 0; i < CABLES; i++) {
        for (size_t k = 0; k < 2; k++) {
            if (world.cables[i].ends[k].session != NULL)
                must(session_tick(world.cables[i].ends[k].session, world.now), "tick");
        }
    }
}

static void move_on(void)
{
    for (size_t i = 0; i < CABLES; i++) {
        struct cable *c = &world.cables[i];

        for (size_t k = 0; k < 2; k++) {
            if (below(2) == 0)
                drain(c, k);
            if (below(2) == 0)
                deliver(c, k);
        }
        mend(c);
    }
}

static void step(bool is_stormy)
{
    struct cable *c = &world.cables[below(CABLES)];
    struct flow_owner *o;

    world.steps++;
    move_on();
    switch (below(8)) {
    case 0:
        open_one();
        break;
    case 1:
    case 2:
        send_some();
        break;
    case 3:
        o = some_owner();
        if (o != NULL && below(10) == 0)
            close_one(o);
        break;
    case 4:
        send_bulk();
        break;
    case 5:
        pass_time();
        break;
    case 6:
        if (is_stormy && below(60) == 0)
            c->is_broken = true;
        break;
    default:
        if (is_free(c) && (is_free(&world.cables[0]) == is_free(&world.cables[1]) ||
                           below(is_stormy ? 40 : 1000) == 0))
            plug_in(c);
        break;
    }
    check_memory(&world.ends[0].side);
    check_memory(&world.ends[1].side);
}

/* One session, and nothing on its way. */
static void settle(void)
{
    for (int i = 0; i < 3000; i++) {
        move_on();
        if (i % 10 == 0)
            pass_time();
    }
}

static void calm_down(void)
{
    for (size_t i = 0; i < CABLES; i++) {
        while (!is_free(&world.cables[i])) {
            world.cables[i].is_broken = true;
            mend(&world.cables[i]);
        }
    }
    plug_in(&world.cables[0]);
    settle();
}

/* Every flow of the source works, both ways. */
static void check_flows(void)
{
    for (size_t i = 0; i < FLOWS; i++) {
        struct flow_owner *o = world.flows[i];
        struct talk *t;
        uint64_t talk;
        uint64_t number;

        if (o == NULL)
            continue;
        talk = o->talk;
        t = &world.talks[talk];
        send_one(o, 100);
        number = t->sent[UP];
        settle();
        if (world.flows[i] != o && !world.is_strict)
            continue; /* it was refused, or closed */
        if (t->received[UP] < number || t->ends[DOWN] == NULL)
            fail("flow %" PRIu64 " does not work any more", talk);
        send_one(t->ends[DOWN], 100);
        number = t->sent[DOWN];
        settle();
        if (t->received[DOWN] < number)
            fail("flow %" PRIu64 " does not answer any more", talk);
    }
}

/* -- a run -- */

static void side_init(struct tunnel_owner *all, enum tunnel_role role, size_t memory)
{
    struct side *s = &all->side;
    struct tunnel_options options = {
        .role = role,
        .max_streams = 4,
        .max_flows = role == TUNNEL_DEST && !world.is_strict ? FLOWS : TALKS,
        .window_max = 1024 * 1024,
        .events = &events,
        .owner = all,
        .hold = &s->hold,
        .credit = &s->credit,
    };
    size_t limit;

    s->world = &world;
    s->role = role;
    tunnel_share_memory(memory, &limit, &s->hold, &s->credit);
    must(pool_new(&s->pool, limit), "pool");
    options.pool = s->pool;
    must(tunnel_new(&s->tunnel, &options), "tunnel");
}

static void side_fini(struct tunnel_owner *all)
{
    tunnel_free(all->side.tunnel);
    if (pool_in_use(all->side.pool) != 0)
        fail("a block is left over");
    pool_free(all->side.pool);
}

struct sim_result sim_run(uint64_t seed)
{
    size_t memory;

    memset(&world, 0, sizeof(world));
    world.rng.state = seed;
    world.seed = seed;
    world.now = 1000;
    world.is_strict = seed % 2 == 0;
    memory = 3 * 1024 * 1024 + rng_size(&world.rng, 60 * 1024 * 1024);
    side_init(&world.ends[0], TUNNEL_SOURCE, memory);
    side_init(&world.ends[1], TUNNEL_DEST, memory);
    plug_in(&world.cables[0]);
    for (int i = 0; i < 3000; i++)
        step(true);
    calm_down();
    check_flows();
    for (size_t i = 0; i < CABLES; i++) {
        for (size_t k = 0; k < 2; k++)
            plug_out(&world.cables[i].ends[k]);
    }
    for (uint64_t i = 0; i < world.n_talks; i++) {
        free(world.talks[i].ends[UP]);
        free(world.talks[i].ends[DOWN]);
    }
    side_fini(&world.ends[0]);
    side_fini(&world.ends[1]);
    return (struct sim_result){
        .steps = world.steps, .streams = (unsigned)world.n_talks, .sessions = world.n_sessions};
}
