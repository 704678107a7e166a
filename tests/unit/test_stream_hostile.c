/* Frames about streams from a peer that follows no rule: nothing wrong is delivered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hostile_scene.h"

static void data_beyond_credit_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_ready(TUNNEL_DEST);

    scene.end.owner.accept_at_once = false; /* nothing is taken, no credit is added */
    hostile_open(h, 0);
    hostile_data(h, 0, 0, STREAM_WINDOW_INITIAL);
    assert_int_equal(hostile_send(h), ERR_OK);
    hostile_data(h, 0, STREAM_WINDOW_INITIAL, 1);
    expect_end(ERR_FLOW_CONTROL);
    h = begin_ready(TUNNEL_DEST);
    scene.end.owner.accept_at_once = false;
    hostile_open(h, 0);
    hostile_data(h, 0, 0, STREAM_WINDOW_INITIAL + 1);
    expect_end(ERR_FLOW_CONTROL);
    assert_int_equal(scene.owner.received, 0);
}

static void data_with_a_gap_or_overlap_ends_the_session(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {11, 9, 0, WIRE_VARINT_MAX - 10};

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        struct hostile *h = begin_stream();

        hostile_data(h, 0, 0, 10);
        hostile_data(h, 0, offsets[i], 10);
        expect_end(ERR_STREAM_STATE);
        assert_int_equal(scene.owner.received, 10);
    }
}

static void data_behind_the_end_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    hostile_data(h, 0, 0, 10);
    hostile_fin(h, 0, 10);
    hostile_data(h, 0, 10, 1);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.finishes, 1);
    h = begin_stream();
    hostile_fin(h, 0, 0);
    hostile_fin(h, 0, 0);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.finishes, 1);
    h = begin_stream();
    hostile_reset(h, 0, 0);
    hostile_data(h, 0, 0, 10);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.datas, 0);
}

/* Whoever resets a stream wants nothing of what came before, even where there is nobody to tell. */
static void a_reset_behind_the_peers_drops_what_is_kept(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    struct stream_state now;

    scene.owner.appetite = 0;
    hostile_data(h, 0, 0, 10);
    hostile_reset(h, 0, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.resets, 1);
    stream_get_state(scene.owner.stream, &now);
    assert_int_equal(now.recv_held, 10);
    stream_reset(scene.owner.stream, WIRE_RESET, STREAM_RESET_NOW);
    stream_get_state(scene.owner.stream, &now);
    assert_int_equal(now.recv_held, 0);
    end_scene();
}

static void frames_of_streams_never_opened_end_the_session(void **state)
{
    (void)state;

    begin_stream();
    hostile_data(&scene.hostile, 1, 0, 10);
    expect_end(ERR_STREAM_STATE);
    begin_stream();
    hostile_fin(&scene.hostile, WIRE_VARINT_MAX, 0);
    expect_end(ERR_STREAM_STATE);
    begin_stream();
    hostile_credit(&scene.hostile, 1, 0, 100000);
    expect_end(ERR_STREAM_STATE);
    begin_stream();
    hostile_reset(&scene.hostile, 1, 0);
    expect_end(ERR_STREAM_STATE);
    begin_client();
    hostile_accept(&scene.hostile, 1);
    expect_end(ERR_STREAM_STATE);
}

/* The source has made the stream, but the peer cannot know of it yet. */
static void frames_that_come_before_open_end_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_ready(TUNNEL_SOURCE);
    struct stream_target target = {.port = 80};

    assert_int_equal(stream_open(&scene.owner.stream, scene.end.tunnel, &target, &scene.owner),
                     ERR_OK);
    hostile_accept(h, 0);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.accepts, 0);
}

static void open_with_a_wrong_number_ends_the_session(void **state)
{
    (void)state;

    begin_stream();
    hostile_open(&scene.hostile, 0);
    expect_end(ERR_STREAM_STATE);
    begin_stream();
    hostile_open(&scene.hostile, WIRE_VARINT_MAX);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.end.owner.opens, 1);
}

static void frames_of_the_other_role_end_the_session(void **state)
{
    (void)state;

    begin_ready(TUNNEL_SOURCE);
    hostile_open(&scene.hostile, 0);
    expect_end(ERR_UNEXPECTED);
    assert_int_equal(scene.end.owner.opens, 0);
    begin_stream();
    hostile_accept(&scene.hostile, 0);
    expect_end(ERR_UNEXPECTED);
}

