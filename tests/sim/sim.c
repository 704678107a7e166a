/*
 * Deterministic simulation of the engine: a source and a dest in one process, a fake clock, and a
 * network that cuts what is sent into random pieces and delivers them when it likes. Every run
 * follows from its seed alone.
 *
 * What is checked in each run: every byte arrives once, in order and unaltered; FIN and reset
 * arrive and never overtake data that they must follow; an owner that was told there is no room is
 * woken, also when it was another tunnel that had the memory; owners may do from inside events what
 * they may do outside; memory stays inside its bounds; all streams end; nothing is left over; a
 * session whose bytes were tampered with dies and delivers nothing wrong.
 *
 * main.c runs many seeds, or one again.
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

#define STREAMS_MAX 16
#define STEPS_MAX   4000000

enum ending {
    END_FIN,
    END_FIN_THEN_RESET, /* the reset must not eat what was before the FIN */
    END_RESET_AFTER_DATA,
    END_RESET_NOW,
    ENDINGS,
};

/* How rough the world is: one of these once in so many steps; 0 is never. */
struct weather {
    uint64_t refresh; /* a new session beside one that works */
    uint64_t cut;     /* a connection ends; each side notices in its own time */
    uint64_t hole;    /* a connection loses everything from here on, and nobody is told */
    uint64_t tamper;  /* somebody changes a byte on the way */
    uint64_t give_up; /* one side gives up all its streams */
};

/* One end of a stream: the client behind the source, or the target behind the dest. */
struct stream_owner {
    struct side *side;
    struct stream_owner *peer;
    struct stream *stream;
    unsigned index;

    uint64_t to_send;
    uint64_t sent;
    enum ending ending;
    bool wait_for_room;
    bool end_sent; /* FIN or reset, as planned */
    bool reset_sent;

    unsigned appetite; /* takes 1/appetite of what it is offered; 0: nothing at once */
    uint64_t received;
    bool finish_told;
    bool reset_told;
    enum wire_code reset_code;

    bool is_opened;
    bool gave_up; /* its side gave up, or the peer's did, while it was open */
    bool accept_pending;
    bool refuse; /* dest: refuses the stream */
    bool is_released;
    bool was_rash;  /* it reset the stream, and let go of it, out of its turn */
    bool is_taking; /* on_data is running */
};

/* Bytes on their way in one direction. */
struct wire {
    uint8_t *data;
    size_t len;
    size_t room;
};

struct tunnel_owner {
    int unused;
};

struct side {
    struct tunnel_owner as_owner;
    struct sim *sim;
    enum tunnel_role role;
    struct tunnel *tunnel;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    bool is_ready;      /* a session has carried streams */
    uint64_t elsewhere; /* bytes of hold that other tunnels have */
};

/* One end of a connection. */
struct plug {
    struct session *session;
    struct wire out;
    bool is_retired;
    bool knows; /* that the connection is broken, or should be given up */
};

/* A connection with its session at both ends. */
struct cable {
    struct plug source;
    struct plug dest;
    bool is_broken; /* nothing arrives any more */
    bool is_tampered;
};

#define CABLES_MAX 5

struct sim {
    uint64_t seed;
    struct rng rng;
    uint64_t now;
    uint64_t steps;
    struct weather weather;
    uint64_t storms; /* what may still go wrong */
    bool has_dialed; /* the first session is the fresh one */
    struct cable cables[CABLES_MAX];
    unsigned n_sessions;
    size_t capacity; /* of a wire, bytes; the receiver keeps the beginning of a record there */
    unsigned n_streams;
    bool rash;      /* owners act from inside events, too */
    unsigned depth; /* of such acts */
    struct side source;
    struct side dest;
    struct stream_owner clients[STREAMS_MAX];
    struct stream_owner targets[STREAMS_MAX];
};

static struct sim *running;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "sim: seed %" PRIu64 ", step %" PRIu64 ": ", running->seed, running->steps);
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

/* -- what streams carry -- */

static uint8_t pattern(const struct stream_owner *sender, uint64_t offset)
{
    uint64_t x = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15);

    x ^= (uint64_t)sender->index << 8 ^ (uint64_t)(sender->side->role == TUNNEL_DEST);
    return (uint8_t)(x >> 56 ^ x);
}

