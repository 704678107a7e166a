#include "forwarder.h"

#include <stdatomic.h>

/* A dest's worker whose tunnel socket's other end is in the test's hands. */
struct lone {
    struct forwarder f;
    int peer;
};

static struct lone *lone_start(const struct forwarder_options *options)
{
    struct lone *l = calloc(1, sizeof(*l));
    int pair[2];

    assert_non_null(l);
    if (options != NULL)
        l->f.options = *options;
    pthread_mutex_init(&l->f.lock, NULL);
    pthread_cond_init(&l->f.changed, NULL);
    tcp_pair(pair);
    l->peer = pair[0];
    side_start(&l->f.dest, &l->f, TUNNEL_DEST, pair[1]);
    return l;
}

static void lone_stop(struct lone *l)
{
    side_stop(&l->f.dest);
    close(l->peer);
    free(l);
}

static void the_peers_fin_ends_it(void **state)
{
    struct lone *l = lone_start(NULL);

    (void)state;
    shutdown(l->peer, SHUT_WR);
    forwarder_await(&l->f, l->f.dest.is_closed);
    assert_int_equal(l->f.dest.lost_why, ERR_CLOSED);
    lone_stop(l);
}

static void the_peers_rst_ends_it(void **state)
{
    struct lone *l = lone_start(NULL);

    (void)state;
    socket_reset(l->peer);
    l->peer = open("/dev/null", O_RDONLY | O_CLOEXEC);
    forwarder_await(&l->f, l->f.dest.is_closed);
    assert_int_equal(l->f.dest.lost_why, ERR_RESET);
    lone_stop(l);
}

static void garbage_ends_it(void **state)
{
    struct lone *l = lone_start(NULL);
    uint64_t len;

    (void)state;
    send_all(l->peer, "GET / HTTP/1.0\r\n\r\n", 18);
    forwarder_await(&l->f, l->f.dest.is_closed);
    assert_int_equal(l->f.dest.lost_why, ERR_MALFORMED);
    /* It has said its SETTINGS, if anything. */
    receive_to_end(l->peer, &len);
    assert_true(len < 200);
    assert_false(l->f.dest.is_ready);
    lone_stop(l);
}

/* The records of a source's engine, without a socket. */
struct source_engine {
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    struct tunnel *tunnel;
    struct session *session;
};

static void engine_ready(struct tunnel_owner *o, struct session *s)
{
    (void)o;
    (void)s;
}

static const struct tunnel_events engine_events = {.on_session_ready = engine_ready};

static void engine_start(struct source_engine *e)
{
    struct tunnel_options options = {.role = TUNNEL_SOURCE,
                                     .max_streams = 10,
                                     .window_max = 1024 * 1024,
                                     .hold = &e->hold,
                                     .credit = &e->credit,
                                     .events = &engine_events};
    size_t limit;

    tunnel_share_memory((size_t)16 * 1024 * 1024, &limit, &e->hold, &e->credit);
    assert_int_equal(pool_new(&e->pool, limit), ERR_OK);
    options.pool = e->pool;
    assert_int_equal(tunnel_new(&e->tunnel, &options), ERR_OK);
    assert_int_equal(session_new(&e->session, e->tunnel, test_keys(), SESSION_FRESH, 1), ERR_OK);
}

static void engine_stop(struct source_engine *e)
{
    tunnel_free(e->tunnel);
    pool_free(e->pool);
}

/* A dest for a connection of which the handshake has read that much too much. */
static void dest_start_behind(struct forwarder *f, int fd, const uint8_t *leftover, size_t len)
{
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->dest.leftover = leftover;
    f->dest.leftover_len = len;
    side_start(&f->dest, f, TUNNEL_DEST, fd);
}

static void records_in_pieces_and_leftover(void **state)
{
    struct forwarder f = {0};
    struct source_engine engine;
    const uint8_t *data;
    size_t len;
    int pair[2];

    (void)state;
    tcp_pair(pair);
    engine_start(&engine);
    assert_int_equal(session_drain(engine.session, &data, &len, 1), ERR_OK);
    assert_true(len > 20);
    /* The first bytes come as what the handshake has read too much, the rest one by one. */
    dest_start_behind(&f, pair[1], data, 10);
    for (size_t i = 10; i < len; i++) {
        send_all(pair[0], data + i, 1);
        poll(NULL, 0, 1);
    }
    forwarder_await(&f, f.dest.is_ready);
    close(pair[0]);
    side_stop(&f.dest);
    engine_stop(&engine);
}

