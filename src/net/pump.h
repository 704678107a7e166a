/*
 * A pump: one local TCP connection and one stream, bytes moved between them so that neither program
 * can tell it from one connection: half-close, reset and the order of both are kept.
 *
 *   connecting ──> open ──> done               both directions ended with FIN
 *   asking ─┐        ├────> cut ──> done       the local side reset: what it sent before is sent on
 *           └──> open└────> delivering ──> lingering ──> done
 *                                              the peer reset: what came before is delivered, then
 *                                              the local side gets a RST
 *   asking ──> lingering ──> done              refused: the local side is told why, and gets a FIN
 *
 * A pump frees itself. Threads: the worker's only.
 */
#ifndef UTUN_NET_PUMP_H
#define UTUN_NET_PUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/stats.h"
#include "net/proxy_protocol.h"
#include "net/target.h"
#include "net/tunnel_owner.h"
#include "tunnel/tunnel.h"

enum pump_side {
    PUMP_LOCAL, /* the local socket, or this process */
    PUMP_PEER,  /* the other end of the stream */
};

/* How a pump ended, for logs and counters. */
struct pump_end {
    /*
     * ERR_OK: both directions ended with FIN. ERR_RESET: one of the two programs reset.
     * ERR_TIMEOUT: half-closed and idle, or data before a reset that nobody took. ERR_SHUTDOWN,
     * ERR_CLOSED: we stop, or the session was lost. Or what connecting to the target said:
     * ERR_REFUSED, ERR_NO_SERVICE ..., at both ends.
     */
    enum err why;
    enum pump_side by;  /* where that came from */
    const char *detail; /* for people, or ""; lives as long as the callback */
    uint16_t port;      /* what was asked for: the service, or the port of a host */
    const char *name;   /* of the service or host, or ""; lives as long as the callback */
    struct stream_address client;
    struct tunnel_owner *tunnel; /* lives as long as the callback */
    bool was_open;               /* dest: the target has answered */
    uint64_t bytes_from_local;
    uint64_t bytes_to_local;
    uint64_t duration_us;
};

/* What pumps of one worker count together; rules as in net/stats.h. All zeros at first. */
struct pump_stats {
    _Atomic uint64_t opened;
    _Atomic uint64_t active;
    _Atomic uint64_t ended[ERR_COUNT]; /* by why */
    _Atomic uint64_t bytes_from_local;
    _Atomic uint64_t bytes_to_local;
    struct histogram connect;         /* dest: to targets that took the connection */
    _Atomic uint64_t connected_at_us; /* when one did last, as worker_now; 0: never */
    _Atomic uint64_t failed_at_us;    /* when one did not */
    _Atomic uint64_t failure;         /* enum err: why */
};

/*
 * Embed it in what pumps belong to (a port, a service); any number of pumps of one worker share
 * one.
 */
struct pump_owner {
    /* Once for each pump that was started, when it is at its end. Start no pump from inside. */
    void (*on_end)(struct pump_owner *owner, const struct pump_end *end);
    struct pump_stats *stats; /* where they count; outlives them. NULL: nowhere */
    /* pump_dial: the header that tells the target who the client is; 0: none is sent. */
    enum proxy_protocol_version proxy_protocol;
};

/*
 * Source: opens a stream for an accepted client. Takes fd, also on error, when the client has been
 * reset and on_end does not come: ERR_CLOSED (no session), ERR_LIMIT, ERR_NOMEM.
 */
enum err pump_accept(struct tunnel_owner *o, int fd, const struct stream_target *target,
                     struct pump_owner *owner) MUST_USE;

/* The longest answer to a client that has asked for a target. */
#define PUMP_REPLY_MAX 1024

/*
 * The same, but takes fd only on success. With reply (it may be NULL) the client waits to be told:
 * nothing of it is read until the dest has answered, then reply writes what the client is told to
 * room and returns its length; why is ERR_OK when the target is connected.
 */
enum err pump_ask(struct tunnel_owner *o, int fd, const struct stream_target *target,
                  size_t (*reply)(enum err why, uint8_t room[static PUMP_REPLY_MAX]),
                  struct pump_owner *owner) MUST_USE;

/*
 * Dest: connects a stream that on_open brought to where options say. Takes the stream, also on
 * error, when it has been refused and on_end does not come.
 */
enum err pump_dial(struct tunnel_owner *o, struct stream *stream,
                   const struct stream_target *target, const struct target_options *options,
                   struct pump_owner *owner) MUST_USE;

/* Resets it at once in both directions; on_end follows from inside. */
void pump_abort(struct stream_owner *pump, enum err why);

/* The same for every pump of the tunnel. */
void pump_abort_all(struct tunnel_owner *o, enum err why);

/* The same for those only that count in stats. */
void pump_abort_of(struct tunnel_owner *o, const struct pump_stats *stats, enum err why);

/* Of these, those only whose socket is connected to an address that the filter does not allow. */
void pump_abort_outside(struct tunnel_owner *o, const struct pump_stats *stats,
                        const struct target_filter *filter, enum err why);

/* The engine's events, for tunnel_owner alone. */
void pump_on_accept(struct stream_owner *pump, struct stream *stream);
size_t pump_on_data(struct stream_owner *pump, struct stream *stream, const uint8_t *data,
                    size_t len);
void pump_on_finish(struct stream_owner *pump, struct stream *stream);
void pump_on_reset(struct stream_owner *pump, struct stream *stream, enum wire_code code);
void pump_on_writable(struct stream_owner *pump, struct stream *stream);
void pump_on_sent(struct stream_owner *pump, struct stream *stream);

#endif
