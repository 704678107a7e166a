/*
 * Each worker has its own listeners and its own uplink; they share the configuration, the
 * handshaker, the pool of key pairs and the count of connections.
 *
 * A client that comes while there is no session is held, unread, until there is one or
 * connection_timeout_ms are over.
 */
#include "role/source.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/keypair_pool.h"
#include "net/carrier.h"
#include "net/handshaker.h"
#include "net/listener.h"
#include "net/pump.h"
#include "net/socket.h"
#include "net/sweep.h"
#include "net/tunnel_owner.h"
#include "net/udp_port.h"
#include "net/worker.h"
#include "ops/log.h"
#include "role/collect.h"
#include "role/refusal.h"
#include "role/uplink.h"

/* Resolving and connecting; the handshake has times of its own. */
#define CONNECT_TIMEOUT_MS 10000

/* An exposed port, of TCP or of UDP, on one worker. */
struct source_port {
    struct listener_owner listening; /* TCP */
    struct pump_owner pumps;
    struct listener *listener;
    struct udp_port_owner receiving; /* UDP */
    struct udp_port *udp;
    struct flow_stats flow_stats;
    struct source_worker *worker;
    enum listener_kind kind;
    int fd;           /* bound, until the listener takes it; or -1 */
    uint16_t exposed; /* names the service to the dest */
};

struct source_worker {
    struct worker_owner owner;
    struct uplink_owner uplink_owner;
    struct uplink uplink;
    struct source *source;
    struct worker *worker;
    struct source_port *ports;
    struct sweep held; /* clients that wait for a session */
    bool is_open;      /* on_start has been through */
};

struct bound_port {
    enum listener_kind kind;
    uint16_t exposed;
    uint16_t port;
};

struct source {
    const struct config *config;
    struct role_owner *owner;
    struct credentials *credentials;
    struct keypair_pool *keypairs; /* NULL in the mode without McEliece */
    struct handshaker *handshaker;
    struct role_state_owner asked;
    struct source_worker *workers;
    unsigned worker_count;
    struct bound_port *ports;
    size_t port_count;
    _Atomic uint32_t connections;
    _Atomic unsigned running; /* workers that have not stopped, and one until the start is done */
    _Atomic int failure;      /* enum err: why it ends by itself */

    pthread_mutex_t lock;
    struct session_view session; /* the latest; shared, under the lock */
    bool has_session;
};

/* A client that has no session yet. */
struct held_client {
    struct sweep_item item;
    struct source_port *port;
    struct address peer;
    int fd;
};

/* -- clients -- */

static bool enter(struct source *s)
{
    if (atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) <
        s->config->source.max_connections)
        return true;
    atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
    return false;
}

static void leave(struct source *s)
{
    uint32_t before = atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);

    assert(before > 0);
}

static void log_refused(const struct source_port *port, const struct address *peer, enum err why,
                        const char *detail)
{
    struct stream_client client;

    address_to_client(peer, &client);
    stats_add(&worker_stats(port->worker->worker)->streams_refused[why], 1);
    refusal_log(port->exposed, "", &client, why, detail);
}

static void forward(struct source_port *port, struct tunnel_owner *tunnel, int fd,
                    const struct address *peer)
{
    struct source_worker *w = port->worker;
    struct stream_target target = {.port = port->exposed};

    address_to_client(peer, &target.client);
    enum err e = pump_accept(tunnel, fd, &target, &port->pumps);
    if (e != ERR_OK) {
        leave(w->source);
        log_refused(port, peer, e, "");
    }
}

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct source_port *port = list_entry(owner, struct source_port, pumps);

    leave(port->worker->source);
    if (refusal_is_one(end))
        refusal_log(end->port, "", &end->client, end->why, end->detail);
}

static void count_waiting(struct source_worker *w, int change)
{
    stats_add(&worker_stats(w->worker)->clients_waiting, (uint64_t)(int64_t)change);
}

static void hold(struct source_port *port, int fd, const struct address *peer)
{
    struct held_client *client = malloc(sizeof(*client));

    if (client == NULL) {
        socket_reset(fd);
        leave(port->worker->source);
        log_refused(port, peer, ERR_NOMEM, "");
        return;
    }
    *client = (struct held_client){.port = port, .peer = *peer, .fd = fd};
    sweep_item_init(&client->item);
    sweep_touch(&port->worker->held, &client->item);
    count_waiting(port->worker, 1);
}

