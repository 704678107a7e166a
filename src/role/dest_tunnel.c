#include "role/dest_tunnel.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "net/carrier.h"
#include "net/flow_owner.h"
#include "net/pump.h"
#include "ops/log.h"
#include "role/session_log.h"
#include "tunnel/handshake.h"

/* How the heartbeat asks for life; a source's pace is its own matter. */
#define HEARTBEAT_INTERVAL_US ((uint64_t)15 * 1000 * 1000)
#define HEARTBEAT_TIMEOUT_US  ((uint64_t)5 * 1000 * 1000)
#define HEARTBEAT_MAX_MISSED  3

#define NOT_IN_TIME "no new session within stream_resume_timeout_secs"

/* A source, as far as this worker's memory is concerned. */
struct dest_peer {
    struct tunnel_peer engine;
    uint8_t identity[PEER_IDENTITY_SIZE];
};

static struct dest_tunnel *tunnel_of(struct tunnel_owner *owner)
{
    return list_entry(owner, struct dest_tunnel, owner);
}

static struct dest_peer *peer_of(const struct dest_tunnels *tunnels,
                                 const uint8_t identity[PEER_IDENTITY_SIZE])
{
    struct dest_peer *peer;

    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        peer = list_entry(l, struct dest_tunnel, link)->peer;
        if (memcmp(peer->identity, identity, sizeof(peer->identity)) == 0)
            return peer;
    }
    peer = calloc(1, sizeof(*peer));
    if (peer != NULL)
        memcpy(peer->identity, identity, sizeof(peer->identity));
    return peer;
}

/* After its last tunnel. */
static void peer_leave(struct dest_peer *peer)
{
    if (peer != NULL && peer->engine.tunnels == 0)
        free(peer);
}

/* -- the end -- */

/* Its source cannot continue it any more. */
static void close_tunnel(struct dest_tunnel *t, enum err why)
{
    sweep_remove(&t->waiting);
    placement_forget(t->tunnels->placement, &t->key, t->secret);
    tunnel_owner_close(&t->owner, why);
}

static void give_up(struct dest_tunnel *t, const char *why)
{
    struct tunnel_state state;

    tunnel_get_state(t->owner.tunnel, &state);
    if (state.streams > 0)
        LOG(LOG_LEVEL_WARN, "tunnel.lost", LOG_UINT("streams", state.streams), LOG_MSG(why));
    close_tunnel(t, ERR_CLOSED);
}

static void on_waited(struct sweep *sweep, struct sweep_item *item)
{
    struct dest_tunnel *t = list_entry(item, struct dest_tunnel, waiting);

    (void)sweep;
    /* One that is on its way has been told that the tunnel goes on: its end decides. */
    if (!tunnel_owner_has_carrier(&t->owner))
        give_up(t, NOT_IN_TIME);
}

static void on_unsaid(struct sweep *sweep, struct sweep_item *item)
{
    struct dest_tunnel *t = list_entry(item, struct dest_tunnel, refusals.unsaid);

    (void)sweep;
    audit_log_left_out(&t->who, &t->refusals);
}

/* -- events -- */

static void on_open(struct tunnel_owner *owner, struct stream *stream,
                    const struct stream_target *target)
{
    struct dest_tunnel *t = tunnel_of(owner);

    t->tunnels->on_open(t->tunnels, t, stream, target);
}

static void on_flow(struct tunnel_owner *owner, struct flow *flow,
                    const struct stream_target *target)
{
    struct dest_tunnel *t = tunnel_of(owner);

    t->tunnels->on_flow(t->tunnels, t, flow, target);
}

static void on_session_ready(struct tunnel_owner *owner, struct carrier *carrier)
{
    struct dest_tunnel *t = tunnel_of(owner);
    uint64_t pause = tunnel_history_pause(&t->history, worker_now(owner->worker));

    t->who.address = *carrier_peer(carrier);
    session_log_up(carrier);
    session_log_resume(owner, carrier, pause);
    tunnel_history_on_ready(&t->history, carrier);
    placement_prove(t->tunnels->placement, &t->key, t->secret);
    placement_wake(t->tunnels->placement, &t->key);
    sweep_remove(&t->waiting);
    t->is_leaving = false;
}

