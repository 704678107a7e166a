/* Flows: datagrams whole and once, bounds on what waits, sessions that come and go, hostile peers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_pair.h"
#include "tunnel/engine.h"

static const struct stream_target dns = {
    .port = 53,
    .name = "dns",
    .client = {.address_len = 4, .address = {192, 0, 2, 7}, .port = 40000},
};

static uint8_t bytes[70000];

/* No two datagrams of different length look alike. */
static const uint8_t *sample(size_t len)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)((i + len) % 251);
    return bytes;
}

static void open_one(struct pair *p, struct flow_owner *client, struct flow_owner *target)
{
    memset(client, 0, sizeof(*client));
    memset(target, 0, sizeof(*target));
    pair_open_flow(p, client, target);
    flow_send(client->flow, (const uint8_t *)"?", 1);
    pair_settle(p);
    assert_int_equal(target->datagrams, 1);
    assert_non_null(target->flow);
}

static size_t flows_of(const struct end *end)
{
    struct tunnel_state state;

    tunnel_get_state(end->tunnel, &state);
    return state.flows;
}

static void sizes_both_ways(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 512, 513, 1472, 4077, 4078, 9000, FLOW_DATAGRAM_MAX};
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        size_t kept = lens[i] < PAIR_KEEP ? lens[i] : PAIR_KEEP;

        flow_send(client.flow, sample(lens[i]), lens[i]);
        flow_send(target.flow, sample(lens[i]), lens[i]);
        pair_settle(&pair);
        assert_int_equal(target.datagrams, 2 + i);
        assert_int_equal(client.datagrams, 1 + i);
        assert_int_equal(target.len, lens[i]);
        assert_int_equal(client.len, lens[i]);
        assert_memory_equal(target.data, sample(lens[i]), kept);
        assert_memory_equal(client.data, sample(lens[i]), kept);
    }
    flow_send(client.flow, bytes, FLOW_DATAGRAM_MAX + 1);
    pair_settle(&pair);
    assert_int_equal(client.drops[FLOW_DROP_TOO_LARGE], 1);
    assert_int_equal(target.datagrams, 1 + sizeof(lens) / sizeof(lens[0]));
    assert_int_equal(pool_in_use(pair.source.pool) + pool_in_use(pair.dest.pool), 0);
    pair_fini(&pair);
}

static void target_arrives_and_the_datagram_with_it(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;

    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 3);
    pair.dest.owner.next_flow = &target;
    assert_int_equal(flow_open(&client.flow, pair.source.tunnel, &dns, &client), ERR_OK);
    pair_settle(&pair);
    assert_int_equal(pair.dest.owner.flow_opens, 0); /* nothing to say: nothing is said */
    flow_send(client.flow, (const uint8_t *)"query", 5);
    (void)pair_carry(&pair, &pair.source, &pair.dest);
    assert_int_equal(pair.dest.owner.flow_opens, 1);
    assert_string_equal(pair.dest.owner.target.name, "dns");
    assert_int_equal(pair.dest.owner.target.port, 53);
    assert_memory_equal(&pair.dest.owner.target.client, &dns.client, sizeof(dns.client));
    assert_int_equal(target.datagrams, 1);
    assert_memory_equal(target.data, "query", 5);
    flow_send(client.flow, (const uint8_t *)"again", 5);
    pair_settle(&pair);
    assert_int_equal(target.datagrams, 2);
    assert_int_equal(pair.dest.owner.flow_opens, 1);
    pair_fini(&pair);
}