static void refuse_held(struct held_client *client, enum err why, const char *detail)
{
    sweep_remove(&client->item);
    count_waiting(client->port->worker, -1);
    socket_reset(client->fd);
    leave(client->port->worker->source);
    log_refused(client->port, &client->peer, why, detail);
    free(client);
}

static void on_held_too_long(struct sweep *sweep, struct sweep_item *item)
{
    (void)sweep;
    refuse_held(list_entry(item, struct held_client, item), ERR_TIMEOUT,
                "there was no session with the dest in connection_timeout_ms");
}

static void forward_held(struct source_worker *w)
{
    struct tunnel_owner *tunnel = uplink_tunnel(&w->uplink);
    struct list *link;

    while (tunnel != NULL && (link = list_first(&w->held.items)) != NULL) {
        struct held_client *client = list_entry(link, struct held_client, item.link);
        sweep_remove(&client->item);
        count_waiting(w, -1);
        forward(client->port, tunnel, client->fd, &client->peer);
        free(client);
    }
}

static void log_limit(const struct source *s, const struct address *client)
{
    char text[ADDRESS_TEXT_MAX];

    address_format(client, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "limit.reached", LOG_STR("limit", "max_connections"),
                LOG_UINT("value", s->config->source.max_connections), LOG_STR("client", text));
}

static void on_client(struct listener_owner *owner, int fd, const struct address *peer)
{
    struct source_port *port = list_entry(owner, struct source_port, listening);
    struct source_worker *w = port->worker;
    struct tunnel_owner *tunnel = uplink_tunnel(&w->uplink);

    if (!enter(w->source)) {
        socket_reset(fd);
        stats_add(&worker_stats(w->worker)->streams_refused[ERR_LIMIT], 1);
        log_limit(w->source, peer);
        return;
    }
    if (tunnel != NULL)
        forward(port, tunnel, fd, peer);
    else
        hold(port, fd, peer);
}

static void on_trouble(struct listener_owner *owner, enum err why)
{
    struct source_port *port = list_entry(owner, struct source_port, listening);

    LOG_LIMITED(LOG_LEVEL_ERROR, "listener.trouble", LOG_UINT("port", port->exposed),
                LOG_ERR("error", why), LOG_MSG("cannot accept clients; trying again"));
}

/* -- UDP clients -- */

/* Nobody waits for a session here: by then the datagram would be worth nothing. */
static enum err on_udp_client(struct udp_port_owner *owner, const struct address *client,
                              struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct source_port *port = list_entry(owner, struct source_port, receiving);
    struct source *s = port->worker->source;

    target->port = port->exposed;
    *tunnel = uplink_tunnel(&port->worker->uplink);
    if (*tunnel == NULL)
        return ERR_CLOSED;
    if (!enter(s)) {
        log_limit(s, client);
        return ERR_LIMIT;
    }
    return ERR_OK;
}

static void on_flow_end(struct udp_port_owner *owner, const struct flow_end *end)
{
    struct source_port *port = list_entry(owner, struct source_port, receiving);

    leave(port->worker->source);
    if (refusal_is_flow(end))
        refusal_log(end->port, "", &end->client, end->why, end->detail);
}

/* -- the session -- */

/* The source cannot go on. Any thread. */
static void give_up(struct source *s, enum err why, const char *detail)
{
    int none = ERR_OK;

    if (!atomic_compare_exchange_strong(&s->failure, &none, (int)why))
        return;
    LOG(LOG_LEVEL_ERROR, "source.failed", LOG_ERR("error", why), LOG_STR("detail", detail));
    source_stop(s, 0);
}

static void on_uplink_ready(struct uplink_owner *owner, struct carrier *carrier)
{
    struct source_worker *w = list_entry(owner, struct source_worker, uplink_owner);

    pthread_mutex_lock(&w->source->lock);
    session_view_of(&w->source->session, carrier);
    w->source->has_session = true;
    pthread_mutex_unlock(&w->source->lock);
    forward_held(w);
}

static void on_uplink_given_up(struct uplink_owner *owner, const char *why)
{
    give_up(list_entry(owner, struct source_worker, uplink_owner)->source, ERR_CLOSED, why);
}

/* -- the worker -- */

static void on_held_closed(uv_handle_t *handle)
{
    (void)handle;
}

static enum err open_worker(struct source_worker *w)
{
    enum err e = uplink_open(&w->uplink, w->worker, w->source->handshaker);

