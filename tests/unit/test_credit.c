#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/credit.h"
#include "tunnel/limits.h"
#include "tunnel/window.h"

#define MIB   ((uint64_t)1024 * 1024)
#define LIMIT (48 * MIB)

/* Peers of one worker, each with some tunnels. */
#define PEERS   20
#define TUNNELS 3

struct crowd {
    struct budget all;
    struct tunnel_peer peers[PEERS];
    struct credit credit[PEERS][TUNNELS];
    unsigned n;
};

static void crowd_add(struct crowd *crowd, unsigned tunnels)
{
    unsigned i = crowd->n++;

    crowd->all.holders++;
    crowd->peers[i].tunnels = tunnels;
    for (unsigned k = 0; k < tunnels; k++)
        credit_init(&crowd->credit[i][k], &crowd->all, &crowd->peers[i]);
}

static void crowd_init(struct crowd *crowd, unsigned n, unsigned tunnels)
{
    *crowd = (struct crowd){.all = {.limit = LIMIT}};
    while (crowd->n < n)
        crowd_add(crowd, tunnels);
}

/* As a stream of any size: all that it is given, in steps. */
static uint64_t take_all(struct credit *c)
{
    uint64_t ahead = STREAM_WINDOW_INITIAL;
    uint64_t some;

    credit_change(c, 0, ahead);
    while ((some = credit_left(c)) > 0) {
        some = some > 1 ? some / 2 : some;
        credit_change(c, ahead, ahead + some);
        ahead += some;
    }
    return ahead;
}

static void one_alone_has_three_quarters(void **state)
{
    (void)state;
    struct crowd crowd;

    crowd_init(&crowd, 1, 1);
    assert_int_equal(take_all(&crowd.credit[0][0]), LIMIT / 4 * 3);
}

/* Who comes behind one that has taken all finds a part, and the budget is not passed. */
static void the_next_finds_its_part(void **state)
{
    (void)state;
    struct crowd crowd;

    crowd_init(&crowd, 1, 1);
    (void)take_all(&crowd.credit[0][0]);
    crowd_add(&crowd, 1);
    assert_int_equal(take_all(&crowd.credit[1][0]), STREAM_WINDOW_INITIAL + LIMIT / 4 / 2);
    assert_true(crowd.all.used <= LIMIT + 2 * STREAM_WINDOW_INITIAL);
}

/* All tunnels of all peers, in any order, take what they can get. */
static void each_has_its_part_and_all_together_no_more_than_there_is(void **state)
{
    (void)state;
    const unsigned sizes[] = {2, 3, 7, PEERS};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned n = sizes[i];
        uint64_t part = LIMIT / 4 / n / TUNNELS;
        uint64_t given = 0;
        struct crowd crowd;

        crowd_init(&crowd, n, TUNNELS);
        for (unsigned p = 0; p < n; p++) {
            for (unsigned k = 0; k < TUNNELS; k++) {
                uint64_t got = take_all(&crowd.credit[p][k]);

                assert_true(got >= STREAM_WINDOW_INITIAL + part);
                given += got - STREAM_WINDOW_INITIAL;
            }
            /* None has taken more of what is common than it has left. */
            assert_true(crowd.peers[p].credit <= LIMIT / 8 * 3 + LIMIT / 4 / n);
        }
        assert_true(given <= LIMIT);
        assert_int_equal(crowd.all.used, given + (uint64_t)n * TUNNELS * STREAM_WINDOW_INITIAL);
    }
}

/* What a peer was promised for thousands of streams is no reason to give others nothing. */
static void promises_of_one_do_not_count_against_parts(void **state)
{
    (void)state;
    struct crowd crowd;
    struct window w;
    uint64_t now = 0;

    crowd_init(&crowd, 2, 1);
    for (int i = 0; i < 5000; i++)
        credit_change(&crowd.credit[0][0], 0, STREAM_WINDOW_INITIAL);
    assert_true(crowd.all.used > 3 * LIMIT);
    window_init(&w, STREAM_WINDOW_INITIAL, &crowd.credit[1][0], now);
    for (int i = 0; i < 10; i++) { /* a fast reader at the end of a path of 100 ms */
        window_take(&w, w.limit - w.taken, &crowd.credit[1][0]);
        window_advance(&w, 100000, 4 * MIB, &crowd.credit[1][0], now += 100000);
    }
    assert_int_equal(w.limit - w.taken, 4 * MIB);
    window_close(&w, &crowd.credit[1][0]);
    assert_int_equal(crowd.credit[1][0].given, 0);
    /* Its own part, too. */
    assert_int_equal(credit_left(&crowd.credit[0][0]), LIMIT / 4 / 2);
}