/* The peer has gone by now, or reset the connection; what it said before that still counts. */
static void leftover_counts_behind_an_end(void **state)
{
    (void)state;
    for (int is_reset = 0; is_reset < 2; is_reset++) {
        struct forwarder f = {0};
        struct source_engine engine;
        const uint8_t *data;
        size_t len;
        int pair[2];

        tcp_pair(pair);
        engine_start(&engine);
        assert_int_equal(session_drain(engine.session, &data, &len, 1), ERR_OK);
        if (is_reset != 0)
            socket_reset(pair[0]);
        else
            close(pair[0]);
        dest_start_behind(&f, pair[1], data, len);
        forwarder_await(&f, f.dest.is_closed);
        assert_true(f.dest.is_ready);
        side_stop(&f.dest);
        engine_stop(&engine);
    }
}

static void an_altered_record_ends_it(void **state)
{
    struct lone *l = lone_start(NULL);
    struct source_engine engine;
    const uint8_t *data;
    uint8_t copy[512];
    size_t len;

    (void)state;
    engine_start(&engine);
    assert_int_equal(session_drain(engine.session, &data, &len, 1), ERR_OK);
    assert_true(len <= sizeof(copy));
    memcpy(copy, data, len);
    copy[len - 1] ^= 1;
    send_all(l->peer, copy, len);
    forwarder_await(&l->f, l->f.dest.is_closed);
    assert_int_equal(l->f.dest.lost_why, ERR_KEY_CONFIRM);
    assert_false(l->f.dest.is_ready);
    engine_stop(&engine);
    lone_stop(l);
}

/* What the peer says, sealed, one record after the other. */
struct said {
    struct record_sealer *sealer;
    uint8_t plain[RECORD_PLAINTEXT_MAX];
    struct wire_writer w;
    uint8_t bytes[8 * RECORD_SIZE_MAX];
    size_t len;
};

static void seal(struct said *s)
{
    struct iovec part = {.iov_base = s->plain, .iov_len = wire_written(&s->w)};
    size_t len;

    assert_int_equal(
        record_seal(s->sealer, &part, 1, s->bytes + s->len, sizeof(s->bytes) - s->len, &len),
        ERR_OK);
    s->len += len;
    wire_writer_init(&s->w, s->plain, sizeof(s->plain));
}

static struct said *said_new(void)
{
    struct frame settings = {.type = FRAME_SETTINGS, .settings.session = 1};
    struct said *s = calloc(1, sizeof(*s));
    struct session_keys *keys = test_keys();
    struct traffic_keys traffic;

    assert_non_null(s);
    assert_int_equal(session_keys_traffic(keys, KEY_FROM_SOURCE, &traffic), ERR_OK);
    assert_int_equal(record_sealer_new(&s->sealer, &traffic, 0), ERR_OK);
    session_keys_free(keys);
    wire_writer_init(&s->w, s->plain, sizeof(s->plain));
    assert_true(frame_encode(&s->w, &settings));
    return s;
}

static void said_free(struct said *s)
{
    record_sealer_free(s->sealer);
    free(s);
}

/* Records full of flows, numbered from id on; the next number. */
static uint64_t say_flows(struct said *s, uint64_t id)
{
    struct frame open = {.type = FRAME_FLOW_OPEN, .flow_open.target.port = 1};

    open.flow_open.id = id;
    for (int i = 0; i < 6; i++) {
        while (frame_encode(&s->w, &open))
            open.flow_open.id++;
        seal(s);
    }
    return open.flow_open.id;
}

/*
 * Records that are much work, all there at once: they take several turns, and no more comes on the
 * socket that would wake the carrier for the next one.
 */
