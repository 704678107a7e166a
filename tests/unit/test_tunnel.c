/* A tunnel through the lives of its sessions and of many streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_pair.h"
#include "tunnel/engine.h"

static const struct stream_target web = {.port = 80, .name = "web"};

static void stream_needs_a_ready_session(void **state)
{
    (void)state;
    struct end end;
    struct stream *stream = (struct stream *)1;

    end_init(&end, TUNNEL_SOURCE, PAIR_MEMORY, 10);
    assert_int_equal(stream_open(&stream, end.tunnel, &web, NULL), ERR_CLOSED);
    assert_null(stream);
    end_attach(&end, 1, 1000);
    assert_int_equal(stream_open(&stream, end.tunnel, &web, NULL), ERR_CLOSED);
    end_fini(&end);
    tunnel_free(NULL);
    session_close(NULL);
}

static void own_limit_of_streams(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[6];
    struct stream *stream;

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 3);
    for (int i = 0; i < 3; i++) {
        pair_open(&pair, &owners[i], &owners[3 + i]);
        pair_settle(&pair);
    }
    assert_int_equal(stream_open(&stream, pair.source.tunnel, &web, NULL), ERR_LIMIT);
    assert_null(stream);
    pair_release(&owners[0]);
    pair_settle(&pair);
    /* One that has ended for its owner alone still counts, else the dest would refuse the next. */
    assert_int_equal(owners[3].resets, 1);
    pair_release(&owners[3]);
    pair_settle(&pair);
    memset(&owners[0], 0, sizeof(owners[0]));
    memset(&owners[3], 0, sizeof(owners[3]));
    pair_open(&pair, &owners[0], &owners[3]);
    pair_settle(&pair);
    assert_int_equal(owners[0].accepts, 1);
    pair_fini(&pair);
}

static void peers_limit_of_streams(void **state)
{
    (void)state;
    struct end end;
    struct hostile h;
    struct stream *stream;
    static struct stream_owner owner;

    end_init(&end, TUNNEL_SOURCE, PAIR_MEMORY, 10);
    end_attach(&end, 1, 1000);
    hostile_init(&h, &end, TUNNEL_SOURCE, 1);
    hostile_settings(&h, 32768, 1);
    assert_int_equal(hostile_send(&h), ERR_OK);
    assert_int_equal(stream_open(&stream, end.tunnel, &web, &owner), ERR_OK);
    assert_int_equal(stream_open(&stream, end.tunnel, &web, &owner), ERR_LIMIT);
    hostile_fini(&h);
    end_fini(&end);
}

static void target_arrives_whole(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner client;
    struct stream_target target = {
        .port = 5432,
        .name = "postgres",
        .client = {.address_len = 4, .address = {192, 0, 2, 7}, .port = 40000},
    };

    pair_init(&pair, PAIR_MEMORY, 3);
    assert_int_equal(stream_open(&client.stream, pair.source.tunnel, &target, &client), ERR_OK);
    pair_settle(&pair);
    assert_int_equal(pair.dest.owner.opens, 1);
    assert_int_equal(pair.dest.owner.target.port, 5432);
    assert_string_equal(pair.dest.owner.target.name, "postgres");
    assert_memory_equal(&pair.dest.owner.target.client, &target.client, sizeof(target.client));
    assert_int_equal(client.code, WIRE_REFUSED);
    pair_release(&client);
    pair_fini(&pair);
}

