/*
 * What a worker counts. Only its own thread writes; any thread may read, each number by itself and
 * without a lock, so two of them need not be of the same instant.
 */
#ifndef UTUN_NET_STATS_H
#define UTUN_NET_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define STATS_LIST(X)                                                                              \
    X(streams_opened)      /* pumps started */                                                     \
    X(streams_active)      /* pumps now */                                                         \
    X(streams_half_closed) /* of these, one direction has ended */                                 \
    X(streams_reset)       /* pumps that did not end with both FINs */                             \
    X(bytes_from_local)    /* payload read from local sockets */                                   \
    X(bytes_to_local)      /* payload written to local sockets */                                  \
    X(targets_down)        /* that somebody waits for */                                           \
    X(target_probes)       /* tries of a target that was down */                                   \
    X(target_failures)     /* tries that did not connect, these among them */                      \
    X(carriers_active)     /* tunnel connections now */                                            \
    X(carriers_opened)                                                                             \
    X(carrier_bytes_in) /* on the wire, records with their headers */                              \
    X(carrier_bytes_out)                                                                           \
    X(carrier_reads) /* system calls */                                                            \
    X(carrier_writes)                                                                              \
    X(pool_bytes) /* of the memory budget in use; refreshed each turn */                           \
    X(turns)      /* of the loop */

#define STATS_FIELD(name) _Atomic uint64_t name;
struct stats {
    STATS_LIST(STATS_FIELD)
};
#undef STATS_FIELD

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
