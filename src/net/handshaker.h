/*
 * Every handshake of a process, on one thread of its own at low priority: at a dest it accepts on
 * the tunnel's listener, at a source it dials. What comes out is a struct established for a worker,
 * or the reason why not. No data loop ever does a signature, a key agreement or a McEliece key.
 *
 * Who comes in passes the address filter and the doorkeeper (net/doorkeeper.h). Refused, it is
 * reset at once: it has cost an accept, and leaves nothing behind in the kernel. A peer whose
 * handshake fails is told why (a TLS alert or an ABORT, then FIN) before it is closed.
 *
 * Threads: handshaker_start, _dial, and _stop from any; callbacks on the handshake thread.
 */
#ifndef UTUN_NET_HANDSHAKER_H
#define UTUN_NET_HANDSHAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/key_schedule.h"
#include "crypto/peer_identity.h"
#include "net/address.h"
#include "net/address_list.h"
#include "net/established.h"
#include "net/stats.h"

/* A source that has been sent the reason has so long to close, so that it arrives. */
#define HANDSHAKER_FAREWELL_MS 500

/* How long after a look that wants another one that comes. */
#define HANDSHAKER_LOOK_MS 1000

struct address_list;      /* net/address_list.h */
struct handshake_visitor; /* tunnel/handshake.h */
struct handshaker;
struct keypair_pool; /* crypto/keypair_pool.h */
struct rate_limit;   /* net/rate_limit.h */
struct tls_context;  /* crypto/tls_context.h */

/* Why there is no session. */
struct handshaker_failure {
    struct address peer; /* none: no connection was made */
    enum err why;
    const char *detail; /* for people; lives as long as the callback */
    /* What was advised: by the dest at a source, by us at a dest. 0: nothing. Not bounded. */
    uint32_t retry_after_ms;
};

/* Embed it in what stands behind the handshaker, and fill it in. A source may leave all NULL. */
struct handshaker_owner {
    /* Dest: whether this address may try at all. NULL: all may. */
    bool (*is_allowed)(struct handshaker_owner *owner, const struct address *peer);
    /*
     * Dest: a handshake begins; whose certificates count in it. It may read files. Live until the
     * next call. NULL, as pointer or as answer: those of the options.
     */
    const struct tls_context *(*choose_tls)(struct handshaker_owner *owner);
    /* Dest: closed before any work: ERR_NOT_ALLOWED, ERR_LIMIT, ERR_RATE. */
    void (*on_refused)(struct handshaker_owner *owner, const struct address *peer, enum err why);
    /* Dest: a handshake that began and failed. */
    void (*on_failed)(struct handshaker_owner *owner, const struct handshaker_failure *failure);
    /* Dest: a session. Takes what is in e. */
    void (*on_established)(struct handshaker_owner *owner, struct established *e);
    /*
     * Dest: the secret of a tunnel that a source wants to continue; see struct handshake_options.
     * NULL: nothing is ever resumed.
     */
    bool (*on_resume)(struct handshaker_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE]);
    /*
     * Dest: a source is authenticated: ERR_OK, or why there is no session for it (see
     * handshake_options; the advice is on_advise's). NULL: all get one.
     */
    enum err (*on_admit)(struct handshaker_owner *owner, struct handshake_visitor *visitor);
    /*
     * Dest: how long a source that is refused for this reason should wait before it tries again;
     * jittered, so that not all come back at once. NULL, or 0: no advice.
     */
    uint32_t (*on_advise)(struct handshaker_owner *owner, enum err why);
    /*
     * Dest: handshaker_look was called, for what belongs to no handshake. It may read files. True:
     * once more, after HANDSHAKER_LOOK_MS. NULL: there is nothing to look for.
     */
    bool (*on_look)(struct handshaker_owner *owner);
    /* Dest: accepting failed, mostly for want of descriptors; it goes on by itself. */
    void (*on_trouble)(struct handshaker_owner *owner, enum err why);
};

/* What it counts; rules as in net/stats.h, the handshake thread being the only writer. */
struct handshaker_stats {
    _Atomic uint64_t in_flight;
    _Atomic uint64_t ended[ERR_COUNT];   /* by result */
    _Atomic uint64_t refused[ERR_COUNT]; /* closed before any work */
    struct histogram duration;           /* of those that succeeded */
};