    for (size_t i = 0; e == ERR_OK && i < w->source->port_count; i++) {
        struct source_port *port = &w->ports[i];
        if (port->kind == LISTENER_UDP)
            e = udp_port_new(&port->udp, w->worker, port->fd, &port->flow_stats, &port->receiving);
        else
            e = listener_new(&port->listener, worker_watches(w->worker), port->fd,
                             &port->listening);
        port->fd = -1;
    }
    return e;
}

static enum err on_start(struct worker_owner *owner, struct worker *worker)
{
    struct source_worker *w = list_entry(owner, struct source_worker, owner);

    sweep_init(&w->held, worker_loop(worker), w->source->config->source.connection_timeout_ms,
               on_held_too_long);
    w->is_open = true;
    enum err e = open_worker(w);
    if (e != ERR_OK)
        give_up(w->source, e, "a worker cannot be started");
    return ERR_OK;
}

static void on_drain(struct worker_owner *owner, struct worker *worker)
{
    struct source_worker *w = list_entry(owner, struct source_worker, owner);
    struct list *link;

    (void)worker;
    for (size_t i = 0; i < w->source->port_count; i++) {
        listener_close(w->ports[i].listener);
        w->ports[i].listener = NULL;
        udp_port_close(w->ports[i].udp);
        w->ports[i].udp = NULL;
    }
    uplink_drain(&w->uplink);
    while ((link = list_first(&w->held.items)) != NULL)
        refuse_held(list_entry(link, struct held_client, item.link), ERR_SHUTDOWN, "");
}

static void one_less(struct source *s)
{
    if (atomic_fetch_sub(&s->running, 1) == 1)
        s->owner->on_stopped(s->owner, (enum err)atomic_load(&s->failure));
}

static void on_stop(struct worker_owner *owner, struct worker *worker)
{
    struct source_worker *w = list_entry(owner, struct source_worker, owner);

    (void)worker;
    uplink_close(&w->uplink);
    if (w->is_open)
        sweep_close(&w->held, on_held_closed);
    one_less(w->source);
}

static struct worker *worker_at(struct role_state_owner *asked, unsigned index)
{
    return list_entry(asked, struct source, asked)->workers[index].worker;
}

static void fill_state(struct role_state_owner *asked, unsigned index, struct role_worker *out)
{
    uplink_get_state(&list_entry(asked, struct source, asked)->workers[index].uplink, out);
}

/* -- start and stop -- */

static enum err init_worker(struct source *s, struct source_worker *w)
{
    const struct config_source *config = &s->config->source;
    const struct worker_options options = {
        .hold_max = config->send_buffer_max_bytes,
        .memory_budget = config->memory_budget_bytes / s->worker_count,
        .half_close_idle_timeout_ms = config->half_close_idle_timeout_secs * 1000,
        .flow_idle_timeout_ms = config->connection_timeout_ms,
        .owner = &w->owner,
    };

    w->source = s;
    w->owner =
        (struct worker_owner){.on_start = on_start, .on_drain = on_drain, .on_stop = on_stop};
    w->uplink_owner =
        (struct uplink_owner){.on_ready = on_uplink_ready, .on_give_up = on_uplink_given_up};
    enum err e = uplink_init(&w->uplink, s->config, s->credentials, &w->uplink_owner);
    if (e != ERR_OK)
        return e;
    w->ports = calloc(s->port_count, sizeof(*w->ports));
    if (w->ports == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->port_count; i++) {
        struct source_port *port = &w->ports[i];
        port->listening.on_client = on_client;
        port->listening.on_trouble = on_trouble;
        port->pumps.on_end = on_end;
        port->receiving.on_client = on_udp_client;
        port->receiving.on_flow_end = on_flow_end;
        port->kind = s->ports[i].kind;
        port->worker = w;
        port->exposed = s->ports[i].exposed;
        port->fd = -1;
    }
    return worker_new(&w->worker, &options);
}

static enum err bind_port(struct source *s, size_t index, int *fds, struct err_detail *d)
{
    struct bound_port *port = &s->ports[index];
    const char *protocol = port->kind == LISTENER_UDP ? "udp" : "tcp";
    const struct listener_bind options = {
        .kind = port->kind,
        .ip = s->config->source.listen_ip,
        .port = port->exposed,
        .fallback = LISTENER_FALLBACK,
        .count = s->worker_count,
    };
    enum err e = listener_bind(fds, &port->port, &options, d);

