/*
 * A tunnel of a source, as its uplink keeps it. There is one where new streams go; a tunnel whose
 * place another one has taken lives on until its last stream has ended, or drain_ms are over.
 *
 *   new ──> current ── retire ──> draining ── the last stream ends, or time is over ──> closed
 *                         └── it has no session: its streams are given up ──> closed
 *
 * A session lasts no longer than the certificate of its dest.
 *
 * Threads: the worker's.
 */
#ifndef UTUN_ROLE_SOURCE_TUNNEL_H
#define UTUN_ROLE_SOURCE_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/x509.h>
#include <uv.h>

#include "base/error.h"
#include "config/config.h"
#include "net/carrier.h"
#include "net/tunnel_owner.h"
#include "role/expiry.h"
#include "role/role_state.h"
#include "role/tunnel_history.h"

struct source_tunnel;

/* Embed it in what stands behind the tunnel, and fill it in. */
struct source_tunnel_owner {
    /* A session carries the tunnel. It has just ended a pause of pause_us; 0: there was none. */
    void (*on_ready)(struct source_tunnel_owner *owner, struct source_tunnel *t,
                     struct carrier *carrier, uint64_t pause_us);
    /* A session has ended, and none is left. Not for a tunnel that is retired or closing. */
    void (*on_uncarried)(struct source_tunnel_owner *owner, struct source_tunnel *t,
                         struct carrier *carrier);
    /* A session has ended that was to take over from another, which goes on. As above. */
    void (*on_stillborn)(struct source_tunnel_owner *owner, struct source_tunnel *t);
    /* The dest will close the session. Not for a tunnel that is retired. */
    void (*on_go_away)(struct source_tunnel_owner *owner, struct source_tunnel *t,
                       enum wire_code code, uint32_t retry_after_ms);
    /* As in struct tunnel_events, said in the log. Not for a tunnel that is retired. */
    void (*on_keys)(struct source_tunnel_owner *owner, struct carrier *carrier,
                    enum key_event event);
    /* Nothing of it is left; it is freed when this returns. */
    void (*on_closed)(struct source_tunnel_owner *owner, struct source_tunnel *t);
};

/* Anybody may read. */
struct source_tunnel {
    struct tunnel_owner owner;
    struct source_tunnel_owner *behind;
    struct tunnel_history history;
    struct list link; /* in the uplink's */
    bool is_leaving;  /* the dest has said goodbye: how the connection ends says nothing more */
    bool is_retired;
    uv_timer_t drain; /* once retired */
    uint64_t drain_until;
    struct expiry expiry; /* of the first certificate of a session's dest to be over */
};

enum err source_tunnel_new(struct source_tunnel **out, struct source_tunnel_owner *behind,
                           struct worker *worker, const struct config *config) MUST_USE;

/* Another configuration, which is only read. */
void source_tunnel_change(struct source_tunnel *t, const struct config *config);

/* Ends its sessions with dests that this store (identity_store) no longer accepts. */
void source_tunnel_recheck(struct source_tunnel *t, X509_STORE *store);

/* Another one has taken its place. */
void source_tunnel_retire(struct source_tunnel *t, uint64_t drain_ms);

/* No session will carry its streams on: says why, and resets them. */
void source_tunnel_give_up(struct source_tunnel *t, const char *why);

void source_tunnel_get_state(const struct source_tunnel *t, struct role_tunnel *out);

#endif
