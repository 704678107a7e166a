/*
 * The way of one source worker to the dest: a tunnel that lasts, and the sessions that carry it,
 * made, watched, refreshed and made again.
 *
 *   dialing ── established ──> carried ── lost ──> waiting (breaker, backoff) ──> dialing
 *      └── failed: the next address, the next host       └── refresh: dialing beside it
 *          at once; then waiting
 *
 * When the dest says goodbye, a session is made beside the one that it will close, as in a refresh:
 * whoever takes its place may be there already. For the breaker that is a loss like others, so that
 * no dest makes its sources do one handshake after the other by its goodbyes alone.
 *
 * A refresh goes to the dest that has the session, as long as that session is well; one that is
 * refused comes again later, and the session in use goes on.
 *
 * A session that continues the tunnel takes its streams over. One that does not (the dest has
 * forgotten the tunnel, or it is another dest) gets a tunnel of its own; the streams of the old one
 * are given up, or, while their session still lives, have connection_drain_timeout_secs to end.
 * That is so for a refresh too: who answers at the dest's place now (behind a balancer, or because
 * the name has other addresses) is who would take new streams after a loss, and a session that were
 * kept for ever instead would never get new keys and certificates.
 *
 * Threads: the worker's, where nothing else is said.
 */
#ifndef UTUN_ROLE_UPLINK_H
#define UTUN_ROLE_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/x509.h>
#include <uv.h>

#include "base/error.h"
#include "config/config.h"
#include "net/handshaker.h"
#include "net/tunnel_owner.h"
#include "net/worker.h"
#include "role/credentials.h"
#include "role/dest_hosts.h"
#include "role/dial.h"
#include "role/loss_note.h"
#include "role/pace.h"
#include "role/role_state.h"
#include "role/source_tunnel.h"

/* Embed it in what stands behind the uplink, and fill it in. */
struct uplink_owner {
    /* A session carries the tunnel: streams may be opened. */
    void (*on_ready)(struct uplink_owner *owner, struct carrier *carrier);
    /* The configuration does not allow to try again. */
    void (*on_give_up)(struct uplink_owner *owner, const char *why);
};

/* Fields are for uplink.c and uplink_reload.c alone. */
struct uplink {
    const struct config *config; /* owned */
    struct uplink_owner *owner;
    struct worker *worker;
    struct handshaker *handshaker;
    struct source_tunnel_owner behind;
    struct list tunnels;          /* all: this one, and those that it has replaced */
    struct source_tunnel *tunnel; /* where new streams go */
    uint8_t *secret;              /* the tunnel's */
    bool has_secret;              /* it has had a session */
    bool is_open;
    bool has_given_up;
    uint64_t dials; /* these four: how many there were */
    uint64_t failures;
    uint64_t losses;
    uint64_t refreshes;
    struct loss_note loss; /* the last failure or loss */

    struct pace pace;
    uv_timer_t retry;
    uv_timer_t refresh;
    uv_timer_t patience; /* of streams that wait for a session */
    uv_timer_t failback; /* to a better dest */

    struct dial_owner dialing;
    struct dial dial;
    bool is_refresh;
    bool is_failback;  /* beside a session with another dest */
    bool is_outdated;  /* the session in use: its dest will close it, or does not renew its keys */
    bool is_elsewhere; /* the dial is to a dest that the configuration has no more */
    uint64_t renewals; /* of the credentials in use now; these two: see uplink_renew */
    uint64_t shown;    /* of those that the newest session was made with */
    struct dest_hosts hosts;
};

/* Any thread; the configuration gets one more owner, credentials outlive it. ERR_NOMEM, ERR_RANDOM:
 * call fini too. */
enum err uplink_init(struct uplink *u, const struct config *config, struct credentials *credentials,
                     struct uplink_owner *owner) MUST_USE;

/* When worker and handshaker are gone. Harmless on one that is all zeros. */
void uplink_fini(struct uplink *u);

/* On the worker's start: makes the tunnel and dials. The handshaker outlives the worker. */
enum err uplink_open(struct uplink *u, struct worker *worker,
                     struct handshaker *handshaker) MUST_USE;

/* What another configuration takes, made ahead; it goes with uplink_change. */
struct uplink_change {
    const struct config *config;
    struct pace pace;
};

/* Any thread. ERR_NOMEM. fini is harmless after uplink_change, and on zeros. */
enum err uplink_change_init(struct uplink_change *change, const struct config *fresh) MUST_USE;
void uplink_change_fini(struct uplink_change *change);

/*
 * Another configuration. When it names another dest, a session with that is made beside the one
 * that runs, as in a refresh. Never fails.
 */
void uplink_change(struct uplink *u, struct uplink_change *change);

/*
 * Ends the sessions of dests that this store (identity_store) no longer accepts. Streams wait for a
 * session with one that it does.
 */
void uplink_recheck(struct uplink *u, X509_STORE *store);

/*
 * Of the credentials that are in use now (credentials_renewals). A session that shows an older
 * certificate is refreshed at once: the dest ends what rests on it when that expires, and its
 * streams, too.
 */
void uplink_renew(struct uplink *u, uint64_t renewals);

/* When the worker drains: no new session. */
void uplink_drain(struct uplink *u);

/* When the worker stops. Harmless when never opened. */
void uplink_close(struct uplink *u);

/*
 * Where streams can be opened and go out at once; NULL while there is no session, or only one whose
 * dest has said goodbye.
 */
struct tunnel_owner *uplink_tunnel(struct uplink *u);

/* For role_state: out->uplink and the tunnels. Leaves out alone while the uplink is not open. */
void uplink_get_state(struct uplink *u, struct role_worker *out);

#endif