static void either_end_closes(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    flow_close(client.flow, WIRE_TIMEOUT);
    /* On its way while the flow ends: it is nobody's any more. */
    flow_send(target.flow, (const uint8_t *)"late", 4);
    pair_settle(&pair);
    assert_int_equal(target.closes, 1);
    assert_int_equal(target.code, WIRE_TIMEOUT);
    assert_int_equal(client.closes + client.datagrams, 0);
    assert_int_equal(flows_of(&pair.source) + flows_of(&pair.dest), 0);

    open_one(&pair, &client, &target);
    flow_close(target.flow, WIRE_REFUSED);
    flow_send(client.flow, (const uint8_t *)"late", 4);
    pair_settle(&pair);
    assert_int_equal(client.closes, 1);
    assert_int_equal(client.code, WIRE_REFUSED);
    assert_int_equal(pair.dest.owner.drops[FLOW_DROP_UNKNOWN], 1);
    assert_int_equal(flows_of(&pair.source) + flows_of(&pair.dest), 0);
    pair_fini(&pair);
}

static void refused_by_the_dest(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;

    memset(&client, 0, sizeof(client));
    pair_init(&pair, PAIR_MEMORY, 3);
    assert_int_equal(flow_open(&client.flow, pair.source.tunnel, &dns, &client), ERR_OK);
    flow_send(client.flow, (const uint8_t *)"?", 1);
    pair_settle(&pair);
    assert_int_equal(client.closes, 1);
    assert_int_equal(client.code, WIRE_REFUSED);
    assert_int_equal(flows_of(&pair.dest), 0);
    pair_fini(&pair);
}

static void no_more_flows_than_allowed(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner owners[8];
    struct flow *flow;

    pair_init(&pair, PAIR_MEMORY, 3);
    for (int i = 0; i < 3; i++)
        open_one(&pair, &owners[i], &owners[4 + i]);
    assert_int_equal(flow_open(&flow, pair.source.tunnel, &dns, NULL), ERR_LIMIT);
    assert_null(flow);
    flow_close(owners[1].flow, WIRE_NO_ERROR);
    pair_settle(&pair);
    open_one(&pair, &owners[1], &owners[5]);
    pair_fini(&pair);
}

static void no_session_no_flow(void **state)
{
    (void)state;
    struct end end;
    struct flow *flow = (struct flow *)1;

    end_init(&end, TUNNEL_SOURCE, PAIR_MEMORY, 10);
    assert_int_equal(flow_open(&flow, end.tunnel, &dns, NULL), ERR_CLOSED);
    assert_null(flow);
    end_attach(&end, 1, 1000);
    assert_int_equal(flow_open(&flow, end.tunnel, &dns, NULL), ERR_CLOSED);
    end_fini(&end);
}

/* Who sends faster than the path carries loses his oldest, and only so much waits. */
static void queue_of_a_flow_is_bounded(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    for (unsigned i = 0; i < 3 * FLOW_QUEUE_DATAGRAMS; i++) {
        uint8_t number[2] = {(uint8_t)(i >> 8), (uint8_t)i};

        flow_send(client.flow, number, sizeof(number));
        assert_true(pool_in_use(pair.source.pool) <= FLOW_QUEUE_BYTES);
    }
    assert_int_equal(client.drops[FLOW_DROP_QUEUE], 2 * FLOW_QUEUE_DATAGRAMS);
    pair_swap(&pair);
    assert_int_equal(target.datagrams, 1 + FLOW_QUEUE_DATAGRAMS);
    assert_int_equal(target.data[0] << 8 | target.data[1], 3 * FLOW_QUEUE_DATAGRAMS - 1);

    for (unsigned i = 0; i < 100; i++) {
        flow_send(client.flow, bytes, FLOW_DATAGRAM_MAX);
        assert_true(pool_in_use(pair.source.pool) <= FLOW_QUEUE_BYTES);
    }
    assert_int_equal(client.drops[FLOW_DROP_QUEUE],
                     2 * FLOW_QUEUE_DATAGRAMS + 100 - FLOW_QUEUE_BYTES / POOL_BULK_BYTES);
    pair_settle(&pair);
    assert_int_equal(target.datagrams,
                     1 + FLOW_QUEUE_DATAGRAMS + FLOW_QUEUE_BYTES / POOL_BULK_BYTES);
    pair_fini(&pair);
}

