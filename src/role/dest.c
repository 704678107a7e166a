#include "role/dest.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/names.h"
#include "ops/log.h"
#include "role/audit.h"
#include "role/collect.h"
#include "role/dest_parts.h"

/* Streams of one tunnel that may wait for their refusal, beside those that services take. */
#define STREAMS_SPARE 256

/* -- what sources ask for -- */

static void on_open(struct dest_tunnels *tunnels, struct dest_tunnel *t, struct stream *stream,
                    const struct stream_target *target)
{
    struct dest_worker *w = list_entry(tunnels, struct dest_worker, tunnels);

    dest_services_open(&w->services, t, stream, target);
}

static void on_flow(struct dest_tunnels *tunnels, struct dest_tunnel *t, struct flow *flow,
                    const struct stream_target *target)
{
    struct dest_worker *w = list_entry(tunnels, struct dest_worker, tunnels);

    dest_services_flow(&w->services, t, flow, target);
}

/* -- certificates that change while we run -- */

static struct worker *recheck_worker(struct recheck *recheck, unsigned index)
{
    return list_entry(recheck, struct dest, recheck)->workers[index].worker;
}

static void on_recheck(struct recheck *recheck, unsigned index, X509_STORE *store,
                       uint64_t renewals)
{
    (void)renewals; /* a source asks for a session when it wants one */
    dest_tunnels_recheck(&list_entry(recheck, struct dest, recheck)->workers[index].tunnels, store);
}

static bool on_look(struct dest_gate_owner *sessions)
{
    return recheck_look(&list_entry(sessions, struct dest, sessions)->recheck);
}

/* -- start and stop -- */

static void one_less(struct dest *d)
{
    if (atomic_fetch_sub(&d->running, 1) == 1)
        d->owner->on_stopped(d->owner, ERR_OK);
}

static void on_stop(struct worker_owner *owner, struct worker *worker)
{
    struct dest_worker *w = list_entry(owner, struct dest_worker, owner);

    (void)worker;
    dest_tunnels_close(&w->tunnels);
    one_less(w->dest);
}

static struct worker *worker_at(struct role_state_owner *asked, unsigned index)
{
    return list_entry(asked, struct dest, asked)->workers[index].worker;
}

static void fill_state(struct role_state_owner *asked, unsigned index, struct role_worker *out)
{
    dest_tunnels_get_state(&list_entry(asked, struct dest, asked)->workers[index].tunnels, out);
}

uint32_t dest_streams_max(const struct config_dest *config)
{
    uint64_t streams =
        (uint64_t)config->exposed_service_count * config->max_connections_per_service;

    if (config->allowed_targets.count > 0)
        streams += config->allowed_targets_max_connections;
    return streams > UINT32_MAX - STREAMS_SPARE ? UINT32_MAX : (uint32_t)streams + STREAMS_SPARE;
}

struct worker_times dest_times(const struct config_dest *config)
{
    return (struct worker_times){
        .half_close_idle_ms = config->half_close_idle_timeout_secs * 1000,
        .flow_idle_ms = config->connection_timeout_ms,
        .flow_sweep_ms = config->stale_cleanup_interval_secs * 1000,
    };
}

static enum err init_worker(struct dest *d, unsigned index)
{
    const struct config_dest *config = &d->config->dest;
    struct dest_worker *w = &d->workers[index];
    const struct worker_options options = {
        .hold_max = config->send_buffer_max_bytes,
        .memory_budget = config->memory_budget_bytes / d->worker_count,
        .busy_wait_us = config->busy_wait_us,
        .names_of_peers = names_of_peers(d->worker_count),
        .times = dest_times(config),
        .owner = &w->owner,
    };

    w->dest = d;
    w->owner.on_stop = on_stop;
    enum err e = worker_new(&w->worker, &options);
    if (e != ERR_OK)
        return e;
    w->services = (struct dest_services){
        .admission = d->admission,
        .worker = w->worker,
        .hosts = {.admission = d->admission},
    };
    e = dest_services_init(&w->services, d->services);
    if (e != ERR_OK)
        return e;
    w->tunnels = (struct dest_tunnels){
        .config = d->config,
        .placement = d->placement,
        .admission = d->admission,
        .worker = w->worker,
        .max_streams = dest_streams_max(config),
        .on_open = on_open,
        .on_flow = on_flow,
    };
    dest_tunnels_init(&w->tunnels);
    return ERR_OK;
}

