/*
 * The handshaker accepts; what it has established goes to the worker that has the source's tunnel,
 * or to the one with the fewest (role/placement.h). A worker keeps a struct dest_tunnel for each
 * tunnel, also while no session carries it.
 *
 *   handshake thread: established ──> placement ──> mailbox of the worker
 *   worker, fresh: a tunnel with the same key is closed ──> new tunnel ──> carrier
 *   worker, resumed: the tunnel has one more carrier
 *   the last carrier is lost ──> waiting ──> stream_resume_timeout_secs are over ──> closed
 */
#include "role/dest.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "net/carrier.h"
#include "net/handshaker.h"
#include "net/listener.h"
#include "net/pump.h"
#include "net/sweep.h"
#include "net/tunnel_owner.h"
#include "net/worker.h"
#include "ops/log.h"
#include "role/placement.h"
#include "role/refusal.h"
#include "role/services.h"
#include "role/session_log.h"
#include "tunnel/handshake.h"

/* Streams of one tunnel that may wait for their refusal, beside those that services take. */
#define STREAMS_SPARE 256

/* How the heartbeat asks for life; a source's pace is its own matter. */
#define HEARTBEAT_INTERVAL_US ((uint64_t)15 * 1000 * 1000)
#define HEARTBEAT_TIMEOUT_US  ((uint64_t)5 * 1000 * 1000)
#define HEARTBEAT_MAX_MISSED  3

/* A service as the pumps of one worker see it. */
struct dest_service {
    struct pump_owner pumps;
    struct service *service;
};

struct dest_worker {
    struct worker_owner owner;
    struct dest *dest;
    struct worker *worker;
    struct dest_service *services; /* in the order of the table */
    struct list tunnels;
    struct sweep waiting; /* tunnels without a session */
    unsigned index;
};

/* A session on its way from the handshake thread to the worker. */
struct dest_arrival {
    struct worker_item item;
    struct established established;
    struct placement_key key;
    struct dest_worker *worker;
};

struct dest_tunnel {
    struct tunnel_owner owner;
    struct placement_key key;
    uint8_t *secret;
    struct dest_worker *worker;
    struct list link;
    struct sweep_item waiting;
    uint64_t lost_at; /* worker_now; 0: a session carries it, or there was none yet */
    bool is_leaving;  /* the source has said goodbye: how its connection ends says nothing more */
};

struct dest {
    const struct config *config;
    struct role_owner *owner;
    struct handshaker_owner handshaking;
    struct handshaker *handshaker;
    struct tls_context *tls;
    struct placement *placement;
    struct services services;
    struct dest_worker *workers;
    unsigned worker_count;
    uint16_t port;
    _Atomic unsigned running; /* workers that have not stopped, and one until the start is done */
};

/* -- streams -- */

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct dest_service *s = list_entry(owner, struct dest_service, pumps);

    service_leave(s->service);
    if (refusal_is_one(end))
        refusal_log(end->port, s->service->name, &end->client, end->why, end->detail);
}

static void on_open(struct tunnel_owner *owner, struct stream *stream,
                    const struct stream_target *target)
{
    struct dest_tunnel *t = list_entry(owner, struct dest_tunnel, owner);
    struct dest *d = t->worker->dest;
    struct service *service = services_find(&d->services, target->port, target->name);

    if (service == NULL) {
        tunnel_owner_refuse(owner, stream, WIRE_NO_SERVICE);
        refusal_log(target->port, target->name, &target->client, ERR_NO_SERVICE,
                    "no exposed_services row has this port");
        return;
    }
    if (!service_enter(service)) {
        tunnel_owner_refuse(owner, stream, WIRE_LIMIT);
        refusal_log(target->port, service->name, &target->client, ERR_LIMIT,
                    "the service is at max_connections_per_service");
        return;
    }
    const struct target_options options = {
        .host = service->target_host,
        .port = service->target_port,
        .timeout_ms = d->config->dest.target_connect_timeout_ms,
    };
    struct dest_service *s = &t->worker->services[service - d->services.items];
    enum err e = pump_dial(owner, stream, target, &options, &s->pumps);
    if (e != ERR_OK) {
        service_leave(service);
        refusal_log(target->port, service->name, &target->client, e, "");
    }
}

