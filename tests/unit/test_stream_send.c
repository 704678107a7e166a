/* What a stream sends: its end, its credit, and its turn when memory is scarce. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "one_stream.h"

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

/* Memory of others is looked for by time, but not in vain: what cannot be sent need not be read. */
static void who_waits_for_memory_is_looked_after_by_time(void **state)
{
    (void)state;
    const uint8_t *data;
    size_t len;

    begin();
    pair_settle(&pair);
    assert_int_equal(session_deadline(pair.source.session), UINT64_MAX);
    const uint64_t all = pair.source.hold.limit;
    budget_force(&pair.source.hold, all);
    assert_int_equal(room_of(&client), 0);
    assert_true(session_deadline(pair.source.session) <= pair.now + 10000);
    session_ping(pair.source.session, pair.now);
    assert_int_equal(session_drain(pair.source.session, &data, &len, pair.now), ERR_OK);
    assert_true(len > 1);
    session_drained(pair.source.session, 1);
    assert_int_equal(session_deadline(pair.source.session), UINT64_MAX);
    session_drained(pair.source.session, len - 1);
    assert_true(session_deadline(pair.source.session) <= pair.now + 10000);
    budget_give(&pair.source.hold, all);
    pair_fini(&pair);
}

/*
 * Owners that come for the memory later, as pumps do, in another order, and would take all of it:
 * each has what it was told of, and only so many are told as there is some for.
 */
static void who_is_told_of_memory_finds_it(void **state)
{
    (void)state;
    enum { N = 12, TOLD = 3 };
    static struct stream_owner clients[N];
    static struct stream_owner targets[N];
    unsigned told[N] = {0};

    memset(clients, 0, sizeof(clients));
    memset(targets, 0, sizeof(targets));
    pair_init(&pair, 64 * 1024 * 1024, 100);
    for (int i = 0; i < N; i++) {
        pair_open(&pair, &clients[i], &targets[i]);
        pair_settle(&pair);
    }
    const uint64_t limit = pair.source.hold.limit;
    budget_force(&pair.source.hold, limit);
    for (int i = 0; i < N; i++)
        assert_int_equal(room_of(&clients[i]), 0);
    for (int round = 0; round < N / TOLD; round++) {
        /* Of which a tunnel takes no more than it leaves. */
        budget_give(&pair.source.hold, (round == 0 ? 5 : 6) * POOL_BULK_BYTES);
        pair.now += 10000;
        assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
        for (int i = N - 1; i >= 0; i--) {
            bool is_its_turn = i / TOLD == round;

            assert_int_equal(clients[i].writables - told[i], is_its_turn ? 1 : 0);
            told[i] = clients[i].writables;
            if (is_its_turn)
                assert_int_equal(pair_send(&clients[i], 10000000, 'x'), POOL_BULK_BYTES);
        }
    }
    /* One that does not come for it does not keep it. */
    budget_give(&pair.source.hold, 2 * POOL_BULK_BYTES);
    pair.now += 10000;
    assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
    unsigned all = 0;
    for (int i = 0; i < N; i++)
        all += clients[i].writables;
    assert_int_equal(all, N + 1);
    pair.now += 1000000;
    assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
    all = 0;
    for (int i = 0; i < N; i++)
        all += clients[i].writables;
    assert_int_equal(all, N + 2);
    budget_give(&pair.source.hold, limit - 25 * POOL_BULK_BYTES);
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_can_be_sent_after_the_end),
        cmocka_unit_test(reset_ends_the_wait_for_room),
        cmocka_unit_test(writer_without_memory_is_woken),
        cmocka_unit_test(wait_for_memory_is_not_put_off_by_traffic),
        cmocka_unit_test(little_memory_is_enough_to_go_on),
        cmocka_unit_test(credit_does_not_wake_who_waits_for_memory),
        cmocka_unit_test(writers_share_scarce_memory),
        cmocka_unit_test(who_waits_for_memory_is_looked_after_by_time),
        cmocka_unit_test(who_is_told_of_memory_finds_it),
    };
    return cmocka_run_group_tests_name("stream_send", tests, NULL, NULL);
}
