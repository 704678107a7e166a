/*
 * A circuit breaker: keeps sessions that come up only to be lost again from being made in a tight
 * loop.
 *
 *   closed ──more than max losses within the window──> open ──the pause is over──> half open
 *   half open ──the try fails, or its session is lost within the window──> open
 *   half open ──its session is lost after a longer life──> closed, counted as the first loss
 *
 * Open means to wait, never to give up. Times are microseconds of one monotonic clock.
 */
#ifndef UTUN_TUNNEL_BREAKER_H
#define UTUN_TUNNEL_BREAKER_H

#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

enum breaker_state {
    BREAKER_CLOSED,
    BREAKER_OPEN,
    BREAKER_HALF_OPEN, /* one try is allowed, or under way */
};

struct breaker {
    uint64_t window_us;
    uint64_t pause_us;
    uint64_t until; /* open: the end of the pause */
    uint64_t up_at; /* half open: when the session came up; UINT64_MAX: it has not */
    uint64_t *losses;
    uint32_t max;
    uint32_t count; /* of losses, at most max */
    uint32_t next;  /* the oldest of them, once there are max */
    enum breaker_state state;
};

/* max > 0. ERR_NOMEM. */
enum err breaker_init(struct breaker *b, uint64_t window_us, uint64_t pause_us,
                      uint32_t max) MUST_USE;

/* Harmless on one that is all zeros. */
void breaker_fini(struct breaker *b);

/* A session has come up; one that ran has been lost; a try to make one has failed. */
void breaker_on_up(struct breaker *b, uint64_t now);
void breaker_on_loss(struct breaker *b, uint64_t now);
void breaker_on_failure(struct breaker *b, uint64_t now);

/* How long the next try must wait; 0: it may be made now. */
uint64_t breaker_wait_us(struct breaker *b, uint64_t now);

/* "closed", "open", "half_open". Static. */
const char *breaker_state_name(enum breaker_state state);

#endif