static struct dest_tunnels *tunnels_at(struct dest_gate_owner *sessions, unsigned worker)
{
    return &list_entry(sessions, struct dest, sessions)->workers[worker].tunnels;
}

static enum err open_gate(struct dest *d, struct err_detail *detail)
{
    const struct dest_gate_options options = {
        .config = d->config,
        .credentials = d->credentials,
        .placement = d->placement,
        .owner = &d->sessions,
    };

    d->sessions.tunnels_at = tunnels_at;
    d->sessions.on_look = on_look;
    d->recheck = (struct recheck){.credentials = d->credentials,
                                  .worker_count = d->worker_count,
                                  .worker_at = recheck_worker,
                                  .on_recheck = on_recheck};
    recheck_init(&d->recheck);
    return dest_gate_open(&d->gate, &options, detail);
}

/* Nothing runs yet, or nothing any more. */
static void release(struct dest *d)
{
    dest_gate_free(d->gate);
    for (unsigned i = 0; d->workers != NULL && i < d->worker_count; i++) {
        worker_free(d->workers[i].worker);
        dest_services_fini(&d->workers[i].services);
    }
    credentials_free(d->credentials);
    placement_free(d->placement);
    admission_free(d->admission);
    services_free(d->services);
    config_free(d->config);
    pthread_mutex_destroy(&d->tables);
    free(d->workers);
    free(d);
}

/* Those that run; after a start that failed. */
static void stop_workers(struct dest *d)
{
    for (unsigned i = 0; i < d->worker_count; i++) {
        worker_drain(d->workers[i].worker, 0);
        (void)worker_join(d->workers[i].worker);
    }
}

static enum err init(struct dest *d, const struct identity *identity, struct err_detail *detail)
{
    enum err e = credentials_new(&d->credentials, d->config, identity, detail);

    if (e == ERR_OK)
        e = services_new(&d->services, d->config, NULL);
    if (e == ERR_OK)
        e = admission_new(&d->admission, d->services);
    if (e == ERR_OK)
        e = placement_new(&d->placement, d->worker_count, d->config->dest.max_tunnels);
    if (e == ERR_OK)
        d->workers = calloc(d->worker_count, sizeof(*d->workers));
    if (e == ERR_OK && d->workers == NULL)
        e = ERR_NOMEM;
    for (unsigned i = 0; e == ERR_OK && i < d->worker_count; i++)
        e = init_worker(d, i);
    return e == ERR_OK ? open_gate(d, detail) : e;
}

static void log_ready(const struct dest *d)
{
    const struct config_dest *config = &d->config->dest;

    LOG(LOG_LEVEL_INFO, "dest.ready", LOG_STR("listen_ip", config->listen_ip),
        LOG_UINT("tunnel_port", dest_gate_port(d->gate)), LOG_UINT("services", d->services->count),
        LOG_STR("kem_mode", config_kem_mode_name(d->config->crypto.kem_mode)),
        LOG_UINT("workers", d->worker_count));
}

enum err dest_new(struct dest **out, const struct config *config, const struct identity *identity,
                  struct role_owner *owner, struct err_detail *detail)
{
    struct dest *d = calloc(1, sizeof(*d));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (d == NULL)
        return err_set(detail, e, "%s", err_text(e));
    err_set(detail, ERR_OK, "%s", "");
    d->config = config_share(config);
    d->owner = owner;
    pthread_mutex_init(&d->tables, NULL);
    audit_enable(config->logging.audit);
    d->worker_count = worker_count(config->dest.workers);
    d->asked = (struct role_state_owner){.role = CONFIG_ROLE_DEST,
                                         .worker_count = d->worker_count,
                                         .worker_at = worker_at,
                                         .fill = fill_state};
    atomic_init(&d->running, d->worker_count + 1);
    e = init(d, identity, detail);
    if (e != ERR_OK) {
        release(d);
        if (detail != NULL && detail->text[0] == 0)
            err_set(detail, e, "%s", err_text(e));
        return e;
    }
    *out = d;
    return ERR_OK;
}

enum err dest_start(struct dest *d, struct err_detail *detail)
{
    enum err e = ERR_OK;

