#include "net/lag.h"

#define NS_PER_US 1000
/* The loop counts in whole milliseconds: a timer on time may be so much late. */
#define GRAIN_US 1000

static uint64_t now_us(void)
{
    return uv_hrtime() / NS_PER_US;
}

static void on_timer(uv_timer_t *timer)
{
    struct lag *lag = timer->data;
    uint64_t now = now_us();

    histogram_observe(lag->histogram, now > lag->due_us + GRAIN_US ? now - lag->due_us : 0);
    lag->is_armed = false;
}

void lag_init(struct lag *lag, uv_loop_t *loop, struct histogram *histogram)
{
    lag->histogram = histogram;
    lag->is_armed = false;
    uv_timer_init(loop, &lag->timer);
    lag->timer.data = lag;
    uv_unref((uv_handle_t *)&lag->timer);
}

void lag_turn(struct lag *lag)
{
    if (lag->is_armed)
        return;
    lag->is_armed = true;
    uv_update_time(lag->timer.loop);
    lag->due_us = now_us() + (uint64_t)LAG_INTERVAL_MS * 1000;
    uv_timer_start(&lag->timer, on_timer, LAG_INTERVAL_MS, 0);
}

void lag_close(struct lag *lag)
{
    lag->is_armed = true; /* there are no more samples */
    uv_close((uv_handle_t *)&lag->timer, NULL);
}
