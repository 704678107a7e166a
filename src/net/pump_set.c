#include "net/pump_set.h"

#include <assert.h>

static const uint64_t linger_ms[PUMP_LINGER_STEPS] = {5, 20, 100};

static void reap(struct worker_task *task)
{
    struct pump_set *set = list_entry(task, struct pump_set, reap);
    struct list *item;

    while ((item = list_first(&set->dead)) != NULL) {
        list_remove(item);
        assert(set->count > 0);
        set->count--;
        pump_bury(list_entry(item, struct sweep_item, link));
    }
}

void pump_set_init(struct pump_set *set, struct worker *w)
{
    const struct worker_options *options = worker_options(w);
    uv_loop_t *loop = worker_loop(w);

    set->worker = w;
    set->count = 0;
    list_init(&set->dead);
    worker_task_init(&set->reap, reap);
    sweep_init(&set->half_closed, loop, options->times.half_close_idle_ms, pump_on_half_closed_due);
    sweep_init(&set->stalled, loop, options->reset_drain_timeout_ms, pump_on_stalled_due);
    for (int i = 0; i < PUMP_LINGER_STEPS; i++)
        sweep_init(&set->linger[i], loop, linger_ms[i], pump_on_linger_due);
}

void pump_set_close(struct pump_set *set)
{
    assert(set->count == 0);
    sweep_close(&set->half_closed);
    sweep_close(&set->stalled);
    for (int i = 0; i < PUMP_LINGER_STEPS; i++)
        sweep_close(&set->linger[i]);
}

void pump_set_add_dead(struct pump_set *set, struct sweep_item *item)
{
    list_append(&set->dead, &item->link);
    worker_defer(set->worker, &set->reap);
}
