/*
 * What a role is doing at this moment, as plain data: of each worker its tunnels, of each tunnel
 * the sessions that carry it, what waits, what has failed last. For a status page, for metrics, for
 * tests.
 *
 * How it is taken: every worker is sent a message and answers from its own thread, between two
 * turns of its loop, so what it says of itself is consistent, costs nothing while nobody asks, and
 * needs no lock on the way of data. Workers answer one by one: two of them need not show the same
 * instant. One that does not answer in time is marked so, which is news in itself.
 *
 *   source_state / dest_state (any thread but a worker's; waits)
 *        └── role_state_take ── worker_post ──> each worker: fill
 *
 * Times are microseconds before the answer ("_age_us") or after it ("_in_us"), so that no clock
 * need be shared; struct role_state.taken_at is the wall clock of the question.
 */
#ifndef UTUN_ROLE_ROLE_STATE_H
#define UTUN_ROLE_ROLE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "config/config.h"
#include "crypto/key_schedule.h"
#include "net/tunnel_owner.h"
#include "net/worker.h"
#include "role/loss_note.h"
#include "role/session_log.h"
#include "role/tunnel_history.h"
#include "tunnel/breaker.h"
#include "tunnel/tunnel.h"

/* Of a tunnel's sessions so many are shown: one carries it, one takes over, one is about to end. */
#define ROLE_SESSIONS_MAX 3

/* Of a worker's tunnels so many are shown, so that asking is never dear; the rest is counted. */
#define ROLE_TUNNELS_MAX 1024

struct role_session {
    struct session_state state; /* of the engine; last_received is a worker's time: see idle_us */
    struct session_view view;   /* who, and how agreed */
    struct carrier_traffic traffic;
    uint64_t age_us;
    uint64_t idle_us; /* since a record came last */
    uint64_t keys_age_us;
};

enum role_tunnel_phase {
    ROLE_TUNNEL_CONNECTING, /* it has had no session yet */
    ROLE_TUNNEL_CARRIED,
    ROLE_TUNNEL_WAITING,  /* its last session is lost; streams are held for the next */
    ROLE_TUNNEL_DRAINING, /* another tunnel has taken its place; its old streams may end on it */
    ROLE_TUNNEL_CLOSING,
};

struct role_tunnel {
    enum role_tunnel_phase phase;
    bool is_leaving;            /* the peer has said goodbye: nothing new is begun on it */
    uint8_t id[TUNNEL_ID_SIZE]; /* not secret; unique with the source's identity only */
    struct role_session sessions[ROLE_SESSIONS_MAX];
    size_t session_count;     /* filled in */
    struct tunnel_state held; /* streams; bytes held, of them send_held for a resume too */
    uint64_t age_us;
    uint64_t waiting_us;     /* ROLE_TUNNEL_WAITING: since when; else 0 */
    uint64_t sessions_total; /* that carried it */
    uint64_t resumes_total;  /* of these, that continued its streams */
    struct loss_note loss;   /* the last; its at_us is a worker's time: see loss_age_us */
    uint64_t loss_age_us;
};

enum role_uplink_phase {
    ROLE_UPLINK_UP,       /* a session carries the tunnel */
    ROLE_UPLINK_DIALING,  /* none does; a try is under way */
    ROLE_UPLINK_WAITING,  /* none does; next_try_in_us says when it is tried again */
    ROLE_UPLINK_GIVEN_UP, /* the configuration allows no more tries */
};

/* A source's worker: how it gets and keeps its sessions. */
struct role_uplink {
    enum role_uplink_phase phase;
    bool is_refreshing; /* a session is made beside the one in use */
    enum breaker_state breaker;
    uint32_t attempts;       /* pauses taken since a session was up */
    uint64_t next_try_in_us; /* ROLE_UPLINK_WAITING */
    uint32_t advised_ms;     /* of that pause: what the dest has asked for; 0: nothing */
    uint64_t dials_total;
    uint64_t failures_total; /* dials that came to nothing */
    uint64_t losses_total;   /* sessions that ran and were lost; not those that were superseded */
    uint64_t refreshes_total;
    struct loss_note loss; /* the last failure or loss */
    uint64_t loss_age_us;
};

struct role_worker {
    bool has_answered; /* false: it has stopped, or did not answer in time; the rest is empty */
    bool is_draining;
    struct role_uplink uplink; /* source only */
    size_t tunnel_count;       /* that there are */
    size_t tunnels_shown;      /* at most ROLE_TUNNELS_MAX */
    size_t tunnel_room;        /* for role_worker_add */
    struct role_tunnel *tunnels;
};

struct role_state {
    enum config_role role;
    struct timespec taken_at; /* CLOCK_REALTIME */
    unsigned worker_count;
    struct role_worker *workers;
};

/* NULL is fine. */
void role_state_free(struct role_state *state);

/* "connecting", "carried", ...; "up", "dialing", "waiting", "given_up". Static. */
const char *role_tunnel_phase_name(enum role_tunnel_phase phase);
const char *role_uplink_phase_name(enum role_uplink_phase phase);

/* -- for roles -- */

/* Embed it in the role, and fill it in. */
struct role_state_owner {
    enum config_role role;
    unsigned worker_count;
    struct worker *(*worker_at)(struct role_state_owner *owner, unsigned index);
    /* On the worker's thread: fills in *w, which is all zeros. Not has_answered. */
    void (*fill)(struct role_state_owner *owner, unsigned index, struct role_worker *w);
};

/*
 * Asks all workers and waits for at most timeout_ms. Several threads may ask at once. The workers
 * must live until it returns; their threads may have ended. ERR_NOMEM; ERR_LIMIT (the system gives
 * no condition variable).
 */
enum err role_state_take(struct role_state **out, struct role_state_owner *owner,
                         uint32_t timeout_ms) MUST_USE;

/*
 * Room in w for the tunnels of that list, of which it shows at most ROLE_TUNNELS_MAX; without
 * memory none is shown.
 */
void role_worker_make_room(struct role_worker *w, const struct list *tunnels);

/* The next tunnel to be filled in; NULL when no more are shown. */
struct role_tunnel *role_worker_add(struct role_worker *w);

/* All but the id and is_leaving; the phase is one of carried, connecting, waiting and closing. */
void role_tunnel_fill(struct role_tunnel *out, const struct tunnel_owner *owner,
                      const struct tunnel_history *history);

#endif