/* -- sessions -- */

static void tunnel_free_owned(struct dest_tunnel *t)
{
    placement_leave(t->worker->dest->placement, &t->key);
    secret_free(t->secret, TUNNEL_SECRET_SIZE);
    free(t);
}

/* Its source cannot continue it any more. */
static void close_tunnel(struct dest_tunnel *t, enum err why)
{
    sweep_remove(&t->waiting);
    placement_forget(t->worker->dest->placement, &t->key, t->secret);
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
    (void)sweep;
    give_up(list_entry(item, struct dest_tunnel, waiting),
            "no new session within stream_resume_timeout_secs");
}

static void on_session_ready(struct tunnel_owner *owner, struct carrier *carrier)
{
    struct dest_tunnel *t = list_entry(owner, struct dest_tunnel, owner);

    session_log_up(carrier);
    session_log_resume(owner, carrier,
                       t->lost_at == 0 ? 0 : worker_now(owner->worker) - t->lost_at);
    sweep_remove(&t->waiting);
    t->lost_at = 0;
    t->is_leaving = false;
}

static void on_session_lost(struct tunnel_owner *owner, struct carrier *carrier, enum err why)
{
    struct dest_tunnel *t = list_entry(owner, struct dest_tunnel, owner);
    struct dest *d = t->worker->dest;

    session_log_down(carrier, t->is_leaving && why == ERR_RESET ? ERR_CLOSED : why);
    if (owner->is_closing || tunnel_owner_has_carrier(owner))
        return;
    if (worker_is_draining(owner->worker)) {
        close_tunnel(t, ERR_SHUTDOWN);
        return;
    }
    if (t->is_leaving || d->config->dest.stream_resume_timeout_secs == 0) {
        give_up(t, t->is_leaving ? "the source has shut down" : "streams do not wait");
        return;
    }
    if (t->lost_at != 0)
        return;
    t->lost_at = worker_now(owner->worker);
    sweep_touch(&t->worker->waiting, &t->waiting);
}

static void on_go_away(struct tunnel_owner *owner, struct carrier *carrier, enum wire_code code,
                       uint32_t retry_after_ms, const char *text)
{
    list_entry(owner, struct dest_tunnel, owner)->is_leaving = code == WIRE_SHUTDOWN;
    session_log_go_away(carrier, code, retry_after_ms, text);
}

static void on_closed(struct tunnel_owner *owner)
{
    struct dest_tunnel *t = list_entry(owner, struct dest_tunnel, owner);

    list_remove(&t->link);
    sweep_remove(&t->waiting);
    tunnel_free_owned(t);
}

static const struct tunnel_owner_events tunnel_events = {
    .on_open = on_open,
    .on_session_ready = on_session_ready,
    .on_session_lost = on_session_lost,
    .on_go_away = on_go_away,
    .on_closed = on_closed,
};

static struct dest_tunnel *find_tunnel(struct dest_worker *w, const struct placement_key *key)
{
    for (struct list *l = w->tunnels.next; l != &w->tunnels; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        if (memcmp(&t->key, key, sizeof(*key)) == 0 && !t->owner.is_closing)
            return t;
    }
    return NULL;
}

static uint32_t streams_max(const struct dest *d)
{
    uint64_t streams = (uint64_t)d->services.count * d->config->dest.max_connections_per_service;

    return streams > UINT32_MAX - STREAMS_SPARE ? UINT32_MAX : (uint32_t)streams + STREAMS_SPARE;
}

/* Takes the arrival's place, and its secret. */
static enum err open_tunnel(struct dest_tunnel **out, struct dest_arrival *a)
{
    const struct config_dest *config = &a->worker->dest->config->dest;
    const struct tunnel_owner_options options = {
        .role = TUNNEL_DEST,
        .max_streams = streams_max(a->worker->dest),
        .window_max = config->stream_window_max_bytes,
        .output_max = config->session_output_max_bytes,
        .heartbeat = {.interval_us = HEARTBEAT_INTERVAL_US,
                      .timeout_us = HEARTBEAT_TIMEOUT_US,
                      .max_missed = HEARTBEAT_MAX_MISSED},
        .events = &tunnel_events,
    };
    struct dest_tunnel *t = calloc(1, sizeof(*t));
    enum err e = t == NULL ? ERR_NOMEM : tunnel_owner_start(&t->owner, a->worker->worker, &options);

