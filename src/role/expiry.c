#include "role/expiry.h"

#include <time.h>

#include "base/list.h"

static void on_timer(uv_timer_t *timer)
{
    struct expiry *e = list_entry(timer, struct expiry, timer);

    e->at = INT64_MAX;
    e->on_look(e);
}

void expiry_init(struct expiry *e, uv_loop_t *loop, void (*on_look)(struct expiry *e))
{
    uv_timer_init(loop, &e->timer);
    e->at = INT64_MAX;
    e->on_look = on_look;
}

void expiry_set(struct expiry *e, int64_t at)
{
    int64_t now = (int64_t)time(NULL);
    uint64_t wait = EXPIRY_STEP_MS;

    e->at = at;
    if (at == INT64_MAX) {
        uv_timer_stop(&e->timer);
        return;
    }
    if (at < now)
        wait = 0;
    else if (at - now < EXPIRY_STEP_MS / 1000)
        wait = (uint64_t)(at - now + 1) * 1000;
    uv_timer_start(&e->timer, on_timer, wait, 0);
}

void expiry_set_earlier(struct expiry *e, int64_t at)
{
    if (at < e->at)
        expiry_set(e, at);
}

void expiry_close(struct expiry *e, uv_close_cb on_closed)
{
    uv_close((uv_handle_t *)&e->timer, on_closed);
}
