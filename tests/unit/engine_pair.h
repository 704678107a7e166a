/*
 * Two engines back to back in one process, with owners that count what they are told; and a hostile
 * peer that has the keys of a session and seals whatever a test writes. Failures end the test.
 */
#ifndef UTUN_TESTS_UNIT_ENGINE_PAIR_H
#define UTUN_TESTS_UNIT_ENGINE_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/key_schedule.h"
#include "tunnel/tunnel.h"

#define PAIR_MEMORY ((size_t)64 * 1024 * 1024)
#define PAIR_KEEP   4096 /* bytes of a stream that an owner remembers */

/* 10.0.0.0/8: the range that is said of all targets. */
#define PAIR_RANGES "\x04\x08\x0a"

struct pair_ranges {
    uint8_t bytes[sizeof(PAIR_RANGES) - 1];
};

/* One end of a stream. */
struct stream_owner {
    struct stream *stream;
    size_t appetite; /* of each on_data it takes at most so much; SIZE_MAX: all */
    uint64_t received;
    uint8_t data[PAIR_KEEP]; /* the first of it */
    unsigned accepts;
    unsigned datas;
    unsigned finishes;
    unsigned resets;
    unsigned writables;
    unsigned sents;
    enum wire_code code;
    /* What else it does when it is told something; may be NULL. */
    void (*act)(struct stream_owner *o);
    struct stream_owner *victim; /* for act */
};

/* One end of a flow. */
struct flow_owner {
    struct flow *flow; /* NULL once it is closed */
    unsigned datagrams;
    uint64_t received;       /* bytes */
    uint8_t data[PAIR_KEEP]; /* of the last datagram, its beginning */
    size_t len;              /* of the last datagram */
    unsigned closes;
    enum wire_code code;
    unsigned drops[FLOW_DROPS];
    void (*act)(struct flow_owner *o); /* for each datagram; may be NULL */
};

struct tunnel_owner {
    struct flow_owner *next_flow; /* as next, for a flow */
    unsigned flow_opens;
    unsigned drops[FLOW_DROPS]; /* of all datagrams */
    struct stream_owner *next;  /* who gets the next stream that is opened; NULL: refuse it */
    bool accept_at_once;
    unsigned opens;
    unsigned readies;
    unsigned retirements;
    unsigned go_aways;
    unsigned key_events[3];      /* by enum key_event */
    struct stream_target target; /* the last */
    enum wire_code code;
    char text[GO_AWAY_TEXT_MAX + 1];
};

/* One engine. */
struct end {
    struct tunnel_owner owner;
    struct tunnel *tunnel;
    struct session *session;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    struct budget exchanges;
};

struct pair {
    struct end source;
    struct end dest;
    uint64_t now;
};

/* What pair_target's ranges were when they were there. */
static inline void pair_check_ranges(const struct stream_target *target)
{
    if (target->ranges_len > 0)
        assert_memory_equal(target->ranges, PAIR_RANGES, target->ranges_len);
}

static inline void pair_on_open(struct tunnel_owner *owner, struct stream *stream,
                                const struct stream_target *target)
{
    struct stream_owner *o = owner->next;

    owner->opens++;
    owner->target = *target;
    pair_check_ranges(target);
    if (o == NULL) {
        stream_reset(stream, WIRE_REFUSED, STREAM_RESET_NOW);
        stream_release(stream);
        return;
    }
    owner->next = NULL;
    o->stream = stream;
    stream_set_owner(stream, o);
    if (owner->accept_at_once)
        stream_accept(stream);
}

static inline void pair_act(struct stream_owner *o)
{
    if (o->act != NULL)
        o->act(o);
}

static inline void pair_on_accept(struct stream_owner *o, struct stream *stream)
{
    assert_ptr_equal(o->stream, stream);
    o->accepts++;
    pair_act(o);
}

static inline size_t pair_on_data(struct stream_owner *o, struct stream *stream,
                                  const uint8_t *data, size_t len)
{
    assert_ptr_equal(o->stream, stream);
    assert_true(len > 0);
    o->datas++;
    if (len > o->appetite)
        len = o->appetite;
    for (size_t i = 0; i < len && o->received + i < PAIR_KEEP; i++)
        o->data[o->received + i] = data[i];
    o->received += len;
    pair_act(o);
    return len;
}

