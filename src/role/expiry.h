/*
 * A timer for an hour of the wall clock: the end of a certificate. That clock may be set, and time
 * goes on while the machine sleeps, so that it looks again every EXPIRY_STEP_MS at the latest.
 *
 * Threads: the loop's.
 */
#ifndef UTUN_ROLE_EXPIRY_H
#define UTUN_ROLE_EXPIRY_H

#include <stdint.h>

#include <uv.h>

/* How late the end may be noticed when the clock has jumped. */
#define EXPIRY_STEP_MS (10 * 60 * 1000)

/* Embed it. Fields are for expiry.c. */
struct expiry {
    uv_timer_t timer;
    int64_t at;
    void (*on_look)(struct expiry *e);
};

/*
 * on_look: the hour may have come. See what is over, and call expiry_set for what is not; without
 * that it does not come again.
 */
void expiry_init(struct expiry *e, uv_loop_t *loop, void (*on_look)(struct expiry *e));

/* Seconds since 1970, that second included; INT64_MAX: never. */
void expiry_set(struct expiry *e, int64_t at);

/* The same unless it is set to an earlier one. */
void expiry_set_earlier(struct expiry *e, int64_t at);

/* The memory must stay until on_closed (may be NULL), which gets e->timer. */
void expiry_close(struct expiry *e, uv_close_cb on_closed);

#endif
