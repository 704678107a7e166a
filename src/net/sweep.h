/*
 * One timer for any number of items that all have the same time to live: whoever is touched goes to
 * the end of the list, so the oldest is always the first. Touching costs no system call and no heap
 * operation. Coarse: an item is due up to a tenth of the time (at most a second) late.
 *
 * Threads: the loop's only.
 */
#ifndef UTUN_NET_SWEEP_H
#define UTUN_NET_SWEEP_H

#include <stdint.h>

#include <uv.h>

#include "base/list.h"

struct sweep_item {
    struct list link;
    uint64_t since_ms; /* of the loop's clock */
};

struct sweep {
    uv_timer_t timer; /* runs only while there are items */
    struct list items;
    uint64_t timeout_ms;
    uint64_t interval_ms; /* sweep_every; 0: none */
    /* The item has been taken out. May touch, remove or free any item. */
    void (*on_due)(struct sweep *sweep, struct sweep_item *item);
};

/* timeout_ms 0: nothing is ever due. */
void sweep_init(struct sweep *s, uv_loop_t *loop, uint64_t timeout_ms,
                void (*on_due)(struct sweep *sweep, struct sweep_item *item));

/* Looks for items that are due only every interval_ms, which makes them as much later. */
void sweep_every(struct sweep *s, uint64_t interval_ms);

/* Another time to live, also for the items that are there. */
void sweep_set_timeout(struct sweep *s, uint64_t timeout_ms);

/* The items must be gone. The sweep's memory must stay until the loop has closed its timer. */
void sweep_close(struct sweep *s);

void sweep_item_init(struct sweep_item *item);

/* Puts the item, from wherever it is, to the end: it is due timeout_ms from now. */
void sweep_touch(struct sweep *s, struct sweep_item *item);

/* Harmless when it is in no sweep. */
void sweep_remove(struct sweep_item *item);

#endif
