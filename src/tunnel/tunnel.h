/*
 * The engine: a tunnel with its streams, and the session that carries it. Sans-I/O: bytes and time
 * go in, bytes and events come out. No function here makes a system call, reads a clock or blocks.
 *
 *                 stream_send_reserve/commit/finish          on_data, on_finish, on_reset ...
 *   local socket ──────────────────────────────> stream <──────────────────────────── tunnel
 *                                                   │ frames                             ▲
 *                                                   ▼                                    │
 *   tunnel socket <── session_drain/drained ── session ── session_feed <── tunnel socket
 *
 * Threads: a tunnel, its sessions and its streams belong to one worker and are not locked.
 * Times are microseconds of one monotonic clock; every call that takes `now` moves it on.
 *
 * Source: docs/PROTOCOL.md, sections 6 to 9.
 */
#ifndef UTUN_TUNNEL_TUNNEL_H
#define UTUN_TUNNEL_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/budget.h"
#include "base/error.h"
#include "base/pool.h"
#include "crypto/key_schedule.h"
#include "tunnel/credit.h"
#include "tunnel/frame.h"
#include "tunnel/heartbeat.h"

struct tunnel;
struct session;
struct mceliece_keypair; /* crypto/mceliece.h */
struct stream;
struct flow;

/* What stands behind a tunnel, a stream and a flow; the user of the engine defines the types. */
struct tunnel_owner;
struct stream_owner;
struct flow_owner;

enum tunnel_role {
    TUNNEL_SOURCE, /* opens streams */
    TUNNEL_DEST,   /* is asked for streams */
};

/* Why a datagram was dropped. */
enum flow_drop {
    FLOW_DROP_QUEUE,      /* the flow's queue is full: its oldest had to go */
    FLOW_DROP_MEMORY,     /* the flows' part of the memory is used up */
    FLOW_DROP_NO_SESSION, /* none carries the tunnel, or it was lost meanwhile */
    FLOW_DROP_TOO_LARGE,  /* above FLOW_DATAGRAM_MAX */
    FLOW_DROP_LIMIT,      /* there are as many flows as are allowed */
    FLOW_DROP_UNKNOWN,    /* from the peer, for a flow that has ended */
    FLOW_DROP_CLOSED,     /* it waited when its flow ended */
    FLOW_DROPS
};

/*
 * Events. They are called from inside session_feed, session_drain, session_tick, session_close and
 * the stream_ and flow_ functions named below, never from another thread. A callback may call any
 * stream_ function on any stream (but from inside on_data not stream_recv_consume on the same), and
 * must not feed, drain, close or free the session or the tunnel: note it down and do it afterwards.
 */
enum key_event {
    KEYS_DUE,     /* source: session_rotate, please; comes again until an exchange is under way */
    KEYS_LATE,    /* source: no exchange has been finished in time; a new session has to come */
    KEYS_ROTATED, /* both directions are under the keys of a new exchange */
};

struct tunnel_events {
    /*
     * Dest: the peer asks for a stream. Answer, now or later, with stream_accept or stream_reset.
     * stream_set_owner tells the engine whose it is. Data may arrive before it is accepted; it is
     * kept as if on_data had taken nothing.
     */
    void (*on_open)(struct tunnel_owner *owner, struct stream *stream,
                    const struct stream_target *target);

    /* Source: the dest has connected the stream to its target. What has come before follows. */
    void (*on_accept)(struct stream_owner *owner, struct stream *stream);

    /*
     * Data in order. Returns how much of it was taken (written to the local socket); the rest is
     * kept by the stream, and on_data is not called again until stream_recv_consume has emptied
     * what is kept. len > 0. Only called for streams that are accepted and have an owner.
     */
    size_t (*on_data)(struct stream_owner *owner, struct stream *stream, const uint8_t *data,
                      size_t len);

    /* The peer's last byte has been taken: half-close the local socket. Once at most. */
    void (*on_finish)(struct stream_owner *owner, struct stream *stream);

    /*
     * The peer reset the stream, or its session is lost for good. Data that is still kept may be
     * read and delivered first (stream_recv_view); on_finish may still come if the peer's FIN came
     * before the reset. Nothing can be sent any more. Once at most, and not to an owner who has
     * called stream_reset. Then, or later, call stream_release.
     */
    void (*on_reset)(struct stream_owner *owner, struct stream *stream, enum wire_code code);

    /* stream_send_reserve has room again after it had none. */
    void (*on_writable)(struct stream_owner *owner, struct stream *stream);

    /* Every byte and the FIN that were sent have been acknowledged by the peer. Once at most. */
    void (*on_sent)(struct stream_owner *owner, struct stream *stream);