static void check_bytes(struct stream_owner *o, uint64_t at, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != pattern(o->peer, at + i))
            fail("stream %u: wrong byte at %" PRIu64, o->index, at + i);
    }
    if (at + len > o->peer->sent)
        fail("stream %u: more bytes than were sent", o->index);
}

/* -- events -- */

static void act_rashly(struct stream_owner *told);

static struct side *side_of(struct tunnel_owner *owner)
{
    return (struct side *)owner;
}

static void on_open(struct tunnel_owner *owner, struct stream *stream,
                    const struct stream_target *target)
{
    struct sim *sim = side_of(owner)->sim;
    struct stream_owner *o;

    if (target->port >= sim->n_streams || strcmp(target->name, "service") != 0 ||
        target->client.address_len != 4 || target->client.port != target->port)
        fail("the target arrived altered");
    o = &sim->targets[target->port];
    if (o->is_opened)
        fail("opened twice");
    o->is_opened = true;
    o->stream = stream;
    o->accept_pending = true;
    stream_set_owner(stream, o);
    act_rashly(o);
}

static void on_accept(struct stream_owner *o, struct stream *stream)
{
    if (o->stream != stream || !o->is_opened)
        fail("accept of a strange stream");
    act_rashly(o);
}

static size_t on_data(struct stream_owner *o, struct stream *stream, const uint8_t *data,
                      size_t len)
{
    size_t take = 0;

    if (o->stream != stream || o->is_released || o->finish_told)
        fail("data for a stream that is over");
    if (o->appetite > 0)
        take = (len + o->appetite - 1) / o->appetite;
    check_bytes(o, o->received, data, len);
    o->received += take;
    o->is_taking = true;
    act_rashly(o);
    o->is_taking = false;
    return take;
}

static void on_finish(struct stream_owner *o, struct stream *stream)
{
    (void)stream;
    if (o->finish_told || o->is_released)
        fail("finished twice");
    if (o->peer->ending > END_FIN_THEN_RESET)
        fail("finished, but the peer never sent a FIN");
    if (o->received != o->peer->to_send)
        fail("stream %u: FIN after %" PRIu64 " of %" PRIu64 " bytes", o->index, o->received,
             o->peer->to_send);
    o->finish_told = true;
    act_rashly(o);
}

static void on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    (void)stream;
    if (o->reset_told || o->is_released)
        fail("reset told twice");
    o->reset_told = true;
    o->reset_code = code;
    act_rashly(o);
}

static void on_writable(struct stream_owner *o, struct stream *stream)
{
    if (o->stream != stream || o->is_released)
        fail("writable after release");
    o->wait_for_room = false;
    act_rashly(o);
}

static void on_sent(struct stream_owner *o, struct stream *stream)
{
    (void)stream;
    if (o->peer->received > o->sent || o->sent != o->to_send)
        fail("everything acknowledged, but not everything was sent");
    act_rashly(o);
}

static void on_session_ready(struct tunnel_owner *owner, struct session *session)
{
    (void)session;
    side_of(owner)->is_ready = true;
}

static void on_session_retired(struct tunnel_owner *owner, struct session *session)
{
    struct side *side = side_of(owner);

    for (size_t i = 0; i < CABLES_MAX; i++) {
        struct cable *c = &side->sim->cables[i];
        struct plug *plug = side->role == TUNNEL_SOURCE ? &c->source : &c->dest;

        if (plug->session == session)
            plug->is_retired = true;
    }
}

static void on_go_away(struct tunnel_owner *owner, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)owner;
    (void)session;
    if (code != WIRE_SHUTDOWN || retry_after_ms != 5 || text_len != 3 ||
        memcmp(text, "bye", 3) != 0)
        fail("the go-away arrived altered");
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
};

/* -- the two sides -- */

