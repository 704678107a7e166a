/*
 * The engine's own structs, private to src/tunnel. Who may change what: a field belongs to the
 * module under whose heading it stands; others read it.
 */
#ifndef UTUN_TUNNEL_ENGINE_H
#define UTUN_TUNNEL_ENGINE_H

#include "base/chain.h"
#include "base/idmap.h"
#include "base/list.h"
#include "crypto/key_schedule.h"
#include "crypto/record.h"
#include "tunnel/key_age.h"
#include "tunnel/rotation.h"
#include "tunnel/schedule.h"
#include "tunnel/tunnel.h"
#include "tunnel/window.h"

/* Control frames that a stream waits to send. */
enum notice {
    NOTICE_OPEN = 1 << 0,
    NOTICE_ACCEPT = 1 << 1,
    NOTICE_CREDIT = 1 << 2,
    NOTICE_RESET = 1 << 3,
};

struct stream {
    struct tunnel *tunnel;
    struct stream_owner *owner;
    uint64_t id;
    struct stream_target *target; /* source: until the dest is known to have it */
    struct list all;              /* in tunnel.all */
    uint64_t listed;              /* resume.c: number of the session that told the peer of it */
    uint64_t seen;                /* resume.c: number of the session on which the peer told of it */
    struct list dead;             /* in tunnel.dead */

    /* schedule.c */
    struct schedule_item turn;

    /* stream_send.c: out holds [acknowledged, committed) */
    struct chain out;
    uint64_t sent;       /* offset of the first byte not yet in a record */
    uint64_t send_limit; /* the peer's credit */
    struct list starved; /* in tunnel.starved: waits for budget or pool */
    uint64_t grant;      /* tunnel.grant_round, if it was told and has not come for it yet */

    /* stream_recv.c: in holds [taken, arrived) */
    struct chain in;
    struct window window; /* credit given to the peer */
    uint64_t acked;       /* the acknowledgement that the peer has been sent */

    /* session.c */
    struct list notice; /* in session.urgent or session.lazy */
    uint8_t notices;    /* set of enum notice */
    bool is_urgent;     /* which of the two lists */

    uint16_t reset_code;

    bool is_accepted : 1;
    bool is_released : 1;
    bool is_lost : 1; /* given up: nothing is sent or awaited any more */

    bool finish : 1; /* the owner has committed its last byte */
    bool fin_sent : 1;
    bool fin_acked : 1;
    bool wants_room : 1;     /* the owner was told there is no room */
    bool send_abandoned : 1; /* out is dropped, nothing more goes into records */

    bool fin_received : 1;
    bool finish_told : 1;
    bool recv_abandoned : 1; /* in is dropped, what still comes is only counted */

    bool reset_wanted : 1; /* by us; sent once the committed data is gone */
    bool reset_sent : 1;
    bool reset_received : 1;
    bool reset_told : 1;
};

/* A datagram that waits for a record, or whose record is being sealed. A block of the pool. */
struct datagram {
    struct list link; /* in flow.queue, flow.kept or tunnel.sent_datagrams */
    uint16_t len;
    bool is_small; /* POOL_SMALL, else POOL_BULK */
    uint8_t data[];
};

struct flow {
    struct tunnel *tunnel;
    struct flow_owner *owner;
    uint64_t id;
    struct stream_target *target; /* source: said again on each session */
    uint64_t announced;           /* source: number of the session on which it was said last */
    struct list all;              /* in tunnel.all_flows */
    struct list queue;            /* of struct datagram, oldest first */
    size_t queued;
    size_t queued_bytes; /* of their blocks */
    struct list kept;    /* dest: of struct datagram that cannot be delivered yet, likewise */
    size_t kept_count;
    struct schedule_item turn;
};

/* A FLOW_CLOSE that waits for a record. */
struct flow_closing {
    uint64_t id;
    uint16_t code;
};