/* Many flows that flood together leave room for one that does not. */
static void flows_together_are_bounded(void **state)
{
    (void)state;
    enum { FLOODS = 12 };
    const size_t share = PAIR_MEMORY / 8 / FLOW_POOL_PART;
    static struct pair pair;
    static struct flow_owner clients[FLOODS + 1];
    static struct flow_owner targets[FLOODS + 1];
    unsigned received = 0;
    unsigned dropped = 0;

    pair_init(&pair, PAIR_MEMORY / 8, 20);
    for (int i = 0; i <= FLOODS; i++)
        open_one(&pair, &clients[i], &targets[i]);
    for (int n = 0; n < 200; n++) {
        for (int i = 0; i < FLOODS; i++)
            flow_send(clients[i].flow, bytes, 2000);
        assert_true(pool_in_use(pair.source.pool) <= 2 * share);
    }
    flow_send(clients[FLOODS].flow, (const uint8_t *)"small", 5);
    assert_int_equal(clients[FLOODS].drops[FLOW_DROP_MEMORY], 0);
    pair_settle(&pair);
    assert_int_equal(targets[FLOODS].datagrams, 2);
    for (int i = 0; i < FLOODS; i++) {
        received += targets[i].datagrams - 1;
        dropped += clients[i].drops[FLOW_DROP_MEMORY] + clients[i].drops[FLOW_DROP_QUEUE];
        assert_true(targets[i].datagrams > 1); /* nobody is left without */
    }
    assert_int_equal(received + dropped, 200 * FLOODS);
    assert_int_equal(pool_in_use(pair.source.pool), 0);
    pair_fini(&pair);
}

/* What cannot be delivered yet stays in its order; of too many the last. */
static void a_dest_keeps_what_has_nowhere_to_go(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;
    const uint8_t *data;
    size_t len;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    assert_false(flow_first_kept(target.flow, &data, &len));
    for (uint8_t i = 0; i < 3 * FLOW_KEPT_DATAGRAMS; i++)
        flow_keep(target.flow, &i, 1);
    assert_int_equal(target.drops[FLOW_DROP_QUEUE], 2 * FLOW_KEPT_DATAGRAMS);
    for (uint8_t i = 2 * FLOW_KEPT_DATAGRAMS; i < 3 * FLOW_KEPT_DATAGRAMS; i++) {
        assert_true(flow_first_kept(target.flow, &data, &len));
        assert_int_equal(len, 1);
        assert_int_equal(data[0], i);
        flow_forget_kept(target.flow);
    }
    assert_false(flow_first_kept(target.flow, &data, &len));
    assert_int_equal(pool_in_use(pair.dest.pool), 0);

    /* A session that goes leaves it; the flow's end does not. */
    flow_keep(target.flow, sample(FLOW_DATAGRAM_MAX), FLOW_DATAGRAM_MAX);
    flow_keep(target.flow, (const uint8_t *)"next", 4);
    pair_lose_session(&pair);
    assert_true(flow_first_kept(target.flow, &data, &len));
    assert_int_equal(len, FLOW_DATAGRAM_MAX);
    assert_memory_equal(data, bytes, len);
    flow_close(target.flow, WIRE_NO_ERROR);
    assert_int_equal(target.drops[FLOW_DROP_CLOSED], 2);
    assert_int_equal(pool_in_use(pair.dest.pool), 0);
    pair_fini(&pair);
}