/* A handshake has been: a session at both ends. */
static void plug_in(struct sim *sim, struct cable *c)
{
    enum session_start start = sim->has_dialed ? SESSION_RESUMED : SESSION_FRESH;
    uint8_t root[KDF_SIZE];
    uint8_t context[KDF_SIZE];
    struct session_keys *keys;

    for (size_t i = 0; i < sizeof(root); i++) {
        root[i] = (uint8_t)rng_next(&sim->rng);
        context[i] = (uint8_t)rng_next(&sim->rng);
    }
    must(session_keys_new(&keys, KEM_MLKEM768, root, context), "keys");
    must(session_new(&c->source.session, sim->source.tunnel, keys, start, sim->now), "session");
    must(session_keys_new(&keys, KEM_MLKEM768, root, context), "keys");
    must(session_new(&c->dest.session, sim->dest.tunnel, keys, start, sim->now), "session");
    c->is_broken = false;
    c->is_tampered = false;
    sim->has_dialed = true;
    sim->n_sessions++;
    if (rng_once_in(&sim->rng, 8))
        session_go_away(c->dest.session, WIRE_SHUTDOWN, 5, "bye");
}

static void plug_out(struct plug *p)
{
    session_close(p->session);
    free(p->out.data);
    *p = (struct plug){0};
}

static void side_init(struct sim *sim, struct side *side, enum tunnel_role role)
{
    struct tunnel_options options = {
        .role = role,
        .max_streams = STREAMS_MAX,
        .window_max = 32 * 1024 + rng_size(&sim->rng, 1024 * 1024),
        .events = &events,
        .owner = &side->as_owner,
        .heartbeat = {.interval_us = 100000, .timeout_us = 300000, .max_missed = 3},
        .hold = &side->hold,
        .credit = &side->credit,
    };
    /* From barely enough to plenty: 16 streams with 32 KiB of promised credit need 2.7 MiB. */
    size_t memory = 3 * 1024 * 1024 + rng_size(&sim->rng, 8 * 1024 * 1024);
    size_t pool_limit;

    side->sim = sim;
    side->role = role;
    tunnel_share_memory(memory, &pool_limit, &side->hold, &side->credit);
    must(pool_new(&side->pool, pool_limit), "pool");
    options.pool = side->pool;
    must(tunnel_new(&side->tunnel, &options), "tunnel");
}

static void side_fini(struct side *side)
{
    tunnel_free(side->tunnel);
    budget_give(&side->hold, side->elsewhere);
    if (side->hold.used != 0 || side->credit.used != 0)
        fail("budgets are not given back: hold %" PRIu64 ", credit %" PRIu64, side->hold.used,
             side->credit.used);
    pool_free(side->pool);
}

static void check_memory(struct side *side)
{
    struct tunnel_state state;

    tunnel_get_state(side->tunnel, &state);
    if (pool_in_use(side->pool) > pool_limit(side->pool))
        fail("the pool is beyond its bound");
    if (side->hold.used > side->hold.limit || state.send_held + side->elsewhere != side->hold.used)
        fail("held bytes are beyond their bound, or miscounted");
    if (side->credit.used > side->credit.limit + STREAMS_MAX * STREAM_WINDOW_INITIAL)
        fail("credit is beyond its bound");
    if (state.recv_held > side->credit.used)
        fail("more is kept than credit was given for");
}

/* -- what can happen in a step -- */

static void wire_put(struct wire *w, const uint8_t *data, size_t len)
{
    if (w->len + len > w->room) {
        w->room = (w->len + len) * 2;
        w->data = realloc(w->data, w->room);
        if (w->data == NULL)
            fail("no memory");
    }
    memcpy(w->data + w->len, data, len);
    w->len += len;
}

static bool is_free(const struct cable *c)
{
    return c->source.session == NULL && c->dest.session == NULL;
}

static void step_drain(struct sim *sim, struct cable *c, struct plug *p)
{
    const uint8_t *data;
    size_t len;

    if (p->session == NULL)
        return;
    must(session_drain(p->session, &data, &len, sim->now), "drain");
    if (len > sim->capacity - p->out.len)
        len = sim->capacity - p->out.len;
    if (len > 0 && rng_once_in(&sim->rng, 3))
        len = rng_size(&sim->rng, len); /* a partial write */
    if (len > 0 && !c->is_broken)
        wire_put(&p->out, data, len);
    session_drained(p->session, len);
}