struct tunnel {
    struct tunnel_options options;
    struct tunnel_peer *peer;
    struct tunnel_peer only; /* where the owner knows no peer */
    struct credit credit;    /* given to the peer */
    struct session *session; /* the newest that is ready: the only one that carries streams */
    struct list sessions;    /* all, also those that are not ready yet or retired */
    uint64_t last_number;    /* source: of the newest session made */
    uint64_t ready_number;   /* of the newest that was ready; never goes back */
    bool has_run;            /* a session has been ready once */
    uint32_t most_streams;   /* the highest max_streams that there was */
    struct idmap streams;    /* by id: those that protocol or owner still needs */
    struct list all;         /* the same, and those given up that owners still hold */
    uint64_t next_id; /* source: of the next stream to open; dest: that the peer must open next */
    struct list starved;  /* streams whose owners wait for budget or pool, in their order */
    uint64_t grant_round; /* grants of an earlier one count no more */
    uint64_t granted;     /* streams that have been told, and may each take tunnel_grant_bytes */
    uint64_t granted_at;  /* when the latest was */
    struct list dead;     /* released and ended: freed when no event is running */
    uint64_t opened_total;
    uint64_t resent_total; /* bytes that a resume has made us send once more */
    unsigned in_events;    /* depth of calls that may be inside an event */
    uint64_t send_held;    /* bytes in all streams' out */
    uint64_t recv_held;    /* bytes in all streams' in */
    uint64_t recv_blocks;  /* of the pool, that hold them */
    uint64_t send_window;  /* the peer's SETTING_INITIAL_WINDOW */
    uint64_t peer_max_streams;

    /* flow.c */
    struct idmap flows; /* by id */
    struct list all_flows;
    uint64_t next_flow;               /* source: number of the next to open */
    struct schedule flow_schedule;    /* flows that have datagrams */
    struct list sent_datagrams;       /* in a record that is not sealed yet */
    size_t flow_bytes;                /* of all blocks of datagrams */
    struct flow_closing *flow_closes; /* NULL while there is none */
    size_t flow_closes_sent;          /* of them, from the first on */
    size_t n_flow_closes;
    size_t flow_closes_room;
};

struct session {
    struct tunnel *tunnel;
    struct list link; /* in tunnel.sessions */
    uint64_t number;  /* in the tunnel, as the source counts; dest: 0 until it is ready */

    /* rekey.c */
    struct session_keys *keys;
    struct record_sealer *sealer;
    struct record_opener *opener;
    struct rotation rotation;
    bool holds_offer; /* room for one is taken from the tunnel's options.exchanges */
    struct key_age key_age;
    uint64_t derived_at;    /* when the keys of the exchange under way were derived */
    uint64_t changes_since; /* begin of the second that changes_in counts in */
    unsigned changes_in;    /* of the keys that the peer sends under */

    /* session.c */
    enum err error; /* once set, the session is dead */
    uint64_t now;

    size_t begun; /* size of the record of which a part was fed; 0: not known */

    uint8_t *out; /* a batch block, while sealed bytes wait */
    size_t out_at;
    size_t out_len;

    struct schedule schedule;
    struct list urgent;
    struct list lazy;
    uint64_t lazy_deadline;
    uint64_t starved_at; /* when owners that wait for memory were last looked after by time */

    size_t flows_ahead;    /* bytes of datagrams sent while streams had something to send */
    bool is_datagram_next; /* one did not fit: it begins the next record */

    bool settings_sent;
    bool is_ready;
    bool is_resumed;      /* it continues a tunnel: RESUME goes both ways first */
    bool resume_sent;     /* to the last */
    bool resume_received; /* to the last */
    bool ping_wanted;
    bool ping_waits; /* for its PONG */
    bool go_away_wanted;

    size_t pings_open; /* sent, and not answered */
    uint64_t ping_token;
    uint64_t ping_sent_at;
    uint64_t rtt_us;
    uint64_t rtt_min_us;
    uint64_t pong_count;
    uint64_t last_pong;
    uint64_t last_received;
    struct heartbeat heartbeat;

    uint8_t resume_header[RESUME_HEADER_SIZE];
    uint64_t pongs[SESSION_PONGS_MAX];
    size_t n_pongs;

    struct frame go_away;
    char go_away_text[GO_AWAY_TEXT_MAX];
};

/* Parts of one record: runs of frames that were written out, and payload that stays in its block.
 */
#define PLAN_PARTS   96
#define PLAN_SCRATCH 16384