static void on_session_lost(struct tunnel_owner *owner, struct carrier *carrier, enum err why)
{
    struct dest_tunnel *t = tunnel_of(owner);
    uint64_t now = worker_now(owner->worker);

    if (t->is_leaving && why == ERR_RESET)
        why = ERR_CLOSED;
    session_log_down(carrier, why);
    tunnel_history_on_lost(&t->history, why, now);
    if (owner->is_closing || tunnel_owner_has_carrier(owner))
        return;
    if (worker_is_draining(owner->worker)) {
        close_tunnel(t, ERR_SHUTDOWN);
        return;
    }
    if (t->is_leaving || t->tunnels->config->dest.stream_resume_timeout_secs == 0) {
        give_up(t, t->is_leaving ? "the source has shut down" : "streams do not wait");
        return;
    }
    if (t->history.lost_at != 0) {
        if (!list_is_linked(&t->waiting.link))
            give_up(t, NOT_IN_TIME);
        return;
    }
    tunnel_history_on_uncarried(&t->history, now);
    placement_rest(t->tunnels->placement, &t->key);
    sweep_touch(&t->tunnels->waiting, &t->waiting);
}

static void on_go_away(struct tunnel_owner *owner, struct carrier *carrier, enum wire_code code,
                       uint32_t retry_after_ms, const char *text)
{
    struct dest_tunnel *t = tunnel_of(owner);

    t->is_leaving = code == WIRE_SHUTDOWN;
    tunnel_history_on_go_away(&t->history, code, text);
    session_log_go_away(carrier, code, retry_after_ms, text);
}

static void on_closed(struct tunnel_owner *owner)
{
    struct dest_tunnel *t = tunnel_of(owner);

    audit_log_left_out(&t->who, &t->refusals);
    list_remove(&t->link);
    sweep_remove(&t->waiting);
    walk_remove(&t->recheck);
    worker_task_cancel(&t->ending);
    placement_leave(t->tunnels->placement, &t->key);
    admission_part(t->tunnels->admission, t->source);
    secret_free(t->secret, TUNNEL_SECRET_SIZE);
    peer_leave(t->peer);
    free(t);
}

static void on_keys(struct tunnel_owner *owner, struct carrier *carrier, enum key_event event)
{
    (void)owner;
    session_log_keys(carrier, event);
}

static const struct tunnel_owner_events tunnel_events = {
    .on_open = on_open,
    .on_flow = on_flow,
    .on_session_ready = on_session_ready,
    .on_session_lost = on_session_lost,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
    .on_closed = on_closed,
};

/* -- who may stay -- */

static void end_revoked(struct dest_tunnel *t, enum err why, const char *detail)
{
    struct tunnel_state state;

    tunnel_get_state(t->owner.tunnel, &state);
    audit_log_revoked(&t->who, why, detail, state.streams);
    pump_abort_all(&t->owner, why);
    flow_owner_abort_of(&t->owner, NULL, why);
    tunnel_owner_go_away(&t->owner, WIRE_IDENTITY, detail);
    t->end_why = why;
    worker_defer(t->owner.worker, &t->ending);
}

/* In the same turn, behind the flush that has told the peer. */
static void on_ending(struct worker_task *task)
{
    struct dest_tunnel *t = list_entry(task, struct dest_tunnel, ending);

    close_tunnel(t, t->end_why);
}

/* By the configuration alone. *detail is static. */
static enum err check_rules(const struct dest_tunnel *t, const char **detail)
{
    const struct config *config = t->tunnels->config;
    const struct cidr_list *addresses = &config->dest.allowed_source_ips;
    const struct sockaddr *address = (const struct sockaddr *)&t->who.address.sockaddr;

    if (addresses->count > 0 && !cidr_list_is_match(addresses, address)) {
        *detail = "the address is not in allowed_source_ips any more";
        return ERR_NOT_ALLOWED;
    }
    if (admission_cert(t->source) == NULL && config->auth.use_mtls &&
        config->auth.verify_client_cert) {
        *detail = "sources have to show a certificate now";
        return ERR_CERT_MISSING;
    }
    return ERR_OK;
}

static bool is_ending(const struct dest_tunnel *t)
{
    return t->owner.is_closing || t->end_why != ERR_OK;
}

static void wait_for_expiry(struct dest_tunnel *t)
{
    const struct peer_cert *cert = admission_cert(t->source);

    if (cert != NULL)
        expiry_set_earlier(&t->tunnels->expiry, peer_cert_until(cert));
}

static void on_expiry(struct expiry *expiry)
{
    struct dest_tunnels *tunnels = list_entry(expiry, struct dest_tunnels, expiry);

    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        const struct peer_cert *cert = admission_cert(t->source);
        const char *detail = "";
        enum err e = ERR_OK;

        if (is_ending(t))
            continue;
        if (cert != NULL)
            e = peer_cert_check_time(cert, &detail);
        if (e != ERR_OK)
            end_revoked(t, e, detail);
        else
            wait_for_expiry(t);
    }
}