    /*
     * Dest: the peer asks for a flow. Before this returns, flow_set_owner or flow_close. Never
     * called where max_flows is 0; then the events of flows may be NULL.
     */
    void (*on_flow_open)(struct tunnel_owner *owner, struct flow *flow,
                         const struct stream_target *target);

    /*
     * A datagram, whole; len may be 0. data stays as it is until the session_feed that this is
     * called from returns. May open and close flows, this one too.
     */
    void (*on_datagram)(struct flow_owner *owner, struct flow *flow, const uint8_t *data,
                        size_t len);

    /*
     * The peer has closed the flow, or the tunnel has given it up (WIRE_SESSION_LOST): it is gone.
     * Must not open a flow.
     */
    void (*on_flow_closed)(struct flow_owner *owner, enum wire_code code);

    /* One datagram was dropped; flow is its owner, or NULL. Must not call the engine. May be NULL.
     */
    void (*on_datagram_dropped)(struct tunnel_owner *owner, struct flow_owner *flow,
                                enum flow_drop why);

    /*
     * The peer's keys are right and, in a resumed session, both sides have said where each stream
     * is: this session carries the streams now. At the source, streams may be opened from the first
     * such event on.
     */
    void (*on_session_ready)(struct tunnel_owner *owner, struct session *session);

    /*
     * A newer session has taken the streams over, or came first: this one carries nothing any more.
     * Close it, not from inside the event.
     */
    void (*on_session_retired)(struct tunnel_owner *owner, struct session *session);

    /* The peer will close this session soon: open nothing new on it. text is not terminated. */
    void (*on_go_away)(struct tunnel_owner *owner, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len);

    /* Something about the age of the session's keys. */
    void (*on_keys)(struct tunnel_owner *owner, struct session *session, enum key_event event);
};

struct tunnel_options {
    enum tunnel_role role;
    uint32_t max_streams; /* that the peer may have open at once (dest), or we open (source) */
    uint32_t max_flows;   /* likewise; 0: none, every one is refused */
    uint64_t window_max;  /* the largest receive window of one stream, bytes */
    size_t output_max; /* sealed bytes of a session that wait for the socket, in records; 0: all */
    struct heartbeat_options heartbeat; /* of its sessions */
    uint64_t
        key_lifetime_us; /* no key of a session is used for longer; 0: that is the peer's matter */
    uint64_t key_margin_us; /* source: an exchange begins so long before */
    /* Random, and nothing to the peer: it chooses numbers of streams and flows, which are looked up
     * by it (base/idmap.h). Tests may have the same always. */
    uint64_t seed;
    const struct tunnel_events *events; /* static */
    /* Shared by the tunnels of one worker; they outlive the tunnel. */
    struct pool *pool;        /* all buffers come from here */
    struct budget *hold;      /* bytes committed by owners that peers have not acknowledged */
    struct budget *credit;    /* bytes that peers may send and we should have to keep */
    struct budget *exchanges; /* offers of key exchanges that are not whole yet; NULL: no bound */
    struct tunnel_peer *peer; /* NULL: one that has no other tunnel */
    struct tunnel_owner *owner;
};

/*
 * Divides a worker's memory among the three bounds so that what a peer has credit for always finds
 * a block: half of the pool is never used for sending, and a chain wastes at most as much as it
 * holds and one small block more. *pool_limit is the pool's limit, to be given to pool_new.
 */
void tunnel_share_memory(size_t bytes, size_t *pool_limit, struct budget *hold,
                         struct budget *credit);

/* What a worker with so much memory has for offers of key exchanges: at least one finds room. */
struct budget tunnel_exchange_budget(size_t bytes);

enum err tunnel_new(struct tunnel **out, const struct tunnel_options *options) MUST_USE;

/* What of its options may be others later. */
struct tunnel_bounds {
    uint32_t max_streams;
    uint32_t max_flows;
    uint64_t window_max;
    size_t output_max;
    struct heartbeat_options heartbeat; /* these three: of sessions that begin from now on */
    uint64_t key_lifetime_us;
    uint64_t key_margin_us;
};

/*
 * Sets them. A bound that is lower than what is there ends nothing; the peer hears of max_streams
 * in its next session.
 */
void tunnel_set_bounds(struct tunnel *t, const struct tunnel_bounds *bounds);

/* Frees everything, also the session and all streams, without any event. NULL is fine. */
void tunnel_free(struct tunnel *t);

/* -- session -- */

enum session_start {
    SESSION_FRESH,   /* the first of a tunnel */
    SESSION_RESUMED, /* both sides know the tunnel: its streams go on */
};

/*
 * Starts a session of the tunnel on a connection whose handshake is done. Takes the keys, also on
 * error. A tunnel may have several at once; the newest that is ready carries the streams, the
 * others are retired. How a session starts is what the handshake said.
 */