    *out = NULL;
    if (e != ERR_OK) {
        free(t);
        return e;
    }
    t->key = a->key;
    t->worker = a->worker;
    t->secret = a->established.info->tunnel_secret;
    a->established.info->tunnel_secret = NULL;
    sweep_item_init(&t->waiting);
    list_init(&t->link);
    list_append(&t->worker->tunnels, &t->link);
    *out = t;
    return ERR_OK;
}

/* The arrival's place is free again, or belongs to its tunnel. */
static enum err adopt(struct dest_arrival *a)
{
    struct dest *d = a->worker->dest;
    const struct carrier_options options = {
        .keep_alive_ms = d->config->dest.keep_alive_interval_ms,
        .start = a->established.info->is_resumed ? SESSION_RESUMED : SESSION_FRESH,
    };
    struct dest_tunnel *t = find_tunnel(a->worker, &a->key);
    enum err e;

    if (options.start == SESSION_RESUMED) {
        placement_leave(d->placement, &a->key);
        secret_free(a->established.info->tunnel_secret, TUNNEL_SECRET_SIZE);
        a->established.info->tunnel_secret = NULL;
        /* It may just have been given up: then the source comes back for a new one. */
        return t == NULL ? ERR_CLOSED : carrier_new(&t->owner, &a->established, &options);
    }
    if (t != NULL) {
        /* The source has forgotten it, or taken it elsewhere meanwhile. */
        sweep_remove(&t->waiting);
        tunnel_owner_close(&t->owner, ERR_SUPERSEDED);
    }
    e = open_tunnel(&t, a);
    if (e != ERR_OK) {
        placement_leave(d->placement, &a->key);
        return e;
    }
    e = carrier_new(&t->owner, &a->established, &options);
    if (e != ERR_OK)
        close_tunnel(t, e);
    return e;
}

static void arrival_free(struct dest_arrival *a)
{
    established_fini(&a->established);
    free(a);
}

static void on_arrival_dropped(struct worker_item *item)
{
    struct dest_arrival *a = list_entry(item, struct dest_arrival, item);

    placement_leave(a->worker->dest->placement, &a->key);
    arrival_free(a);
}

static void on_arrival(struct worker_item *item, struct worker *worker)
{
    struct dest_arrival *a = list_entry(item, struct dest_arrival, item);

    if (worker_is_draining(worker)) {
        on_arrival_dropped(item);
        return;
    }
    enum err e = adopt(a);
    if (e != ERR_OK)
        LOG_LIMITED(LOG_LEVEL_WARN, "session.failed", LOG_ERR("error", e));
    arrival_free(a);
}

/* -- the handshake thread -- */

static bool is_allowed(struct handshaker_owner *owner, const struct address *peer)
{
    struct dest *d = list_entry(owner, struct dest, handshaking);
    const struct cidr_list *allowed = &d->config->dest.allowed_source_ips;

    return allowed->count == 0 ||
           cidr_list_is_match(allowed, (const struct sockaddr *)&peer->sockaddr);
}

static void on_refused(struct handshaker_owner *owner, const struct address *peer, enum err why)
{
    char text[ADDRESS_TEXT_MAX];

    (void)owner;
    address_format(peer, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "handshake.refused", LOG_ERR("error", why),
                LOG_STR("address", text), LOG_STR("detail", err_text(why)));
}

static void on_failed(struct handshaker_owner *owner, const struct handshaker_failure *failure)
{
    char text[ADDRESS_TEXT_MAX];

    (void)owner;
    address_format(&failure->peer, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "handshake.failed", LOG_ERR("error", failure->why),
                LOG_STR("address", text), LOG_STR("detail", failure->detail));
}

