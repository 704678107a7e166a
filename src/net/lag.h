/*
 * How late a loop runs what is due: a timer that looks twice a second by how much it was late. It
 * runs only while the loop has turns of its own, so a loop that sleeps is not woken.
 *
 *   asleep ── a turn begins ──> armed ── LAG_INTERVAL_MS ──> counted ── the next turn ──> armed ...
 *
 * Embedded in the worker; its thread only.
 */
#ifndef UTUN_NET_LAG_H
#define UTUN_NET_LAG_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/histogram.h"

#define LAG_INTERVAL_MS 500

struct lag {
    uv_timer_t timer;
    struct histogram *histogram; /* where it counts; outlives it */
    uint64_t due_us;             /* uv_hrtime */
    bool is_armed;
};

/* The timer does not keep the loop alive. lag_close must follow. */
void lag_init(struct lag *lag, uv_loop_t *loop, struct histogram *histogram);

/*
 * At the beginning of each turn, before anything is run: whatever holds the loop up from now on is
 * seen. The turn that the timer itself has woken the loop for does not count.
 */
void lag_turn(struct lag *lag);

/* The handle is closed when the loop has run once more. */
void lag_close(struct lag *lag);

#endif