enum err session_new(struct session **out, struct tunnel *t, struct session_keys *keys,
                     enum session_start start, uint64_t now) MUST_USE;

/*
 * Bytes from the tunnel socket. Whole records are opened in place and acted on; *used is how many
 * bytes they were. What is left is the beginning of a record: keep it and feed it again with more
 * behind it. An error ends the session: deliver nothing more, call session_close.
 */
enum err session_feed(struct session *s, uint8_t *data, size_t len, size_t *used,
                      uint64_t now) MUST_USE;

/*
 * How long the record is in all that session_feed has left the beginning of; 0 when that cannot be
 * told yet. Who reads so far, or a whole number of the longest records further, mostly stops
 * between two records when there is bulk, and has nothing to keep.
 */
size_t session_begun_record(const struct session *s);

/*
 * Sealed bytes for the tunnel socket: *data is valid until the next call on this session. Returns 0
 * in *len when there is nothing to send. session_drained says how many were written; the rest is
 * offered again. An error ends the session.
 */
enum err session_drain(struct session *s, const uint8_t **data, size_t *len, uint64_t now) MUST_USE;
void session_drained(struct session *s, size_t n);

/* Whether session_drain would have something. Cheap. */
bool session_has_output(const struct session *s);

/*
 * When session_tick must be called next; UINT64_MAX for never. ERR_HEARTBEAT: the peer no longer
 * answers, which ends the session.
 */
uint64_t session_deadline(const struct session *s);
enum err session_tick(struct session *s, uint64_t now) MUST_USE;

/*
 * Source: begins a key exchange inside the session, which changes the keys of both directions while
 * traffic goes on; KEYS_ROTATED says that it is over. Takes the pair, also on error: one that was
 * never used before, or NULL in the mode without McEliece (session_kem_mode). ERR_UNEXPECTED while
 * an exchange is under way, or before the session is ready: nothing has happened. Another error
 * ends the session.
 */
enum err session_rotate(struct session *s, struct mceliece_keypair *pair) MUST_USE;

/* Asks the peer for a sign of life; the answer updates session_rtt. */
void session_ping(struct session *s, uint64_t now);

/* Tells the peer that we shall close. text is at most GO_AWAY_TEXT_MAX bytes, or NULL. */
void session_go_away(struct session *s, enum wire_code code, uint32_t retry_after_ms,
                     const char *text);

/*
 * Ends and frees the session. If it carried the streams they wait for the next one: what owners
 * commit is kept as far as credit goes. NULL is fine.
 */
void session_close(struct session *s);

bool session_is_ready(const struct session *s);
uint64_t session_number(const struct session *s);     /* in its tunnel; dest: 0 until it is ready */
uint64_t session_rtt_us(const struct session *s);     /* the latest; 0 when not yet known */
uint64_t session_rtt_min_us(const struct session *s); /* the smallest seen; 0 when not yet known */
uint64_t session_last_received(const struct session *s);
uint64_t session_pongs(const struct session *s);     /* answers that measured the round trip */
uint64_t session_last_pong(const struct session *s); /* when the latest came; 0: none has */
enum kem_mode session_kem_mode(const struct session *s);

/* How many key exchanges the traffic keys of both directions have behind them, at least. */
uint64_t session_generation(const struct session *s);
unsigned session_missed_pongs(const struct session *s);

enum session_phase {
    SESSION_STARTING, /* the peer has not proven its keys yet */
    SESSION_RESUMING, /* both sides tell where each stream is */
    SESSION_CURRENT,  /* it carries the streams */
    SESSION_RETIRED,  /* another one does */
};

/* What can be asked of a session, all at once. */
struct session_state {
    enum session_phase phase;
    uint64_t number;        /* as session_number */
    uint64_t rtt_us;        /* the latest; 0 when not yet known */
    uint64_t rtt_min_us;    /* the smallest seen; 0 when not yet known */
    uint64_t last_received; /* when a record came last */
    unsigned missed_pongs;  /* in a row, now */
    uint64_t generation;    /* as session_generation */
};

void session_get_state(const struct session *s, struct session_state *state);

/* "starting", "resuming", "current", "retired". Static. */
const char *session_phase_name(enum session_phase phase);

/* -- streams -- */

/*
 * Gives up every stream and flow of a tunnel that has no session: none will come, or not in time.
 * Owners hear on_flow_closed, and on_reset with WIRE_SESSION_LOST, except where everything had
 * arrived on both sides. The
 * tunnel can go on with new streams; what the peer still has of these it gives up at the next
 * resume.
 */
void tunnel_lose_streams(struct tunnel *t);