static void streams_that_are_given_up_are_reset(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[8];

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 10);
    for (int i = 0; i < 4; i++) {
        pair_open(&pair, &owners[i], &owners[4 + i]);
        pair_settle(&pair);
    }
    /* 1 has said everything both ways; 2 has reset; 3 has something to take. */
    pair_send_text(&owners[1], "all");
    stream_send_finish(owners[1].stream);
    stream_send_finish(owners[5].stream);
    owners[7].appetite = 1;
    pair_send_text(&owners[3], "kept");
    pair_settle(&pair);
    stream_reset(owners[2].stream, WIRE_RESET, STREAM_RESET_NOW);
    (void)pair_send(&owners[0], 100000, 'x');
    pair_lose_session(&pair);
    for (int i = 0; i < 8; i++)
        assert_int_equal(owners[i].resets, 0);
    tunnel_lose_streams(pair.source.tunnel);
    tunnel_lose_streams(pair.dest.tunnel);
    assert_int_equal(owners[0].resets, 1);
    assert_int_equal(owners[0].code, WIRE_SESSION_LOST);
    assert_int_equal(owners[4].resets, 1);
    assert_int_equal(owners[1].resets + owners[5].resets, 0);
    assert_int_equal(owners[1].finishes + owners[5].finishes, 2);
    assert_int_equal(owners[2].resets, 0); /* it knows */
    assert_int_equal(owners[6].resets, 1);
    assert_int_equal(owners[7].resets, 1);
    /* What has arrived may still be taken. */
    owners[7].appetite = SIZE_MAX;
    stream_recv_consume(owners[7].stream, 3);
    for (int i = 0; i < 8; i++)
        pair_release(&owners[i]);
    assert_int_equal(end_streams(&pair.source) + end_streams(&pair.dest), 0);
    assert_int_equal(pair.source.hold.used, 0);
    assert_int_equal(pair.source.credit.used + pair.dest.credit.used, 0);
    pair_fini(&pair);
}

/* Streams that were given up and are still held say nothing on the next session. */
static void next_session_knows_nothing_of_the_last(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner old[4];
    static struct stream_owner new[4];
    struct stream_state new_state;

    memset(old, 0, sizeof(old));
    memset(new, 0, sizeof(new));
    pair_init(&pair, PAIR_MEMORY, 10);
    for (int i = 0; i < 2; i++) {
        old[2 + i].appetite = 1;
        pair_open(&pair, &old[i], &old[2 + i]);
        pair_settle(&pair);
        assert_true(pair_send(&old[i], 200000, 'o') > 0);
        pair_settle(&pair);
    }
    pair_lose_session(&pair);
    tunnel_lose_streams(pair.source.tunnel);
    tunnel_lose_streams(pair.dest.tunnel);
    pair_start(&pair, SESSION_RESUMED, 7);
    for (int i = 0; i < 2; i++) {
        pair_open(&pair, &new[i], &new[2 + i]);
        pair_settle(&pair);
        assert_int_equal(new[i].accepts, 1);
        stream_get_state(new[i].stream, &new_state);
        assert_int_equal(new_state.id, 2 + i); /* numbers go on */
    }
    for (int i = 0; i < 2; i++) {
        struct stream_state recv;

        stream_get_state(old[2 + i].stream, &recv);
        assert_true(recv.recv_held > 100000);
        stream_recv_consume(old[2 + i].stream, recv.recv_held); /* a CREDIT would be due */
        stream_send_finish(old[2 + i].stream);
        stream_reset(old[i].stream, WIRE_RESET, STREAM_RESET_NOW);
        pair_settle(&pair);
        pair_release(&old[i]);
        pair_release(&old[2 + i]);
        pair_settle(&pair);
    }
    pair_send_text(&new[0], "still well");
    pair_settle(&pair);
    assert_int_equal(new[2].received, 10);
    for (int i = 0; i < 4; i++)
        assert_int_equal(new[i].resets, 0);
    pair_fini(&pair);
}