static inline void pair_on_finish(struct stream_owner *o, struct stream *stream)
{
    assert_ptr_equal(o->stream, stream);
    o->finishes++;
    pair_act(o);
}

static inline void pair_on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    assert_ptr_equal(o->stream, stream);
    o->resets++;
    o->code = code;
    pair_act(o);
}

static inline void pair_on_writable(struct stream_owner *o, struct stream *stream)
{
    assert_ptr_equal(o->stream, stream);
    o->writables++;
    pair_act(o);
}

static inline void pair_on_sent(struct stream_owner *o, struct stream *stream)
{
    assert_ptr_equal(o->stream, stream);
    o->sents++;
    pair_act(o);
}

static inline void pair_on_flow_open(struct tunnel_owner *owner, struct flow *flow,
                                     const struct stream_target *target)
{
    struct flow_owner *o = owner->next_flow;

    owner->flow_opens++;
    owner->target = *target;
    pair_check_ranges(target);
    owner->next_flow = NULL;
    if (o == NULL) {
        flow_close(flow, WIRE_REFUSED);
        return;
    }
    o->flow = flow;
    flow_set_owner(flow, o);
}

static inline void pair_on_datagram(struct flow_owner *o, struct flow *flow, const uint8_t *data,
                                    size_t len)
{
    assert_ptr_equal(o->flow, flow);
    o->datagrams++;
    o->received += len;
    o->len = len;
    memcpy(o->data, data, len < PAIR_KEEP ? len : PAIR_KEEP);
    if (o->act != NULL)
        o->act(o);
}

static inline void pair_on_flow_closed(struct flow_owner *o, enum wire_code code)
{
    assert_non_null(o->flow);
    o->flow = NULL;
    o->closes++;
    o->code = code;
}

static inline void pair_on_dropped(struct tunnel_owner *owner, struct flow_owner *o,
                                   enum flow_drop why)
{
    owner->drops[why]++;
    if (o != NULL)
        o->drops[why]++;
}

static inline void pair_on_session_ready(struct tunnel_owner *owner, struct session *session)
{
    assert_true(session_is_ready(session));
    owner->readies++;
}

static inline void pair_on_session_retired(struct tunnel_owner *owner, struct session *session)
{
    (void)session;
    owner->retirements++;
}

static inline void pair_on_go_away(struct tunnel_owner *owner, struct session *session,
                                   enum wire_code code, uint32_t retry_after_ms,
                                   const uint8_t *text, size_t text_len)
{
    (void)session;
    (void)retry_after_ms;
    owner->go_aways++;
    owner->code = code;
    memcpy(owner->text, text, text_len);
    owner->text[text_len] = '\0';
}

static inline void pair_on_keys(struct tunnel_owner *owner, struct session *session,
                                enum key_event event)
{
    (void)session;
    owner->key_events[event]++;
}

static const struct tunnel_events pair_events = {
    .on_open = pair_on_open,
    .on_accept = pair_on_accept,
    .on_data = pair_on_data,
    .on_finish = pair_on_finish,
    .on_reset = pair_on_reset,
    .on_writable = pair_on_writable,
    .on_sent = pair_on_sent,
    .on_flow_open = pair_on_flow_open,
    .on_datagram = pair_on_datagram,
    .on_flow_closed = pair_on_flow_closed,
    .on_datagram_dropped = pair_on_dropped,
    .on_session_ready = pair_on_session_ready,
    .on_session_retired = pair_on_session_retired,
    .on_go_away = pair_on_go_away,
    .on_keys = pair_on_keys,
};

/* The same root gives the same keys: number is all that tells one session from another. */
static enum kem_mode pair_kem_mode = KEM_MLKEM768;

static inline struct session_keys *pair_keys(uint8_t number)
{
    uint8_t root[KDF_SIZE];
    uint8_t context[KDF_SIZE];
    struct session_keys *keys;

    memset(root, number, sizeof(root));
    memset(context, number, sizeof(context));
    assert_int_equal(session_keys_new(&keys, pair_kem_mode, root, context), ERR_OK);
    return keys;
}