struct plan {
    struct iovec parts[PLAN_PARTS];
    size_t n;
    size_t len;
    struct wire_writer w; /* over scratch: frames, and headers of data frames */
    uint8_t scratch[PLAN_SCRATCH];
};

/* -- stream.c -- */

/* A stream of the tunnel's in its map, with the credit given to the peer taken from the budget. */
enum err stream_new(struct stream **out, struct tunnel *t, uint64_t id) MUST_USE;

/* Frames of the peer. An error ends the session. */
enum err stream_on_accept(struct stream *s, const struct frame *f) MUST_USE;
enum err stream_on_reset(struct stream *s, const struct frame *f) MUST_USE;

/* A RESET that is wanted goes out once nothing is left that must go before it. */
void stream_push_reset(struct stream *s);

/* Tells an owner who is still there, once. */
void stream_tell_reset(struct stream *s, enum wire_code code);

/* What RESUME says of the stream; what it says counts as acknowledged, and as an answered reset. */
struct resume_entry stream_make_resume_entry(struct stream *s);

/* What the peer's RESUME says of the stream: sending goes on from there. */
enum err stream_on_resume(struct stream *s, const struct resume_entry *e) MUST_USE;

/* The peer's RESUME shows that it has never heard of the stream: it is opened again. */
enum err stream_on_unopened(struct stream *s) MUST_USE;

/* The peer's RESUME does not name the stream: it is over there. */
void stream_on_forgotten(struct stream *s);

/* After a resume: queues again whatever is to be sent. */
void stream_requeue(struct stream *s);

/* No session will carry it any more. */
void stream_on_lost(struct stream *s);

/* Frees the stream if its owner and the protocol are both done with it. */
void stream_reap(struct stream *s);

/* The control frame that a notice stands for, as it is to be sent now. */
void stream_make_frame(struct stream *s, enum notice notice, uint64_t now, struct frame *f);

/* That frame is in a record. May reap the stream. */
void stream_on_notice_sent(struct stream *s, const struct frame *f);

/* -- stream_send.c -- */

/* Whether the stream has data, or its FIN, to put into a record now. */
bool stream_is_sendable(const struct stream *s);

/* len more bytes, and perhaps the FIN, are in a record. */
void stream_on_sent(struct stream *s, size_t len, bool fin);

/* A frame of the peer. An error ends the session. */
enum err stream_on_credit(struct stream *s, const struct frame *f) MUST_USE;

/* The peer's credit, which never shrinks. */
void stream_send_raise_limit(struct stream *s, uint64_t limit);

/* There is memory for a stream on tunnel.starved: takes it from there and tells its owner. */
void stream_grant(struct stream *s);

/* Nothing more will be committed: nobody waits for room. */
void stream_send_stop_waiting(struct stream *s);

/* Nothing more will be sent: neither what is kept for repetition nor what was still to come. */
void stream_send_abandon(struct stream *s);

/* The peer has everything, our FIN too. */
void stream_send_complete(struct stream *s);

/* Sending goes on from offset. */
void stream_send_rewind(struct stream *s, uint64_t offset);

/* -- stream_recv.c -- */

/* Gives it the window of a stream that is connected, or about to be. */
void stream_widen(struct stream *s);

/* A frame of the peer. An error ends the session. */
enum err stream_on_data(struct stream *s, const struct frame *f) MUST_USE;

/* Hands to the owner what has been kept, as far as it takes it. */
void stream_recv_deliver(struct stream *s);

/* Nothing more will come: only what is kept needs memory. */
void stream_recv_end(struct stream *s);

/* Nothing more will be taken. */
void stream_recv_abandon(struct stream *s);

/* What to acknowledge. The FIN counts as one more offset, so that its arrival can be, too. */
uint64_t stream_recv_arrived(const struct stream *s);

/* The limit to announce, put forward as far as it may be. */
uint64_t stream_recv_advance(struct stream *s, uint64_t now);

/* -- flow.c -- */

/* A frame about a flow. */
enum err flow_on_frame(struct tunnel *t, const struct frame *f) MUST_USE;