/* Half of what a peer's flows may have; the rest is for what they send back. */
static void what_flows_keep_is_bounded(void **state)
{
    (void)state;
    enum { FLOODS = 12 };
    const size_t part = PAIR_MEMORY / 8 / FLOW_KEPT_PART;
    static struct pair pair;
    static struct flow_owner clients[FLOODS];
    static struct flow_owner targets[FLOODS];
    unsigned dropped = 0;

    pair_init(&pair, PAIR_MEMORY / 8, 20);
    for (int i = 0; i < FLOODS; i++)
        open_one(&pair, &clients[i], &targets[i]);
    for (int n = 0; n < FLOW_KEPT_DATAGRAMS; n++) {
        for (int i = 0; i < FLOODS; i++)
            flow_keep(targets[i].flow, bytes, FLOW_DATAGRAM_MAX);
        assert_true(pool_in_use(pair.dest.pool) <= part);
    }
    for (int i = 0; i < FLOODS; i++)
        dropped += targets[i].drops[FLOW_DROP_MEMORY];
    assert_int_equal(dropped, FLOODS * FLOW_KEPT_DATAGRAMS - part / POOL_BULK_BYTES);
    flow_send(targets[0].flow, (const uint8_t *)"answer", 6);
    pair_settle(&pair);
    assert_int_equal(clients[0].datagrams, 1);
    pair_fini(&pair); /* what is kept goes with its tunnel */
}

/* One write of the engine, as the other end sees it. */
static void carry_once(struct pair *p)
{
    assert_true(pair_carry(p, &p->source, &p->dest) > 0);
}

static void small_one_goes_ahead_of_bulk(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;
    static struct stream_owner streams[16];

    memset(streams, 0, sizeof(streams));
    pair_init(&pair, PAIR_MEMORY, 20);
    open_one(&pair, &client, &target);
    for (int i = 0; i < 8; i++) {
        pair_open(&pair, &streams[i], &streams[8 + i]);
        pair_settle(&pair);
        assert_true(pair_send(&streams[i], 250000, 'x') > 200000);
    }
    carry_once(&pair); /* the streams take turns by now */
    flow_send(client.flow, (const uint8_t *)"now", 3);
    carry_once(&pair);
    assert_int_equal(target.datagrams, 2);
    for (int i = 0; i < 16; i++)
        pair_release(&streams[i]);
    pair_settle(&pair);
    pair_fini(&pair);
}

/* Streams keep their half of the path, whatever the datagrams' size. */
static void a_flood_does_not_starve_streams(void **state)
{
    (void)state;
    static const size_t lens[] = {100, 1472, 40000, FLOW_DATAGRAM_MAX};

    for (size_t k = 0; k < sizeof(lens) / sizeof(lens[0]); k++) {
        static struct pair pair;
        static struct flow_owner client;
        static struct flow_owner target;
        static struct stream_owner streams[2];
        uint64_t of_flow;

        memset(streams, 0, sizeof(streams));
        pair_init(&pair, PAIR_MEMORY, 20);
        open_one(&pair, &client, &target);
        pair_open(&pair, &streams[0], &streams[1]);
        pair_settle(&pair);
        target.received = 0;
        streams[1].received = 0;
        for (int i = 0; i < 200; i++) {
            for (int n = 0; n < FLOW_QUEUE_DATAGRAMS; n++)
                flow_send(client.flow, bytes, lens[k]);
            (void)pair_send(&streams[0], 500000, 'x');
            carry_once(&pair);
            (void)pair_carry(&pair, &pair.dest, &pair.source);
            pair.now += 100;
        }
        of_flow = target.received + target.datagrams * (uint64_t)FRAME_DATAGRAM_OVERHEAD;
        assert_true(streams[1].received * 10 > of_flow * 9);
        /* Datagrams do not starve either, as far as their queue reaches. */
        if (lens[k] >= 1472)
            assert_true(of_flow * 4 > streams[1].received);
        pair_release(&streams[0]);
        pair_settle(&pair);
        pair_release(&streams[1]);
        pair_settle(&pair);
        pair_fini(&pair);
    }
}