static void on_recheck(struct walk *walk, struct walk_item *item)
{
    struct dest_tunnel *t = list_entry(item, struct dest_tunnel, recheck);
    struct dest_tunnels *tunnels = list_entry(walk, struct dest_tunnels, recheck);
    struct peer_cert *cert = admission_cert(t->source);
    const char *detail = "";
    enum err e = ERR_OK;

    if (!is_ending(t) && cert != NULL) {
        e = peer_cert_verify(cert, tunnels->store, &detail);
        if (e != ERR_OK)
            end_revoked(t, e, detail);
        else
            wait_for_expiry(t);
    }
    if (walk_is_over(walk)) {
        X509_STORE_free(tunnels->store);
        tunnels->store = NULL;
    }
}

void dest_tunnels_recheck(struct dest_tunnels *tunnels, X509_STORE *store)
{
    (void)X509_STORE_up_ref(store);
    X509_STORE_free(tunnels->store);
    tunnels->store = store;
    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        const char *detail = "";
        enum err e = is_ending(t) ? ERR_OK : check_rules(t, &detail);

        if (e != ERR_OK)
            end_revoked(t, e, detail);
        else
            walk_add(&tunnels->recheck, &t->recheck);
    }
}

static struct tunnel_bounds bounds_of(const struct dest_tunnels *tunnels)
{
    const struct config_dest *config = &tunnels->config->dest;

    return (struct tunnel_bounds){
        .max_streams = tunnels->max_streams,
        .max_flows = tunnels->max_streams,
        .window_max = config->stream_window_max_bytes,
        .output_max = config->session_output_max_bytes,
        .heartbeat = {.interval_us = HEARTBEAT_INTERVAL_US,
                      .timeout_us = HEARTBEAT_TIMEOUT_US,
                      .max_missed = HEARTBEAT_MAX_MISSED},
        .key_lifetime_us =
            (uint64_t)tunnels->config->crypto.key_rotation_interval_seconds * 1000000,
    };
}

void dest_tunnels_change(struct dest_tunnels *tunnels, const struct config *config,
                         uint32_t max_streams)
{
    tunnels->config = config;
    tunnels->max_streams = max_streams;
    const struct tunnel_bounds bounds = bounds_of(tunnels);
    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);

        tunnel_owner_set_bounds(&t->owner, &bounds);
        /* To a sweep, no time is time without end. */
        if (config->dest.stream_resume_timeout_secs == 0 && list_is_linked(&t->waiting.link))
            give_up(t, "streams do not wait any more");
    }
    sweep_set_timeout(&tunnels->waiting, (uint64_t)config->dest.stream_resume_timeout_secs * 1000);
}

/* -- arrivals -- */

/* The tunnel that this session continues. */
static struct dest_tunnel *find(const struct dest_tunnels *tunnels, const struct placement_key *key,
                                const uint8_t secret[TUNNEL_SECRET_SIZE])
{
    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        if (memcmp(&t->key, key, sizeof(*key)) == 0 && !t->owner.is_closing &&
            secret_equal(t->secret, secret, TUNNEL_SECRET_SIZE))
            return t;
    }
    return NULL;
}

static unsigned count_sessions(const struct dest_tunnel *t)
{
    unsigned count = 0;

    for (struct list *l = t->owner.carriers.next; l != &t->owner.carriers; l = l->next)
        count++;
    return count;
}

/* A tunnel of which the source never heard that it began: it has come again for another. */
static void close_unheard_of(struct dest_tunnels *tunnels, const struct placement_key *key)
{
    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        if (memcmp(&t->key, key, sizeof(*key)) != 0 || t->history.sessions > 0)
            continue;
        sweep_remove(&t->waiting);
        tunnel_owner_close(&t->owner, ERR_SUPERSEDED);
    }
}

/* A source without a certificate is its address, and in IPv6 the /64 that a customer has. */
static void identity_of(uint8_t identity[PEER_IDENTITY_SIZE], const struct established *e)
{
    struct stream_address client;

    memcpy(identity, e->info->peer_identity, PEER_IDENTITY_SIZE);
    if (e->info->has_peer)
        return;
    address_to_stream(&e->peer, &client);
    memcpy(identity, client.address, address_customer_bytes(&client));
    identity[PEER_IDENTITY_SIZE - 1] = client.address_len;
}

static struct peer_cert *take_cert(struct established *e)
{
    struct peer_cert *cert = e->info->peer_cert;

    e->info->peer_cert = NULL;
    return cert;
}