/* Nothing happens to streams when their session is lost, and the next one goes on with them. */
static void streams_wait_for_the_next_session(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[6];
    struct tunnel_state at;

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 10);
    for (int i = 0; i < 3; i++) {
        pair_open(&pair, &owners[i], &owners[3 + i]);
        pair_settle(&pair);
    }
    /* 0 has sent what never arrives; 1 finishes, and 2 resets, while there is no session. */
    pair_send_text(&owners[0], "never read");
    {
        const uint8_t *data;
        size_t len;

        assert_int_equal(session_drain(pair.source.session, &data, &len, pair.now), ERR_OK);
        assert_true(len > 0);
        session_drained(pair.source.session, len);
    }
    pair_lose_session(&pair);
    tunnel_get_state(pair.source.tunnel, &at);
    assert_false(at.has_session);
    assert_int_equal(at.streams, 3);
    pair_send_text(&owners[0], " and more");
    pair_send_text(&owners[1], "last words");
    stream_send_finish(owners[1].stream);
    pair_send_text(&owners[2], "cut");
    stream_reset(owners[2].stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    for (int i = 0; i < 6; i++)
        assert_int_equal(owners[i].resets + owners[i].finishes, 0);

    pair_start(&pair, SESSION_RESUMED, 2);
    assert_int_equal(pair.source.owner.readies, 2);
    assert_int_equal(pair.dest.owner.readies, 2);
    assert_int_equal(session_number(pair.dest.session), 2);
    assert_int_equal(owners[3].received, 19);
    assert_memory_equal(owners[3].data, "never read and more", 19);
    assert_int_equal(owners[4].received, 10);
    assert_int_equal(owners[4].finishes, 1);
    assert_int_equal(owners[5].received, 3);
    assert_int_equal(owners[5].resets, 1);
    assert_int_equal(owners[5].code, WIRE_RESET);
    for (int i = 0; i < 5; i++)
        assert_int_equal(owners[i].resets, 0);
    for (int i = 0; i < 6; i++)
        pair_release(&owners[i]);
    pair_settle(&pair);
    pair_fini(&pair);
}

/* A dest that has forgotten the tunnel's streams: the source's are reset at the resume. */
static void what_one_side_gave_up_ends_at_the_other(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[2];

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 10);
    pair_open(&pair, &owners[0], &owners[1]);
    pair_settle(&pair);
    pair_lose_session(&pair);
    tunnel_lose_streams(pair.dest.tunnel);
    assert_int_equal(owners[1].resets, 1);
    assert_int_equal(owners[0].resets, 0);
    pair_start(&pair, SESSION_RESUMED, 2);
    assert_int_equal(owners[0].resets, 1);
    assert_int_equal(owners[0].code, WIRE_SESSION_LOST);
    pair_release(&owners[0]);
    pair_release(&owners[1]);
    pair_settle(&pair);
    pair_fini(&pair);
}

/* Blue-green: the new session takes over while the old one is still there. */
static void a_newer_session_retires_the_older(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[2];
    struct session *old_source;
    struct session *old_dest;

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 10);
    pair_open(&pair, &owners[0], &owners[1]);
    pair_settle(&pair);
    old_source = pair.source.session;
    old_dest = pair.dest.session;
    pair_send_text(&owners[0], "one, ");
    pair_start(&pair, SESSION_RESUMED, 2);
    assert_int_equal(pair.source.owner.retirements, 1);
    assert_int_equal(pair.dest.owner.retirements, 1);
    session_close(old_source);
    session_close(old_dest);
    pair_send_text(&owners[0], "two");
    pair_settle(&pair);
    assert_int_equal(owners[1].received, 8);
    assert_memory_equal(owners[1].data, "one, two", 8);
    assert_int_equal(owners[0].resets + owners[1].resets, 0);
    pair_release(&owners[0]);
    pair_release(&owners[1]);
    pair_settle(&pair);
    pair_fini(&pair);
}

static void release_both(struct stream_owner *o)
{
    if (o->victim->stream != NULL)
        pair_release(o->victim);
    if (o->stream != NULL)
        pair_release(o);
}

