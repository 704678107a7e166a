/*
 * What a worker counts. Only its own thread writes; any thread may read, each number by itself and
 * without a lock, so two of them need not be of the same instant.
 */
#ifndef UTUN_NET_STATS_H
#define UTUN_NET_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"

#define STATS_LIST(X)                                                                              \
    X(streams_opened)         /* pumps started */                                                  \
    X(streams_active)         /* pumps now */                                                      \
    X(streams_half_closed)    /* of these, one direction has ended */                              \
    X(streams_paused_send)    /* of these, the peer's credit or our memory is used up */           \
    X(streams_paused_receive) /* of these, the local socket takes no more */                       \
    X(streams_reset)          /* pumps that did not end with both FINs */                          \
    X(bytes_from_local)       /* payload read from local sockets */                                \
    X(bytes_to_local)         /* payload written to local sockets */                               \
    X(targets_down)           /* that somebody waits for */                                        \
    X(target_probes)          /* tries of a target that was down */                                \
    X(target_failures)        /* tries that did not connect, these among them */                   \
    X(carriers_active)        /* tunnel connections now */                                         \
    X(carriers_opened)                                                                             \
    X(carrier_bytes_in) /* on the wire, records with their headers */                              \
    X(carrier_bytes_out)                                                                           \
    X(carrier_reads) /* system calls */                                                            \
    X(carrier_writes)                                                                              \
    X(sessions_up)       /* carriers now whose session has carried the streams */                  \
    X(sessions_opened)   /* the same, ever */                                                      \
    X(tunnels)           /* now, not those that are closing */                                     \
    X(tunnels_carried)   /* of these, a session carries the streams */                             \
    X(rotations)         /* key exchanges in a session */                                          \
    X(rotations_late)    /* that did not come in time */                                           \
    X(heartbeats_missed) /* probes without an answer in time */                                    \
    X(resumes)           /* sessions that continued the streams of a lost one */                   \
    X(resent_bytes)      /* payload sent once more for that */                                     \
    X(clients_waiting)   /* source: accepted, without a session to go on */                        \
    X(pool_bytes)        /* of the memory budget in use; refreshed each turn */                    \
    X(hold_bytes)        /* sent and not acknowledged; likewise */                                 \
    X(credit_bytes)      /* that peers may send; likewise */                                       \
    X(turns)             /* of the loop */

/* When it was last, as worker_now; 0: never. Of several workers the latest counts. */
#define STATS_TIMES(X)                                                                             \
    X(last_up_us)   /* a session came up */                                                        \
    X(last_pong_us) /* an answer came through one */

/* How often, by enum err; ERR_OK where nothing was wrong. */
#define STATS_REASONS(X)                                                                           \
    X(sessions_closed)                                                                             \
    X(streams_refused) /* turned away before there was a pump */                                   \
    X(reconnects)      /* source: why the last session of a tunnel was lost */                     \
    X(refreshes)       /* source: how planned replacements of a session ended */

#define STATS_DURATIONS(X)                                                                         \
    X(rtt)                                                                                         \
    X(resume_pause)                                                                                \
    X(loop_lag) /* how late a timer ran */

/* Of flows: of all of a worker, and of each service on each worker. */
#define FLOW_STATS_LIST(X)                                                                         \
    X(flows_opened)                                                                                \
    X(flows_active)         /* now */                                                              \
    X(flows_refused)        /* clients that were given none: a limit */                            \
    X(datagrams_from_local) /* received on local sockets, for a flow */                            \
    X(datagrams_to_local)   /* written to local sockets */                                         \
    X(datagram_bytes_from_local)                                                                   \
    X(datagram_bytes_to_local)                                                                     \
    X(dropped_queue) /* the rest: datagrams dropped, by reason; enum flow_drop */                  \
    X(dropped_memory)                                                                              \
    X(dropped_no_session)                                                                          \
    X(dropped_too_large)                                                                           \
    X(dropped_limit)                                                                               \
    X(dropped_unknown)                                                                             \
    X(dropped_closed)                                                                              \
    X(dropped_socket)         /* the local socket did not take it */                               \
    X(dropped_target_refused) /* the target's machine said that nobody listens (ICMP) */

#define STATS_FIELD(name)    _Atomic uint64_t name;
#define STATS_REASON(name)   _Atomic uint64_t name[ERR_COUNT];
#define STATS_DURATION(name) struct histogram name;
struct flow_stats {
    FLOW_STATS_LIST(STATS_FIELD)
};

struct stats {
    STATS_LIST(STATS_FIELD)
    STATS_TIMES(STATS_FIELD)
    STATS_REASONS(STATS_REASON)
    STATS_DURATIONS(STATS_DURATION)
    struct flow_stats flows;
};
#undef STATS_FIELD
#undef STATS_REASON
#undef STATS_DURATION

static inline uint64_t stats_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The only writer needs no locked instruction. n may be "negative" (wraps around). */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, stats_get(counter) + n, memory_order_relaxed);
}

static inline void stats_set(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, n, memory_order_relaxed);
}

#endif
