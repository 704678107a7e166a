/*
 * When an uplink may try again: the backoff between tries, what the dest has asked for, and the
 * breaker, which pauses where sessions are lost too often.
 *
 * Threads: the uplink's worker's, but init and fini. Times are microseconds of the worker's clock,
 * delays are milliseconds from now.
 */
#ifndef UTUN_ROLE_PACE_H
#define UTUN_ROLE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "tunnel/backoff.h"
#include "tunnel/breaker.h"

/* Others may read it; what changes it is below. */
struct pace {
    struct backoff backoff;
    struct breaker breaker;
    bool is_loss_counted; /* by the breaker, of the newest session */
    uint32_t advised_ms;  /* of the delay given last: what the dest has asked for; 0: nothing */
};

/* ERR_NOMEM. */
enum err pace_init(struct pace *p, const struct config_source *config) MUST_USE;

/* Harmless on one that is all zeros. */
void pace_fini(struct pace *p);

/*
 * Takes the bounds of fresh, which was made for another configuration. What was counted stays
 * where its bounds do; fresh gets what p had, for fini.
 */
void pace_change(struct pace *p, struct pace *fresh);

/* The dest asks for a pause before the next try; 0: it does not. */
void pace_advise(struct pace *p, uint32_t ms);

/* A session begins, and has come up. */
void pace_on_session(struct pace *p);
void pace_on_up(struct pace *p, uint64_t now);

/* A session is lost, or has to be replaced because of its dest: each counts once. Tries are counted
 * from here. */
void pace_on_loss(struct pace *p, uint64_t now);

/* A try to make one has failed. */
void pace_on_failure(struct pace *p, uint64_t now);

/* How long until the breaker allows a try, in microseconds; 0: now. */
uint64_t pace_wait_us(struct pace *p, uint64_t now);

/* The delay after a session that ran, mostly 0, and after a failed try; the breaker's pause where
 * that is longer, which the log then says. */
uint32_t pace_first_ms(struct pace *p, uint64_t now);
uint32_t pace_next_ms(struct pace *p, uint64_t now);

/*
 * The delay after a failed try while another session runs: at most limit_ms (0: no limit) unless
 * the dest has asked for more. The breaker has no say in it.
 */
uint32_t pace_refresh_ms(struct pace *p, uint64_t limit_ms);

/* It is to be forgotten what has failed: tries will be made at another place. */
void pace_reset(struct pace *p);

#endif
