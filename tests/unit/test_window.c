#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/limits.h"
#include "tunnel/window.h"

#define MIB ((uint64_t)1024 * 1024)

/* Of the only tunnel. */
static struct budget all;
static struct tunnel_peer peer;
static struct credit credit;

static struct credit *alone(uint64_t limit)
{
    all = (struct budget){.limit = limit, .holders = 1};
    peer = (struct tunnel_peer){.tunnels = 1};
    credit_init(&credit, &all, &peer);
    return &credit;
}

static uint64_t ahead(const struct window *w)
{
    return w->limit - w->taken;
}

/* The owner takes all the peer may send, again and again, each round of it in round_us. */
static void read_rounds(struct window *w, struct credit *b, uint64_t rtt_us, uint64_t round_us,
                        uint64_t max, uint64_t *now, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        *now += round_us;
        window_take(w, ahead(w), b);
        assert_true(window_is_due(w));
        window_advance(w, rtt_us, max, b, *now);
    }
}

static void promised_credit_is_taken_in_any_case(void **state)
{
    (void)state;
    struct credit *b = alone(1000);
    struct window w;

    window_init(&w, 5000, b, 0);
    assert_int_equal(all.used, 5000);
    assert_int_equal(ahead(&w), 5000);
    window_close(&w, b);
    assert_int_equal(all.used, 0);
}

/* What is kept still counts; what the peer did not use is there for others. */
static void what_a_peer_leaves_is_given_back(void **state)
{
    (void)state;
    struct credit *b = alone(MIB);
    struct window w;

    window_init(&w, 5000, b, 0);
    window_take(&w, 1000, b);
    window_end(&w, 1200, b);
    assert_int_equal(all.used, 200);
    window_end(&w, 5000, b); /* nonsense changes nothing */
    window_end(&w, 999, b);
    assert_int_equal(all.used, 200);
    window_take(&w, 200, b);
    assert_int_equal(all.used, 0);
    window_close(&w, b);
    window_end(&w, 1300, b);
    assert_int_equal(all.used, 0);
}

static void closed_window_gives_nothing_more(void **state)
{
    (void)state;
    struct credit *b = alone(MIB);
    struct window w;

    window_init(&w, 32768, b, 0);
    window_take(&w, 1000, b);
    assert_int_equal(all.used, 31768);
    window_close(&w, b);
    window_close(&w, b);
    assert_int_equal(all.used, 0);
    assert_false(window_is_due(&w));
    window_advance(&w, 1000, MIB, b, 100);
    window_take(&w, 500, b); /* taken after it was closed: counted back already */
    assert_int_equal(all.used, 0);
    assert_int_equal(w.limit, w.taken);
}

static void reader_keeps_the_minimum_however_tight_memory_is(void **state)
{
    (void)state;
    struct credit *b = alone(0);
    struct window w;
    uint64_t now = 0;

    window_init(&w, 32768, b, now);
    for (int i = 0; i < 1000; i++) {
        window_take(&w, ahead(&w), b);
        assert_true(window_is_due(&w));
        window_advance(&w, 100000, 16 * MIB, b, ++now);
        assert_int_equal(ahead(&w), STREAM_WINDOW_MIN);
        assert_int_equal(all.used, STREAM_WINDOW_MIN);
    }
    /* Who does not read gets nothing. */
    window_advance(&w, 100000, 16 * MIB, b, ++now);
    assert_int_equal(ahead(&w), STREAM_WINDOW_MIN);
    window_close(&w, b);
    assert_int_equal(all.used, 0);
}

static void takes_what_there_is_and_no_more(void **state)
{
    (void)state;
    struct credit *b = alone(40000);
    struct window w;

    window_init(&w, 32768, b, 0);
    window_widen(&w, 262144, b); /* more than half of what there is: no wider */
    assert_int_equal(w.size, 32768);
    w.size = 262144;
    window_take(&w, 16384, b);
    window_advance(&w, 0, MIB, b, 1);
    assert_int_equal(ahead(&w), 30000);
    assert_int_equal(all.used, 30000);
    /* Now of its part, beside what was promised, so that other streams find some. */
    for (int i = 0; i < 5; i++)
        window_advance(&w, 0, MIB, b, 1);
    assert_int_equal(ahead(&w), 32768 + 7500);
    window_close(&w, b);
    assert_int_equal(all.used + peer.credit, 0);
}

/* Streams of one tunnel, each of which wants more than there is: who comes first does not keep it.
 */
static void streams_share_what_there_is(void **state)
{
    (void)state;
    struct credit *b = alone(4 * MIB);
    struct window w[8];
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    for (int i = 0; i < 8; i++) {
        window_init(&w[i], 32768, b, 0);
        w[i].size = 16 * MIB;
        window_advance(&w[i], 0, 16 * MIB, b, 1);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++) {
            window_take(&w[i], ahead(&w[i]) / 2, b);
            window_advance(&w[i], 0, 16 * MIB, b, 1);
        }
    }
    for (int i = 0; i < 8; i++) {
        least = ahead(&w[i]) < least ? ahead(&w[i]) : least;
        most = ahead(&w[i]) > most ? ahead(&w[i]) : most;
        window_close(&w[i], b);
    }
    assert_true(least > most / 2);
    assert_true(least > 4 * MIB / 8 / 2);
    assert_int_equal(all.used + peer.credit, 0);
}

static void widens_to_half_of_what_there_is(void **state)
{
    (void)state;
    struct credit *b = alone(MIB);
    struct window w;

    window_init(&w, 32768, b, 0);
    all.used = MIB / 4 * 3 - 2 * (262144 - 32768);
    window_widen(&w, 262144, b);
    assert_int_equal(w.size, 262144);
    window_widen(&w, 1000, b); /* never narrower */
    assert_int_equal(w.size, 262144);
    w.size = 32768;
    all.used++;
    window_widen(&w, 262144, b);
    assert_int_equal(w.size, 32768);
}