/* The largest datagram wants a record of its own; control frames in front of it only delay it. */
static void largest_one_finds_its_record(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;
    static struct stream_owner streams[20];

    memset(streams, 0, sizeof(streams));
    pair_init(&pair, PAIR_MEMORY, 20);
    open_one(&pair, &client, &target);
    for (int i = 0; i < 10; i++) /* refused */
        assert_int_equal(stream_open(&streams[i].stream, pair.source.tunnel, &dns, &streams[i]),
                         ERR_OK);
    flow_send(client.flow, sample(FLOW_DATAGRAM_MAX), FLOW_DATAGRAM_MAX);
    carry_once(&pair);
    assert_int_equal(target.datagrams, 2);
    assert_int_equal(target.len, FLOW_DATAGRAM_MAX);
    for (int i = 0; i < 10; i++)
        pair_release(&streams[i]);
    pair_settle(&pair);
    pair_fini(&pair);
}

/* -- sessions -- */

static void flows_outlive_sessions(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;
    const uint8_t *data;
    size_t len;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    /* One is lost with what was sealed, one before it was. */
    flow_send(client.flow, (const uint8_t *)"lost", 4);
    assert_int_equal(session_drain(pair.source.session, &data, &len, pair.now), ERR_OK);
    flow_send(client.flow, (const uint8_t *)"dropped", 7);
    pair_lose_session(&pair);
    assert_int_equal(client.drops[FLOW_DROP_NO_SESSION], 1);
    flow_send(client.flow, (const uint8_t *)"nowhere", 7);
    flow_send(target.flow, (const uint8_t *)"nowhere", 7);
    assert_int_equal(client.drops[FLOW_DROP_NO_SESSION], 2);
    assert_int_equal(target.drops[FLOW_DROP_NO_SESSION], 1);
    assert_int_equal(pool_in_use(pair.source.pool), 0);
    assert_int_equal(client.closes + target.closes, 0);

    pair_start(&pair, SESSION_RESUMED, 2);
    flow_send(target.flow, (const uint8_t *)"first from the dest", 19);
    pair_settle(&pair);
    flow_send(client.flow, (const uint8_t *)"on it goes", 10);
    pair_settle(&pair);
    assert_int_equal(client.datagrams, 1);
    assert_int_equal(target.datagrams, 2);
    assert_memory_equal(target.data, "on it goes", 10);
    assert_int_equal(pair.dest.owner.flow_opens, 1); /* the same flow */
    pair_fini(&pair);
}

/* The FLOW_OPEN was lost with the session: the next datagram says it again. */
static void an_open_that_was_lost_is_said_again(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;
    const uint8_t *data;
    size_t len;

    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 3);
    pair_open_flow(&pair, &client, &target);
    flow_send(client.flow, (const uint8_t *)"lost", 4);
    assert_int_equal(session_drain(pair.source.session, &data, &len, pair.now), ERR_OK);
    pair_lose_session(&pair);
    pair_start(&pair, SESSION_RESUMED, 2);
    flow_send(client.flow, (const uint8_t *)"again", 5);
    pair_settle(&pair);
    assert_int_equal(pair.dest.owner.flow_opens, 1);
    assert_int_equal(target.datagrams, 1);

    /* The dest has closed it while there was no session: it begins anew. */
    pair_lose_session(&pair);
    flow_close(target.flow, WIRE_TIMEOUT);
    pair_start(&pair, SESSION_RESUMED, 3);
    assert_int_equal(client.closes, 0);
    pair.dest.owner.next_flow = &target;
    flow_send(client.flow, (const uint8_t *)"and again", 9);
    pair_settle(&pair);
    assert_int_equal(pair.dest.owner.flow_opens, 2);
    assert_int_equal(target.datagrams, 2);
    pair_fini(&pair);
}

/* A refresh: what waits goes out on the newer session. */
static void a_newer_session_takes_over_what_waits(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;
    struct session *old_source;
    struct session *old_dest;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    old_source = pair.source.session;
    old_dest = pair.dest.session;
    flow_send(client.flow, (const uint8_t *)"waits", 5);
    pair_start(&pair, SESSION_RESUMED, 2);
    session_close(old_source);
    session_close(old_dest);
    pair_settle(&pair);
    assert_int_equal(target.datagrams, 2);
    assert_int_equal(client.drops[FLOW_DROP_NO_SESSION], 0);
    pair_fini(&pair);
}

