#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "net/lag.h"

#define BLOCK_MS 60

/* Runs the loop until something was counted. */
static void run_until_counted(uv_loop_t *loop, const struct histogram *h, uint64_t count)
{
    struct histogram_sum sum;

    do {
        uv_run(loop, UV_RUN_NOWAIT);
        uv_sleep(1);
        memset(&sum, 0, sizeof(sum));
        histogram_sum_add(&sum, h);
    } while (sum.count < count);
}

static void keep_alive(uv_timer_t *timer)
{
    (void)timer;
}

static void a_blocked_loop_is_late(void **state)
{
    struct histogram h = {0};
    struct lag lag;
    uv_loop_t loop;
    uv_timer_t timer;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, keep_alive, 50, 50);
    lag_init(&lag, &loop, &h);
    lag_turn(&lag);
    /* As if a callback of this turn had taken so long. */
    uv_sleep(LAG_INTERVAL_MS + BLOCK_MS);
    run_until_counted(&loop, &h, 1);
    assert_true(h.sum_us >= BLOCK_MS * 1000 - 1000);
    lag_close(&lag);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void it_does_not_keep_the_loop_alive(void **state)
{
    struct histogram h = {0};
    struct lag lag;
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    lag_init(&lag, &loop, &h);
    lag_turn(&lag);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    lag_close(&lag);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_loop_that_sleeps_is_not_woken(void **state)
{
    struct histogram h = {0};
    struct lag lag;
    uv_loop_t loop;
    uv_async_t awake; /* keeps the loop alive, and never wakes it */

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_async_init(&loop, &awake, NULL);
    lag_init(&lag, &loop, &h);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_backend_timeout(&loop), -1);
    lag_turn(&lag);
    assert_in_range(uv_backend_timeout(&loop), 1, LAG_INTERVAL_MS);
    uv_sleep(LAG_INTERVAL_MS + 1);
    lag_turn(&lag); /* the turn that it has woken the loop for */
    run_until_counted(&loop, &h, 1);
    assert_int_equal(uv_backend_timeout(&loop), -1);
    lag_turn(&lag);
    assert_true(uv_backend_timeout(&loop) > 0);
    lag_close(&lag);
    lag_turn(&lag);
    uv_close((uv_handle_t *)&awake, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocked_loop_is_late),
        cmocka_unit_test(a_loop_that_sleeps_is_not_woken),
        cmocka_unit_test(it_does_not_keep_the_loop_alive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
