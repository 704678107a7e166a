#include "role/walk.h"

#include <assert.h>

#include "base/clock.h"

static void on_timer(uv_timer_t *timer)
{
    struct walk *w = list_entry(timer, struct walk, timer);
    uint64_t end = clock_us() + WALK_TURN_US;
    struct list *first;

    while ((first = list_first(&w->waiting)) != NULL && clock_us() < end) {
        list_remove(first);
        w->on_item(w, list_entry(first, struct walk_item, link));
    }
    if (first != NULL)
        uv_timer_start(timer, on_timer, WALK_PAUSE_MS, 0);
    else
        uv_timer_stop(timer); /* the last has added one, which was taken in this turn */
}

void walk_init(struct walk *w, uv_loop_t *loop,
               void (*on_item)(struct walk *walk, struct walk_item *item))
{
    uv_timer_init(loop, &w->timer);
    list_init(&w->waiting);
    w->on_item = on_item;
}

void walk_close(struct walk *w)
{
    assert(list_is_empty(&w->waiting));
    uv_close((uv_handle_t *)&w->timer, NULL);
}

void walk_item_init(struct walk_item *item)
{
    list_init(&item->link);
}

void walk_add(struct walk *w, struct walk_item *item)
{
    if (list_is_linked(&item->link))
        return;
    list_append(&w->waiting, &item->link);
    if (!uv_is_active((uv_handle_t *)&w->timer))
        uv_timer_start(&w->timer, on_timer, 0, 0);
}

void walk_remove(struct walk_item *item)
{
    list_remove(&item->link);
}

bool walk_is_over(const struct walk *w)
{
    return list_is_empty(&w->waiting);
}