/* Takes secret and certificate in e. */
static enum err tunnel_new_for(struct dest_tunnel **out, struct dest_tunnels *tunnels,
                               const struct placement_key *key, struct established *established)
{
    struct tunnel_owner_options options = {
        .role = TUNNEL_DEST,
        .bounds = bounds_of(tunnels),
        .events = &tunnel_events,
    };
    struct handshake_result *info = established->info;
    struct dest_tunnel *t = calloc(1, sizeof(*t));
    uint8_t identity[PEER_IDENTITY_SIZE];
    enum err e;

    *out = NULL;
    if (t == NULL)
        return ERR_NOMEM;
    identity_of(identity, established);
    e = admission_join(tunnels->admission, &t->source, identity, take_cert(established));
    if (e != ERR_OK)
        goto fail;
    t->peer = peer_of(tunnels, identity);
    e = t->peer == NULL ? ERR_NOMEM : ERR_OK;
    if (e == ERR_OK) {
        options.peer = &t->peer->engine;
        e = tunnel_owner_start(&t->owner, tunnels->worker, &options);
    }
    if (e != ERR_OK)
        goto fail_admitted;
    t->tunnels = tunnels;
    t->who = (struct audit_who){.name = info->peer, .address = established->peer};
    t->key = *key;
    t->secret = info->tunnel_secret;
    info->tunnel_secret = NULL;
    tunnel_history_init(&t->history, worker_now(tunnels->worker));
    sweep_item_init(&t->waiting);
    walk_item_init(&t->recheck);
    audit_pace_init(&t->refusals, &tunnels->unsaid);
    worker_task_init(&t->ending, on_ending);
    list_init(&t->link);
    list_append(&tunnels->all, &t->link);
    wait_for_expiry(t);
    *out = t;
    return ERR_OK;

fail_admitted:
    peer_leave(t->peer);
    admission_part(tunnels->admission, t->source);
fail:
    free(t);
    return e;
}

enum err dest_tunnels_adopt(struct dest_tunnels *tunnels, struct established *e,
                            const struct placement_key *key)
{
    const struct carrier_options options = {
        .keep_alive_ms = tunnels->config->dest.keep_alive_interval_ms,
        .start = e->info->is_resumed ? SESSION_RESUMED : SESSION_FRESH,
    };
    struct dest_tunnel *t;
    enum err error;

    if (options.start == SESSION_RESUMED) {
        t = find(tunnels, key, e->info->tunnel_secret);
        placement_leave(tunnels->placement, key);
        secret_free(e->info->tunnel_secret, TUNNEL_SECRET_SIZE);
        e->info->tunnel_secret = NULL;
        if (t != NULL && count_sessions(t) < TUNNEL_SESSIONS_MAX) {
            /* It may have been renewed, for the same identity. */
            t->who.name = e->info->peer;
            admission_renew(t->source, take_cert(e));
            wait_for_expiry(t);
            return carrier_new(&t->owner, e, &options);
        }
        /* Where it has just been given up, the source comes back for a new one. */
        established_fini(e);
        return t == NULL ? ERR_CLOSED : ERR_LIMIT;
    }
    close_unheard_of(tunnels, key);
    error = tunnel_new_for(&t, tunnels, key, e);
    if (error != ERR_OK) {
        placement_leave(tunnels->placement, key);
        established_fini(e);
        return error;
    }
    error = carrier_new(&t->owner, e, &options);
    if (error != ERR_OK)
        close_tunnel(t, error);
    return error;
}

/* -- the set -- */

void dest_tunnels_init(struct dest_tunnels *tunnels)
{
    list_init(&tunnels->all);
    sweep_init(&tunnels->waiting, worker_loop(tunnels->worker),
               (uint64_t)tunnels->config->dest.stream_resume_timeout_secs * 1000, on_waited);
    sweep_init(&tunnels->unsaid, worker_loop(tunnels->worker), AUDIT_LEFT_OUT_MS, on_unsaid);
    expiry_init(&tunnels->expiry, worker_loop(tunnels->worker), on_expiry);
    walk_init(&tunnels->recheck, worker_loop(tunnels->worker), on_recheck);
}

void dest_tunnels_close(struct dest_tunnels *tunnels)
{
    sweep_close(&tunnels->waiting);
    sweep_close(&tunnels->unsaid);
    expiry_close(&tunnels->expiry, NULL);
    walk_close(&tunnels->recheck);
    X509_STORE_free(tunnels->store);
}

void dest_tunnels_get_state(const struct dest_tunnels *tunnels, struct role_worker *out)
{
    role_worker_make_room(out, &tunnels->all);
    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        const struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        struct role_tunnel *shown = role_worker_add(out);

        if (shown == NULL)
            continue;
        role_tunnel_fill(shown, &t->owner, &t->history);
        shown->is_leaving = t->is_leaving;
        memcpy(shown->id, t->key.tunnel_id, sizeof(shown->id));
    }
}
