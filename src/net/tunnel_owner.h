/*
 * A tunnel at its place in a worker: the engine's tunnel, the connections that carry it, and the
 * pumps of its streams. The role embeds it in what it keeps for each tunnel (the source: one a
 * worker; the dest: one for each connected source).
 *
 *   start ──> waits for a carrier <──> carried ──> close ──> on_closed
 *
 * It may have several carriers at once: one that carries the streams (current), others on their way
 * to become that, or retired and about to end. Without any, streams wait.
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
    /*
     * Dest: the peer asks for a flow. Answer it, before this returns, with flow_owner_adopt or with
     * tunnel_owner_refuse_flow. May be NULL where max_flows is 0.
     */
    void (*on_flow)(struct tunnel_owner *o, struct flow *flow, const struct stream_target *target);
    /*
     * This carrier carries the streams from here on: the peer's keys are proven and, where it
     * continues the tunnel, both sides know where each stream is. Source: streams may be opened.
     */
    void (*on_session_ready)(struct tunnel_owner *o, struct carrier *carrier);
    /*
     * The carrier is at its end; it is freed when this returns. Streams wait for the next one:
     * give one, or call tunnel_owner_lose or tunnel_owner_close (while the worker drains, they are
     * given up by themselves). ERR_CLOSED is the peer's FIN, ERR_SUPERSEDED says that a newer
     * session has taken over, ERR_HEARTBEAT that the peer no longer answers.
     */
    void (*on_session_lost)(struct tunnel_owner *o, struct carrier *carrier, enum err why);
    /* The peer will close this session soon; text is a string. */
    void (*on_go_away)(struct tunnel_owner *o, struct carrier *carrier, enum wire_code code,
                       uint32_t retry_after_ms, const char *text);
    /* As in struct tunnel_events; for KEYS_DUE, carrier_rotate. */
    void (*on_keys)(struct tunnel_owner *o, struct carrier *carrier, enum key_event event);
    /* After tunnel_owner_close: nothing of it is left, free it. Once. */
    void (*on_closed)(struct tunnel_owner *o);
};

struct tunnel_owner_options {
    enum tunnel_role role;
    struct tunnel_bounds bounds;              /* as in struct tunnel_options */
    const struct tunnel_owner_events *events; /* static */
    struct tunnel_peer *peer;                 /* as in struct tunnel_options */
};

/* Fields are for net/ alone, but for worker, tunnel and carrier, which anybody may read. */
struct tunnel_owner {
    struct worker *worker;
    struct tunnel *tunnel;
    struct carrier *carrier; /* that carries the streams, or NULL */
    struct list carriers;    /* all that have not ended */
    const struct tunnel_owner_events *events;
    struct list link; /* in the worker's */
    struct list pumps;
    struct worker_task closing; /* looks whether all is gone */
    uint64_t resent;            /* of tunnel_state.resent_total: counted already */
    uint32_t silence_ms;        /* a silent peer is given up after; 0: never */
    bool is_closing;
};

/* On error nothing is kept and on_closed does not come. */
enum err tunnel_owner_start(struct tunnel_owner *o, struct worker *w,
                            const struct tunnel_owner_options *options) MUST_USE;

/* As tunnel_set_bounds. */
void tunnel_owner_set_bounds(struct tunnel_owner *o, const struct tunnel_bounds *bounds);

/*
 * Ends the tunnel: its carriers are closed, with why as their reason, and its streams given up;
 * pumps that still deliver go on, on_closed comes when all are gone. Harmless when closing already.
 */
void tunnel_owner_close(struct tunnel_owner *o, enum err why);

/* The same at once (ERR_SHUTDOWN): pumps that still deliver are reset too. */
void tunnel_owner_cut(struct tunnel_owner *o);

/*
 * Gives up the streams that wait for a carrier: what has come is delivered, then the local side
 * sees a RST. The tunnel can go on. Nothing happens while one carries them, or is about to.
 */
void tunnel_owner_lose(struct tunnel_owner *o);

/* Tells the peer on every carrier that we are about to close; see session_go_away. */
void tunnel_owner_go_away(struct tunnel_owner *o, enum wire_code code, const char *text);

/* Dest: refuses a stream that on_open brought; the client sees a RST. */
void tunnel_owner_refuse(struct tunnel_owner *o, struct stream *stream, enum wire_code code);

/* Dest: refuses a flow that on_flow brought. */
void tunnel_owner_refuse_flow(struct tunnel_owner *o, struct flow *flow, enum wire_code code);

/* Something may have to be sent: the carrier is drained at the end of this turn. */
void tunnel_owner_touch(struct tunnel_owner *o);

/* A pump of it is gone. For pump. */
void tunnel_owner_pump_gone(struct tunnel_owner *o);

/* A carrier of it has ended: reports it. For carrier. */
void tunnel_owner_carrier_gone(struct tunnel_owner *o, struct carrier *c, enum err why);

/* Whether streams can be opened and go out at once: a session carries them. */
bool tunnel_owner_is_ready(const struct tunnel_owner *o);

/* Whether there is a carrier whose on_session_lost has not come. */
bool tunnel_owner_has_carrier(const struct tunnel_owner *o);

#endif
