/*
 * Each worker has its own listeners and its own uplink; they share the configuration, the
 * handshaker, the pool of key pairs and the count of clients.
 */
#include "role/source.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
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
#include "net/worker.h"
#include "ops/log.h"
#include "role/clients.h"
#include "role/collect.h"
#include "role/uplink.h"

/* Resolving and connecting; the handshake has times of its own. */
#define CONNECT_TIMEOUT_MS 10000

struct source_worker {
    struct worker_owner owner;
    struct uplink_owner uplink_owner;
    struct uplink uplink;
    struct source *source;
    struct worker *worker;
    struct clients clients;
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
    struct clients_shared clients;
    _Atomic unsigned running; /* workers that have not stopped, and one until the start is done */
    _Atomic int failure;      /* enum err: why it ends by itself */

    pthread_mutex_t lock;
    struct session_view session; /* the latest; shared, under the lock */
    bool has_session;
};

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
    clients_forward(&w->clients);
}

static void on_uplink_given_up(struct uplink_owner *owner, const char *why)
{
    give_up(list_entry(owner, struct source_worker, uplink_owner)->source, ERR_CLOSED, why);
}

/* -- the worker -- */

static enum err on_start(struct worker_owner *owner, struct worker *worker)
{
    struct source_worker *w = list_entry(owner, struct source_worker, owner);

    enum err e = uplink_open(&w->uplink, worker, w->source->handshaker);
    if (e == ERR_OK)
        e = clients_open(&w->clients, worker);
    if (e != ERR_OK)
        give_up(w->source, e, "a worker cannot be started");
    return ERR_OK;
}

static void on_drain(struct worker_owner *owner, struct worker *worker)
{
    struct source_worker *w = list_entry(owner, struct source_worker, owner);

    (void)worker;
    /* While its own socket is open still. */
    if (w == &w->source->workers[0])
        clients_shared_remove_files(&w->source->clients);
    clients_drain(&w->clients);
    uplink_drain(&w->uplink);
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
    clients_close(&w->clients);
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
    e = clients_init(&w->clients, &s->clients, &w->uplink);
    if (e != ERR_OK)
        return e;
    return worker_new(&w->worker, &options);
}

/* All workers accept on the one socket, for a Unix socket cannot be bound twice as a port can. */
static enum err bind_path(struct source *s, size_t index, struct err_detail *d)
{
    struct clients_port *port = &s->clients.ports[index];
    int fd;
    enum err e = socket_file_listen(&port->file, &fd, port->path, port->path_mode, d);

    if (e != ERR_OK)
        return e;
    clients_give(&s->workers[0].clients, index, fd);
    for (unsigned i = 1; i < s->worker_count; i++) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return err_set(d, err_from_errno(errno), "listen on %s: %s", port->path,
                           strerror(errno));
        clients_give(&s->workers[i].clients, index, copy);
    }
    LOG(LOG_LEVEL_INFO, "listener.up", LOG_STR("path", port->path),
        LOG_UINT("configured_port", port->configured), LOG_STR("protocol", "tcp"));
    return ERR_OK;
}

static enum err bind_port(struct source *s, size_t index, int *fds, struct err_detail *d)
{
    struct clients_port *port = &s->clients.ports[index];
    const char *protocol = port->kind == LISTENER_UDP ? "udp" : "tcp";
    const struct listener_bind options = {
        .kind = port->kind,
        .ip = s->config->source.listen_ip,
        .port = port->configured,
        .fallback = LISTENER_FALLBACK,
        .count = s->worker_count,
    };
    enum err e = listener_bind(fds, &port->port, &options, d);

    if (e != ERR_OK)
        return e;
    for (unsigned i = 0; i < s->worker_count; i++)
        clients_give(&s->workers[i].clients, index, fds[i]);
    if (port->port != port->configured)
        LOG(LOG_LEVEL_WARN, "listener.fallback", LOG_UINT("configured_port", port->configured),
            LOG_UINT("port", port->port), LOG_STR("protocol", protocol), LOG_STR("ip", options.ip),
            LOG_MSG("the configured port is in use; clients must use the other one"));
    LOG(LOG_LEVEL_INFO, "listener.up", LOG_UINT("port", port->port),
        LOG_UINT("configured_port", port->configured), LOG_STR("protocol", protocol),
        LOG_STR("ip", options.ip));
    return ERR_OK;
}

