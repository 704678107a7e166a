/*
 * A role as the admin endpoint shows it: one picture, taken once for each request, and the JSON
 * made of it. docs/METRICS.md describes the JSON; /status is meant for programs, too, and its keys
 * stay.
 */
#ifndef UTUN_ROLE_STATUS_H
#define UTUN_ROLE_STATUS_H

#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "ops/health.h"
#include "role/collect.h"
#include "role/dest.h"
#include "role/reloader.h"
#include "role/role_state.h"
#include "role/source.h"

/* How long a worker may take to say how it is. */
#define STATUS_PATIENCE_MS 1000

/* What is asked: one of the two roles. All of it outlives it. */
struct status_subject {
    struct reloader *reloader;
    struct source *source; /* NULL: it is a dest */
    struct dest *dest;
    int64_t started_at;  /* seconds since 1970 */
    uint64_t started_us; /* CLOCK_MONOTONIC */
};

struct status {
    const struct status_subject *subject;
    const struct config *config; /* owned */
    struct reload_note reload;
    struct role_state *state;
    struct collect_workers sum;
    struct health health;
    struct health_facts facts;
    struct loss_note loss; /* the last of all workers */
    uint64_t loss_age_us;
    struct identity_expiries expiries;
    uint64_t keys_age_us; /* the oldest of sessions that carry a tunnel; 0: there is none */
    uint64_t rtt_us;      /* the longest of the sessions that are up; 0: not known */
};

/*
 * Waits for the workers, at most STATUS_PATIENCE_MS; not on a worker's thread. On error there is
 * nothing to free: ERR_NOMEM, ERR_LIMIT.
 */
enum err status_take(struct status *out, const struct status_subject *subject) MUST_USE;
void status_fini(struct status *s);

/* NULL without memory; json_decref it. */
json_t *status_health_json(const struct status *s);
json_t *status_json(const struct status *s);

#endif