/* How the keys of the next ends age. */
static uint64_t pair_key_lifetime_us;
static uint64_t pair_key_margin_us;

static inline void end_init(struct end *end, enum tunnel_role role, size_t memory,
                            uint32_t max_streams)
{
    struct tunnel_options options = {
        .role = role,
        .max_streams = max_streams,
        .max_flows = max_streams,
        .window_max = 1024 * 1024,
        .key_lifetime_us = pair_key_lifetime_us,
        .key_margin_us = pair_key_margin_us,
        .events = &pair_events,
        .owner = &end->owner,
        .hold = &end->hold,
        .credit = &end->credit,
        .exchanges = &end->exchanges,
    };
    size_t pool_limit;

    memset(end, 0, sizeof(*end));
    tunnel_share_memory(memory, &pool_limit, &end->hold, &end->credit);
    end->exchanges = tunnel_exchange_budget(memory);
    assert_int_equal(pool_new(&end->pool, pool_limit), ERR_OK);
    options.pool = end->pool;
    assert_int_equal(tunnel_new(&end->tunnel, &options), ERR_OK);
    end->owner.accept_at_once = true;
}

static inline void end_start(struct end *end, enum session_start start, uint8_t number,
                             uint64_t now)
{
    assert_int_equal(session_new(&end->session, end->tunnel, pair_keys(number), start, now),
                     ERR_OK);
}

static inline void end_attach(struct end *end, uint8_t number, uint64_t now)
{
    end_start(end, SESSION_FRESH, number, now);
}

/* Nothing may be left over: no block, and no byte of a budget. */
static inline void end_fini(struct end *end)
{
    tunnel_free(end->tunnel);
    assert_int_equal(end->hold.used, 0);
    assert_int_equal(end->credit.used, 0);
    assert_int_equal(end->exchanges.used, 0);
    assert_int_equal(pool_in_use(end->pool), 0);
    pool_free(end->pool);
}

static inline size_t end_streams(const struct end *end)
{
    struct tunnel_state state;

    tunnel_get_state(end->tunnel, &state);
    return state.streams;
}

/* What the engine would send, copied to room; 0 when there is nothing. */
static inline size_t end_drain(struct end *end, uint8_t *room, size_t size, uint64_t now)
{
    size_t total = 0;

    for (;;) {
        const uint8_t *data;
        size_t len;

        assert_int_equal(session_drain(end->session, &data, &len, now), ERR_OK);
        if (len == 0)
            return total;
        assert_true(len <= size - total);
        memcpy(room + total, data, len);
        total += len;
        session_drained(end->session, len);
    }
}

/* Feeds an exact copy, so that a read behind its end shows under a sanitizer. */
static inline enum err end_feed(struct end *end, const uint8_t *data, size_t len, size_t *used,
                                uint64_t now)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    enum err e;

    assert_non_null(copy);
    memcpy(copy, data, len);
    e = session_feed(end->session, copy, len, used, now);
    free(copy);
    return e;
}

/* One engine's output to the other; how many bytes it was. */
static inline size_t pair_carry(struct pair *p, struct end *from, struct end *to)
{
    const uint8_t *data;
    size_t len;
    size_t used;

    assert_int_equal(session_drain(from->session, &data, &len, p->now), ERR_OK);
    if (len == 0)
        return 0;
    assert_int_equal(end_feed(to, data, len, &used, p->now), ERR_OK);
    assert_int_equal(used, len);
    session_drained(from->session, len);
    return len;
}

static inline void pair_swap(struct pair *p)
{
    while (pair_carry(p, &p->source, &p->dest) + pair_carry(p, &p->dest, &p->source) > 0)
        p->now += 100;
}

/* Until neither has anything to say, also after the time that acknowledgements wait. */
static inline void pair_settle(struct pair *p)
{
    for (int i = 0; i < 3; i++) {
        pair_swap(p);
        p->now += ACK_DELAY_US + 1;
        assert_int_equal(session_tick(p->source.session, p->now), ERR_OK);
        assert_int_equal(session_tick(p->dest.session, p->now), ERR_OK);
    }
    pair_swap(p);
}