static void what_is_much_work_takes_turns(void **state)
{
    struct frame go_away = {.type = FRAME_GO_AWAY, .go_away.code = WIRE_LIMIT};
    struct said *s = said_new();
    struct lone *l = lone_start(NULL);

    (void)state;
    l->f.options.refuse = true;
    (void)say_flows(s, 0);
    go_away.go_away.text = s->plain;
    assert_true(frame_encode(&s->w, &go_away));
    seal(s);
    send_all(l->peer, (const char *)s->bytes, s->len);
    forwarder_await(&l->f, l->f.dest.go_away == WIRE_LIMIT);
    said_free(s);
    lone_stop(l);
}

/*
 * A peer that reads nothing, while answers to it wait: the heartbeat's first look at it comes when
 * the socket is blocked, and must not be the last that time has to say.
 */
static void a_blocked_session_grows_old(void **state)
{
    const struct forwarder_options options = {
        .refuse = true,
        .heartbeat = {.interval_us = 100000, .timeout_us = 500000, .max_missed = 100},
        .key_lifetime_us = 2000000,
    };
    struct said *s = said_new();
    struct lone *l = lone_start(&options);
    uint64_t id = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        id = say_flows(s, id);
        /* On a slow machine its end may come while this goes on. */
        if (send(l->peer, s->bytes, s->len, MSG_NOSIGNAL) != (ssize_t)s->len)
            break;
        s->len = 0;
    }
    forwarder_await(&l->f, l->f.dest.is_closed);
    assert_int_equal(l->f.dest.lost_why, ERR_KEY_EXPIRED);
    said_free(s);
    lone_stop(l);
}

/* On the worker's thread: takes all that may be held, or gives it back. */
struct taking {
    struct worker_item item;
    void (*run)(struct budget *hold, uint64_t n);
    atomic_bool is_done;
};

static void on_taking(struct worker_item *item, struct worker *w)
{
    struct taking *t = list_entry(item, struct taking, item);

    t->run(worker_hold(w), worker_hold(w)->limit);
    atomic_store(&t->is_done, true);
}

static void on_taking_dropped(struct worker_item *item)
{
    (void)item;
    abort();
}

static void on_worker(struct worker *w, void (*run)(struct budget *hold, uint64_t n))
{
    struct taking t = {.item = {.run = on_taking, .drop = on_taking_dropped}, .run = run};

    atomic_init(&t.is_done, false);
    worker_post(w, &t.item);
    while (!atomic_load(&t.is_done))
        poll(NULL, 0, 1);
}

/* Memory that other tunnels have given back is found by who waits, though nothing tells them. */
static void memory_of_others_is_found(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    char text[5];
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    send_all(client, "hello", 5);
    receive_all(server, text, 5);
    poll(NULL, 0, 100); /* until nothing is under way that would have the timer run */
    on_worker(f->dest.worker, budget_force);
    send_all(server, "world", 5);
    poll(NULL, 0, 50);
    on_worker(f->dest.worker, budget_give);
    receive_all(client, text, 5);
    assert_memory_equal(text, "world", 5);
    close(client);
    close(server);
    forwarder_stop(f);
}

static void streams_of_a_closed_tunnel_are_reset(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    char text[5];
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    send_all(client, "hello", 5);
    receive_all(server, text, 5);
    /* Behind the worker's back, as a broken path would. */
    shutdown(f->dest.tunnel_fd, SHUT_RDWR);
    expect_end(client, ECONNRESET);
    expect_end(server, ECONNRESET);
    forwarder_await(f, f->source.is_closed && f->dest.is_closed);
    assert_int_equal(f->source.ends[0].why, ERR_CLOSED);
    assert_int_equal(f->source.ends[0].by, PUMP_PEER);
    close(client);
    close(server);
    forwarder_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_peers_fin_ends_it),
        cmocka_unit_test(the_peers_rst_ends_it),
        cmocka_unit_test(garbage_ends_it),
        cmocka_unit_test(records_in_pieces_and_leftover),
        cmocka_unit_test(leftover_counts_behind_an_end),
        cmocka_unit_test(an_altered_record_ends_it),
        cmocka_unit_test(what_is_much_work_takes_turns),
        cmocka_unit_test(a_blocked_session_grows_old),
        cmocka_unit_test(memory_of_others_is_found),
        cmocka_unit_test(streams_of_a_closed_tunnel_are_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
