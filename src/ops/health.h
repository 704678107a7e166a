/*
 * How a role is, from what it has counted: the states of /health and the yes or no of /ready. A
 * pure function of facts and a clock.
 *
 *   starting    nothing has been tried yet
 *   connecting  a source without a session that is trying, a dest to which no source has come
 *   healthy     every worker has a session, and answers come back
 *   degraded    streams run, but a worker has no session or is stuck, or answers are missing, or
 *               the dest has said goodbye; or it shuts down
 *   unhealthy   a source that tries in vain
 *
 * Ready means: an answer has come all the way through a session, lately; and a source's clients
 * need not wait for another one.
 */
#ifndef UTUN_OPS_HEALTH_H
#define UTUN_OPS_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

/* Tries in vain after which a source that has no session is unhealthy. */
#define HEALTH_ATTEMPTS 3

enum health_state {
    HEALTH_STARTING,
    HEALTH_CONNECTING,
    HEALTH_HEALTHY,
    HEALTH_DEGRADED,
    HEALTH_UNHEALTHY,
    HEALTH_STATES,
};

/* Times are of one monotonic clock, in microseconds; 0: it has not happened. */
struct health_facts {
    bool is_source;
    bool is_stopping;
    uint64_t now_us;
    unsigned workers;
    unsigned answering;       /* of them, that say how they are when asked */
    unsigned carried;         /* with a session */
    unsigned leaving;         /* of these: the peer has said goodbye, it takes no new streams */
    uint64_t sessions;        /* that are up */
    uint64_t pongs_missing;   /* probes that no session has answered in time */
    uint64_t last_up_us;      /* a session came up */
    uint64_t last_pong_us;    /* an answer came through one */
    uint64_t pong_age_us;     /* how old that may be */
    uint64_t attempts;        /* in vain since last_up_us */
    const char *last_failure; /* what the latest of them said; "" */
};

struct health {
    enum health_state state;
    bool is_ready;
    char message[256]; /* for people: why it is so */
};

void health_assess(struct health *out, const struct health_facts *facts);

const char *health_state_name(enum health_state state);

#endif