    for (unsigned i = 0; e == ERR_OK && i < d->worker_count; i++)
        e = worker_start(d->workers[i].worker);
    if (e == ERR_OK)
        e = dest_gate_start(d->gate);
    if (e != ERR_OK) {
        stop_workers(d);
        return err_set(detail, e, "%s", err_text(e));
    }
    log_ready(d);
    one_less(d);
    return ERR_OK;
}

const struct config *dest_config(struct dest *d)
{
    pthread_mutex_lock(&d->tables);
    const struct config *config = config_share(d->config);
    pthread_mutex_unlock(&d->tables);
    return config;
}

void dest_look(struct dest *d)
{
    dest_gate_look(d->gate);
}

void dest_stop(struct dest *d, uint32_t timeout_ms)
{
    dest_gate_shut(d->gate);
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
    return dest_gate_port(d->gate);
}

enum err dest_state(struct dest *d, uint32_t timeout_ms, struct role_state **out)
{
    return role_state_take(out, &d->asked, timeout_ms);
}

struct role_state_owner *dest_crew(struct dest *d)
{
    return &d->asked;
}

void dest_collect(struct dest *d, struct metric_text *m)
{
    struct collect_workers sum = {.count = 0};
    struct collect_service service;
    const char *mode;

    dest_sum(d, &sum);
    collect_write_workers(m, &sum);
    metric_count(m, METRIC_TARGETS_DOWN, METRIC_NO_LABELS, sum.targets_down);
    metric_count(m, METRIC_TARGET_FAILURES, METRIC_NO_LABELS, sum.target_failures);
    metric_count(m, METRIC_TARGET_PROBES, METRIC_NO_LABELS, sum.target_probes);
    pthread_mutex_lock(&d->tables);
    mode = config_kem_mode_name(d->config->crypto.kem_mode);
    pthread_mutex_unlock(&d->tables);
    collect_write_handshakes(m, dest_gate_stats(d->gate), mode);
    collect_write_credentials(m, d->credentials);
    for (size_t i = 0; dest_get_service(d, i, &service); i++)
        collect_write_service(m, &service);
}

void dest_sum(struct dest *d, struct collect_workers *sum)
{
    for (unsigned i = 0; i < d->worker_count; i++)
        collect_add_worker(sum, d->workers[i].worker);
}

void dest_get_expiries(struct dest *d, struct identity_expiries *out)
{
    credentials_get_expiries(d->credentials, out);
}

/* All hosts that clients name, as one service. */
static void get_hosts(struct dest *d, struct collect_service *out)
{
    *out = (struct collect_service){
        .label = "(hosts)",
        .target_host = "[dest.allowed_targets]",
        .is_hosts = true,
        .has_streams = true,
        .has_flows = true,
        .limit = d->config->dest.allowed_targets_max_connections,
    };
    for (unsigned k = 0; k < d->worker_count; k++) {
        const struct dest_services *services = &d->workers[k].services;

        collect_add_pumps(out, &services->host_pumps, COLLECT_TARGETS);
        collect_add_flows(&out->flows, &services->host_flows);
    }
}

static void get_service(struct dest *d, size_t index, struct collect_service *out)
{
    const struct service *service = &d->services->items[index];

    *out = (struct collect_service){
        .port = service->port,
        .target_port = service->target_port,
        .has_streams = (service->protocol & CONFIG_TCP) != 0,
        .has_flows = (service->protocol & CONFIG_UDP) != 0,
        .limit = service->limit,
    };
    snprintf(out->label, sizeof(out->label), "%s", service->name);
    snprintf(out->target_text, sizeof(out->target_text), "%s", service->target_host);
    out->target_host = out->target_text;
    for (unsigned k = 0; k < d->worker_count; k++) {
        const struct dest_services *services = &d->workers[k].services;

        collect_add_pumps(out, dest_services_pumps(services, index), COLLECT_TARGETS);
        collect_add_flows(&out->flows, dest_services_flows(services, index));
    }
}

bool dest_get_service(struct dest *d, size_t index, struct collect_service *out)
{
    bool is_there = true;

    pthread_mutex_lock(&d->tables);
    if (index < d->services->count)
        get_service(d, index, out);
    else if (index == d->services->count && d->config->dest.allowed_targets.count > 0)
        get_hosts(d, out);
    else
        is_there = false;
    pthread_mutex_unlock(&d->tables);
    return is_there;
}
