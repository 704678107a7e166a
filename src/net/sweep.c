#include "net/sweep.h"

#include <assert.h>

#define GRAIN_MAX_MS 1000

static void arm(struct sweep *s);

static void on_timer(uv_timer_t *timer)
{
    struct sweep *s = list_entry(timer, struct sweep, timer);
    uint64_t now = uv_now(timer->loop);
    struct list *first;

    while ((first = list_first(&s->items)) != NULL) {
        struct sweep_item *item = list_entry(first, struct sweep_item, link);

        if (now - item->since_ms < s->timeout_ms)
            break;
        list_remove(first);
        s->on_due(s, item);
    }
    if (!uv_is_active((uv_handle_t *)timer))
        arm(s);
}

static void arm(struct sweep *s)
{
    struct list *first = list_first(&s->items);
    uint64_t grain = s->timeout_ms / 10;
    uint64_t due;
    uint64_t now;
    uint64_t wait;

    if (first == NULL || s->timeout_ms == 0)
        return;
    now = uv_now(s->timer.loop);
    due = list_entry(first, struct sweep_item, link)->since_ms + s->timeout_ms;
    wait = due > now ? due - now : 0;
    if (grain > GRAIN_MAX_MS)
        grain = GRAIN_MAX_MS;
    if (s->interval_ms > 0)
        wait = grain = s->interval_ms;
    uv_timer_start(&s->timer, on_timer, wait > grain ? wait : grain, 0);
}

void sweep_init(struct sweep *s, uv_loop_t *loop, uint64_t timeout_ms,
                void (*on_due)(struct sweep *sweep, struct sweep_item *item))
{
    uv_timer_init(loop, &s->timer);
    list_init(&s->items);
    s->timeout_ms = timeout_ms;
    s->interval_ms = 0;
    s->on_due = on_due;
}

void sweep_every(struct sweep *s, uint64_t interval_ms)
{
    s->interval_ms = interval_ms;
}

void sweep_set_timeout(struct sweep *s, uint64_t timeout_ms)
{
    s->timeout_ms = timeout_ms;
    uv_timer_stop(&s->timer);
    arm(s);
}

void sweep_close(struct sweep *s)
{
    assert(list_is_empty(&s->items));
    uv_close((uv_handle_t *)&s->timer, NULL);
}

void sweep_item_init(struct sweep_item *item)
{
    list_init(&item->link);
    item->since_ms = 0;
}

void sweep_touch(struct sweep *s, struct sweep_item *item)
{
    list_remove(&item->link);
    list_append(&s->items, &item->link);
    item->since_ms = uv_now(s->timer.loop);
    if (!uv_is_active((uv_handle_t *)&s->timer))
        arm(s);
}

void sweep_remove(struct sweep_item *item)
{
    list_remove(&item->link);
}