static void second_accept_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_client();

    hostile_accept(h, 0);
    hostile_accept(h, 0);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.accepts, 1);
    h = begin_client(); /* and one behind a reset */
    hostile_reset(h, 0, 0);
    hostile_accept(h, 0);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.accepts, 0);
    assert_int_equal(scene.owner.resets, 1);
}

static void second_reset_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    hostile_reset(h, 0, 0);
    hostile_reset(h, 0, 0);
    expect_end(ERR_STREAM_STATE);
    assert_int_equal(scene.owner.resets, 1);
}

static void reset_with_a_wrong_size_ends_the_session(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 9, 11, WIRE_VARINT_MAX};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct hostile *h = begin_stream();

        hostile_data(h, 0, 0, 10);
        hostile_reset(h, 0, sizes[i]);
        expect_end(ERR_STREAM_STATE);
        assert_int_equal(scene.owner.resets, 0);
    }
}

static void acknowledgement_of_what_was_not_sent_ends_the_session(void **state)
{
    (void)state;
    static const uint64_t acked[] = {6, 7, WIRE_VARINT_MAX - 1, WIRE_VARINT_MAX};

    for (size_t i = 0; i < sizeof(acked) / sizeof(acked[0]); i++) {
        struct hostile *h = begin_stream();
        struct frame f;

        pair_send_text(&scene.owner, "hello");
        assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_DATA, &f), 1);
        pair_send_text(&scene.owner, "not yet sent");
        hostile_credit(h, 0, acked[i], 0);
        expect_end(ERR_FLOW_CONTROL);
        assert_int_equal(scene.owner.sents, 0);
    }
}

static void fin_is_not_acknowledged_before_it_is_sent(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    struct frame f;

    pair_send_text(&scene.owner, "hello");
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_DATA, &f), 1);
    stream_send_finish(scene.owner.stream);
    hostile_credit(h, 0, 6, 0);
    expect_end(ERR_FLOW_CONTROL);
}

static void limits_near_the_end_of_numbers_are_harmless(void **state)
{
    (void)state;
    struct hostile *h;
    struct frame f;

    begin(TUNNEL_DEST);
    h = &scene.hostile;
    hostile_settings(h, WIRE_VARINT_MAX, WIRE_VARINT_MAX);
    hostile_open(h, 0);
    hostile_credit(h, 0, 0, WIRE_VARINT_MAX);
    assert_int_equal(hostile_send(h), ERR_OK);
    /* A peer may give as much credit as it likes: what is kept is bounded all the same. */
    assert_in_range(pair_send(&scene.owner, PAIR_MEMORY, 'x'), 1,
                    PAIR_MEMORY / 8 + POOL_BULK_BYTES);
    assert_true(hostile_read(h, 1000, FRAME_STREAM_DATA, &f) > 0);
    hostile_credit(h, 0, 0, 1); /* lower than before: ignored */
    assert_int_equal(hostile_send(h), ERR_OK);
    end_scene();
}

static void more_streams_than_allowed_are_reset(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    struct stream_owner others[MAX_STREAMS];
    struct frame f;

    memset(others, 0, sizeof(others));
    for (uint64_t id = 1; id < MAX_STREAMS; id++) {
        others[id].appetite = SIZE_MAX;
        scene.end.owner.next = &others[id];
        hostile_open(h, id);
        assert_int_equal(hostile_send(h), ERR_OK);
    }
    hostile_open(h, MAX_STREAMS);
    hostile_data(h, MAX_STREAMS, 0, 100); /* on its way before the reset was seen */
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.end.owner.opens, MAX_STREAMS);
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_RESET, &f), 1);
    assert_int_equal(f.reset.id, MAX_STREAMS);
    assert_int_equal(f.reset.code, WIRE_LIMIT);
    /* The others do not notice. */
    hostile_data(h, 0, 0, 10);
    hostile_data(h, MAX_STREAMS - 1, 0, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.received, 10);
    assert_int_equal(others[MAX_STREAMS - 1].received, 10);
    /* Answered, the refused one is gone; and once another has ended there is room. */
    hostile_reset(h, MAX_STREAMS, 100);
    hostile_reset(h, 0, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    pair_release(&scene.owner);
    (void)hostile_read(h, 1000, FRAME_STREAM_RESET, &f);
    assert_int_equal(end_streams(&scene.end), MAX_STREAMS - 1);
    memset(&scene.owner, 0, sizeof(scene.owner));
    scene.end.owner.next = &scene.owner;
    hostile_open(h, MAX_STREAMS + 1);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.end.owner.opens, MAX_STREAMS + 1);
    end_scene();
}

