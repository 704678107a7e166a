/*
 * A pump as its own files see it: net/pump_start.c begins one, net/pump.c moves its bytes,
 * net/pump_end.c ends it. For nobody else.
 */
#ifndef UTUN_NET_PUMP_STATE_H
#define UTUN_NET_PUMP_STATE_H

#include "net/pump.h"
#include "net/pump_set.h"

/* What is read at once in the beginning: a chain's smallest block. */
#define PUMP_READ_MIN ((uint32_t)4032)

struct proxy_preface;

enum pump_state {
    PUMP_CONNECTING, /* dest: the target has not answered */
    PUMP_ASKING,     /* source: the dest has not, and the client waits to be told */
    PUMP_OPEN,
    PUMP_CUT,        /* the local side is gone; what it sent is read out */
    PUMP_DELIVERING, /* the peer reset; what it sent is written */
    PUMP_LINGERING,  /* all is written; the local kernel has not acknowledged all */
    PUMP_DONE,       /* waits in pump_set.dead */
};

/* What the pump waits for, as counted. */
enum pump_pause {
    PUMP_PAUSE_SEND = 1 << 0,    /* room for what the local side may have sent */
    PUMP_PAUSE_RECEIVE = 1 << 1, /* the local socket to take more */
};

struct stream_owner {
    struct watch watch;
    struct list link;        /* in tunnel_owner.pumps */
    struct sweep_item timer; /* in one of pump_set's sweeps, or dead */
    struct tunnel_owner *tunnel;
    struct stream *stream; /* NULL once released */
    struct pump_owner *owner;
    struct target_owner target_owner;
    struct target *target;                                              /* while connecting */
    size_t (*reply)(enum err why, uint8_t room[static PUMP_REPLY_MAX]); /* for who asks; or NULL */
    char *detail;                                                       /* for people, or NULL */
    char *name;                                                         /* of the target, or NULL */
    struct proxy_preface *preface; /* for the target while connecting, or NULL */
    uint64_t started_us;
    uint64_t bytes_from_local;
    uint64_t bytes_to_local;
    uint64_t linger_since_ms; /* of the last progress */
    uint32_t linger_left;     /* bytes that are not acknowledged */
    uint32_t read_want;
    struct stream_address client;
    uint16_t port;
    uint8_t state; /* enum pump_state */
    uint8_t by;    /* enum pump_side */
    uint8_t linger_step;
    uint8_t pauses; /* set of enum pump_pause */
    bool was_open : 1;
    bool is_half_closed : 1;   /* counted as such */
    bool local_finished : 1;   /* read gave 0 */
    bool peer_finished : 1;    /* shutdown(SHUT_WR) is done */
    bool write_blocked : 1;    /* the socket took less than it was given */
    bool must_read_on : 1;     /* a short read may have left something: FIN, RST, urgent data */
    bool fin_before_error : 1; /* the local FIN came before the error of PUMP_CUT */
    bool is_refused : 1;       /* the client has been told why, and lingers for that */
    enum err why;
};

enum pump_local_end {
    PUMP_END_CLOSE, /* the kernel delivers what is left */
    PUMP_END_RESET,
};

static inline struct worker *pump_worker(const struct stream_owner *p)
{
    return p->tunnel->worker;
}

static inline struct pump_set *pump_worker_set(const struct stream_owner *p)
{
    return worker_pumps(pump_worker(p));
}

static inline struct stats *pump_stats_of(const struct stream_owner *p)
{
    return worker_stats(pump_worker(p));
}

/* Only along the moves that net/pump_end.c lists. */
void pump_enter(struct stream_owner *p, enum pump_state state);

/* Whether it counts as half-closed, and idles on that timer. */
void pump_mark_half_closed(struct stream_owner *p, bool is_half_closed);

/* The set of enum pump_pause that it counts as. */
void pump_mark_paused(struct stream_owner *p, unsigned pauses);

/* The first reason counts. */
void pump_note_reason(struct stream_owner *p, enum err why, enum pump_side by);

/* Ends both of its sides; it is freed when the worker's turn is over. */
void pump_finish(struct stream_owner *p, enum pump_local_end local);

/* Resets both sides at once. */
void pump_cut_both(struct stream_owner *p, enum err why);

/* One that has never begun. NULL is fine. */
void pump_free(struct stream_owner *p);

/* Of its socket, in every state. */
void pump_on_ready(struct watch *watch, unsigned events);

#endif