/*
 * Source: opens a stream to the target. ERR_LIMIT when max_streams are open (ours or the peer's
 * limit), ERR_CLOSED when there is no session that is ready. The stream may send at once.
 */
enum err stream_open(struct stream **out, struct tunnel *t, const struct stream_target *target,
                     struct stream_owner *owner) MUST_USE;

void stream_set_owner(struct stream *s, struct stream_owner *owner);

/*
 * Dest: the target is connected. Delivers what has been kept so far (on_data, on_finish), also when
 * the peer has reset the stream since: what came before its reset is still good.
 */
void stream_accept(struct stream *s);

/*
 * Room for bytes read from the local socket: parts of at most want bytes altogether, within the
 * peer's credit and our own bounds. Returns the bytes of room; with 0, wait for on_writable.
 * stream_send_commit must follow before any other call on the stream.
 */
size_t stream_send_reserve(struct stream *s, size_t want, struct iovec *parts, size_t n,
                           size_t *used);
void stream_send_commit(struct stream *s, size_t len);

/* The local socket has sent its FIN: nothing more will be committed. */
void stream_send_finish(struct stream *s);

/*
 * What on_data did not take, oldest first; see chain_view. stream_recv_consume says how much of it
 * was delivered; when all is, on_finish may follow from inside it.
 */
size_t stream_recv_view(struct stream *s, struct iovec *parts, size_t n, size_t *viewed);
void stream_recv_consume(struct stream *s, size_t len);

enum stream_reset_when {
    STREAM_RESET_AFTER_DATA, /* what was committed (and its FIN) is sent first */
    STREAM_RESET_NOW,        /* what was committed and not yet sent is dropped */
};

/*
 * Ends the stream in both directions. What the peer sends from now on is dropped. Calling it again
 * is harmless, and RESET_NOW hurries an earlier RESET_AFTER_DATA on.
 */
void stream_reset(struct stream *s, enum wire_code code, enum stream_reset_when when);

/*
 * The owner is done with the stream: no event comes for it any more, and the pointer is dead. If
 * the stream has not ended in both directions it is reset with WIRE_RESET, RESET_NOW unless reset
 * already. The engine keeps what the protocol still needs and frees it later.
 */
void stream_release(struct stream *s);

struct stream_state {
    uint64_t id;
    bool send_finished; /* stream_send_finish was called */
    bool send_acked;    /* the peer has everything, the FIN too */
    bool recv_finished; /* on_finish has been called */
    bool is_reset;      /* by either side */
    uint64_t sent;      /* bytes committed */
    uint64_t received;  /* bytes that came from the peer */
    uint64_t send_held; /* committed, not yet acknowledged */
    uint64_t recv_held; /* arrived, not yet taken */
};

void stream_get_state(const struct stream *s, struct stream_state *state);

/* -- flows -- */

/*
 * Source: opens a flow to the target; datagrams may be sent at once. ERR_LIMIT when max_flows are
 * open, ERR_CLOSED when no session carries the tunnel, ERR_NOMEM. The dest may refuse it later
 * (on_flow_closed).
 */
enum err flow_open(struct flow **out, struct tunnel *t, const struct stream_target *target,
                   struct flow_owner *owner) MUST_USE;

void flow_set_owner(struct flow *f, struct flow_owner *owner);

/*
 * Queues a copy of the datagram; it arrives whole, once, or not at all. Whatever has to be dropped
 * for lack of room, the oldest of the flow first, is told by on_datagram_dropped.
 */
void flow_send(struct flow *f, const uint8_t *data, size_t len);

/*
 * Dest: keeps a copy of a datagram of on_datagram for which there is nowhere to go yet, behind
 * those that are kept already. Bounded (FLOW_KEPT_DATAGRAMS, FLOW_KEPT_PART): what has to be
 * dropped, the oldest of the flow first, is told by on_datagram_dropped; so are all that are left
 * when the flow ends.
 */
void flow_keep(struct flow *f, const uint8_t *data, size_t len);

/* The oldest that is kept; false: none. It stays, and data lives, until flow_forget_kept. */
bool flow_first_kept(const struct flow *f, const uint8_t **data, size_t *len);
void flow_forget_kept(struct flow *f);

/* Ends the flow, without an event; the pointer is dead. The peer is told why. */
void flow_close(struct flow *f, enum wire_code code);

/* -- what can be asked of a tunnel -- */

struct tunnel_state {
    bool has_session; /* one carries the streams, or is about to */
    size_t streams;
    size_t flows;
    uint64_t send_held; /* bytes of all streams */
    uint64_t recv_held;
    uint64_t opened_total;
    uint64_t resent_total; /* bytes that sessions lost on the way and later ones sent again */
};

void tunnel_get_state(const struct tunnel *t, struct tunnel_state *state);

#endif