static inline void pair_init(struct pair *p, size_t memory, uint32_t max_streams)
{
    memset(p, 0, sizeof(*p));
    p->now = 1000;
    end_init(&p->source, TUNNEL_SOURCE, memory, max_streams);
    end_init(&p->dest, TUNNEL_DEST, memory, max_streams);
    end_attach(&p->source, 1, p->now);
    end_attach(&p->dest, 1, p->now);
    pair_settle(p);
    assert_int_equal(p->source.owner.readies, 1);
    assert_int_equal(p->dest.owner.readies, 1);
}

/* The session is lost; what the streams do then is the test's matter. */
static inline void pair_lose_session(struct pair *p)
{
    session_close(p->source.session);
    session_close(p->dest.session);
    p->source.session = NULL;
    p->dest.session = NULL;
}

static inline void pair_start(struct pair *p, enum session_start start, uint8_t number)
{
    end_start(&p->source, start, number, p->now);
    end_start(&p->dest, start, number, p->now);
    pair_settle(p);
}

static inline void pair_fini(struct pair *p)
{
    end_fini(&p->source);
    end_fini(&p->dest);
}

/* A target whose ranges go when the call that opens something to it is over. */
static inline struct stream_target pair_target(uint16_t port, const char *name,
                                               struct pair_ranges *ranges)
{
    struct stream_target to = {.kind = STREAM_TARGET_HOST,
                               .port = port,
                               .ranges = ranges->bytes,
                               .ranges_len = sizeof(ranges->bytes)};

    snprintf(to.name, sizeof(to.name), "%s", name);
    memcpy(ranges->bytes, PAIR_RANGES, sizeof(ranges->bytes));
    return to;
}

static inline void pair_open(struct pair *p, struct stream_owner *client,
                             struct stream_owner *target)
{
    struct pair_ranges ranges;
    struct stream_target to = pair_target(80, "web", &ranges);

    client->appetite = client->appetite == 0 ? SIZE_MAX : client->appetite;
    target->appetite = target->appetite == 0 ? SIZE_MAX : target->appetite;
    p->dest.owner.next = target;
    assert_int_equal(stream_open(&client->stream, p->source.tunnel, &to, client), ERR_OK);
    explicit_bzero(&ranges, sizeof(ranges));
}

static inline void pair_open_flow(struct pair *p, struct flow_owner *client,
                                  struct flow_owner *target)
{
    struct pair_ranges ranges;
    struct stream_target to = pair_target(53, "dns", &ranges);

    p->dest.owner.next_flow = target;
    assert_int_equal(flow_open(&client->flow, p->source.tunnel, &to, client), ERR_OK);
    explicit_bzero(&ranges, sizeof(ranges));
}

/* Commits up to len bytes, all of the given value; how many there was room for. */
static inline size_t pair_send(struct stream_owner *o, size_t len, uint8_t value)
{
    size_t total = 0;

    while (total < len) {
        struct iovec parts[8];
        size_t used;
        size_t room = stream_send_reserve(o->stream, len - total, parts, 8, &used);

        if (room == 0)
            break;
        for (size_t i = 0; i < used; i++)
            memset(parts[i].iov_base, value, parts[i].iov_len);
        stream_send_commit(o->stream, room);
        total += room;
    }
    return total;
}

static inline void pair_send_text(struct stream_owner *o, const char *text)
{
    struct iovec parts[2];
    size_t used;
    size_t len = strlen(text);

    assert_true(len <= 4000);
    assert_int_equal(stream_send_reserve(o->stream, len, parts, 2, &used), len);
    memcpy(parts[0].iov_base, text, parts[0].iov_len);
    if (used > 1)
        memcpy(parts[1].iov_base, text + parts[0].iov_len, parts[1].iov_len);
    stream_send_commit(o->stream, len);
}

static inline void pair_release(struct stream_owner *o)
{
    stream_release(o->stream);
    o->stream = NULL;
}

/* -- a hostile peer -- */