static void owners_may_release_while_streams_are_given_up(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[12];

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 10);
    for (int i = 0; i < 6; i++) {
        pair_open(&pair, &owners[i], &owners[6 + i]);
        pair_settle(&pair);
        (void)pair_send(&owners[i], 10000, 'x');
        (void)pair_send(&owners[6 + i], 10000, 'y');
    }
    for (int i = 0; i < 6; i++) { /* each with the one behind it, or before it */
        owners[i].victim = &owners[(i + 1) % 6];
        owners[6 + i].victim = &owners[6 + (i + 5) % 6];
        owners[i].act = release_both;
        owners[6 + i].act = release_both;
    }
    pair_lose_session(&pair);
    tunnel_lose_streams(pair.source.tunnel);
    tunnel_lose_streams(pair.dest.tunnel);
    assert_int_equal(end_streams(&pair.source) + end_streams(&pair.dest), 0);
    for (int i = 0; i < 12; i++)
        assert_null(owners[i].stream);
    pair_fini(&pair);
}

/*
 * A limit that was lowered ends nothing: neither the streams that are there, nor the session with
 * the next one, which the source opens as it does not know yet, and once more when it is resumed.
 */
static void fewer_streams_are_allowed_while_many_are_open(void **state)
{
    enum { OPEN = 1500 };
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[2 * OPEN];
    static struct stream_owner late[2];
    const struct tunnel_bounds fewer = {.max_streams = 10, .window_max = 1024 * 1024};

    memset(owners, 0, sizeof(owners));
    memset(late, 0, sizeof(late));
    pair_init(&pair, PAIR_MEMORY * 4, 2 * OPEN);
    for (int i = 0; i < OPEN; i++) {
        pair_open(&pair, &owners[i], &owners[OPEN + i]);
        pair_swap(&pair);
    }
    tunnel_set_bounds(pair.dest.tunnel, &fewer);
    for (int i = 0; i < 2; i++) {
        pair_open(&pair, &late[i], &owners[0]);
        if (i == 1) {
            pair_lose_session(&pair);
            pair_start(&pair, SESSION_RESUMED, 2);
        }
        pair_settle(&pair);
        assert_int_equal(late[i].resets, 1);
        assert_int_equal(late[i].code, WIRE_LIMIT);
        pair_release(&late[i]);
    }
    pair_send_text(&owners[0], "on");
    pair_settle(&pair);
    assert_int_equal(owners[OPEN].received, 2);
    for (int i = 0; i < 2 * OPEN; i++) {
        assert_int_equal(owners[i].resets, 0);
        pair_release(&owners[i]);
    }
    pair_settle(&pair);
    assert_int_equal(end_streams(&pair.source) + end_streams(&pair.dest), 0);
    pair_fini(&pair);
}

