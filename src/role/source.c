/*
 * Each worker has its own listeners and its own uplink; they share the configuration, the
 * handshaker, the pool of key pairs and the count of clients.
 */
#include "role/source.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/carrier.h"
#include "ops/log.h"
#include "role/collect.h"
#include "role/source_parts.h"

/* Resolving and connecting; the handshake has times of its own. */
#define CONNECT_TIMEOUT_MS 10000

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
        client_table_remove_files(w->clients.table, NULL);
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

/* -- certificates that change while we run -- */

static struct worker *recheck_worker(struct recheck *recheck, unsigned index)
{
    return list_entry(recheck, struct source, recheck)->workers[index].worker;
}

static void on_recheck(struct recheck *recheck, unsigned index, X509_STORE *store,
                       uint64_t renewals)
{
    struct uplink *u = &list_entry(recheck, struct source, recheck)->workers[index].uplink;

    uplink_recheck(u, store);
    uplink_renew(u, renewals);
}

static bool on_look(struct handshaker_owner *looking)
{
    return recheck_look(&list_entry(looking, struct source, looking)->recheck);
}

/* -- start and stop -- */

struct worker_times source_times(const struct config_source *config)
{
    return (struct worker_times){
        .half_close_idle_ms = config->half_close_idle_timeout_secs * 1000,
        .flow_idle_ms = config->connection_timeout_ms,
    };
}

static enum err init_worker(struct source *s, struct source_worker *w)
{
    const struct config_source *config = &s->config->source;
    const struct worker_options options = {
        .hold_max = config->send_buffer_max_bytes,
        .memory_budget = config->memory_budget_bytes / s->worker_count,
        .busy_wait_us = config->busy_wait_us,
        .times = source_times(config),
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
    e = clients_init(&w->clients, s->table, &s->client_count, &w->uplink);
    if (e != ERR_OK)
        return e;
    return worker_new(&w->worker, &options);
}

static enum err bind_port(struct source *s, size_t index, unsigned fallback, struct err_detail *d)
{
    const struct listen_port_bind options = {
        .count = s->worker_count,
        .fallback = fallback,
        .named = s->table->named,
        .named_count = s->table->named_count,
    };
    int *fds = calloc(s->worker_count, sizeof(*fds));
    enum err e = ERR_NOMEM;

    if (fds != NULL)
        e = listen_port_bind(&s->table->ports[index], fds, &options, d);
    for (unsigned k = 0; e == ERR_OK && k < s->worker_count; k++)
        clients_give(&s->workers[k].clients, index, fds[k]);
    free(fds);
    return e;
}

/*
 * All that can have their own port get it before another is looked for in the place of one in use:
 * whoever comes to a port that the configuration names must find there what it says, or nobody.
 */
static enum err bind_ports(struct source *s, struct err_detail *d)
{
    const struct listen_port *ports = s->table->ports;
    enum err e = ERR_OK;

    for (size_t i = 0; e == ERR_OK && i < s->table->port_count; i++) {
        e = bind_port(s, i, 0, d);
        if (e == ERR_ADDR_IN_USE && ports[i].path == NULL)
            e = ERR_OK;
    }
    for (size_t i = 0; e == ERR_OK && i < s->table->port_count; i++) {
        if (ports[i].path == NULL && ports[i].port == 0)
            e = bind_port(s, i, LISTENER_FALLBACK, d);
    }
    for (size_t i = 0; e == ERR_OK && i < s->table->port_count; i++)
        listen_port_log_up(&ports[i]);
    return e;
}

static void log_ready(const struct source *s)
{
    const struct config_source *config = &s->config->source;
    char ports[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < s->table->port_count && used < sizeof(ports) - ADDRESS_PATH_MAX - 2;
         i++) {
        if (i > 0)
            ports[used++] = ',';
        used += listen_port_format(&s->table->ports[i], ports + used, sizeof(ports) - used);
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
    client_table_remove_files(s->table, NULL);
    for (unsigned i = 0; s->workers != NULL && i < s->worker_count; i++) {
        struct source_worker *w = &s->workers[i];
        worker_free(w->worker);
        uplink_fini(&w->uplink);
        clients_fini(&w->clients);
    }
    keypair_pool_close(s->keypairs);
    credentials_free(s->credentials);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->tables);
    free(s->workers);
    client_table_free(s->table);
    config_free(s->config);
    free(s);
}

/* Those that run; after a start that failed. */
static void stop_workers(struct source *s)
{
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_drain(s->workers[i].worker, 0);
        (void)worker_join(s->workers[i].worker);
    }
}

enum err source_start_keypairs(struct source *s)
{
    struct keypair_pool *pool;
    enum err e = keypair_pool_start(&pool, s->worker_count + 1);

    if (e == ERR_OK)
        atomic_store(&s->keypairs, pool);
    return e;
}

static enum err start_handshaker(struct source *s)
{
    const struct handshaker_options options = {
        .pool = s->keypairs,
        .max_size = s->config->crypto.max_handshake_size_bytes,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .listen_fd = -1,
        .owner = &s->looking,
    };

    s->looking.on_look = on_look;
    s->recheck = (struct recheck){.credentials = s->credentials,
                                  .worker_count = s->worker_count,
                                  .worker_at = recheck_worker,
                                  .on_recheck = on_recheck};
    recheck_init(&s->recheck);
    return handshaker_start(&s->handshaker, &options);
}

