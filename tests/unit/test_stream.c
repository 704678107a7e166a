/* Streams between two engines that keep to the rules: every way to end one, in every order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "one_stream.h"

/* -- FIN -- */

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

    begin_unaccepted();
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
        cmocka_unit_test(half_close_leaves_the_other_direction),
        cmocka_unit_test(reset_after_data_comes_behind_it),
        cmocka_unit_test(fin_before_a_reset_is_kept),
        cmocka_unit_test(reset_now_drops_what_is_not_sent),
        cmocka_unit_test(reset_now_hurries_an_earlier_one),
        cmocka_unit_test(resets_may_cross),
        cmocka_unit_test(reset_before_open_is_sent),
        cmocka_unit_test(refusal_tells_why),
        cmocka_unit_test(release_in_every_state),
        cmocka_unit_test(release_of_an_unfinished_stream_resets_it),
        cmocka_unit_test(release_of_a_finished_stream_loses_nothing),
        cmocka_unit_test(owners_may_act_inside_events),
        cmocka_unit_test(release_of_the_stream_that_frees_memory),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