static void step_deliver(struct sim *sim, struct cable *c, struct plug *from, struct plug *to)
{
    size_t len = from->out.len;
    size_t used;
    enum err e;
    uint8_t *copy;

    if (to->session == NULL || c->is_broken || len == 0)
        return;
    if (!rng_once_in(&sim->rng, 4))
        len = 1 + rng_size(&sim->rng, len - 1);
    /* An exact copy, so that a read behind its end shows under a sanitizer. */
    copy = malloc(len);
    if (copy == NULL)
        fail("no memory");
    memcpy(copy, from->out.data, len);
    e = session_feed(to->session, copy, len, &used, sim->now);
    free(copy);
    if (e != ERR_OK) {
        if (!c->is_tampered)
            fail("feed: %s", err_text(e));
        c->is_broken = true;
        plug_out(to);
        return;
    }
    memmove(from->out.data, from->out.data + used, from->out.len - used);
    from->out.len -= used;
}

/* Something goes wrong with a connection. */
static void step_storm(struct sim *sim, struct cable *c)
{
    const struct weather *w = &sim->weather;
    struct plug *p = rng_once_in(&sim->rng, 2) ? &c->source : &c->dest;

    if (sim->storms == 0 || is_free(c))
        return;
    if (w->cut > 0 && rng_once_in(&sim->rng, w->cut)) {
        c->is_broken = true;
        p->knows = true;
    } else if (w->hole > 0 && rng_once_in(&sim->rng, w->hole)) {
        c->is_broken = true;
    } else if (w->tamper > 0 && p->out.len > 0 && rng_once_in(&sim->rng, w->tamper)) {
        p->out.data[rng_below(&sim->rng, p->out.len)] ^= (uint8_t)(1 + rng_below(&sim->rng, 255));
        c->is_tampered = true;
    } else {
        return;
    }
    sim->storms--;
}

/*
 * What a worker does: it closes a session that is retired or broken, the latter once it has noticed
 * (what is broken for one side is found by the heartbeat of the other).
 */
static void step_mend(struct cable *c)
{
    struct plug *plugs[] = {&c->source, &c->dest};

    for (size_t i = 0; i < 2; i++) {
        struct plug *p = plugs[i];
        const struct plug *q = plugs[1 - i];

        if (p->session == NULL)
            continue;
        if (p->is_retired || p->knows || (q->session == NULL && !c->is_broken))
            plug_out(p);
    }
}

/* The source dials when it has no session that works, and now and then when it has (refresh). */
static void step_dial(struct sim *sim)
{
    struct cable *spare = NULL;
    bool works = false;

    for (size_t i = 0; i < CABLES_MAX; i++) {
        struct cable *c = &sim->cables[i];

        if (is_free(c))
            spare = c;
        else if (c->source.session != NULL && !c->source.is_retired)
            works = true;
    }
    if (spare == NULL)
        return;
    if (works) {
        if (sim->storms == 0 || sim->weather.refresh == 0 ||
            !rng_once_in(&sim->rng, sim->weather.refresh))
            return;
        sim->storms--;
    }
    plug_in(sim, spare);
}

static void step_give_up(struct sim *sim)
{
    struct side *side = rng_once_in(&sim->rng, 2) ? &sim->source : &sim->dest;
    struct tunnel_state state;

    if (sim->weather.give_up == 0 || sim->storms == 0 ||
        !rng_once_in(&sim->rng, sim->weather.give_up))
        return;
    tunnel_get_state(side->tunnel, &state);
    if (state.has_session)
        return;
    sim->storms--;
    for (unsigned i = 0; i < sim->n_streams; i++) {
        sim->clients[i].gave_up |= sim->clients[i].is_opened;
        sim->targets[i].gave_up |= sim->clients[i].is_opened;
    }
    tunnel_lose_streams(side->tunnel);
}

static void step_open(struct sim *sim)
{
    struct stream_owner *o = &sim->clients[rng_below(&sim->rng, sim->n_streams)];
    struct stream_target target = {.name = "service"};

    if (o->is_opened || !sim->source.is_ready)
        return;
    target.port = (uint16_t)o->index;
    target.client.address_len = 4;
    target.client.port = (uint16_t)o->index;
    must(stream_open(&o->stream, sim->source.tunnel, &target, o), "open");
    o->is_opened = true;
}

