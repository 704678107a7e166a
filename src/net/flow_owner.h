/*
 * What stands at a local end of a flow: its place in a tunnel, its idle time, its counters. Embed
 * it in what knows the local side: a client of a port (net/udp_port.h), a target
 * (net/udp_target.h).
 *
 *   init ──> open (source), adopt (dest) ──> close, or on_end: by the peer, the tunnel, or idle
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_FLOW_OWNER_H
#define UTUN_NET_FLOW_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/stats.h"
#include "net/sweep.h"
#include "net/tunnel_owner.h"
#include "tunnel/tunnel.h"

struct flow_owner_events {
    /*
     * A datagram from the peer. It may be kept by udp_io_send: data stays as it is until the
     * carrier that brought it flushes what was queued. What of it is handed to the local side, now
     * or later, is told by flow_owner_delivered.
     */
    void (*on_datagram)(struct flow_owner *o, const uint8_t *data, size_t len);
    /*
     * The flow has ended, and o may be freed: ERR_TIMEOUT idle, here or there; ERR_CLOSED the
     * tunnel was given up; or why the dest refused it (ERR_LIMIT, ERR_NO_SERVICE ...). Not after
     * flow_owner_close.
     */
    void (*on_end)(struct flow_owner *o, enum err why);
};

/* Fields are for flow_owner.c alone, but for tunnel, which anybody may read. */
struct flow_owner {
    const struct flow_owner_events *events; /* static */
    struct tunnel_owner *tunnel;
    struct flow *flow;        /* NULL: none, or ended */
    struct flow_stats *stats; /* of the service or port; outlives the owner */
    struct sweep_item idle;
    uint64_t started_us;
    uint64_t datagrams_from_local;
    uint64_t datagrams_to_local;
    uint64_t bytes_from_local;
    uint64_t bytes_to_local;
};

void flow_owner_init(struct flow_owner *o, const struct flow_owner_events *events,
                     struct flow_stats *stats);

/* Source: as flow_open. On error it has no flow, and on_end does not come. */
enum err flow_owner_open(struct flow_owner *o, struct tunnel_owner *tunnel,
                         const struct stream_target *target) MUST_USE;

/* Dest: takes the flow that on_flow brought. */
void flow_owner_adopt(struct flow_owner *o, struct tunnel_owner *tunnel, struct flow *flow);

/* A datagram from the local side: it is queued, or dropped and counted. */
void flow_owner_send(struct flow_owner *o, const uint8_t *data, size_t len);

/*
 * For a datagram of on_datagram that the local side cannot be given yet: as flow_keep, and the
 * rest. Only while it has a flow.
 */
void flow_owner_keep(struct flow_owner *o, const uint8_t *data, size_t len);
bool flow_owner_first_kept(const struct flow_owner *o, const uint8_t **data, size_t *len);
void flow_owner_forget_kept(struct flow_owner *o);

/* Counts a datagram of on_datagram that the local side was given. */
void flow_owner_delivered(struct flow_owner *o, size_t len);

/* Ends the flow; the peer is told why. Harmless when it has ended. */
void flow_owner_close(struct flow_owner *o, enum wire_code code);

/*
 * Ends the tunnel's flows that count into stats (NULL: all), as if they had come to their end by
 * themselves: the peer is told why, on_end comes from inside.
 */
void flow_owner_abort_of(struct tunnel_owner *tunnel, const struct flow_stats *stats, enum err why);

/* How it was, for logs and counters; *end is filled but for port and client. */
struct flow_end {
    enum err why; /* as for on_end; ERR_OK: closed by us */
    uint16_t port;
    struct stream_address client;
    struct tunnel_owner *tunnel; /* lives as long as the callback */
    const char *detail;          /* for people, or ""; likewise */
    uint64_t datagrams_from_local;
    uint64_t datagrams_to_local;
    uint64_t bytes_from_local;
    uint64_t bytes_to_local;
    uint64_t duration_us;
};

void flow_owner_get_end(const struct flow_owner *o, enum err why, struct flow_end *end);

/* The worker's sweep of idle flows. For worker. */
void flow_owner_on_idle(struct sweep *sweep, struct sweep_item *item);

/* The engine's events, for tunnel_owner alone. */
void flow_owner_on_datagram(struct flow_owner *o, struct flow *flow, const uint8_t *data,
                            size_t len);
void flow_owner_on_closed(struct flow_owner *o, enum wire_code code);
void flow_owner_on_dropped(struct tunnel_owner *tunnel, struct flow_owner *o, enum flow_drop why);

#endif
