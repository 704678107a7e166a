#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/backoff.h"
#include "tunnel/limits.h"

/* The largest number that a draw can give for any span. */
static uint32_t next_largest(struct backoff *b)
{
    uint32_t last = b->last_ms > b->min_ms ? b->last_ms : b->min_ms;
    uint64_t high = (uint64_t)last * 3 > b->max_ms ? b->max_ms : (uint64_t)last * 3;

    return backoff_next(b, high - b->min_ms);
}

static void first_delay_is_near_the_smallest(void **state)
{
    (void)state;
    struct backoff b;

    for (uint64_t random = 0; random < 10000; random++) {
        backoff_init(&b, 1000, 60000);
        assert_in_range(backoff_next(&b, random * 7919), 1000, 3000);
    }
}

static void grows_to_the_largest_and_stays(void **state)
{
    (void)state;
    struct backoff b;

    backoff_init(&b, 1000, 60000);
    assert_int_equal(next_largest(&b), 3000);
    assert_int_equal(next_largest(&b), 9000);
    assert_int_equal(next_largest(&b), 27000);
    assert_int_equal(next_largest(&b), 60000);
    assert_int_equal(next_largest(&b), 60000);
    assert_int_equal(b.attempts, 5);
}

static void every_delay_is_inside_the_bounds(void **state)
{
    (void)state;
    struct backoff b;
    uint64_t random = 1;

    backoff_init(&b, 10, 500);
    for (int i = 0; i < 10000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        assert_in_range(backoff_next(&b, random), 10, 500);
    }
}

static void reset_starts_small_again(void **state)
{
    (void)state;
    struct backoff b;

    backoff_init(&b, 1000, 60000);
    for (int i = 0; i < 6; i++)
        next_largest(&b);
    backoff_reset(&b);
    assert_int_equal(b.attempts, 0);
    assert_int_equal(next_largest(&b), 3000);
}

static void odd_bounds_do_no_harm(void **state)
{
    (void)state;
    struct backoff b;

    backoff_init(&b, 100, 50);
    assert_int_equal(backoff_next(&b, UINT64_MAX), 100);
    backoff_init(&b, 0, 0);
    assert_int_equal(backoff_next(&b, UINT64_MAX), 0);
    backoff_init(&b, UINT32_MAX, UINT32_MAX);
    assert_int_equal(backoff_next(&b, UINT64_MAX), UINT32_MAX);
    assert_int_equal(backoff_next(&b, 0), UINT32_MAX);
}

static void advice_is_obeyed_and_spread(void **state)
{
    (void)state;
    struct backoff b;
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    uint64_t random = 1;

    backoff_init(&b, 100, 1000);
    for (int i = 0; i < 10000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        backoff_advise(&b, 5000);
        uint32_t delay = i % 2 == 0 ? backoff_next(&b, random) : backoff_first(&b, random);
        assert_in_range(delay, 5000, 7500);
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    assert_in_range(least, 5000, 5050);
    assert_in_range(most, 7450, 7500);
}

static void advice_counts_once_and_shortens_nothing(void **state)
{
    (void)state;
    struct backoff b;

    backoff_init(&b, 1000, 60000);
    assert_int_equal(backoff_first(&b, UINT64_MAX), 0);
    backoff_advise(&b, 10);
    assert_in_range(backoff_next(&b, 0), 1000, 3000);
    backoff_advise(&b, 20000);
    backoff_advise(&b, 300); /* of another dest: the longest counts */
    backoff_advise(&b, 0);
    assert_int_equal(backoff_first(&b, 0), 20000);
    assert_int_equal(backoff_first(&b, UINT64_MAX), 0);
    assert_int_equal(b.attempts, 1);
    backoff_advise(&b, 20000);
    backoff_reset(&b);
    assert_int_equal(backoff_first(&b, 0), 0);
}

static void nobody_is_parked_for_ever(void **state)
{
    (void)state;
    struct backoff b;

    backoff_init(&b, 1000, 60000);
    backoff_advise(&b, UINT32_MAX);
    assert_int_equal(backoff_next(&b, 0), RETRY_AFTER_MAX_MS);
    backoff_advise(&b, UINT32_MAX);
    assert_in_range(backoff_first(&b, UINT64_MAX), RETRY_AFTER_MAX_MS,
                    RETRY_AFTER_MAX_MS + RETRY_AFTER_MAX_MS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_delay_is_near_the_smallest),
        cmocka_unit_test(grows_to_the_largest_and_stays),
        cmocka_unit_test(every_delay_is_inside_the_bounds),
        cmocka_unit_test(reset_starts_small_again),
        cmocka_unit_test(odd_bounds_do_no_harm),
        cmocka_unit_test(advice_is_obeyed_and_spread),
        cmocka_unit_test(advice_counts_once_and_shortens_nothing),
        cmocka_unit_test(nobody_is_parked_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