static enum err bind_ports(struct source *s, struct err_detail *d)
{
    int *fds = calloc(s->worker_count, sizeof(*fds));
    enum err e = ERR_OK;

    if (fds == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < s->clients.port_count; i++)
        e = s->clients.ports[i].path != NULL ? bind_path(s, i, d) : bind_port(s, i, fds, d);
    free(fds);
    return e;
}

static void log_ready(const struct source *s)
{
    const struct config_source *config = &s->config->source;
    char ports[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < s->clients.port_count && used < sizeof(ports) - ADDRESS_PATH_MAX - 2;
         i++) {
        const struct clients_port *port = &s->clients.ports[i];
        const char *comma = i > 0 ? "," : "";
        int n = port->path != NULL
                    ? snprintf(ports + used, sizeof(ports) - used, "%s%s", comma, port->path)
                    : snprintf(ports + used, sizeof(ports) - used, "%s%u%s", comma, port->port,
                               port->kind == LISTENER_UDP ? "/udp" : "");
        used += (size_t)n;
    }
    LOG(LOG_LEVEL_INFO, "source.ready", LOG_STR("listen_ip", config->listen_ip),
        LOG_STR("ports", ports), LOG_STR("mode", config_mode_name(config->mode)),
        LOG_STR("dest", config->dest_host.items[0]),
        LOG_UINT("dest_port", config->dest_tunnel_port),
        LOG_STR("kem_mode", config_kem_mode_name(s->config->crypto.kem_mode)),
        LOG_UINT("workers", s->worker_count));
}

/* Nothing runs yet, or nothing any more. */
static void release(struct source *s)
{
    handshaker_free(s->handshaker);
    clients_shared_remove_files(&s->clients);
    for (unsigned i = 0; s->workers != NULL && i < s->worker_count; i++) {
        struct source_worker *w = &s->workers[i];
        worker_free(w->worker);
        uplink_fini(&w->uplink);
        clients_fini(&w->clients);
    }
    keypair_pool_close(s->keypairs);
    credentials_free(s->credentials);
    pthread_mutex_destroy(&s->lock);
    free(s->workers);
    clients_shared_fini(&s->clients);
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
        e = clients_shared_init(&s->clients, s->config, d);
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
    for (size_t i = 0; i < s->clients.port_count; i++) {
        if (s->clients.ports[i].kind == LISTENER_TCP && s->clients.ports[i].path == NULL &&
            s->clients.ports[i].configured == exposed_port)
            return s->clients.ports[i].port;
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

struct role_state_owner *source_crew(struct source *s)
{
    return &s->asked;
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
    collect_write_credentials(m, s->credentials);
    for (size_t i = 0; source_get_service(s, i, &service); i++)
        collect_write_service(m, &service);
    metric_count(m, METRIC_CLIENTS_WAITING, METRIC_NO_LABELS, sum.clients_waiting);
    metric_count(m, METRIC_CONNECTIONS, METRIC_NO_LABELS,
                 atomic_load_explicit(&s->clients.count, memory_order_relaxed));
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

void source_get_expiries(struct source *s, struct identity_expiries *out)
{
    credentials_get_expiries(s->credentials, out);
}

bool source_get_service(struct source *s, size_t index, struct collect_service *out)
{
    const struct clients_port *port;

    if (index >= s->clients.port_count)
        return false;
    port = &s->clients.ports[index];
    *out = (struct collect_service){
        .port = port->configured,
        .listening = port->port,
        .path = port->path,
        .has_streams = port->kind == LISTENER_TCP,
        .has_flows = port->kind == LISTENER_UDP || port->speech == ENTRY_PROXY,
    };
    if (port->speech == ENTRY_PROXY)
        snprintf(out->label, sizeof(out->label), "(entry)");
    else if (port->path != NULL)
        snprintf(out->label, sizeof(out->label), "%s", port->path);
    else
        snprintf(out->label, sizeof(out->label), "%u", port->configured);
    for (unsigned k = 0; k < s->worker_count; k++) {
        collect_add_pumps(out, clients_stats(&s->workers[k].clients, index), COLLECT_CLIENTS);
        collect_add_flows(&out->flows, clients_flow_stats(&s->workers[k].clients, index));
    }
    return true;
}