static void tunnel_is_freed_with_all_that_lives_in_it(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner owners[40];
    unsigned resets = 0;

    memset(owners, 0, sizeof(owners));
    pair_init(&pair, PAIR_MEMORY, 100);
    for (int i = 0; i < 20; i++) {
        owners[20 + i].appetite = i % 3 == 0 ? 10 : SIZE_MAX;
        pair_open(&pair, &owners[i], &owners[20 + i]);
        if (i % 4 != 3)
            pair_settle(&pair);
        (void)pair_send(&owners[i], 50000, 'x');
        if (i % 5 == 0)
            stream_send_finish(owners[i].stream);
        if (i % 7 == 0)
            stream_reset(owners[i].stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        if (i % 3 == 1)
            pair_release(&owners[i]);
        (void)pair_carry(&pair, &pair.source, &pair.dest);
    }
    for (int i = 0; i < 40; i++)
        resets += owners[i].resets;
    pair_fini(&pair);
    for (int i = 0; i < 40; i++)
        resets -= owners[i].resets;
    assert_int_equal(resets, 0); /* without a word to anybody */
}

static void many_streams_leave_nothing_behind(void **state)
{
    (void)state;
    static struct pair pair;
    static struct stream_owner client;
    static struct stream_owner target;

    pair_init(&pair, PAIR_MEMORY, 10);
    for (int i = 0; i < 10000; i++) {
        memset(&client, 0, offsetof(struct stream_owner, data));
        memset(&target, 0, offsetof(struct stream_owner, data));
        client.accepts = client.finishes = client.resets = 0;
        target.finishes = target.resets = 0;
        pair_open(&pair, &client, &target);
        pair_send_text(&client, "ping");
        if (i % 10 == 0)
            stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        else
            stream_send_finish(client.stream);
        pair_swap(&pair);
        pair.now += ACK_DELAY_US;
        pair_swap(&pair);
        assert_int_equal(target.received, 4);
        if (i % 10 != 0) {
            assert_int_equal(target.finishes, 1);
            pair_send_text(&target, "pong");
            stream_send_finish(target.stream);
            pair_swap(&pair);
            assert_int_equal(client.finishes, 1);
        }
        pair_release(&target);
        pair_release(&client);
        pair.now += ACK_DELAY_US;
        pair_swap(&pair);
        pair.now += ACK_DELAY_US;
        pair_swap(&pair);
        assert_int_equal(end_streams(&pair.source), 0);
        assert_int_equal(end_streams(&pair.dest), 0);
    }
    assert_int_equal(pool_in_use(pair.source.pool) + pool_in_use(pair.dest.pool), 0);
    assert_int_equal(pair.source.hold.used + pair.dest.hold.used, 0);
    assert_int_equal(pair.source.credit.used + pair.dest.credit.used, 0);
    assert_int_equal(pair.dest.tunnel->streams.size, 0);
    pair_fini(&pair);
}

/*
 * What peers have credit for always finds a block, whatever is sent at the same time: one stream
 * for each 16 KiB of credit fills it in the way that wastes most, and none is reset.
 */
static void promised_credit_finds_memory(void **state)
{
    (void)state;
    struct end end;
    struct hostile h;
    enum { N = 80 };
    static struct stream_owner owners[N];
    size_t memory = 16 * 1024 * 1024;
    uint64_t offset[N] = {0};

    memset(owners, 0, sizeof(owners));
    end_init(&end, TUNNEL_DEST, memory, N);
    end_attach(&end, 1, 1000);
    hostile_init(&h, &end, TUNNEL_DEST, 1);
    hostile_settings(&h, WIRE_VARINT_MAX, N);
    for (uint64_t i = 0; i < N; i++) {
        end.owner.next = &owners[i];
        hostile_open(&h, i);
        assert_int_equal(hostile_send(&h), ERR_OK);
    }
    /* Sending has taken all that it may. */
    for (int i = 0; i < N; i++)
        (void)pair_send(&owners[i], memory, 's');
    assert_true(pool_in_use(end.pool) > 0);
    for (int round = 0; round < 60; round++) {
        for (uint64_t i = 0; i < N; i++) {
            size_t len = (size_t)(owners[i].stream->window.limit - offset[i]);
            struct stream_state recv;

            if (len > 60000)
                len = 60000;
            if (len > 0) {
                hostile_data(&h, i, offset[i], len);
                offset[i] += len;
                assert_int_equal(hostile_send(&h), ERR_OK);
            }
            /* The owner leaves one byte in the first block, so that all of the block stays. */
            stream_get_state(owners[i].stream, &recv);
            if (recv.recv_held > 40000)
                stream_recv_consume(owners[i].stream, 39999);
            assert_int_equal(owners[i].resets, 0);
        }
        /* The engine gives the credit that is due; what it sends goes nowhere. */
        (void)hostile_read(&h, 1000, FRAME_STREAM_CREDIT, &(struct frame){0});
        assert_true(pool_in_use(end.pool) <= pool_limit(end.pool));
    }
    hostile_fini(&h);
    end_fini(&end);
}

static void shares_of_memory_add_up(void **state)
{
    (void)state;
    static const size_t sizes[] = {16 << 20, 100 << 20, 512 << 20};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct budget hold;
        struct budget credit;
        size_t limit;

        tunnel_share_memory(sizes[i], &limit, &hold, &credit);
        assert_int_equal(limit, sizes[i]);
        assert_int_equal(hold.used + credit.used, 0);
        assert_true(2 * hold.limit <= limit / 2);
        assert_true(2 * credit.limit <= limit / 2);
    }
}