static enum err init(struct source *s, const struct identity *identity, struct err_detail *d)
{
    enum err e = ERR_OK;

    /* The first session waits for the first pair. */
    if (role_kem_mode(s->config) != KEM_MLKEM768)
        e = source_start_keypairs(s);
    if (e == ERR_OK)
        e = credentials_new(&s->credentials, s->config, identity, d);
    if (e == ERR_OK)
        e = client_table_new(&s->table, s->config, NULL, d);
    if (e == ERR_OK)
        s->workers = calloc(s->worker_count, sizeof(*s->workers));
    if (e == ERR_OK && s->workers == NULL)
        e = ERR_NOMEM;
    for (unsigned i = 0; e == ERR_OK && i < s->worker_count; i++)
        e = init_worker(s, &s->workers[i]);
    return e == ERR_OK ? bind_ports(s, d) : e;
}

enum err source_new(struct source **out, const struct config *config,
                    const struct identity *identity, struct role_owner *owner, struct err_detail *d)
{
    struct source *s = calloc(1, sizeof(*s));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (s == NULL)
        return err_set(d, e, "%s", err_text(e));
    err_set(d, ERR_OK, "%s", "");
    s->config = config_share(config);
    s->owner = owner;
    s->worker_count = worker_count(config->source.workers);
    s->asked = (struct role_state_owner){.role = CONFIG_ROLE_SOURCE,
                                         .worker_count = s->worker_count,
                                         .worker_at = worker_at,
                                         .fill = fill_state};
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->tables, NULL);
    atomic_init(&s->running, s->worker_count + 1);
    e = init(s, identity, d);
    if (e != ERR_OK) {
        release(s);
        if (d != NULL && d->text[0] == 0)
            err_set(d, e, "%s", err_text(e));
        return e;
    }
    *out = s;
    return ERR_OK;
}

void source_give_files(const struct source *s, uid_t uid, gid_t gid)
{
    client_table_give_files(s->table, uid, gid);
}

enum err source_start(struct source *s, struct err_detail *d)
{
    enum err e = start_handshaker(s);

    for (unsigned i = 0; e == ERR_OK && i < s->worker_count; i++)
        e = worker_start(s->workers[i].worker);
    if (e != ERR_OK) {
        stop_workers(s);
        return err_set(d, e, "%s", err_text(e));
    }
    log_ready(s);
    one_less(s);
    return ERR_OK;
}

const struct config *source_config(struct source *s)
{
    pthread_mutex_lock(&s->tables);
    const struct config *config = config_share(s->config);
    pthread_mutex_unlock(&s->tables);
    return config;
}

void source_look(struct source *s)
{
    handshaker_look(s->handshaker);
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

uint16_t source_port(struct source *s, uint16_t exposed_port)
{
    pthread_mutex_lock(&s->tables);
    size_t index = client_table_find(s->table, LISTENER_TCP, exposed_port, NULL);
    uint16_t port = index == CLIENT_TABLE_NONE ? 0 : s->table->ports[index].port;
    pthread_mutex_unlock(&s->tables);
    return port;
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
    const struct config *config = source_config(s);
    struct keypair_pool *pool;

    source_sum(s, &sum);
    collect_write_workers(m, &sum);
    collect_write_handshakes(m, handshaker_stats(s->handshaker),
                             config_kem_mode_name(config->crypto.kem_mode));
    collect_write_credentials(m, s->credentials);
    for (size_t i = 0; source_get_service(s, i, &service); i++)
        collect_write_service(m, &service);
    metric_count(m, METRIC_CLIENTS_WAITING, METRIC_NO_LABELS, sum.clients_waiting);
    metric_count(m, METRIC_CONNECTIONS, METRIC_NO_LABELS,
                 atomic_load_explicit(&s->client_count, memory_order_relaxed));
    metric_count(m, METRIC_CONNECTIONS_LIMIT, METRIC_NO_LABELS, config->source.max_connections);
    config_free(config);
    pool = atomic_load(&s->keypairs);
    if (pool == NULL)
        return;
    keypair_pool_count(pool, &keypairs);
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

static void get_service(struct source *s, size_t index, struct collect_service *out)
{
    const struct listen_port *port = &s->table->ports[index];

    *out = (struct collect_service){
        .port = port->configured,
        .listening = port->port,
        .has_streams = port->kind == LISTENER_TCP,
        .has_flows = port->kind == LISTENER_UDP || port->speech == ENTRY_PROXY,
    };
    if (port->speech == ENTRY_PROXY)
        snprintf(out->label, sizeof(out->label), "(entry)");
    else if (port->path != NULL)
        snprintf(out->label, sizeof(out->label), "%s", port->path);
    else
        snprintf(out->label, sizeof(out->label), "%u", port->configured);
    if (port->path != NULL)
        snprintf(out->path, sizeof(out->path), "%s", port->path);
    for (unsigned k = 0; k < s->worker_count; k++) {
        collect_add_pumps(out, clients_stats(&s->workers[k].clients, index), COLLECT_CLIENTS);
        collect_add_flows(&out->flows, clients_flow_stats(&s->workers[k].clients, index));
    }
}

bool source_get_service(struct source *s, size_t index, struct collect_service *out)
{
    pthread_mutex_lock(&s->tables);
    bool is_there = index < s->table->port_count;
    if (is_there)
        get_service(s, index, out);
    pthread_mutex_unlock(&s->tables);
    return is_there;
}