struct hostile {
    struct end *end; /* whom it talks to */
    uint8_t number;  /* of the session */
    struct session_keys *keys;
    struct record_sealer *sealer;
    struct record_opener *opener;
    enum key_direction direction; /* of what it sends */
    uint8_t plain[RECORD_PLAINTEXT_MAX];
    struct wire_writer w; /* over plain: frames of the next record */
    uint64_t now;
};

/* In the place of the engine that end's session would have been with. */
static inline void hostile_init(struct hostile *h, struct end *end, enum tunnel_role end_role,
                                uint8_t number)
{
    struct traffic_keys k;

    h->end = end;
    h->number = number;
    h->now = 1000;
    h->keys = pair_keys(number);
    h->direction = end_role == TUNNEL_DEST ? KEY_FROM_SOURCE : KEY_FROM_DEST;
    assert_int_equal(session_keys_traffic(h->keys, h->direction, &k), ERR_OK);
    assert_int_equal(record_sealer_new(&h->sealer, &k, 0), ERR_OK);
    assert_int_equal(session_keys_traffic(
                         h->keys, end_role == TUNNEL_DEST ? KEY_FROM_DEST : KEY_FROM_SOURCE, &k),
                     ERR_OK);
    assert_int_equal(record_opener_new(&h->opener, &k, 0), ERR_OK);
    wire_writer_init(&h->w, h->plain, sizeof(h->plain));
}

static inline void hostile_fini(struct hostile *h)
{
    record_sealer_free(h->sealer);
    record_opener_free(h->opener);
    session_keys_free(h->keys);
}

/* Seals what has been written since the last time; the record's size. */
static inline size_t hostile_seal(struct hostile *h, uint8_t *room)
{
    struct iovec part = {.iov_base = h->plain, .iov_len = wire_written(&h->w)};
    size_t len;

    assert_false(h->w.failed);
    assert_int_equal(record_seal(h->sealer, &part, 1, room, RECORD_SIZE_MAX, &len), ERR_OK);
    wire_writer_init(&h->w, h->plain, sizeof(h->plain));
    return len;
}

/* Sends it. */
static inline enum err hostile_send(struct hostile *h)
{
    uint8_t *room = malloc(RECORD_SIZE_MAX);
    size_t len = hostile_seal(h, room);
    size_t used;
    enum err e = end_feed(h->end, room, len, &used, h->now);

    free(room);
    return e;
}

static inline void hostile_frame(struct hostile *h, const struct frame *f)
{
    assert_true(frame_encode(&h->w, f));
}

static inline void hostile_settings(struct hostile *h, uint64_t window, uint64_t max_streams)
{
    struct frame f = {.type = FRAME_SETTINGS};

    f.settings.initial_window = window;
    f.settings.max_streams = max_streams;
    f.settings.session = h->direction == KEY_FROM_SOURCE ? h->number : 0;
    hostile_frame(h, &f);
}

static inline void hostile_open(struct hostile *h, uint64_t id)
{
    struct frame f = {.type = FRAME_STREAM_OPEN};

    f.open.id = id;
    f.open.limit = 1024 * 1024;
    f.open.target.port = 80;
    hostile_frame(h, &f);
}

static inline void hostile_accept(struct hostile *h, uint64_t id)
{
    struct frame f = {.type = FRAME_STREAM_ACCEPT};

    f.accept.id = id;
    f.accept.limit = 1024 * 1024;
    hostile_frame(h, &f);
}

static inline void hostile_data(struct hostile *h, uint64_t id, uint64_t offset, size_t len)
{
    assert_true(frame_encode_data_header(&h->w, FRAME_STREAM_DATA, id, offset, len));
    for (size_t i = 0; i < len; i++)
        wire_put_u8(&h->w, 'h');
}

static inline void hostile_key_switch(struct hostile *h, uint64_t generation)
{
    struct frame f = {.type = FRAME_KEY_SWITCH, .key_switch.generation = generation};

    assert_true(frame_encode(&h->w, &f));
}