static void what_is_given_back_is_there_again(void **state)
{
    (void)state;
    struct crowd crowd;
    uint64_t all;

    crowd_init(&crowd, 2, 1);
    all = take_all(&crowd.credit[0][0]);
    credit_change(&crowd.credit[0][0], all, all - 5 * MIB);
    assert_int_equal(crowd.all.used, all - 5 * MIB);
    credit_change(&crowd.credit[0][0], all - 5 * MIB, 0);
    assert_int_equal(crowd.all.used + crowd.peers[0].credit + crowd.credit[0][0].given, 0);
    assert_int_equal(take_all(&crowd.credit[0][0]), all);
}

/* -- what is kept -- */

#define BLOCKS 512

static void fill(struct pool *pool, void **blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_non_null(blocks[i] = pool_take(pool, POOL_BULK));
}

static void when_memory_is_scarce_each_keeps_its_part(void **state)
{
    (void)state;
    struct pool *pool;
    struct crowd crowd;
    void *blocks[BLOCKS];
    const size_t scarce = BLOCKS / 8 * 3;

    crowd_init(&crowd, 2, 1);
    crowd.all.limit = BLOCKS * POOL_BULK_BYTES / 16 * 3;
    const uint64_t part = crowd.all.limit / 4 / 2;
    assert_int_equal(pool_new(&pool, BLOCKS * POOL_BULK_BYTES), ERR_OK);
    fill(pool, blocks, scarce);
    /* All that was given is kept, as long as no more was given than there is. */
    crowd.all.used = crowd.all.limit;
    assert_true(credit_may_keep(&crowd.credit[0][0], pool, scarce * POOL_BULK_BYTES));
    crowd.all.used++;
    assert_false(credit_may_keep(&crowd.credit[0][0], pool, scarce * POOL_BULK_BYTES));
    assert_false(credit_may_keep(&crowd.credit[0][0], pool, 2 * part));
    assert_true(credit_may_keep(&crowd.credit[1][0], pool, 2 * part - 1));
    pool_put(pool, POOL_BULK, blocks[scarce - 1]); /* not scarce */
    assert_true(credit_may_keep(&crowd.credit[0][0], pool, scarce * POOL_BULK_BYTES));
    assert_non_null(blocks[scarce - 1] = pool_take(pool, POOL_BULK));
    /* Alone, it takes nothing from anybody. */
    crowd.all.holders = 1;
    assert_true(credit_may_keep(&crowd.credit[0][0], pool, scarce * POOL_BULK_BYTES));
    /* But others may come; and it has to send something, too. */
    assert_true(credit_may_keep(&crowd.credit[0][0], pool, pool_limit(pool) / 2 - 1));
    assert_false(credit_may_keep(&crowd.credit[0][0], pool, pool_limit(pool) / 2));
    crowd.peers[0].is_only = true;
    assert_true(credit_may_keep(&crowd.credit[0][0], pool, pool_limit(pool) / 4 * 3 - 1));
    assert_false(credit_may_keep(&crowd.credit[0][0], pool, pool_limit(pool) / 4 * 3));
    for (size_t i = 0; i < scarce; i++)
        pool_put(pool, POOL_BULK, blocks[i]);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_has_three_quarters),
        cmocka_unit_test(the_next_finds_its_part),
        cmocka_unit_test(each_has_its_part_and_all_together_no_more_than_there_is),
        cmocka_unit_test(promises_of_one_do_not_count_against_parts),
        cmocka_unit_test(what_is_given_back_is_there_again),
        cmocka_unit_test(when_memory_is_scarce_each_keeps_its_part),
    };

    return cmocka_run_group_tests_name("credit", tests, NULL, NULL);
}