static struct placement_key key_of(const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                                   const struct identity_name *peer)
{
    struct placement_key key = {{0}, {0}};

    memcpy(key.tunnel_id, tunnel_id, sizeof(key.tunnel_id));
    if (peer != NULL)
        memcpy(key.identity, peer->fingerprint, sizeof(key.identity));
    return key;
}

static bool on_resume(struct handshaker_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const struct identity_name *peer, uint8_t secret[TUNNEL_SECRET_SIZE])
{
    struct dest *d = list_entry(owner, struct dest, handshaking);
    struct placement_key key = key_of(tunnel_id, peer);

    return placement_secret(d->placement, &key, secret);
}

static void on_established(struct handshaker_owner *owner, struct established *e)
{
    struct dest *d = list_entry(owner, struct dest, handshaking);
    const struct handshake_result *info = e->info;
    struct dest_arrival *a = calloc(1, sizeof(*a));
    unsigned index = 0;
    enum err error = ERR_NOMEM;

    if (a != NULL) {
        a->key = key_of(info->tunnel_id, info->has_peer ? &info->peer : NULL);
        if (info->is_resumed)
            error = placement_resume(d->placement, &a->key, info->tunnel_secret, &index);
        else
            error = placement_enter(d->placement, &a->key, info->tunnel_secret, &index);
    }
    if (error != ERR_OK) {
        established_fini(e);
        free(a);
        return;
    }
    a->established = *e;
    established_init(e);
    a->worker = &d->workers[index];
    a->item = (struct worker_item){.run = on_arrival, .drop = on_arrival_dropped};
    worker_post(a->worker->worker, &a->item);
}

static void on_trouble(struct handshaker_owner *owner, enum err why)
{
    (void)owner;
    LOG_LIMITED(LOG_LEVEL_ERROR, "listener.trouble", LOG_ERR("error", why),
                LOG_MSG("cannot accept sources; trying again"));
}

/* -- start and stop -- */

static void one_less(struct dest *d)
{
    if (atomic_fetch_sub(&d->running, 1) == 1)
        d->owner->on_stopped(d->owner, ERR_OK);
}

static void on_waiting_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void on_stop(struct worker_owner *owner, struct worker *worker)
{
    struct dest_worker *w = list_entry(owner, struct dest_worker, owner);

    (void)worker;
    sweep_close(&w->waiting, on_waiting_closed);
    one_less(w->dest);
}

static enum err init_worker(struct dest *d, unsigned index)
{
    const struct config_dest *config = &d->config->dest;
    struct dest_worker *w = &d->workers[index];
    const struct worker_options options = {
        .hold_max = config->send_buffer_max_bytes,
        .memory_budget = config->memory_budget_bytes / d->worker_count,
        .half_close_idle_timeout_ms = config->half_close_idle_timeout_secs * 1000,
        .owner = &w->owner,
    };

    w->dest = d;
    w->index = index;
    w->owner.on_stop = on_stop;
    list_init(&w->tunnels);
    if (d->services.count > 0) {
        w->services = calloc(d->services.count, sizeof(*w->services));
        if (w->services == NULL)
            return ERR_NOMEM;
    }
    for (size_t i = 0; i < d->services.count; i++) {
        w->services[i].service = &d->services.items[i];
        w->services[i].pumps.on_end = on_end;
    }
    enum err e = worker_new(&w->worker, &options);
    if (e == ERR_OK)
        sweep_init(&w->waiting, worker_loop(w->worker),
                   (uint64_t)config->stream_resume_timeout_secs * 1000, on_waited);
    return e;
}

static enum err start_handshaker(struct dest *d, struct err_detail *detail)
{
    const struct config_dest *config = &d->config->dest;
    const struct listener_bind bind = {
        .ip = config->listen_ip,
        .port = config->tunnel_port,
        .count = 1,
    };
    struct handshaker_options options = {
        .tls = d->tls,
        .max_size = d->config->crypto.max_handshake_size_bytes,
        .rate_limit = config->handshake_rate_limit,
        .rate_window_ms = config->handshake_rate_window_secs * 1000,
        .max_in_flight = config->max_handshakes,
        .owner = &d->handshaking,
    };
    enum err e = listener_bind(&options.listen_fd, &d->port, &bind, detail);