static inline void hostile_fin(struct hostile *h, uint64_t id, uint64_t offset)
{
    assert_true(frame_encode_data_header(&h->w, FRAME_STREAM_DATA_FIN, id, offset, 0));
}

static inline void hostile_credit(struct hostile *h, uint64_t id, uint64_t acked, uint64_t limit)
{
    struct frame f = {.type = FRAME_STREAM_CREDIT};

    f.credit.id = id;
    f.credit.acked = acked;
    f.credit.limit = limit;
    hostile_frame(h, &f);
}

static inline void hostile_reset(struct hostile *h, uint64_t id, uint64_t final_size)
{
    struct frame f = {.type = FRAME_STREAM_RESET};

    f.reset.id = id;
    f.reset.code = WIRE_RESET;
    f.reset.final_size = final_size;
    hostile_frame(h, &f);
}

static inline void hostile_flow_open(struct hostile *h, uint64_t id)
{
    struct frame f = {.type = FRAME_FLOW_OPEN};

    f.flow_open.id = id;
    f.flow_open.target.port = 53;
    hostile_frame(h, &f);
}

static inline void hostile_flow_close(struct hostile *h, uint64_t id)
{
    struct frame f = {.type = FRAME_FLOW_CLOSE};

    f.flow_close.id = id;
    f.flow_close.code = WIRE_REFUSED;
    hostile_frame(h, &f);
}

static inline void hostile_datagram(struct hostile *h, uint64_t id, size_t len)
{
    assert_true(frame_encode_datagram_header(&h->w, id, len));
    for (size_t i = 0; i < len; i++)
        wire_put_u8(&h->w, 'h');
}

/* RESUME with these entries. */
static inline void hostile_resume(struct hostile *h, uint64_t next_id, bool is_last,
                                  const struct resume_entry *entries, size_t n)
{
    uint8_t room[16 * RESUME_ENTRY_SIZE_MAX];
    struct wire_writer w;

    wire_writer_init(&w, room, sizeof(room));
    for (size_t i = 0; i < n; i++)
        resume_entry_encode(&w, &entries[i]);
    assert_false(w.failed);
    assert_true(frame_encode_resume_header(&h->w, next_id, is_last, wire_written(&w)));
    for (size_t i = 0; i < wire_written(&w); i++)
        wire_put_u8(&h->w, room[i]);
}

/* The engine has switched its key. */
static inline void hostile_follow_key(struct hostile *h)
{
    enum key_direction d = h->direction == KEY_FROM_SOURCE ? KEY_FROM_DEST : KEY_FROM_SOURCE;
    struct traffic_keys k;

    assert_int_equal(session_keys_ratchet(h->keys, d), ERR_OK);
    assert_int_equal(session_keys_traffic(h->keys, d, &k), ERR_OK);
    assert_int_equal(record_opener_rekey(h->opener, &k), ERR_OK);
}

/*
 * Reads all that the engine sends and counts the frames of the type that is sought; the last of
 * them is in *f, without what it points to.
 */
static inline unsigned hostile_read(struct hostile *h, uint64_t now, enum frame_type sought,
                                    struct frame *f)
{
    static uint8_t room[512 * 1024];
    unsigned found = 0;

    for (;;) {
        const uint8_t *data;
        size_t len;
        size_t need;

        assert_int_equal(session_drain(h->end->session, &data, &len, now), ERR_OK);
        if (len == 0)
            return found;
        memcpy(room, data, len);
        session_drained(h->end->session, len);
        for (size_t at = 0; at < len; at += need) {
            struct wire_reader r;
            uint8_t *plain;
            size_t plain_len;

            assert_int_equal(record_peek(h->opener, room + at, len - at, &need), ERR_OK);
            assert_int_equal(record_open(h->opener, room + at, need, &plain, &plain_len), ERR_OK);
            wire_reader_init(&r, plain, plain_len);
            while (wire_left(&r) > 0) {
                struct frame next;

                assert_int_equal(frame_decode(&r, &next), ERR_OK);
                if (next.type == FRAME_KEY_SWITCH)
                    hostile_follow_key(h);
                if (next.type != sought)
                    continue;
                found++;
                *f = next;
            }
        }
    }
}

#endif
