/*
 * All pumps of a worker: how many there are, the timers they share, and the place where those that
 * have ended wait for the end of the turn, when nothing can still be inside one of them.
 */
#ifndef UTUN_NET_PUMP_SET_H
#define UTUN_NET_PUMP_SET_H

#include <stddef.h>

#include "base/error.h"
#include "base/list.h"
#include "net/sweep.h"
#include "net/worker.h"

/* How often a pump that only waits for acknowledgements looks for them: 5, 20, then 100 ms. */
#define PUMP_LINGER_STEPS 3

struct pump_set {
    struct worker *worker;
    struct sweep half_closed;               /* idle since */
    struct sweep stalled;                   /* data before a reset, no progress since */
    struct sweep linger[PUMP_LINGER_STEPS]; /* looked at next */
    struct list dead;
    struct worker_task reap;
    size_t count;
};

/* The worker's options must be set. */
void pump_set_init(struct pump_set *set, struct worker *w);

/* There must be no pump. The memory must stay until the loop has run the closing callbacks. */
void pump_set_close(struct pump_set *set);

/* -- between the set and the pump -- */

/* Takes note of a pump that has ended; item is in no sweep. */
void pump_set_add_dead(struct pump_set *set, struct sweep_item *item);

void pump_on_half_closed_due(struct sweep *sweep, struct sweep_item *item);
void pump_on_stalled_due(struct sweep *sweep, struct sweep_item *item);
void pump_on_linger_due(struct sweep *sweep, struct sweep_item *item);

/* Reports its end and frees it. */
void pump_bury(struct sweep_item *item);

#endif