struct handshaker_options {
    const struct tls_context *tls; /* outlives the handshaker; NULL: there always is a choose_tls */
    struct keypair_pool *pool;     /* source, in modes with McEliece; outlives the handshaker */
    size_t max_size;               /* bytes a peer may send; see struct handshake_options */
    uint32_t connect_timeout_ms;   /* source: resolving and connecting */

    /* -- dest only -- */
    int listen_fd;           /* of listener_bind; taken, also on error. A source: -1 */
    uint32_t rate_limit;     /* handshakes that one address may begin ... 0: no limit,
                                neither for one nor for all strangers */
    uint32_t rate_window_ms; /* ... in this time */
    uint32_t max_in_flight;  /* of these three quarters may be one address's, or strangers' */
    struct handshaker_owner *owner; /* may be NULL at a source */
};

/* ERR_NOMEM, ERR_LIMIT (no thread, no descriptor), ERR_RANDOM. */
enum err handshaker_start(struct handshaker **out,
                          const struct handshaker_options *options) MUST_USE;

/*
 * Takes nothing new and ends what is under way: dials with ERR_SHUTDOWN; sources that are
 * authenticated are told so, with advice, within HANDSHAKER_FAREWELL_MS. Does not wait: callbacks
 * may come until handshaker_free has returned.
 */
void handshaker_stop(struct handshaker *h);

/* Stops it, waits for its thread, frees. Not from its callbacks. NULL is fine. */
void handshaker_free(struct handshaker *h);

/* One try of a source. Embed it, fill it in; it is the handshaker's until on_outcome is called. */
struct handshaker_dial {
    const char *host; /* a name or an address, which the dest's certificate must have */
    uint16_t port;
    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    const uint8_t *tunnel_secret; /* to continue the tunnel; NULL: a new one. Until on_outcome */
    const struct address *stay;   /* these two: see dialer_options; NULL: none. Until on_outcome */
    const struct address_list *skip;
    /*
     * On the handshake thread, once connected: whose certificates count in this try. It may read
     * files. Live until the next call. NULL, as pointer or as answer: the handshaker's.
     */
    const struct tls_context *(*choose_tls)(struct handshaker_dial *dial);
    /*
     * Exactly once, never from inside handshaker_dial except after handshaker_stop: failure is NULL
     * and what is in e is taken, or failure says why not. The dial is the caller's again.
     */
    void (*on_outcome)(struct handshaker_dial *dial, struct established *e,
                       const struct handshaker_failure *failure);
    struct handshaker_dial *next; /* the handshaker's */
};

void handshaker_dial(struct handshaker *h, struct handshaker_dial *dial);

/* Calls on_look, soon and on the handshake thread. Any thread; does not wait. */
void handshaker_look(struct handshaker *h);

/* Something to be done on the handshake thread, between two of its turns. Embed it. */
struct handshaker_call {
    void (*run)(struct handshaker_call *call, struct handshaker *h);
    struct handshaker_call *next; /* the handshaker's */
    bool is_done;                 /* under its lock */
};

/*
 * Runs it there and waits for its end. False: the handshaker stops, and it was not run. Not from
 * the handshake thread.
 */
bool handshaker_run(struct handshaker *h, struct handshaker_call *call) MUST_USE;

/* What of the options can be others later. */
struct handshaker_bounds {
    size_t max_size;
    uint32_t max_in_flight; /* these three: dest */
    uint32_t rate_limit;    /* as in the options */
    struct rate_limit *rate;
    /* Source: in modes with McEliece. It stays for handshaker_take_keypair when it is NULL. */
    struct keypair_pool *pool;
};

/*
 * Sets them, for handshakes that begin from now on. rate is taken, and what it replaces freed; NULL
 * leaves it as it is. On the handshake thread only: from inside handshaker_run.
 */
void handshaker_set_bounds(struct handshaker *h, const struct handshaker_bounds *bounds);

/* Source: a McEliece key pair of its pool, NULL when none is ready; see keypair_pool_take. */
struct mceliece_keypair *handshaker_take_keypair(struct handshaker *h) MUST_USE;

/* Lives as long as the handshaker. Any thread. */
const struct handshaker_stats *handshaker_stats(const struct handshaker *h);

#endif