static void given_up_with_the_tunnel(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    flow_send(client.flow, (const uint8_t *)"x", 1);
    pair_lose_session(&pair);
    tunnel_lose_streams(pair.source.tunnel);
    assert_int_equal(client.closes, 1);
    assert_int_equal(client.code, WIRE_SESSION_LOST);
    assert_int_equal(target.closes, 0);
    assert_int_equal(flows_of(&pair.source), 0);
    pair_fini(&pair); /* without an event */
    assert_int_equal(target.closes, 0);
}

static void close_it(struct flow_owner *o)
{
    flow_close(o->flow, WIRE_NO_ERROR);
    o->flow = NULL;
}

static void reply(struct flow_owner *o)
{
    flow_send(o->flow, o->data, o->len);
}

static void owners_may_act_inside_events(void **state)
{
    (void)state;
    static struct pair pair;
    static struct flow_owner client;
    static struct flow_owner target;

    pair_init(&pair, PAIR_MEMORY, 3);
    open_one(&pair, &client, &target);
    target.act = reply;
    flow_send(client.flow, (const uint8_t *)"echo", 4);
    pair_settle(&pair);
    assert_int_equal(client.datagrams, 1);
    assert_memory_equal(client.data, "echo", 4);
    target.act = close_it;
    flow_send(client.flow, (const uint8_t *)"last", 4);
    flow_send(client.flow, (const uint8_t *)"too late", 8);
    pair_settle(&pair);
    assert_int_equal(target.datagrams, 3);
    assert_int_equal(client.closes, 1);
    assert_int_equal(pair.dest.owner.drops[FLOW_DROP_UNKNOWN], 1);
    pair_fini(&pair);
}

/* -- hostile peers -- */

static void attach_hostile(struct hostile *h, struct end *end, enum tunnel_role role,
                           uint32_t max_flows)
{
    end_init(end, role, PAIR_MEMORY, max_flows);
    end_attach(end, 1, 1000);
    hostile_init(h, end, role, 1);
    hostile_settings(h, 32768, 100);
    assert_int_equal(hostile_send(h), ERR_OK);
}

static void what_is_not_known_is_dropped(void **state)
{
    (void)state;
    static const enum tunnel_role roles[] = {TUNNEL_SOURCE, TUNNEL_DEST};
    struct frame f;

    for (size_t i = 0; i < 2; i++) {
        struct end end;
        static struct hostile h;

        attach_hostile(&h, &end, roles[i], 4);
        hostile_datagram(&h, 0, 5);
        hostile_datagram(&h, WIRE_VARINT_MAX, 0);
        hostile_flow_close(&h, 0);
        hostile_flow_close(&h, 77);
        assert_int_equal(hostile_send(&h), ERR_OK);
        assert_int_equal(end.owner.drops[FLOW_DROP_UNKNOWN], 2);
        /* The datagrams are answered, so that the peer forgets the flows too. */
        assert_int_equal(hostile_read(&h, 1000, FRAME_FLOW_CLOSE, &f), 2);
        assert_int_equal(end.owner.flow_opens, 0);
        hostile_fini(&h);
        end_fini(&end);
    }
}

static void only_a_source_opens_flows(void **state)
{
    (void)state;
    struct end end;
    static struct hostile h;

    attach_hostile(&h, &end, TUNNEL_SOURCE, 4);
    hostile_flow_open(&h, 0);
    assert_int_equal(hostile_send(&h), ERR_UNEXPECTED);
    hostile_fini(&h);
    end_fini(&end);
}

