/*
 * Something to be done with many things, which takes a while for each: a few in each turn of the
 * loop, so that whatever else the loop has to do goes on between.
 *
 *   add (each of them) ──> WALK_TURN_US of on_item ──> WALK_PAUSE_MS ──> ... ──> none is left
 *
 * Threads: the loop's.
 */
#ifndef UTUN_ROLE_WALK_H
#define UTUN_ROLE_WALK_H

#include <stdbool.h>

#include <uv.h>

#include "base/list.h"

/* After so long no further item is begun: as much as a session's turn may take. */
#define WALK_TURN_US  2000
#define WALK_PAUSE_MS 1

/* Embed it in each thing, and call walk_item_init. */
struct walk_item {
    struct list link;
};

/* Embed it. Fields are for walk.c. */
struct walk {
    uv_timer_t timer;
    struct list waiting;
    void (*on_item)(struct walk *walk, struct walk_item *item);
};

/* on_item gets each once, out of the walk already; it may add and remove others, and itself. */
void walk_init(struct walk *w, uv_loop_t *loop,
               void (*on_item)(struct walk *walk, struct walk_item *item));

/* All items must be out of it. The memory must stay until the loop has run once more. */
void walk_close(struct walk *w);

void walk_item_init(struct walk_item *item);

/* on_item comes later, never from inside. Harmless for one that waits already. */
void walk_add(struct walk *w, struct walk_item *item);

/* Harmless for one that does not wait. */
void walk_remove(struct walk_item *item);

/* Whether no item waits. */
bool walk_is_over(const struct walk *w);

#endif