/* The oldest datagram that waits, or NULL; the same taken out of the queue. */
struct datagram *flow_first(const struct flow *f);
struct datagram *flow_take(struct flow *f);

/* Gives its block back; the same for all whose record is sealed. */
void flow_free_datagram(struct tunnel *t, struct datagram *d);
void flow_free_sent(struct tunnel *t);

/* FLOW_CLOSE frames that waited are sent, or worth nothing any more. */
void flow_forget_closes(struct tunnel *t);

/* The session that carried the flows is gone: what waits for it is dropped, the flows stay. */
void flow_on_session_lost(struct tunnel *t);

/* Ends all flows; their owners hear on_flow_closed. */
void flow_lose_all(struct tunnel *t);

static inline bool flow_has_output(const struct tunnel *t)
{
    return t->n_flow_closes > t->flow_closes_sent || !schedule_is_empty(&t->flow_schedule);
}

/* -- session.c -- */

/* Queues a control frame of the stream: at once, or with the next record (within ACK_DELAY_US). */
void session_notify(struct stream *s, enum notice notice);
void session_notify_lazily(struct stream *s, enum notice notice);

/* The stream has something to send. */
void session_schedule(struct stream *s);

/* Takes the stream out of every list, but keeps what it waits to send. */
void session_detach(struct stream *s);

/* The session behind its link in tunnel.sessions. */
struct session *session_of_link(struct list *link);

uint64_t session_now(const struct tunnel *t);

/* Whether streams may speak on this session now. */
bool session_carries_streams(const struct session *s);

/* Once both sides have told where they are, streams go on. */
void session_finish_resume(struct session *s);

/* For tests of the key switch only: as if so many records had been sealed and opened. */
void session_skip_to_for_test(struct session *s, uint64_t sealed, uint64_t opened);

/* Seals the plan into the session's output. */
enum err session_seal(struct session *s, const struct plan *p) MUST_USE;

/* -- rekey.c -- */

/* Takes the keys; on error, too, rekey_fini is to be called. */
enum err rekey_init(struct session *s, struct session_keys *keys) MUST_USE;
void rekey_fini(struct session *s);

/* Frames of the peer. An error ends the session. */
void rekey_on_settings(struct session *s, const struct frame *f);
enum err rekey_on_exchange(struct session *s, const struct frame *f) MUST_USE;
enum err rekey_on_switch(struct session *s, const struct frame *f) MUST_USE;

/* Between two records: changes the key that we seal under, if it is time. */
enum err rekey_if_due(struct session *s) MUST_USE;

enum err rekey_tick(struct session *s) MUST_USE;

/* -- plan.c -- */

void plan_init(struct plan *p);

/* False when the record has no room for it. */
bool plan_frame(struct plan *p, const struct frame *f);

/* The next record of the session; empty when there is nothing to send now. */
void plan_record(struct session *s, struct plan *p);

/* -- tunnel.c -- */

enum err tunnel_on_frame(struct tunnel *t, const struct frame *f) MUST_USE;

/* No session carries the streams any more, or another one will. */
void tunnel_detach_streams(struct tunnel *t);

/* -- resume.c -- */

/*
 * Writes entries of streams that the session has not yet told of, as many as fit; *is_last says
 * that none is left.
 */
void resume_list(struct tunnel *t, uint64_t number, struct wire_writer *w, bool *is_last);

/* A RESUME frame of the peer on the session of that number. */
enum err resume_on_frame(struct tunnel *t, uint64_t number, const struct frame *f) MUST_USE;

/* Both sides have told everything: streams go on. */
void resume_finish(struct tunnel *t);

/*
 * Around everything that may call events, or gives memory back. The last leave tells owners that
 * wait for memory, if there is some now, and frees dead streams.
 */
void tunnel_enter(struct tunnel *t);
void tunnel_leave(struct tunnel *t);

/* Bytes that the tunnel's owners may commit now. */
uint64_t tunnel_hold_left(const struct tunnel *t);

/* Of these, what is for each stream that has waited for memory when its turn comes. */
uint64_t tunnel_grant_bytes(const struct tunnel *t);

/* By time: grants that nobody came for are over. */
void tunnel_expire_grants(struct tunnel *t);

#endif
