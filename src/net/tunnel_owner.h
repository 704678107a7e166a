/*
 * A tunnel at its place in a worker: the engine's tunnel, the connection that carries it now, and
 * the pumps of its streams. The role embeds it in what it keeps for each tunnel (the source: one a
 * worker; the dest: one for each connected source).
 *
 *   start ──> waits for a carrier <──> carried ──> close ──> on_closed
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_TUNNEL_OWNER_H
#define UTUN_NET_TUNNEL_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "net/worker.h"
#include "tunnel/tunnel.h"

struct carrier;

/* None of them is called from inside a call of yours on the same tunnel_owner or carrier. */
struct tunnel_owner_events {
    /*
     * Dest: the peer asks for a stream. Answer it, before this returns, with pump_dial or with
     * tunnel_owner_refuse. May be NULL at a source.
     */
    void (*on_open)(struct tunnel_owner *o, struct stream *stream,
                    const struct stream_target *target);
    /* The peer's keys are proven. Source: streams may be opened from here on. */
    void (*on_session_ready)(struct tunnel_owner *o, struct carrier *carrier);
    /*
     * The carrier is at its end; it is freed when this returns. Streams were reset: data that had
     * already come is still delivered, then their clients see a RST. ERR_CLOSED is the peer's FIN,
     * ERR_SHUTDOWN our own end. Another carrier may be given from here on; or close the tunnel.
     */
    void (*on_session_lost)(struct tunnel_owner *o, struct carrier *carrier, enum err why);
    /* The peer will close this session soon; text is a string. */
    void (*on_go_away)(struct tunnel_owner *o, struct carrier *carrier, enum wire_code code,
                       uint32_t retry_after_ms, const char *text);
    /* After tunnel_owner_close: nothing of it is left, free it. Once. */
    void (*on_closed)(struct tunnel_owner *o);
};

struct tunnel_owner_options {
    enum tunnel_role role;
    uint32_t max_streams;
    uint64_t window_max;                      /* the largest receive window of one stream, bytes */
    const struct tunnel_owner_events *events; /* static */
};

/* Fields are for net/ alone, but for worker, tunnel and carrier, which anybody may read. */
struct tunnel_owner {
    struct worker *worker;
    struct tunnel *tunnel;
    struct carrier *carrier; /* or NULL */
    const struct tunnel_owner_events *events;
    struct list link; /* in the worker's */
    struct list pumps;
    struct worker_task closing; /* looks whether all is gone */
    bool is_closing;
};

/* On error nothing is kept and on_closed does not come. */
enum err tunnel_owner_start(struct tunnel_owner *o, struct worker *w,
                            const struct tunnel_owner_options *options) MUST_USE;

/*
 * Ends the tunnel: its carrier is closed (ERR_SHUTDOWN), pumps that still deliver go on, on_closed
 * comes when all are gone. Harmless when closing already.
 */
void tunnel_owner_close(struct tunnel_owner *o);

/* The same at once: pumps that still deliver are reset too. */
void tunnel_owner_cut(struct tunnel_owner *o);

/* Dest: refuses a stream that on_open brought; the client sees a RST. */
void tunnel_owner_refuse(struct tunnel_owner *o, struct stream *stream, enum wire_code code);

/* Something may have to be sent: the carrier is drained at the end of this turn. */
void tunnel_owner_touch(struct tunnel_owner *o);

/* A pump or the carrier of it is gone. For those two. */
void tunnel_owner_part_gone(struct tunnel_owner *o);

/* Whether streams can be opened: there is a carrier and its session is ready. */
bool tunnel_owner_is_ready(const struct tunnel_owner *o);

#endif