/*
 * Hundreds of clients that read nothing fill more than half of the memory with what they were
 * promised: the others' requests go on, if slowly, and there is an answer to each.
 */
static void stalled_readers_leave_others_memory_to_send(void **state)
{
    enum { STALLED = 500, OTHERS = 20 };
    (void)state;
    static struct pair p;
    static struct stream_owner clients[STALLED + OTHERS];
    static struct stream_owner targets[STALLED + OTHERS];
    unsigned resets = 0;

    memset(&p, 0, sizeof(p));
    memset(clients, 0, sizeof(clients));
    memset(targets, 0, sizeof(targets));
    p.now = 1000;
    end_init(&p.source, TUNNEL_SOURCE, (size_t)16 * 1024 * 1024, STALLED + OTHERS);
    end_init(&p.dest, TUNNEL_DEST, (size_t)256 * 1024 * 1024, STALLED + OTHERS);
    end_attach(&p.source, 1, p.now);
    end_attach(&p.dest, 1, p.now);
    pair_settle(&p);
    for (int i = 0; i < STALLED; i++) {
        clients[i].appetite = 1;
        pair_open(&p, &clients[i], &targets[i]);
        pair_settle(&p);
        (void)pair_send(&targets[i], STREAM_WINDOW_INITIAL, 's');
        pair_settle(&p);
        resets += clients[i].resets;
        assert_true(pool_in_use(p.source.pool) <= pool_limit(p.source.pool));
    }
    assert_true(pool_in_use(p.source.pool) > pool_limit(p.source.pool) / 2);
    for (int i = STALLED; i < STALLED + OTHERS; i++) {
        pair_open(&p, &clients[i], &targets[i]);
        pair_settle(&p);
        assert_int_equal(clients[i].accepts, 1);
        /* Without having to be told later that there is room. */
        assert_int_equal(pair_send(&clients[i], 4000, 'r'), 4000);
        pair_settle(&p);
        assert_int_equal(targets[i].received, 4000);
    }
    /* What cannot be kept costs the stream that it is for, and no other. */
    assert_true(resets > 0 && resets < STALLED / 2);
    pair_fini(&p);
}

#define CROWD 30

/* A peer takes all that a tunnel of its may have. */
static uint64_t take_all(struct tunnel *t, struct tunnel_peer *peer, struct budget *hold)
{
    uint64_t all = 0;
    uint64_t some;

    while ((some = tunnel_hold_left(t)) > 1) {
        some = some / 2;
        t->send_held += some;
        peer->held += some;
        budget_force(hold, some);
        all += some;
    }
    return all;
}

static void give_all_back(struct tunnel *t, struct tunnel_peer *peer, struct budget *hold)
{
    budget_give(hold, t->send_held);
    peer->held -= t->send_held;
    t->send_held = 0;
}

