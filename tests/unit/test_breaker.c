#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/breaker.h"

#define WINDOW 1000
#define PAUSE  300
#define MAX    3

static struct breaker new_breaker(void)
{
    struct breaker b;

    assert_int_equal(breaker_init(&b, WINDOW, PAUSE, MAX), ERR_OK);
    return b;
}

static void trip(struct breaker *b, uint64_t now)
{
    for (int i = 0; i <= MAX; i++)
        breaker_on_loss(b, now);
    assert_int_equal(b->state, BREAKER_OPEN);
}

static void as_many_losses_as_allowed_do_nothing(void **state)
{
    struct breaker b = new_breaker();

    (void)state;
    for (uint64_t i = 0; i < MAX; i++) {
        breaker_on_up(&b, i * 10);
        breaker_on_loss(&b, i * 10 + 5);
        assert_int_equal(breaker_wait_us(&b, i * 10 + 5), 0);
    }
    assert_int_equal(b.state, BREAKER_CLOSED);
    breaker_fini(&b);
}

static void one_more_opens_it_for_the_pause(void **state)
{
    struct breaker b = new_breaker();

    (void)state;
    trip(&b, 50);
    assert_int_equal(breaker_wait_us(&b, 50), PAUSE);
    assert_int_equal(breaker_wait_us(&b, 50 + PAUSE - 1), 1);
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(breaker_wait_us(&b, 50 + PAUSE), 0);
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    breaker_fini(&b);
}

static void losses_outside_the_window_do_not_count(void **state)
{
    struct breaker b = new_breaker();

    (void)state;
    /* Never more than three within any window, for ever. */
    for (uint64_t i = 0; i < 100; i++) {
        breaker_on_loss(&b, i * (WINDOW / MAX + 1));
        assert_int_equal(b.state, BREAKER_CLOSED);
    }
    /* The window slides: the fourth within it counts wherever it began. */
    breaker_on_loss(&b, 99 * (WINDOW / MAX + 1) + 1);
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_fini(&b);
}

static void a_failed_try_opens_it_again(void **state)
{
    struct breaker b = new_breaker();

    (void)state;
    trip(&b, 0);
    assert_int_equal(breaker_wait_us(&b, PAUSE), 0);
    breaker_on_failure(&b, PAUSE + 7);
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(breaker_wait_us(&b, PAUSE + 7), PAUSE);
    breaker_fini(&b);
}

static void failures_of_a_closed_one_are_backoffs_matter(void **state)
{
    struct breaker b = new_breaker();

    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        breaker_on_failure(&b, i);
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_int_equal(breaker_wait_us(&b, 100), 0);
    breaker_fini(&b);
}

static void a_short_life_opens_it_again(void **state)
{
    struct breaker b = new_breaker();

    (void)state;
    trip(&b, 0);
    assert_int_equal(breaker_wait_us(&b, PAUSE), 0);
    breaker_on_up(&b, PAUSE + 1);
    breaker_on_loss(&b, PAUSE + WINDOW);
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_fini(&b);
}

static void a_long_life_closes_it(void **state)
{
    struct breaker b = new_breaker();
    uint64_t now = PAUSE + 1 + WINDOW;

    (void)state;
    trip(&b, 0);
    assert_int_equal(breaker_wait_us(&b, PAUSE), 0);
    breaker_on_up(&b, PAUSE + 1);
    breaker_on_loss(&b, now);
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_int_equal(breaker_wait_us(&b, now), 0);
    /* That loss was the first of a new count. */
    for (int i = 1; i < MAX; i++)
        breaker_on_loss(&b, now);
    assert_int_equal(b.state, BREAKER_CLOSED);
    breaker_on_loss(&b, now);
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_fini(&b);
}

static void it_never_gives_up(void **state)
{
    struct breaker b = new_breaker();
    uint64_t now = 0;

    (void)state;
    trip(&b, now);
    for (int i = 0; i < 1000; i++) {
        uint64_t wait = breaker_wait_us(&b, now);

        assert_in_range(wait, 0, PAUSE);
        now += wait;
        assert_int_equal(breaker_wait_us(&b, now), 0);
        breaker_on_failure(&b, now);
    }
    breaker_fini(&b);
}

static void states_have_names(void **state)
{
    (void)state;
    assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
    assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_losses_as_allowed_do_nothing),
        cmocka_unit_test(one_more_opens_it_for_the_pause),
        cmocka_unit_test(losses_outside_the_window_do_not_count),
        cmocka_unit_test(a_failed_try_opens_it_again),
        cmocka_unit_test(failures_of_a_closed_one_are_backoffs_matter),
        cmocka_unit_test(a_short_life_opens_it_again),
        cmocka_unit_test(a_long_life_closes_it),
        cmocka_unit_test(it_never_gives_up),
        cmocka_unit_test(states_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
