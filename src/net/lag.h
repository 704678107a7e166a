/*
 * How late a loop runs what is due: a timer that looks twice a second by how much it was late.
 * Embedded in the worker; its thread only.
 */
#ifndef UTUN_NET_LAG_H
#define UTUN_NET_LAG_H

#include <stdint.h>

#include <uv.h>

#include "base/histogram.h"

#define LAG_INTERVAL_MS 500

struct lag {
    uv_timer_t timer;
    struct histogram *histogram; /* where it counts; outlives it */
    uint64_t due_us;             /* uv_hrtime */
};

/* The timer does not keep the loop alive. lag_close must follow. */
void lag_start(struct lag *lag, uv_loop_t *loop, struct histogram *histogram);

/* The handle is closed when the loop has run once more. */
void lag_close(struct lag *lag);

#endif