    if (e != ERR_OK)
        return e;
    for (unsigned i = 0; i < s->worker_count; i++)
        s->workers[i].ports[index].fd = fds[i];
    if (port->port != port->exposed)
        LOG(LOG_LEVEL_WARN, "listener.fallback", LOG_UINT("configured_port", port->exposed),
            LOG_UINT("port", port->port), LOG_STR("protocol", protocol), LOG_STR("ip", options.ip),
            LOG_MSG("the configured port is in use; clients must use the other one"));
    LOG(LOG_LEVEL_INFO, "listener.up", LOG_UINT("port", port->port),
        LOG_UINT("configured_port", port->exposed), LOG_STR("protocol", protocol),
        LOG_STR("ip", options.ip));
    return ERR_OK;
}

static enum err bind_ports(struct source *s, struct err_detail *d)
{
    int *fds = calloc(s->worker_count, sizeof(*fds));
    enum err e = ERR_OK;

    if (fds == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < s->port_count; i++)
        e = bind_port(s, i, fds, d);
    free(fds);
    return e;
}

static void list_port(struct source *s, enum listener_kind kind, uint16_t exposed)
{
    s->ports[s->port_count++] = (struct bound_port){.kind = kind, .exposed = exposed};
}

static enum err list_ports(struct source *s)
{
    const struct config_source *config = &s->config->source;

    s->ports = calloc(2 * config->exposed_port_count, sizeof(*s->ports));
    if (s->ports == NULL && config->exposed_port_count > 0)
        return ERR_NOMEM;
    for (size_t i = 0; i < config->exposed_port_count; i++) {
        const struct config_exposed_port *row = &config->exposed_ports[i];
        if ((row->protocol & CONFIG_TCP) != 0)
            list_port(s, LISTENER_TCP, row->port);
        if ((row->protocol & CONFIG_UDP) != 0)
            list_port(s, LISTENER_UDP, row->port);
    }
    return ERR_OK;
}

static void log_ready(const struct source *s)
{
    const struct config_source *config = &s->config->source;
    char ports[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < s->port_count && used < sizeof(ports) - 12; i++)
        used += (size_t)snprintf(ports + used, sizeof(ports) - used, "%s%u%s", i > 0 ? "," : "",
                                 s->ports[i].port, s->ports[i].kind == LISTENER_UDP ? "/udp" : "");
    LOG(LOG_LEVEL_INFO, "source.ready", LOG_STR("listen_ip", config->listen_ip),
        LOG_STR("ports", ports), LOG_STR("dest", config->dest_host.items[0]),
        LOG_UINT("dest_port", config->dest_tunnel_port),
        LOG_STR("kem_mode", config_kem_mode_name(s->config->crypto.kem_mode)),
        LOG_UINT("workers", s->worker_count));
}

/* Nothing runs yet, or nothing any more. */
static void release(struct source *s)
{
    handshaker_free(s->handshaker);
    for (unsigned i = 0; s->workers != NULL && i < s->worker_count; i++) {
        struct source_worker *w = &s->workers[i];
        worker_free(w->worker);
        uplink_fini(&w->uplink);
        for (size_t k = 0; w->ports != NULL && k < s->port_count; k++) {
            if (w->ports[k].fd >= 0)
                close(w->ports[k].fd);
        }
        free(w->ports);
    }
    keypair_pool_close(s->keypairs);
    credentials_free(s->credentials);
    pthread_mutex_destroy(&s->lock);
    free(s->workers);
    free(s->ports);
    free(s);
}

/* Those that run; after a start that failed. */
static void stop_workers(struct source *s)
{
    for (unsigned i = 0; s->workers != NULL && i < s->worker_count; i++) {
        if (s->workers[i].worker == NULL)
            continue;
        worker_drain(s->workers[i].worker, 0);
        (void)worker_join(s->workers[i].worker);
    }
}

static enum err start_handshaker(struct source *s)
{
    const struct handshaker_options options = {
        .pool = s->keypairs,
        .max_size = s->config->crypto.max_handshake_size_bytes,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .listen_fd = -1,
    };

    return handshaker_start(&s->handshaker, &options);
}

static enum err start(struct source *s, const struct identity *identity, struct err_detail *d)
{
    enum err e = credentials_new(&s->credentials, s->config, identity, d);