/* However many tunnels a peer has, and however many peers there are, each finds its part. */
static void peers_leave_each_other_memory(void **state)
{
    (void)state;
    struct tunnel_options options = {.role = TUNNEL_DEST};
    struct tunnel_peer peers[CROWD] = {{.tunnels = 0}};
    struct tunnel *tunnels[2 * CROWD];
    struct budget hold;
    struct budget credit;
    size_t limit;

    tunnel_share_memory(PAIR_MEMORY, &limit, &hold, &credit);
    assert_int_equal(pool_new(&options.pool, limit), ERR_OK);
    options.hold = &hold;
    options.credit = &credit;
    /* The first has half of all tunnels, then comes one, then all others. */
    for (size_t i = 0; i < 2 * CROWD; i++) {
        options.peer = i < CROWD ? &peers[0] : &peers[i - CROWD];
        assert_int_equal(tunnel_new(&tunnels[i], &options), ERR_OK);
    }
    assert_int_equal(hold.holders, CROWD);
    for (size_t i = 0; i < CROWD; i++)
        (void)take_all(tunnels[i], &peers[0], &hold);
    assert_in_range(peers[0].held, hold.limit / 2 - CROWD, hold.limit / 2 + hold.limit / 2 / CROWD);
    for (size_t i = 1; i < CROWD; i++)
        assert_true(take_all(tunnels[CROWD + i], &peers[i], &hold) + 2 >= hold.limit / 2 / CROWD);
    assert_true(hold.used <= hold.limit / 2 * 3);
    for (size_t i = 0; i < 2 * CROWD; i++) {
        give_all_back(tunnels[i], i < CROWD ? &peers[0] : &peers[i - CROWD], &hold);
        tunnel_free(tunnels[i]);
    }
    assert_int_equal(hold.holders, 0);
    pool_free(options.pool);
}

/* One that takes all, or is dead and has it still, does not stop its peer's others. */
static void tunnels_of_a_peer_leave_each_other_memory(void **state)
{
    (void)state;
    struct tunnel_options options = {.role = TUNNEL_DEST};
    struct tunnel_peer peer = {.tunnels = 0};
    struct tunnel *tunnels[4];
    struct budget hold;
    struct budget credit;
    size_t limit;

    tunnel_share_memory(PAIR_MEMORY, &limit, &hold, &credit);
    assert_int_equal(pool_new(&options.pool, limit), ERR_OK);
    options.hold = &hold;
    options.credit = &credit;
    options.peer = &peer;
    assert_int_equal(tunnel_new(&tunnels[0], &options), ERR_OK);
    assert_int_equal(tunnel_hold_left(tunnels[0]), hold.limit); /* alone */
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(tunnel_new(&tunnels[i], &options), ERR_OK);
    assert_true(take_all(tunnels[0], &peer, &hold) + 2 >= hold.limit / 2);
    for (size_t i = 1; i < 4; i++)
        assert_true(take_all(tunnels[i], &peer, &hold) + 2 >= hold.limit / 2 / 4);
    assert_true(hold.used <= hold.limit / 2 * 3);
    for (size_t i = 0; i < 4; i++) {
        give_all_back(tunnels[i], &peer, &hold);
        tunnel_free(tunnels[i]);
    }
    pool_free(options.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_needs_a_ready_session),
        cmocka_unit_test(own_limit_of_streams),
        cmocka_unit_test(peers_limit_of_streams),
        cmocka_unit_test(target_arrives_whole),
        cmocka_unit_test(streams_that_are_given_up_are_reset),
        cmocka_unit_test(next_session_knows_nothing_of_the_last),
        cmocka_unit_test(streams_wait_for_the_next_session),
        cmocka_unit_test(what_one_side_gave_up_ends_at_the_other),
        cmocka_unit_test(a_newer_session_retires_the_older),
        cmocka_unit_test(owners_may_release_while_streams_are_given_up),
        cmocka_unit_test(fewer_streams_are_allowed_while_many_are_open),
        cmocka_unit_test(tunnel_is_freed_with_all_that_lives_in_it),
        cmocka_unit_test(many_streams_leave_nothing_behind),
        cmocka_unit_test(promised_credit_finds_memory),
        cmocka_unit_test(shares_of_memory_add_up),
        cmocka_unit_test(stalled_readers_leave_others_memory_to_send),
        cmocka_unit_test(peers_leave_each_other_memory),
        cmocka_unit_test(tunnels_of_a_peer_leave_each_other_memory),
    };

    return cmocka_run_group_tests_name("tunnel", tests, NULL, NULL);
}