    if (e != ERR_OK)
        return e;
    d->handshaking.is_allowed = is_allowed;
    d->handshaking.on_refused = on_refused;
    d->handshaking.on_failed = on_failed;
    d->handshaking.on_resume = on_resume;
    d->handshaking.on_established = on_established;
    d->handshaking.on_trouble = on_trouble;
    return handshaker_start(&d->handshaker, &options);
}

/* Nothing runs yet, or nothing any more. */
static void release(struct dest *d)
{
    handshaker_free(d->handshaker);
    for (unsigned i = 0; d->workers != NULL && i < d->worker_count; i++) {
        worker_free(d->workers[i].worker);
        free(d->workers[i].services);
    }
    tls_context_free(d->tls);
    placement_free(d->placement);
    services_fini(&d->services);
    free(d->workers);
    free(d);
}

/* Those that run; after a start that failed. */
static void stop_workers(struct dest *d)
{
    for (unsigned i = 0; d->workers != NULL && i < d->worker_count; i++) {
        if (d->workers[i].worker == NULL)
            continue;
        worker_drain(d->workers[i].worker, 0);
        (void)worker_join(d->workers[i].worker);
    }
}

static enum err start(struct dest *d, const struct identity *identity, struct err_detail *detail)
{
    enum err e = role_tls_context(&d->tls, d->config, identity, detail);

    if (e == ERR_OK)
        e = services_init(&d->services, &d->config->dest);
    if (e == ERR_OK)
        e = placement_new(&d->placement, d->worker_count);
    if (e == ERR_OK)
        d->workers = calloc(d->worker_count, sizeof(*d->workers));
    if (e == ERR_OK && d->workers == NULL)
        e = ERR_NOMEM;
    for (unsigned i = 0; e == ERR_OK && i < d->worker_count; i++)
        e = init_worker(d, i);
    for (unsigned i = 0; e == ERR_OK && i < d->worker_count; i++)
        e = worker_start(d->workers[i].worker);
    return e;
}

static void log_ready(const struct dest *d)
{
    const struct config_dest *config = &d->config->dest;

    LOG(LOG_LEVEL_INFO, "dest.ready", LOG_STR("listen_ip", config->listen_ip),
        LOG_UINT("tunnel_port", d->port), LOG_UINT("services", d->services.count),
        LOG_STR("kem_mode", config_kem_mode_name(d->config->crypto.kem_mode)),
        LOG_UINT("workers", d->worker_count));
}

enum err dest_start(struct dest **out, const struct config *config, const struct identity *identity,
                    struct role_owner *owner, struct err_detail *detail)
{
    struct dest *d = calloc(1, sizeof(*d));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (d == NULL)
        return err_set(detail, e, "%s", err_text(e));
    err_set(detail, ERR_OK, "%s", "");
    d->config = config;
    d->owner = owner;
    d->worker_count = config->dest.workers > 0 ? config->dest.workers : worker_default_count();
    atomic_init(&d->running, d->worker_count + 1);
    e = start(d, identity, detail);
    if (e == ERR_OK)
        e = start_handshaker(d, detail);
    if (e != ERR_OK) {
        stop_workers(d);
        release(d);
        if (detail != NULL && detail->text[0] == 0)
            err_set(detail, e, "%s", err_text(e));
        return e;
    }
    log_ready(d);
    *out = d;
    one_less(d);
    return ERR_OK;
}

void dest_stop(struct dest *d, uint32_t timeout_ms)
{
    handshaker_stop(d->handshaker);
    for (unsigned i = 0; i < d->worker_count; i++)
        worker_drain(d->workers[i].worker, timeout_ms);
}

void dest_free(struct dest *d)
{
    if (d == NULL)
        return;
    for (unsigned i = 0; i < d->worker_count; i++)
        (void)worker_join(d->workers[i].worker);
    release(d);
}

uint16_t dest_port(const struct dest *d)
{
    return d->port;
}
