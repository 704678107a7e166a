/*
 * One stream between two engines that keep to the rules; for tests of a stream and of its halves.
 */
#ifndef UTUN_TESTS_UNIT_ONE_STREAM_H
#define UTUN_TESTS_UNIT_ONE_STREAM_H

#include "engine_pair.h"
#include "tunnel/engine.h"

static struct pair pair;
static struct stream_owner client;
static struct stream_owner target;

/* With the stream open, but not accepted yet. */
static inline void begin_unaccepted(void)
{
    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 100);
    pair.dest.owner.accept_at_once = false;
    pair_open(&pair, &client, &target);
}

/* The dest accepts it as soon as it hears of it. */
static inline void begin(void)
{
    begin_unaccepted();
    pair.dest.owner.accept_at_once = true;
}

/* With the stream open and accepted. */
static inline void begin_open(void)
{
    begin();
    pair_settle(&pair);
    assert_int_equal(client.accepts, 1);
}

/* Both engines have forgotten the stream. */
static inline void expect_gone(void)
{
    pair_settle(&pair);
    assert_int_equal(end_streams(&pair.source), 0);
    assert_int_equal(end_streams(&pair.dest), 0);
    assert_int_equal(pair.source.hold.used + pair.source.credit.used, 0);
    assert_int_equal(pair.dest.hold.used + pair.dest.credit.used, 0);
    assert_int_equal(pool_in_use(pair.source.pool), 0);
    assert_int_equal(pool_in_use(pair.dest.pool), 0);
    pair_fini(&pair);
}

static inline size_t room_of(struct stream_owner *o)
{
    struct iovec part;
    size_t used;
    size_t room = stream_send_reserve(o->stream, 10, &part, 1, &used);

    assert_int_equal(used, room > 0);
    stream_send_commit(o->stream, 0);
    return room;
}

/* Takes everything that was kept. */
static inline void consume_all(struct stream_owner *o)
{
    for (;;) {
        struct iovec parts[8];
        size_t viewed;

        stream_recv_view(o->stream, parts, 8, &viewed);
        if (viewed == 0)
            return;
        o->received += viewed;
        stream_recv_consume(o->stream, viewed);
    }
}

#endif
