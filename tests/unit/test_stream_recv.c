/* What a stream takes: before and after it is accepted, and no more than its window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "one_stream.h"

/* Everything, FIN and all, before the dest has accepted. */
static void data_and_fin_may_come_before_accept(void **state)
{
    (void)state;

    begin_unaccepted();
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
    assert_int_equal(pair.dest.credit.used, 7); /* behind a FIN nothing more can come */
    stream_recv_consume(target.stream, 6);
    assert_int_equal(target.finishes, 0);
    stream_recv_consume(target.stream, 1);
    assert_int_equal(target.finishes, 1);
    stream_recv_consume(target.stream, 0);
    assert_int_equal(target.finishes, 1);
    assert_int_equal(pair.dest.credit.used, 0);
    stream_send_finish(target.stream);
    pair_release(&target);
    pair_settle(&pair);
    pair_release(&client);
    expect_gone();
}

/* The client has sent all it had and reset; then the target is connected after all. */
static void accept_after_a_reset_delivers_what_came_before(void **state)
{
    (void)state;

    begin_unaccepted();
    pair_send_text(&client, "one shot");
    stream_send_finish(client.stream);
    stream_reset(client.stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pair_release(&client);
    pair_settle(&pair);
    assert_int_equal(pair.dest.credit.used, 8);
    assert_int_equal(target.resets, 1);
    stream_accept(target.stream);
    assert_int_equal(target.received, 8);
    assert_int_equal(target.finishes, 1);
    pair_release(&target);
    expect_gone();
    assert_int_equal(client.accepts, 0);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_and_fin_may_come_before_accept),
        cmocka_unit_test(finish_comes_after_what_is_kept),
        cmocka_unit_test(accept_after_a_reset_delivers_what_came_before),
        cmocka_unit_test(stalled_reader_stops_its_stream_only),
        cmocka_unit_test(window_grows_with_use),
        cmocka_unit_test(silent_peer_stops_its_own_tunnel_only),
        cmocka_unit_test(window_keeps_to_its_maximum),
    };
    return cmocka_run_group_tests_name("stream_recv", tests, NULL, NULL);
}