static bool is_live(const struct stream_owner *o)
{
    return o->is_opened && !o->is_released;
}

static void end_sending(struct stream_owner *o)
{
    switch (o->ending) {
    case END_FIN:
        stream_send_finish(o->stream);
        break;
    case END_FIN_THEN_RESET:
        stream_send_finish(o->stream);
        stream_reset(o->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        o->reset_sent = true;
        break;
    case END_RESET_AFTER_DATA:
        stream_reset(o->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        o->reset_sent = true;
        break;
    case END_RESET_NOW:
    case ENDINGS:
        stream_reset(o->stream, WIRE_RESET, STREAM_RESET_NOW);
        o->reset_sent = true;
        break;
    }
    o->end_sent = true;
}

static void step_send(struct stream_owner *o)
{
    struct rng *rng = &o->side->sim->rng;
    struct iovec parts[6];
    size_t used;
    size_t room;
    size_t len = 0;

    if (!is_live(o) || o->accept_pending || o->end_sent || o->reset_told || o->wait_for_room)
        return;
    if (o->sent == o->to_send) {
        end_sending(o);
        return;
    }
    room = stream_send_reserve(o->stream, 1 + rng_size(rng, 128 * 1024), parts,
                               1 + rng_below(rng, 6), &used);
    if (room == 0) {
        o->wait_for_room = true; /* until on_writable, and not before */
        return;
    }
    room = rng_size(rng, room);
    for (size_t i = 0; i < used; i++) {
        uint8_t *p = parts[i].iov_base;

        for (size_t j = 0; j < parts[i].iov_len && len < room && o->sent < o->to_send; j++, len++)
            p[j] = pattern(o, o->sent++);
    }
    stream_send_commit(o->stream, len);
}

static void step_receive(struct stream_owner *o)
{
    struct iovec parts[3];
    size_t viewed;
    size_t n;
    uint64_t at = o->received;

    if (!is_live(o) || o->accept_pending)
        return;
    n = stream_recv_view(o->stream, parts, 3, &viewed);
    for (size_t i = 0; i < n; i++) {
        check_bytes(o, at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    if (viewed == 0)
        return;
    viewed = rng_size(&o->side->sim->rng, viewed);
    o->received += viewed; /* first: on_finish may come from inside */
    stream_recv_consume(o->stream, viewed);
}

static void step_answer(struct stream_owner *o)
{
    if (!is_live(o) || !o->accept_pending)
        return;
    o->accept_pending = false;
    if (o->refuse) {
        stream_reset(o->stream, WIRE_REFUSED, STREAM_RESET_NOW);
        o->reset_sent = true;
        o->end_sent = true;
    } else {
        stream_accept(o->stream);
    }
}

/* An owner lets go once it can expect nothing more. */
static void step_release(struct stream_owner *o)
{
    struct stream_state state;

    if (!is_live(o) || o->accept_pending)
        return;
    stream_get_state(o->stream, &state);
    if (!(o->finish_told && o->end_sent) && !o->reset_sent &&
        !(o->reset_told && state.recv_held == 0))
        return;
    o->is_released = true;
    stream_release(o->stream);
}

/* What an owner does from inside an event: something to any stream of its side, its own included.
 */
static void act_rashly(struct stream_owner *told)
{
    struct sim *sim = told->side->sim;
    struct stream_owner *all = told->side->role == TUNNEL_SOURCE ? sim->clients : sim->targets;
    struct stream_owner *o = &all[rng_below(&sim->rng, sim->n_streams)];

    if (!sim->rash || sim->depth == 3)
        return;
    if (rng_once_in(&sim->rng, 2))
        o = told;
    sim->depth++;
    switch (rng_below(&sim->rng, 8)) {
    case 0:
    case 1:
    case 2:
        step_send(o);
        break;
    case 3:
        if (!o->is_taking) /* what it has been shown is not taken yet */
            step_receive(o);
        break;
    case 4:
        step_answer(o);
        break;
    case 5:
        step_release(o);
        break;
    case 6:
        if (is_live(o) && !o->accept_pending && rng_once_in(&sim->rng, 10)) {
            o->was_rash = true;
            o->reset_sent = true;
            o->end_sent = true;
            stream_reset(o->stream, WIRE_RESET,
                         rng_once_in(&sim->rng, 2) ? STREAM_RESET_NOW : STREAM_RESET_AFTER_DATA);
            step_release(o);
        }
        break;
    default:
        break;
    }
    sim->depth--;
}

/* Other tunnels of the same worker take memory, and give it back. */
static void step_elsewhere(struct side *side)
{
    struct rng *rng = &side->sim->rng;

    if (side->elsewhere > 0) {
        budget_give(&side->hold, side->elsewhere);
        side->elsewhere = 0;
    } else if (rng_once_in(rng, 4)) {
        side->elsewhere = rng_size(rng, (size_t)budget_left(&side->hold));
        budget_force(&side->hold, side->elsewhere);
    }
}

static void step_owner(struct sim *sim, struct stream_owner *o)
{
    switch (rng_below(&sim->rng, 4)) {
    case 0:
    case 1:
        step_send(o);
        break;
    case 2:
        step_receive(o);
        break;
    default:
        step_answer(o);
        step_release(o);
        break;
    }
}

/* A peer that is only slow must never be taken for dead: the simulation is seldom that slow. */
static void tick(struct sim *sim, struct cable *c, struct plug *p)
{
    enum err e = p->session == NULL ? ERR_OK : session_tick(p->session, sim->now);

    if (e == ERR_OK)
        return;
    if (e != ERR_HEARTBEAT)
        fail("tick: %s", err_text(e));
    c->is_broken = true;
    plug_out(p);
}

static void step_time(struct sim *sim)
{
    sim->now += rng_below(&sim->rng, 2000);
    if (rng_once_in(&sim->rng, 1000))
        sim->now += 60000000; /* the laptop slept */
    if (rng_once_in(&sim->rng, 50)) {
        step_elsewhere(&sim->source);
        step_elsewhere(&sim->dest);
    }
    for (size_t i = 0; i < CABLES_MAX; i++) {
        tick(sim, &sim->cables[i], &sim->cables[i].source);
        tick(sim, &sim->cables[i], &sim->cables[i].dest);
    }
}

static void step_network(struct sim *sim)
{
    struct cable *c = &sim->cables[rng_below(&sim->rng, CABLES_MAX)];
    bool up = rng_once_in(&sim->rng, 2);
    struct plug *from = up ? &c->source : &c->dest;
    struct plug *to = up ? &c->dest : &c->source;

    switch (rng_below(&sim->rng, 4)) {
    case 0:
    case 1:
        step_drain(sim, c, from);
        break;
    case 2:
        step_deliver(sim, c, from, to);
        break;
    default:
        step_mend(c);
        step_dial(sim);
        step_storm(sim, c);
        step_give_up(sim);
        break;
    }
}

static void step(struct sim *sim)
{
    unsigned i = (unsigned)rng_below(&sim->rng, sim->n_streams);

    sim->steps++;
    switch (rng_below(&sim->rng, 16)) {
    case 0:
        step_open(sim);
        break;
    case 1:
    case 2:
        step_owner(sim, &sim->clients[i]);
        break;
    case 3:
    case 4:
        step_owner(sim, &sim->targets[i]);
        break;
    case 5:
        step_time(sim);
        break;
    default:
        step_network(sim);
        break;
    }
    check_memory(&sim->source);
    check_memory(&sim->dest);
}

/* -- the run -- */

static bool is_settled(const struct sim *sim)
{
    struct tunnel_state source;
    struct tunnel_state dest;

    for (unsigned i = 0; i < sim->n_streams; i++) {
        if (is_live(&sim->clients[i]) || is_live(&sim->targets[i]))
            return false;
        if (!sim->clients[i].is_opened)
            return false;
    }
    tunnel_get_state(sim->source.tunnel, &source);
    tunnel_get_state(sim->dest.tunnel, &dest);
    return source.streams == 0 && dest.streams == 0;
}

static void check_end(const struct stream_owner *o)
{
    const struct stream_owner *p = o->peer;

    if (!o->is_opened || o->gave_up)
        return;
    if (o->side->role == TUNNEL_SOURCE && p->refuse) {
        if (!o->reset_told && !o->reset_sent)
            fail("stream %u: refused, but its client was not told", o->index);
        if (o->reset_told && o->reset_code != WIRE_REFUSED)
            fail("stream %u: refused with the wrong code", o->index);
        return;
    }
    if (o->reset_sent || o->refuse)
        return; /* who resets expects nothing */
    if (p->was_rash) {
        if (!o->reset_told && !o->finish_told)
            fail("stream %u: a rash reset was lost", o->index);
        return;
    }
    if (p->reset_sent && !o->reset_told && !o->finish_told)
        fail("stream %u: a reset was lost", o->index);
    if (p->ending == END_FIN || p->ending == END_FIN_THEN_RESET ||
        p->ending == END_RESET_AFTER_DATA) {
        if (o->received != p->to_send)
            fail("stream %u: %" PRIu64 " of %" PRIu64 " bytes", o->index, o->received, p->to_send);
    }
    if (p->ending == END_FIN || p->ending == END_FIN_THEN_RESET) {
        if (!o->finish_told)
            fail("stream %u: a FIN was lost", o->index);
    }
}

static void plan_owner(struct sim *sim, struct stream_owner *o, struct side *side, unsigned i)
{
    o->side = side;
    o->index = i;
    o->to_send = rng_size(&sim->rng, rng_once_in(&sim->rng, 8) ? 1024 * 1024 : 32 * 1024);
    o->ending = rng_once_in(&sim->rng, 3) ? (enum ending)rng_below(&sim->rng, ENDINGS) : END_FIN;
    o->appetite = (unsigned)rng_below(&sim->rng, 4);
}

/* Each kind of trouble is absent, rare or frequent. */
static uint64_t chance(struct rng *rng)
{
    return rng_once_in(rng, 2) ? 0 : (uint64_t)1 << (4 + rng_below(rng, 10));
}

static void make_weather(struct sim *sim)
{
    sim->weather.refresh = chance(&sim->rng);
    sim->weather.cut = chance(&sim->rng);
    sim->weather.hole = chance(&sim->rng);
    sim->weather.tamper = chance(&sim->rng);
    sim->weather.give_up = rng_once_in(&sim->rng, 8) ? chance(&sim->rng) * 4 : 0;
}

struct sim_result sim_run(uint64_t seed)
{
    static struct sim sim;
    struct sim_result result;

    memset(&sim, 0, sizeof(sim));
    sim.seed = seed;
    sim.rng.state = seed * UINT64_C(0xd1342543de82ef95) + 1;
    sim.now = 1;
    running = &sim;
    sim.n_streams = 1 + (unsigned)rng_below(&sim.rng, STREAMS_MAX);
    sim.capacity = RECORD_SIZE_MAX + rng_size(&sim.rng, 512 * 1024);
    sim.storms = rng_size(&sim.rng, 60);
    make_weather(&sim);
    sim.rash = rng_once_in(&sim.rng, 2);
    side_init(&sim, &sim.source, TUNNEL_SOURCE);
    side_init(&sim, &sim.dest, TUNNEL_DEST);
    for (unsigned i = 0; i < sim.n_streams; i++) {
        plan_owner(&sim, &sim.clients[i], &sim.source, i);
        plan_owner(&sim, &sim.targets[i], &sim.dest, i);
        sim.clients[i].peer = &sim.targets[i];
        sim.targets[i].peer = &sim.clients[i];
        sim.targets[i].refuse = rng_once_in(&sim.rng, 12);
    }
    while (!is_settled(&sim)) {
        step(&sim);
        if (sim.steps > STEPS_MAX)
            fail("stuck");
    }
    for (unsigned i = 0; i < sim.n_streams; i++) {
        check_end(&sim.clients[i]);
        check_end(&sim.targets[i]);
    }
    result = (struct sim_result){
        .steps = sim.steps, .streams = sim.n_streams, .sessions = sim.n_sessions};
    for (size_t i = 0; i < CABLES_MAX; i++) {
        plug_out(&sim.cables[i].source);
        plug_out(&sim.cables[i].dest);
    }
    side_fini(&sim.source);
    side_fini(&sim.dest);
    return result;
}
