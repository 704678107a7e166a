/*
 * The tunnels of one worker of a dest, also those that no session carries at the moment.
 *
 *   adopt, fresh: new tunnel ──> carrier
 *   adopt, resumed: the tunnel has one more carrier
 *   its source may not stay (its certificate is over or revoked, a rule has changed) ──> closed
 *   the last carrier is lost ──> waiting ──> stream_resume_timeout_secs are over ──> closed
 *
 * Threads: the worker's.
 */
#ifndef UTUN_ROLE_DEST_TUNNEL_H
#define UTUN_ROLE_DEST_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "config/config.h"
#include "net/established.h"
#include "net/sweep.h"
#include "net/tunnel_owner.h"
#include "role/admission.h"
#include "role/audit.h"
#include "role/expiry.h"
#include "role/placement.h"
#include "role/role_state.h"
#include "role/tunnel_history.h"
#include "role/walk.h"

struct dest_tunnel;

/* Embed it in what the worker keeps, and call dest_tunnels_init. Fields are for dest_tunnel.c. */
struct dest_tunnels {
    const struct config *config; /* until dest_tunnels_change */
    struct placement *placement;
    struct admission *admission;
    struct worker *worker;
    uint32_t max_streams; /* of one tunnel; flows likewise */
    /* As in struct tunnel_owner_events; to be answered with pump_dial or tunnel_owner_refuse. */
    void (*on_open)(struct dest_tunnels *tunnels, struct dest_tunnel *t, struct stream *stream,
                    const struct stream_target *target);
    void (*on_flow)(struct dest_tunnels *tunnels, struct dest_tunnel *t, struct flow *flow,
                    const struct stream_target *target);
    struct list all;
    struct sweep waiting; /* those without a session */
    struct sweep unsaid;  /* those with refusals that the log does not tell of yet */
    struct expiry expiry; /* of the first certificate of a source to be over */
    struct walk recheck;  /* those whose certificate is to be verified again */
    X509_STORE *store;    /* by this one; NULL: none is */
};

struct dest_tunnel {
    struct tunnel_owner owner;
    struct dest_tunnels *tunnels;
    struct placement_key key;
    uint8_t *secret;
    struct admitted *source;
    struct dest_peer *peer;
    struct audit_who who;
    struct audit_pace refusals;
    struct list link;
    struct sweep_item waiting;
    struct walk_item recheck;
    struct worker_task ending; /* closes it, once the peer has been told why */
    enum err end_why;
    struct tunnel_history history;
    bool is_leaving; /* the source has said goodbye: how its connection ends says nothing more */
};

/* config, placement, admission, worker, max_streams, on_open and on_flow are set. */
void dest_tunnels_init(struct dest_tunnels *tunnels);

/* When the worker stops. */
void dest_tunnels_close(struct dest_tunnels *tunnels);

/*
 * A session whose handshake is done, and its place (placement_enter or placement_resume), which is
 * left here when the tunnel ends. Takes what is in e, and the place, also on error: ERR_CLOSED (the
 * tunnel that it would continue has just been given up), ERR_LIMIT (it has TUNNEL_SESSIONS_MAX),
 * ERR_NOMEM, those of admission_join and carrier_new.
 */
enum err dest_tunnels_adopt(struct dest_tunnels *tunnels, struct established *e,
                            const struct placement_key *key) MUST_USE;

/*
 * Ends the tunnels of sources that the configuration no longer accepts, by their address, or
 * because they have shown no certificate; and then, over some turns, those of sources that this
 * store (identity_store) no longer accepts. To verify a certificate takes from a quarter of a
 * millisecond to some, by the length of the CRL.
 */
void dest_tunnels_recheck(struct dest_tunnels *tunnels, X509_STORE *store);

/* Another configuration, with other bounds. It lives as the one before. See recheck. */
void dest_tunnels_change(struct dest_tunnels *tunnels, const struct config *config,
                         uint32_t max_streams);

/* For role_state. */
void dest_tunnels_get_state(const struct dest_tunnels *tunnels, struct role_worker *out);

#endif
