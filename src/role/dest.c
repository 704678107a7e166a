/*
 * The handshaker accepts; what it has established goes to the worker that has the source's tunnel,
 * or to the one with the fewest (role/placement.h). A worker keeps a struct dest_tunnel for each
 * session; in this version a session and its tunnel begin and end together.
 *
 *   handshake thread: established ──> placement ──> mailbox of the worker
 *   worker: adopt ──> a tunnel with the same key is closed ──> carrier ──> streams ──> closed
 */
#include "role/dest.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/carrier.h"
#include "net/handshaker.h"
#include "net/listener.h"
#include "net/pump.h"
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
    unsigned index;
};

struct dest_tunnel {
    struct worker_item arrival; /* on its way from the handshake thread */
    struct established established;
    struct tunnel_owner owner;
    struct placement_key key;
    struct dest_worker *worker;
    struct list link;
    bool is_leaving; /* the source has said goodbye: how its connection ends says nothing more */
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
    established_fini(&t->established);
    free(t);
}

static void on_session_ready(struct tunnel_owner *owner, struct carrier *carrier)
{
    (void)owner;
    session_log_up(carrier);
}

static void on_session_lost(struct tunnel_owner *owner, struct carrier *carrier, enum err why)
{
    struct dest_tunnel *t = list_entry(owner, struct dest_tunnel, owner);

    session_log_down(carrier, t->is_leaving && why == ERR_RESET ? ERR_CLOSED : why);
    tunnel_owner_close(owner);
}

static void on_go_away(struct tunnel_owner *owner, struct carrier *carrier, enum wire_code code,
                       uint32_t retry_after_ms, const char *text)
{
    list_entry(owner, struct dest_tunnel, owner)->is_leaving = true;
    session_log_go_away(carrier, code, retry_after_ms, text);
}

static void on_closed(struct tunnel_owner *owner)
{
    struct dest_tunnel *t = list_entry(owner, struct dest_tunnel, owner);

    list_remove(&t->link);
    tunnel_free_owned(t);
}

static const struct tunnel_owner_events tunnel_events = {
    .on_open = on_open,
    .on_session_ready = on_session_ready,
    .on_session_lost = on_session_lost,
    .on_go_away = on_go_away,
    .on_closed = on_closed,
};

/* The source has come back, or taken its tunnel elsewhere: what it had before is over. */
static void supersede(struct dest_worker *w, const struct placement_key *key)
{
    for (struct list *l = w->tunnels.next; l != &w->tunnels; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);
        if (memcmp(&t->key, key, sizeof(*key)) != 0 || t->owner.is_closing)
            continue;
        if (t->owner.carrier != NULL)
            carrier_close(t->owner.carrier, ERR_SUPERSEDED);
        else
            tunnel_owner_close(&t->owner);
    }
}

static uint32_t streams_max(const struct dest *d)
{
    uint64_t streams = (uint64_t)d->services.count * d->config->dest.max_connections_per_service;

    return streams > UINT32_MAX - STREAMS_SPARE ? UINT32_MAX : (uint32_t)streams + STREAMS_SPARE;
}

static enum err adopt(struct dest_tunnel *t)
{
    const struct config_dest *config = &t->worker->dest->config->dest;
    const struct tunnel_owner_options tunnel_options = {
        .role = TUNNEL_DEST,
        .max_streams = streams_max(t->worker->dest),
        .window_max = config->stream_window_max_bytes,
        .events = &tunnel_events,
    };
    const struct carrier_options carrier_options = {.keep_alive_ms =
                                                        config->keep_alive_interval_ms};
    enum err e = tunnel_owner_start(&t->owner, t->worker->worker, &tunnel_options);

    if (e != ERR_OK) {
        tunnel_free_owned(t);
        return e;
    }
    list_append(&t->worker->tunnels, &t->link);
    e = carrier_new(&t->owner, &t->established, &carrier_options);
    if (e != ERR_OK)
        tunnel_owner_close(&t->owner);
    return e;
}

static void on_arrival(struct worker_item *item, struct worker *worker)
{
    struct dest_tunnel *t = list_entry(item, struct dest_tunnel, arrival);

    if (worker_is_draining(worker)) {
        tunnel_free_owned(t);
        return;
    }
    supersede(t->worker, &t->key);
    enum err e = adopt(t);
    if (e != ERR_OK)
        LOG_LIMITED(LOG_LEVEL_ERROR, "session.failed", LOG_ERR("error", e));
}

static void on_arrival_dropped(struct worker_item *item)
{
    tunnel_free_owned(list_entry(item, struct dest_tunnel, arrival));
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

static void on_established(struct handshaker_owner *owner, struct established *e)
{
    struct dest *d = list_entry(owner, struct dest, handshaking);
    struct dest_tunnel *t = calloc(1, sizeof(*t));
    unsigned index = 0;

    if (t == NULL) {
        established_fini(e);
        return;
    }
    list_init(&t->link);
    memcpy(t->key.tunnel_id, e->info->tunnel_id, sizeof(t->key.tunnel_id));
    if (e->info->has_peer)
        memcpy(t->key.identity, e->info->peer.fingerprint, sizeof(t->key.identity));
    if (placement_enter(d->placement, &t->key, &index) != ERR_OK) {
        established_fini(e);
        free(t);
        return;
    }
    t->established = *e;
    established_init(e);
    t->worker = &d->workers[index];
    t->arrival = (struct worker_item){.run = on_arrival, .drop = on_arrival_dropped};
    worker_post(t->worker->worker, &t->arrival);
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

static void on_stop(struct worker_owner *owner, struct worker *worker)
{
    (void)worker;
    one_less(list_entry(owner, struct dest_worker, owner)->dest);
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
    return worker_new(&w->worker, &options);
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
