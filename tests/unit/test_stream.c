/* Streams between two engines that keep to the rules: every way to end one, in every order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_pair.h"
#include "tunnel/engine.h"

static struct pair pair;
static struct stream_owner client;
static struct stream_owner target;

static void begin(void)
{
    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 100);
    pair_open(&pair, &client, &target);
}

/* With the stream open and accepted. */
static void begin_open(void)
{
    begin();
    pair_settle(&pair);
    assert_int_equal(client.accepts, 1);
}

/* Both engines have forgotten the stream. */
static void expect_gone(void)
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

static size_t room_of(struct stream_owner *o)
{
    struct iovec part;
    size_t used;
    size_t room = stream_send_reserve(o->stream, 10, &part, 1, &used);

    assert_int_equal(used, room > 0);
    stream_send_commit(o->stream, 0);
    return room;
}

/* Takes everything that was kept. */
static void consume_all(struct stream_owner *o)
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

/* -- FIN -- */

static void nothing_can_be_sent_after_the_end(void **state)
{
    (void)state;

    begin_open();
    stream_send_finish(client.stream);
    assert_int_equal(room_of(&client), 0);
    stream_reset(target.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    assert_int_equal(room_of(&target), 0);
    pair_settle(&pair);
    assert_int_equal(client.writables + target.writables, 0); /* nor is it waited for */
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void reset_ends_the_wait_for_room(void **state)
{
    (void)state;

    begin_open();
    target.appetite = 10;
    assert_true(pair_send(&client, 10000000, 'x') < 10000000);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_settle(&pair);
    consume_all(&target); /* credit, were it not for the reset */
    pair_settle(&pair);
    assert_int_equal(client.writables, 0);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
    begin_open();
    assert_true(pair_send(&client, 10000000, 'x') < 10000000);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_settle(&pair); /* acknowledgements give memory and credit back */
    assert_int_equal(client.writables, 0);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void half_close_leaves_the_other_direction(void **state)
{
    (void)state;

    begin_open();
    pair_send_text(&client, "request");
    stream_send_finish(client.stream);
    pair_settle(&pair);
    assert_int_equal(target.received, 7);
    assert_int_equal(target.finishes, 1);
    assert_int_equal(client.sents, 1);
    assert_int_equal(client.finishes, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pair_send(&target, 100000, 'a'), 100000);
        pair_settle(&pair);
    }
    assert_int_equal(client.received, 500000);
    stream_send_finish(target.stream);
    pair_settle(&pair);
    assert_int_equal(client.finishes, 1);
    assert_int_equal(target.sents, 1);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
    assert_int_equal(client.resets + target.resets, 0);
}

/* Everything, FIN and all, before the dest has accepted. */
static void data_and_fin_may_come_before_accept(void **state)
{
    (void)state;

    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 100);
    pair.dest.owner.accept_at_once = false;
    pair_open(&pair, &client, &target);
    pair_send_text(&client, "request");
    stream_send_finish(client.stream);
    pair_settle(&pair);
    assert_int_equal(target.datas + target.finishes, 0);
    assert_int_equal(client.sents, 1); /* it has arrived at the engine */
    stream_accept(target.stream);
    stream_accept(target.stream); /* again: harmless */
    assert_int_equal(target.received, 7);
    assert_memory_equal(target.data, "request", 7);
    assert_int_equal(target.finishes, 1);
    stream_send_finish(target.stream);
    pair_release(&target);
    pair_settle(&pair);
    assert_int_equal(client.accepts, 1);
    assert_int_equal(client.finishes, 1);
    pair_release(&client);
    expect_gone();
}

static void finish_comes_after_what_is_kept(void **state)
{
    (void)state;

    begin();
    target.appetite = 3;
    pair_send_text(&client, "0123456789");
    stream_send_finish(client.stream);
    pair_settle(&pair);
    assert_int_equal(target.received, 3);
    assert_int_equal(target.datas, 1); /* not called again while something is kept */
    assert_int_equal(target.finishes, 0);
    stream_recv_consume(target.stream, 6);
    assert_int_equal(target.finishes, 0);
    stream_recv_consume(target.stream, 1);
    assert_int_equal(target.finishes, 1);
    stream_recv_consume(target.stream, 0);
    assert_int_equal(target.finishes, 1);
    stream_send_finish(target.stream);
    pair_release(&target);
    pair_settle(&pair);
    pair_release(&client);
    expect_gone();
}

/* -- reset -- */

static void reset_after_data_comes_behind_it(void **state)
{
    (void)state;

    begin_open();
    assert_int_equal(pair_send(&client, 200000, 'x'), 200000);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_release(&client);
    pair_settle(&pair);
    assert_int_equal(target.received, 200000);
    assert_int_equal(target.finishes, 0);
    assert_int_equal(target.resets, 1);
    assert_int_equal(target.code, WIRE_RESET);
    pair_release(&target);
    expect_gone();
}

static void fin_before_a_reset_is_kept(void **state)
{
    (void)state;

    begin_open();
    target.appetite = 10;
    assert_int_equal(pair_send(&client, 50000, 'x'), 50000);
    stream_send_finish(client.stream);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_settle(&pair);
    assert_int_equal(target.resets, 1);
    assert_int_equal(target.finishes, 0);
    consume_all(&target); /* what came before the reset is still good */
    assert_int_equal(target.received, 50000);
    assert_int_equal(target.finishes, 1);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void reset_now_drops_what_is_not_sent(void **state)
{
    (void)state;

    begin_open();
    assert_int_equal(pair_send(&client, 100000, 'x'), 100000);
    stream_reset(client.stream, WIRE_TIMEOUT, STREAM_RESET_NOW);
    stream_reset(client.stream, WIRE_INTERNAL, STREAM_RESET_NOW); /* again: harmless */
    pair_settle(&pair);
    assert_int_equal(target.received, 0);
    assert_int_equal(target.resets, 1);
    assert_int_equal(target.code, WIRE_TIMEOUT);
    assert_int_equal(client.resets, 0); /* not to who has reset */
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void reset_now_hurries_an_earlier_one(void **state)
{
    (void)state;

    begin_open();
    assert_int_equal(pair_send(&client, 100000, 'x'), 100000);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    stream_reset(client.stream, WIRE_TIMEOUT, STREAM_RESET_NOW);
    pair_settle(&pair);
    assert_int_equal(target.received, 0);
    assert_int_equal(target.code, WIRE_RESET); /* the first reason counts */
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void resets_may_cross(void **state)
{
    (void)state;

    begin_open();
    assert_int_equal(pair_send(&client, 1000, 'x'), 1000);
    assert_int_equal(pair_send(&target, 2000, 'y'), 2000);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    stream_reset(target.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_settle(&pair);
    assert_int_equal(client.received + target.received, 0); /* who resets wants nothing more */
    assert_int_equal(client.resets + target.resets, 0);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void reset_before_open_is_sent(void **state)
{
    (void)state;

    begin();
    pair_send_text(&client, "never mind");
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_NOW);
    pair_release(&client);
    pair_settle(&pair);
    assert_int_equal(pair.dest.owner.opens, 1);
    assert_int_equal(target.received, 0);
    assert_int_equal(target.resets, 1);
    pair_release(&target);
    expect_gone();
}

static void refusal_tells_why(void **state)
{
    (void)state;

    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 100);
    pair.dest.owner.accept_at_once = false;
    pair_open(&pair, &client, &target);
    pair_send_text(&client, "request");
    pair_settle(&pair);
    stream_reset(target.stream, WIRE_UNREACHABLE, STREAM_RESET_NOW);
    stream_accept(target.stream); /* too late: nothing comes of it */
    assert_int_equal(target.datas, 0);
    pair_release(&target);
    pair_settle(&pair);
    assert_int_equal(client.accepts, 0);
    assert_int_equal(client.resets, 1);
    assert_int_equal(client.code, WIRE_UNREACHABLE);
    pair_release(&client);
    expect_gone();
}

/* The client has sent all it had and reset; then the target is connected after all. */
static void accept_after_a_reset_delivers_what_came_before(void **state)
{
    (void)state;

    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 100);
    pair.dest.owner.accept_at_once = false;
    pair_open(&pair, &client, &target);
    pair_send_text(&client, "one shot");
    stream_send_finish(client.stream);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_release(&client);
    pair_settle(&pair);
    assert_int_equal(target.resets, 1);
    stream_accept(target.stream);
    assert_int_equal(target.received, 8);
    assert_int_equal(target.finishes, 1);
    pair_release(&target);
    expect_gone();
    assert_int_equal(client.accepts, 0);
}

/* -- release -- */

/* What may have happened before an owner lets go. */
static void nothing(void)
{
}

static void is_open(void)
{
    pair_settle(&pair);
}

static void has_unsent(void)
{
    pair_settle(&pair);
    (void)pair_send(&client, 100000, 'x');
    (void)pair_send(&target, 100000, 'y');
}

static void has_unacknowledged(void)
{
    has_unsent();
    (void)pair_carry(&pair, &pair.source, &pair.dest);
    (void)pair_carry(&pair, &pair.dest, &pair.source);
}

static void has_kept(void)
{
    client.appetite = 10;
    target.appetite = 10;
    has_unsent();
    pair_settle(&pair);
}

static void client_finished(void)
{
    pair_settle(&pair);
    pair_send_text(&client, "request");
    stream_send_finish(client.stream);
}

static void client_finish_is_known(void)
{
    client_finished();
    pair_settle(&pair);
}

static void both_finished(void)
{
    client_finished();
    pair_send_text(&target, "answer");
    stream_send_finish(target.stream);
}

static void both_know(void)
{
    both_finished();
    pair_settle(&pair);
}

static void client_reset(void)
{
    has_unsent();
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
}

static void client_reset_is_known(void)
{
    client_reset();
    pair_settle(&pair);
}

static void both_reset(void)
{
    client_reset();
    stream_reset(target.stream, WIRE_RESET, STREAM_RESET_NOW);
}

static void finished_and_reset(void)
{
    client_finished();
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
}

static void (*const histories[])(void) = {
    nothing,
    is_open,
    has_unsent,
    has_unacknowledged,
    has_kept,
    client_finished,
    both_finished,
    client_finish_is_known,
    both_know,
    client_reset,
    both_reset,
    client_reset_is_known,
    finished_and_reset,
};

/* Whoever lets go first, and whatever has happened: nothing is left, and each end hears of it. */
static void release_in_every_state(void **state)
{
    (void)state;

    for (size_t i = 0; i < sizeof(histories) / sizeof(histories[0]); i++) {
        for (int order = 0; order < 4; order++) {
            struct stream_state client_state;
            bool client_has_reset;
            bool is_opened;

            begin();
            histories[i]();
            stream_get_state(client.stream, &client_state);
            client_has_reset = client_state.is_reset;
            if (order != 1)
                pair_release(&client);
            if (order == 0)
                pair_settle(&pair);
            is_opened = target.stream != NULL;
            if (order != 2 && is_opened)
                pair_release(&target);
            pair_settle(&pair);
            if (order == 2) {
                assert_true(target.resets + target.finishes > 0 || histories[i] == both_reset);
                pair_release(&target);
            } else if (!is_opened) {
                pair_release(&target); /* it has come to be in the meantime */
            }
            if (order == 1) {
                assert_true(client.resets + client.finishes > 0 || !is_opened || client_has_reset);
                pair_release(&client);
            }
            expect_gone();
        }
    }
}

static void release_of_an_unfinished_stream_resets_it(void **state)
{
    (void)state;

    begin_open();
    stream_send_finish(target.stream);
    pair_settle(&pair);
    assert_int_equal(client.finishes, 1);
    pair_release(&client); /* it has heard everything, but never finished itself */
    pair_settle(&pair);
    assert_int_equal(target.finishes, 0);
    assert_int_equal(target.resets, 1);
    assert_int_equal(target.code, WIRE_RESET);
    pair_release(&target);
    expect_gone();
}

/* Released with everything said, the engine still sends what was committed. */
static void release_of_a_finished_stream_loses_nothing(void **state)
{
    (void)state;

    begin_open();
    stream_send_finish(target.stream);
    pair_settle(&pair);
    assert_int_equal(pair_send(&client, 200000, 'x'), 200000);
    stream_send_finish(client.stream);
    pair_release(&client);
    pair_settle(&pair);
    assert_int_equal(target.received, 200000);
    assert_int_equal(target.finishes, 1);
    assert_int_equal(target.resets, 0);
    pair_release(&target);
    expect_gone();
}

/* -- credit and memory -- */

static void stalled_reader_stops_its_stream_only(void **state)
{
    (void)state;
    static struct stream_owner other_client;
    static struct stream_owner other_target;
    size_t sent;

    memset(&other_client, 0, sizeof(other_client));
    memset(&other_target, 0, sizeof(other_target));
    begin();
    pair_settle(&pair);
    pair_open(&pair, &other_client, &other_target);
    pair_settle(&pair);
    target.appetite = 0;
    sent = pair_send(&client, 10000000, 'x');
    while (client.writables == 0) {
        size_t more;

        pair_settle(&pair);
        if (client.writables == 0)
            break;
        client.writables = 0;
        more = pair_send(&client, 10000000, 'x');
        sent += more;
    }
    assert_int_equal(sent, STREAM_WINDOW_START);
    assert_int_equal(target.received, 0);
    for (int i = 0; i < 20; i++) {
        assert_true(pair_send(&other_client, 100000, 'x') > 0);
        pair_settle(&pair);
    }
    assert_true(other_target.received > 1000000);
    /* And it goes on where it stopped. */
    target.appetite = SIZE_MAX;
    consume_all(&target);
    assert_int_equal(target.received, sent);
    pair_settle(&pair);
    assert_int_equal(client.writables, 1);
    assert_true(pair_send(&client, 1000, 'x') > 0);
    pair_release(&client);
    pair_release(&target);
    pair_release(&other_client);
    pair_release(&other_target);
    pair_settle(&pair);
    expect_gone();
}

static void window_grows_with_use(void **state)
{
    (void)state;
    size_t room = 0;

    begin_open();
    for (int i = 0; i < 200; i++) {
        size_t sent = pair_send(&client, 4000000, 'x');

        room = sent > room ? sent : room;
        pair_swap(&pair);
    }
    assert_in_range(room, STREAM_WINDOW_START + 1, 1024 * 1024);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_NOW);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void writer_without_memory_is_woken(void **state)
{
    (void)state;

    begin_open();
    /* Another tunnel of the same worker holds it all. */
    budget_force(&pair.source.hold, pair.source.hold.limit);
    assert_int_equal(room_of(&client), 0);
    pair_settle(&pair);
    assert_int_equal(client.writables, 0);
    budget_give(&pair.source.hold, pair.source.hold.limit);
    assert_true(session_deadline(pair.source.session) <= pair.now + 10000);
    pair.now += 10000;
    assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
    assert_int_equal(client.writables, 1);
    assert_int_equal(room_of(&client), 10);
    assert_true(session_deadline(pair.source.session) == UINT64_MAX);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

/* Traffic that has nothing to do with it must not put the next look off for ever. */
static void wait_for_memory_is_not_put_off_by_traffic(void **state)
{
    (void)state;
    uint64_t deadline;

    begin_open();
    budget_force(&pair.source.hold, pair.source.hold.limit);
    assert_int_equal(room_of(&client), 0);
    deadline = session_deadline(pair.source.session);
    for (int i = 0; i < 10; i++) {
        pair_send_text(&target, "traffic");
        pair_swap(&pair);
        pair.now += 1000;
    }
    assert_true(session_deadline(pair.source.session) <= deadline);
    budget_give(&pair.source.hold, pair.source.hold.limit);
    assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
    assert_int_equal(client.writables, 1);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

/* The least that may be configured: one bulk block, and another tunnel always has some of it. */
static void little_memory_is_enough_to_go_on(void **state)
{
    (void)state;
    size_t sent = 0;

    begin_open();
    pair.source.hold.limit = POOL_BULK_BYTES;
    budget_force(&pair.source.hold, POOL_BULK_BYTES / 4);
    for (int i = 0; i < 100; i++) {
        unsigned told = client.writables;

        sent += pair_send(&client, 1000000, 'x');
        pair_settle(&pair);
        assert_int_equal(client.writables, told + 1);
    }
    assert_int_equal(target.received, sent);
    assert_true(sent > 1000000);
    budget_give(&pair.source.hold, POOL_BULK_BYTES / 4);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void credit_does_not_wake_who_waits_for_memory(void **state)
{
    (void)state;

    begin_open();
    assert_int_equal(pair_send(&client, 100000, 'x'), 100000);
    budget_force(&pair.source.hold, pair.source.hold.limit);
    assert_int_equal(room_of(&client), 0);
    pair_settle(&pair); /* all of it is acknowledged, and the window moves on */
    assert_int_equal(target.received, 100000);
    assert_int_equal(client.writables, 0);
    budget_give(&pair.source.hold, pair.source.hold.limit);
    assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
    assert_int_equal(client.writables, 1);
    pair_release(&client);
    pair_release(&target);
    expect_gone();
}

static void write_some(struct stream_owner *o)
{
    if (o->stream != NULL)
        (void)pair_send(o, 10000000, 'w'); /* until there is no room */
}

/* With little memory for many, each in turn gets some of what comes free. */
static void writers_share_scarce_memory(void **state)
{
    (void)state;
    enum { N = 40 };
    static struct stream_owner clients[N];
    static struct stream_owner targets[N];
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    memset(clients, 0, sizeof(clients));
    memset(targets, 0, sizeof(targets));
    pair_init(&pair, 4 * 1024 * 1024, 100);
    for (int i = 0; i < N; i++) {
        pair_open(&pair, &clients[i], &targets[i]);
        pair_settle(&pair);
        clients[i].act = write_some;
    }
    for (int i = 0; i < N; i++)
        write_some(&clients[i]);
    for (int round = 0; round < 400; round++) {
        (void)pair_carry(&pair, &pair.source, &pair.dest);
        (void)pair_carry(&pair, &pair.dest, &pair.source);
        pair.now += 10000;
        assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
        assert_int_equal(session_tick(pair.dest.session, pair.now), ERR_OK);
        assert_true(pair.source.hold.used <= pair.source.hold.limit);
        assert_true(pool_in_use(pair.source.pool) <= pool_limit(pair.source.pool) * 3 / 4);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(clients[i].resets + targets[i].resets, 0);
        least = targets[i].received < least ? targets[i].received : least;
        most = targets[i].received > most ? targets[i].received : most;
    }
    assert_true(least > most / 2);
    for (int i = 0; i < N; i++)
        clients[i].act = NULL;
    pair_fini(&pair);
}

/* One tunnel's peer acknowledges nothing: another tunnel of the worker still finds memory. */
static void silent_peer_stops_its_own_tunnel_only(void **state)
{
    (void)state;
    struct end other;
    struct tunnel_options options;
    struct hostile h;
    struct hostile silent;
    static struct stream_owner good;
    static struct stream_owner bad;
    struct end end;

    memset(&good, 0, sizeof(good));
    memset(&bad, 0, sizeof(bad));
    end_init(&end, TUNNEL_DEST, PAIR_MEMORY, 10);
    end_attach(&end, 1, 1000);
    hostile_init(&silent, &end, TUNNEL_DEST, 1);
    /* A second tunnel on the same memory. */
    memset(&other, 0, sizeof(other));
    options = (struct tunnel_options){
        .role = TUNNEL_DEST,
        .max_streams = 10,
        .window_max = 1024 * 1024,
        .events = &pair_events,
        .owner = &other.owner,
        .pool = end.pool,
        .hold = &end.hold,
        .credit = &end.credit,
    };
    assert_int_equal(tunnel_new(&other.tunnel, &options), ERR_OK);
    other.owner.accept_at_once = true;
    end_attach(&other, 2, 1000);
    hostile_init(&h, &other, TUNNEL_DEST, 2);

    end.owner.next = &bad;
    hostile_settings(&silent, WIRE_VARINT_MAX, 10);
    hostile_open(&silent, 0);
    assert_int_equal(hostile_send(&silent), ERR_OK);
    other.owner.next = &good;
    hostile_settings(&h, WIRE_VARINT_MAX, 10);
    hostile_open(&h, 0);
    assert_int_equal(hostile_send(&h), ERR_OK);

    assert_true(pair_send(&bad, 2 * PAIR_MEMORY, 'b') > 0);
    assert_int_equal(room_of(&bad), 0);
    assert_true(pair_send(&good, 2 * PAIR_MEMORY, 'g') >= 1000000);
    hostile_fini(&h);
    hostile_fini(&silent);
    tunnel_free(other.tunnel);
    end_fini(&end);
}

static void window_keeps_to_its_maximum(void **state)
{
    (void)state;
    struct end end;
    struct tunnel_options options;
    struct hostile h;
    struct frame f;

    memset(&client, 0, sizeof(client));
    client.appetite = SIZE_MAX;
    end_init(&end, TUNNEL_DEST, PAIR_MEMORY, 10);
    tunnel_free(end.tunnel);
    options = (struct tunnel_options){
        .role = TUNNEL_DEST,
        .max_streams = 10,
        .window_max = 50000,
        .events = &pair_events,
        .owner = &end.owner,
        .pool = end.pool,
        .hold = &end.hold,
        .credit = &end.credit,
    };
    assert_int_equal(tunnel_new(&end.tunnel, &options), ERR_OK);
    end_attach(&end, 1, 1000);
    hostile_init(&h, &end, TUNNEL_DEST, 1);
    end.owner.next = &client;
    hostile_settings(&h, 1000000, 10);
    hostile_open(&h, 0);
    assert_int_equal(hostile_send(&h), ERR_OK);
    assert_int_equal(hostile_read(&h, 1000, FRAME_STREAM_ACCEPT, &f), 1);
    assert_int_equal(f.accept.limit, 50000);
    hostile_fini(&h);
    end_fini(&end);
}

/* -- owners that act from inside events -- */

static void release_self(struct stream_owner *o)
{
    if (o->stream != NULL)
        pair_release(o);
}

static void release_victim(struct stream_owner *o)
{
    if (o->victim != NULL && o->victim->stream != NULL)
        pair_release(o->victim);
}

static void reset_and_release_self(struct stream_owner *o)
{
    if (o->stream == NULL)
        return;
    stream_reset(o->stream, WIRE_INTERNAL, STREAM_RESET_AFTER_DATA);
    stream_reset(o->stream, WIRE_INTERNAL, STREAM_RESET_NOW);
    pair_release(o);
}

static void send_and_finish_self(struct stream_owner *o)
{
    if (o->stream == NULL)
        return;
    (void)pair_send(o, 70000, 'z');
    stream_send_finish(o->stream);
}

/* Two streams whose owners do the same at each event, to themselves or to each other. */
static void owners_may_act_inside_events(void **state)
{
    (void)state;
    static void (*const acts[])(struct stream_owner *) = {
        release_self,
        release_victim,
        reset_and_release_self,
        send_and_finish_self,
    };

    for (size_t act = 0; act < sizeof(acts) / sizeof(acts[0]); act++) {
        for (int who = 0; who < 3; who++) {
            static struct stream_owner client2;
            static struct stream_owner target2;

            memset(&client2, 0, sizeof(client2));
            memset(&target2, 0, sizeof(target2));
            begin();
            pair_settle(&pair);
            pair_open(&pair, &client2, &target2);
            pair_settle(&pair);
            client.victim = &client2;
            target.victim = &target2;
            client2.victim = &client;
            target2.victim = &target;
            client.act = who != 1 ? acts[act] : NULL;
            target.act = who != 0 ? acts[act] : NULL;
            client2.act = client.act;
            target2.act = target.act;
            (void)pair_send(&client2, 1000000, '2'); /* waits for room at the end */
            (void)pair_send(&target2, 1000000, '2');
            (void)pair_send(&client, 50000, '1');
            pair_settle(&pair);
            if (client.stream != NULL)
                stream_send_finish(client.stream);
            if (target2.stream != NULL)
                stream_reset(target2.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
            pair_settle(&pair);
            release_self(&client);
            pair_settle(&pair);
            release_self(&target);
            release_self(&client2);
            release_self(&target2);
            expect_gone();
        }
    }
}

/*
 * A reset gives memory back, and the owner who is told of it lets go of the very stream that is
 * being reset, which has ended for the protocol.
 */
static void release_of_the_stream_that_frees_memory(void **state)
{
    (void)state;
    static struct stream_owner client2;
    static struct stream_owner waiting;

    memset(&client2, 0, sizeof(client2));
    memset(&waiting, 0, sizeof(waiting));
    begin();
    pair_settle(&pair);
    pair_open(&pair, &client2, &waiting);
    pair_settle(&pair);
    target.appetite = 1;
    assert_int_equal(pair_send(&client, 200000, 'x'), 200000);
    stream_send_finish(client.stream);
    stream_send_finish(target.stream);
    pair_settle(&pair);
    /* It waits while another tunnel holds all memory, and is not told when that has it no more. */
    budget_force(&pair.dest.hold, pair.dest.hold.limit);
    assert_int_equal(room_of(&waiting), 0);
    budget_give(&pair.dest.hold, pair.dest.hold.limit);
    waiting.act = release_victim;
    waiting.victim = &target;
    stream_reset(target.stream, WIRE_RESET, STREAM_RESET_NOW);
    assert_null(target.stream);
    waiting.act = NULL;
    pair_settle(&pair);
    pair_release(&client);
    pair_release(&client2);
    pair_settle(&pair);
    pair_release(&waiting);
    expect_gone();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_can_be_sent_after_the_end),
        cmocka_unit_test(reset_ends_the_wait_for_room),
        cmocka_unit_test(half_close_leaves_the_other_direction),
        cmocka_unit_test(data_and_fin_may_come_before_accept),
        cmocka_unit_test(finish_comes_after_what_is_kept),
        cmocka_unit_test(reset_after_data_comes_behind_it),
        cmocka_unit_test(fin_before_a_reset_is_kept),
        cmocka_unit_test(reset_now_drops_what_is_not_sent),
        cmocka_unit_test(reset_now_hurries_an_earlier_one),
        cmocka_unit_test(resets_may_cross),
        cmocka_unit_test(reset_before_open_is_sent),
        cmocka_unit_test(refusal_tells_why),
        cmocka_unit_test(accept_after_a_reset_delivers_what_came_before),
        cmocka_unit_test(release_in_every_state),
        cmocka_unit_test(release_of_an_unfinished_stream_resets_it),
        cmocka_unit_test(release_of_a_finished_stream_loses_nothing),
        cmocka_unit_test(stalled_reader_stops_its_stream_only),
        cmocka_unit_test(window_grows_with_use),
        cmocka_unit_test(writer_without_memory_is_woken),
        cmocka_unit_test(wait_for_memory_is_not_put_off_by_traffic),
        cmocka_unit_test(little_memory_is_enough_to_go_on),
        cmocka_unit_test(credit_does_not_wake_who_waits_for_memory),
        cmocka_unit_test(writers_share_scarce_memory),
        cmocka_unit_test(silent_peer_stops_its_own_tunnel_only),
        cmocka_unit_test(window_keeps_to_its_maximum),
        cmocka_unit_test(owners_may_act_inside_events),
        cmocka_unit_test(release_of_the_stream_that_frees_memory),
    };

    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