    if (e == ERR_OK && role_kem_mode(s->config) != KEM_MLKEM768)
        e = keypair_pool_start(&s->keypairs, s->worker_count + 1);
    if (e == ERR_OK)
        e = list_ports(s);
    if (e == ERR_OK)
        s->workers = calloc(s->worker_count, sizeof(*s->workers));
    if (e == ERR_OK && s->workers == NULL)
        e = ERR_NOMEM;
    for (unsigned i = 0; e == ERR_OK && i < s->worker_count; i++)
        e = init_worker(s, &s->workers[i]);
    if (e == ERR_OK)
        e = bind_ports(s, d);
    if (e == ERR_OK)
        e = start_handshaker(s);
    for (unsigned i = 0; e == ERR_OK && i < s->worker_count; i++)
        e = worker_start(s->workers[i].worker);
    return e;
}

enum err source_start(struct source **out, const struct config *config,
                      const struct identity *identity, struct role_owner *owner,
                      struct err_detail *d)
{
    struct source *s = calloc(1, sizeof(*s));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (s == NULL)
        return err_set(d, e, "%s", err_text(e));
    err_set(d, ERR_OK, "%s", "");
    s->config = config;
    s->owner = owner;
    s->worker_count = config->source.workers > 0 ? config->source.workers : worker_default_count();
    s->asked = (struct role_state_owner){.role = CONFIG_ROLE_SOURCE,
                                         .worker_count = s->worker_count,
                                         .worker_at = worker_at,
                                         .fill = fill_state};
    pthread_mutex_init(&s->lock, NULL);
    atomic_init(&s->running, s->worker_count + 1);
    e = start(s, identity, d);
    if (e != ERR_OK) {
        stop_workers(s);
        release(s);
        if (d != NULL && d->text[0] == 0)
            err_set(d, e, "%s", err_text(e));
        return e;
    }
    log_ready(s);
    *out = s;
    one_less(s);
    return ERR_OK;
}

void source_stop(struct source *s, uint32_t timeout_ms)
{
    handshaker_stop(s->handshaker);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_drain(s->workers[i].worker, timeout_ms);
}

void source_free(struct source *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->worker_count; i++)
        (void)worker_join(s->workers[i].worker);
    release(s);
}

uint16_t source_port(const struct source *s, uint16_t exposed_port)
{
    for (size_t i = 0; i < s->port_count; i++) {
        if (s->ports[i].kind == LISTENER_TCP && s->ports[i].exposed == exposed_port)
            return s->ports[i].port;
    }
    return 0;
}

bool source_session(struct source *s, struct session_view *view)
{
    pthread_mutex_lock(&s->lock);
    bool has_session = s->has_session;
    *view = s->session;
    pthread_mutex_unlock(&s->lock);
    return has_session;
}

enum err source_state(struct source *s, uint32_t timeout_ms, struct role_state **out)
{
    return role_state_take(out, &s->asked, timeout_ms);
}

void source_collect(struct source *s, struct metric_text *m)
{
    struct keypair_pool_counters keypairs = {.ready = 0};
    struct collect_workers sum = {.count = 0};
    struct collect_service service;

    source_sum(s, &sum);
    collect_write_workers(m, &sum);
    collect_write_handshakes(m, handshaker_stats(s->handshaker),
                             config_kem_mode_name(s->config->crypto.kem_mode));
    for (size_t i = 0; source_get_service(s, i, &service); i++)
        collect_write_service(m, &service);
    metric_count(m, METRIC_CLIENTS_WAITING, METRIC_NO_LABELS, sum.clients_waiting);
    metric_count(m, METRIC_CONNECTIONS, METRIC_NO_LABELS,
                 atomic_load_explicit(&s->connections, memory_order_relaxed));
    metric_count(m, METRIC_CONNECTIONS_LIMIT, METRIC_NO_LABELS, s->config->source.max_connections);
    if (s->keypairs == NULL)
        return;
    keypair_pool_count(s->keypairs, &keypairs);
    metric_count(m, METRIC_KEYPAIRS_READY, METRIC_NO_LABELS, keypairs.ready);
}

void source_sum(struct source *s, struct collect_workers *sum)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        collect_add_worker(sum, s->workers[i].worker);
}

bool source_get_service(struct source *s, size_t index, struct collect_service *out)
{
    if (index >= s->port_count)
        return false;
    *out = (struct collect_service){
        .port = s->ports[index].exposed,
        .listening = s->ports[index].port,
    };
    snprintf(out->label, sizeof(out->label), "%u", s->ports[index].exposed);
    for (unsigned k = 0; k < s->worker_count; k++)
        collect_add_pumps(out, &s->workers[k].ports[index].pumps.stats, COLLECT_CLIENTS);
    return true;
}