static void opening_twice_changes_nothing(void **state)
{
    (void)state;
    static struct flow_owner owner;
    struct end end;
    static struct hostile h;

    memset(&owner, 0, sizeof(owner));
    attach_hostile(&h, &end, TUNNEL_DEST, 4);
    end.owner.next_flow = &owner;
    hostile_flow_open(&h, 9);
    hostile_flow_open(&h, 9);
    hostile_datagram(&h, 9, 3);
    assert_int_equal(hostile_send(&h), ERR_OK);
    assert_int_equal(end.owner.flow_opens, 1);
    assert_int_equal(owner.datagrams, 1);
    assert_int_equal(flows_of(&end), 1);
    hostile_fini(&h);
    end_fini(&end);
}

/* A peer that opens without end costs no more than the bounds, and the refusals are bounded too. */
static void flood_of_opens(void **state)
{
    (void)state;
    static struct flow_owner owners[4];
    struct end end;
    static struct hostile h;
    struct frame f;

    memset(owners, 0, sizeof(owners));
    attach_hostile(&h, &end, TUNNEL_DEST, 4);
    for (uint64_t id = 0; id < 4; id++) {
        end.owner.next_flow = &owners[id];
        hostile_flow_open(&h, id);
        assert_int_equal(hostile_send(&h), ERR_OK);
    }
    for (uint64_t round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < 1000; i++)
            hostile_flow_open(&h, 100 + round * 1000 + i);
        assert_int_equal(hostile_send(&h), ERR_OK);
        assert_int_equal(flows_of(&end), 4);
    }
    assert_int_equal(end.owner.flow_opens, 4);
    assert_int_equal(end.owner.drops[FLOW_DROP_LIMIT], 20000);
    assert_int_equal(hostile_read(&h, 1000, FRAME_FLOW_CLOSE, &f), FLOW_CLOSES_MAX);
    assert_int_equal(f.flow_close.code, WIRE_LIMIT);
    /* Those that are open do not suffer. */
    hostile_datagram(&h, 2, 3);
    assert_int_equal(hostile_send(&h), ERR_OK);
    assert_int_equal(owners[2].datagrams, 1);
    hostile_fini(&h);
    end_fini(&end);
}

static void engine_without_flows_refuses(void **state)
{
    (void)state;
    struct end end;
    static struct hostile h;
    struct frame f;

    attach_hostile(&h, &end, TUNNEL_DEST, 0);
    hostile_flow_open(&h, 1);
    assert_int_equal(hostile_send(&h), ERR_OK);
    assert_int_equal(end.owner.flow_opens, 0);
    assert_int_equal(hostile_read(&h, 1000, FRAME_FLOW_CLOSE, &f), 1);
    hostile_fini(&h);
    end_fini(&end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_both_ways),
        cmocka_unit_test(target_arrives_and_the_datagram_with_it),
        cmocka_unit_test(either_end_closes),
        cmocka_unit_test(refused_by_the_dest),
        cmocka_unit_test(no_more_flows_than_allowed),
        cmocka_unit_test(no_session_no_flow),
        cmocka_unit_test(queue_of_a_flow_is_bounded),
        cmocka_unit_test(flows_together_are_bounded),
        cmocka_unit_test(a_dest_keeps_what_has_nowhere_to_go),
        cmocka_unit_test(what_flows_keep_is_bounded),
        cmocka_unit_test(small_one_goes_ahead_of_bulk),
        cmocka_unit_test(a_flood_does_not_starve_streams),
        cmocka_unit_test(largest_one_finds_its_record),
        cmocka_unit_test(flows_outlive_sessions),
        cmocka_unit_test(an_open_that_was_lost_is_said_again),
        cmocka_unit_test(a_newer_session_takes_over_what_waits),
        cmocka_unit_test(given_up_with_the_tunnel),
        cmocka_unit_test(owners_may_act_inside_events),
        cmocka_unit_test(what_is_not_known_is_dropped),
        cmocka_unit_test(only_a_source_opens_flows),
        cmocka_unit_test(opening_twice_changes_nothing),
        cmocka_unit_test(flood_of_opens),
        cmocka_unit_test(engine_without_flows_refuses),
    };

    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