/* Refused streams that the peer never lets go are bounded, too. */
static void refused_streams_that_pile_up_end_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    uint64_t id = 1;
    enum err e = ERR_OK;

    scene.end.owner.next = NULL; /* refuses all others itself */
    for (; e == ERR_OK && id < 10000; id++) {
        struct frame f;

        hostile_open(h, id);
        e = hostile_send(h);
        if (e == ERR_OK)
            assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_RESET, &f), 1);
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(id, 2 * MAX_STREAMS + 1024 + 1);
    assert_true(scene.end.credit.used <= 2 * STREAM_WINDOW_START); /* they promise nothing */
    end_scene();
}

static void frames_for_an_ended_stream_are_ignored(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    struct frame f;

    hostile_reset(h, 0, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    pair_release(&scene.owner);
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_RESET, &f), 1);
    assert_int_equal(f.reset.code, WIRE_NO_ERROR);
    assert_int_equal(end_streams(&scene.end), 0);
    hostile_data(h, 0, 12345, 10);
    hostile_fin(h, 0, 5);
    hostile_credit(h, 0, WIRE_VARINT_MAX, WIRE_VARINT_MAX);
    hostile_reset(h, 0, 77);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.datas + scene.owner.finishes, 0);
    end_scene();
}

/* After its RESET a peer is told nothing more of the stream, whatever it still sends. */
static void nothing_is_sent_behind_a_reset(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    struct frame f;

    hostile_data(h, 0, 0, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    stream_reset(scene.owner.stream, WIRE_RESET, STREAM_RESET_NOW);
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_RESET, &f), 1);
    hostile_data(h, 0, 10, 30000);
    hostile_data(h, 0, 30010, 30000); /* it is only counted: no limit any more */
    hostile_fin(h, 0, 60010);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(session_tick(scene.end.session, 1000 + 2 * ACK_DELAY_US), ERR_OK);
    assert_int_equal(hostile_read(h, 1000 + 2 * ACK_DELAY_US, FRAME_STREAM_CREDIT, &f), 0);
    assert_int_equal(scene.owner.received, 10);
    hostile_reset(h, 0, 60010);
    assert_int_equal(hostile_send(h), ERR_OK);
    pair_release(&scene.owner);
    assert_int_equal(end_streams(&scene.end), 0);
    end_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_beyond_credit_ends_the_session),
        cmocka_unit_test(data_with_a_gap_or_overlap_ends_the_session),
        cmocka_unit_test(data_behind_the_end_ends_the_session),
        cmocka_unit_test(a_reset_behind_the_peers_drops_what_is_kept),
        cmocka_unit_test(frames_of_streams_never_opened_end_the_session),
        cmocka_unit_test(frames_that_come_before_open_end_the_session),
        cmocka_unit_test(open_with_a_wrong_number_ends_the_session),
        cmocka_unit_test(frames_of_the_other_role_end_the_session),
        cmocka_unit_test(second_accept_ends_the_session),
        cmocka_unit_test(second_reset_ends_the_session),
        cmocka_unit_test(reset_with_a_wrong_size_ends_the_session),
        cmocka_unit_test(acknowledgement_of_what_was_not_sent_ends_the_session),
        cmocka_unit_test(fin_is_not_acknowledged_before_it_is_sent),
        cmocka_unit_test(limits_near_the_end_of_numbers_are_harmless),
        cmocka_unit_test(more_streams_than_allowed_are_reset),
        cmocka_unit_test(refused_streams_that_pile_up_end_the_session),
        cmocka_unit_test(frames_for_an_ended_stream_are_ignored),
        cmocka_unit_test(nothing_is_sent_behind_a_reset),
    };

    return cmocka_run_group_tests_name("stream_hostile", tests, NULL, NULL);
}