static void grows_to_fill_a_long_path(void **state)
{
    (void)state;
    struct credit *b = alone(64 * MIB);
    struct window w;
    uint64_t now = 0;

    window_init(&w, 32768, b, now);
    /* As fast as the window lets it, over 100 ms: doubles with each round, up to the maximum. */
    for (uint64_t size = 65536; size <= 16 * MIB; size *= 2) {
        read_rounds(&w, b, 100000, 100000, 16 * MIB, &now, 1);
        assert_int_equal(w.size, size);
        assert_int_equal(ahead(&w), size);
    }
    read_rounds(&w, b, 100000, 100000, 16 * MIB, &now, 10);
    assert_int_equal(w.size, 16 * MIB);
    assert_int_equal(all.used, 16 * MIB);
    window_close(&w, b);
}

static void maximum_need_not_be_a_power_of_two(void **state)
{
    (void)state;
    struct credit *b = alone(64 * MIB);
    struct window w;
    uint64_t now = 0;

    window_init(&w, 32768, b, now);
    read_rounds(&w, b, 100000, 100000, 100000, &now, 10);
    assert_int_equal(w.size, 100000);
    window_close(&w, b);
}

static void stays_when_the_owner_is_slow(void **state)
{
    (void)state;
    struct credit *b = alone(64 * MIB);
    struct window w;
    uint64_t now = 0;

    /* 32 KiB in a second over a path of 10 ms: the window is no obstacle. */
    window_init(&w, 32768, b, now);
    read_rounds(&w, b, 10000, 1000000, 16 * MIB, &now, 50);
    assert_int_equal(w.size, 32768);
    window_close(&w, b);
}

static void stays_while_the_path_is_unknown(void **state)
{
    (void)state;
    struct credit *b = alone(64 * MIB);
    struct window w;
    uint64_t now = 0;

    window_init(&w, 32768, b, now);
    read_rounds(&w, b, 0, 1, 16 * MIB, &now, 50);
    assert_int_equal(w.size, 32768);
    read_rounds(&w, b, 1, 1, 16 * MIB, &now, 1);
    assert_int_equal(w.size, 65536);
    window_close(&w, b);
}

static void pauses_do_not_count_as_speed(void **state)
{
    (void)state;
    struct credit *b = alone(64 * MIB);
    struct window w;
    uint64_t now = 0;

    window_init(&w, 32768, b, now);
    for (int i = 0; i < 20; i++) {
        now += 60 * UINT64_C(1000000);
        window_take(&w, ahead(&w), b);
        window_advance(&w, 20000, 16 * MIB, b, now);
    }
    assert_int_equal(w.size, 32768);
    window_close(&w, b);
}

static void due_after_a_quarter(void **state)
{
    (void)state;
    struct credit *b = alone(MIB);
    struct window w;

    window_init(&w, 32768, b, 0);
    assert_false(window_is_due(&w));
    window_take(&w, 8191, b);
    assert_false(window_is_due(&w));
    window_take(&w, 1, b);
    assert_true(window_is_due(&w));
    window_advance(&w, 0, MIB, b, 1);
    assert_false(window_is_due(&w));
    assert_int_equal(ahead(&w), 32768);
    window_close(&w, b);
}

/* A maximum below what was given at the start: nothing is taken back, and no frame is sent for it.
 */
static void limit_beyond_the_window_is_not_due(void **state)
{
    (void)state;
    struct credit *b = alone(64 * MIB);
    struct window w;
    uint64_t limit;

    window_init(&w, 262144, b, 0);
    window_take(&w, 70000, b);
    window_advance(&w, 100000, 65536, b, 1); /* narrower: 192,144 ahead of 65,536 */
    assert_int_equal(w.size, 65536);
    limit = w.limit;
    assert_false(window_is_due(&w));
    window_take(&w, 100000, b);
    assert_false(window_is_due(&w));
    assert_int_equal(w.limit, limit);
    window_take(&w, 50000, b);
    assert_true(window_is_due(&w));
    window_close(&w, b);
}

/* Figures that a peer can influence (the round-trip time) or choose (how much it sends) wrap
 * nothing.
 */
static void absurd_figures_are_harmless(void **state)
{
    (void)state;
    struct credit *b = alone(UINT64_C(1) << 40);
    struct window w;
    uint64_t now = 0;

    window_init(&w, UINT64_C(1) << 36, b, now);
    read_rounds(&w, b, UINT64_C(1) << 40, 1, UINT64_C(1) << 38, &now, 5);
    assert_true(w.size == UINT64_C(1) << 38);
    window_close(&w, b);
    assert_int_equal(all.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promised_credit_is_taken_in_any_case),
        cmocka_unit_test(what_a_peer_leaves_is_given_back),
        cmocka_unit_test(closed_window_gives_nothing_more),
        cmocka_unit_test(reader_keeps_the_minimum_however_tight_memory_is),
        cmocka_unit_test(takes_what_there_is_and_no_more),
        cmocka_unit_test(streams_share_what_there_is),
        cmocka_unit_test(widens_to_half_of_what_there_is),
        cmocka_unit_test(grows_to_fill_a_long_path),
        cmocka_unit_test(maximum_need_not_be_a_power_of_two),
        cmocka_unit_test(stays_when_the_owner_is_slow),
        cmocka_unit_test(stays_while_the_path_is_unknown),
        cmocka_unit_test(pauses_do_not_count_as_speed),
        cmocka_unit_test(due_after_a_quarter),
        cmocka_unit_test(limit_beyond_the_window_is_not_due),
        cmocka_unit_test(absurd_figures_are_harmless),
    };

    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
