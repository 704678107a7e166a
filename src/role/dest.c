#include "role/dest.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "net/pump.h"
#include "net/tunnel_owner.h"
#include "net/udp_target.h"
#include "net/worker.h"
#include "ops/log.h"
#include "role/credentials.h"
#include "role/dest_gate.h"
#include "role/dest_tunnel.h"
#include "role/collect.h"
#include "role/refusal.h"
#include "role/services.h"
#include "role/targets.h"

/* Streams of one tunnel that may wait for their refusal, beside those that services take. */
#define STREAMS_SPARE 256

/* A service as the pumps and flows of one worker see it. */
struct dest_service {
    struct pump_owner pumps;
    struct pump_stats pump_stats;
    struct udp_target_owner flows;
    struct flow_stats flow_stats;
    struct service *service;
};

struct dest_worker {
    struct worker_owner owner;
    struct dest *dest;
    struct worker *worker;
    struct dest_service *services; /* in the order of the table */
    struct pump_stats host_stats;  /* of streams to hosts that clients name */
    struct dest_tunnels tunnels;
};

struct dest {
    const struct config *config;
    struct role_owner *owner;
    struct dest_gate_owner sessions;
    struct dest_gate *gate;
    struct credentials *credentials;
    struct placement *placement;
    struct services services;
    struct targets targets;
    struct role_state_owner asked;
    struct dest_worker *workers;
    unsigned worker_count;
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

/* Before there is a pump, or a flow. */
static void note_refused(struct dest_worker *w, const struct stream_target *target,
                         const char *service, enum err why, const char *detail)
{
    stats_add(&worker_stats(w->worker)->streams_refused[why], 1);
    refusal_log(target->port, service, &target->client, why, detail);
}

/* The service that is asked for, with this stream or flow counted in; WIRE_NO_ERROR, or why not. */
static enum wire_code admit(struct dest_worker *w, const struct stream_target *target,
                            enum config_protocol protocol, struct service **out)
{
    struct service *service =
        services_find(&w->dest->services, target->port, target->name, protocol);

    *out = NULL;
    if (service == NULL) {
        note_refused(w, target, target->name, ERR_NO_SERVICE,
                     protocol == CONFIG_TCP ? "no exposed_services row is this for TCP"
                                            : "no exposed_services row is this for UDP");
        return WIRE_NO_SERVICE;
    }
    if (!service_enter(service)) {
        note_refused(w, target, service->name, ERR_LIMIT,
                     "the service is at max_connections_per_service");
        return WIRE_LIMIT;
    }
    *out = service;
    return WIRE_NO_ERROR;
}

static void on_open(struct dest_tunnels *tunnels, struct tunnel_owner *owner, struct stream *stream,
                    const struct stream_target *target)
{
    struct dest_worker *w = list_entry(tunnels, struct dest_worker, tunnels);
    struct dest *d = w->dest;
    struct service *service;
    enum wire_code refusal;

    if (targets_is_host(&d->services, target)) {
        targets_open(&d->targets, owner, stream, target, &w->host_stats);
        return;
    }
    refusal = admit(w, target, CONFIG_TCP, &service);
    if (refusal != WIRE_NO_ERROR) {
        tunnel_owner_refuse(owner, stream, refusal);
        return;
    }
    const struct target_options options = {
        .host = service->target_host,
        .port = service->target_port,
        .timeout_ms = d->config->dest.target_connect_timeout_ms,
    };
    struct dest_service *s = &w->services[service - d->services.items];
    enum err e = pump_dial(owner, stream, target, &options, &s->pumps);
    if (e != ERR_OK) {
        service_leave(service);
        note_refused(w, target, service->name, e, "");
    }
}

/* -- flows -- */

static void on_flow_end(struct udp_target_owner *owner, const struct flow_end *end)
{
    struct dest_service *s = list_entry(owner, struct dest_service, flows);

    service_leave(s->service);
    if (refusal_is_flow(end))
        refusal_log(end->port, s->service->name, &end->client, end->why, end->detail);
}

static void on_flow(struct dest_tunnels *tunnels, struct tunnel_owner *owner, struct flow *flow,
                    const struct stream_target *target)
{
    struct dest_worker *w = list_entry(tunnels, struct dest_worker, tunnels);
    struct service *service;
    enum wire_code refusal = admit(w, target, CONFIG_UDP, &service);

    if (refusal != WIRE_NO_ERROR) {
        tunnel_owner_refuse_flow(owner, flow, refusal);
        return;
    }
    struct dest_service *s = &w->services[service - w->dest->services.items];
    const struct udp_target_options options = {
        .host = service->target_host,
        .port = service->target_port,
        .stats = &s->flow_stats,
    };
    enum err e = udp_target_start(owner, flow, target, &options, &s->flows);
    if (e != ERR_OK) {
        service_leave(service);
        note_refused(w, target, service->name, e, "");
    }
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

static uint32_t streams_max(const struct dest *d)
{
    uint64_t streams = (uint64_t)d->services.count * d->config->dest.max_connections_per_service;

    if (d->targets.allowed->count > 0)
        streams += d->targets.limit;
    return streams > UINT32_MAX - STREAMS_SPARE ? UINT32_MAX : (uint32_t)streams + STREAMS_SPARE;
}

static enum proxy_protocol_version header_of(enum config_proxy_protocol configured)
{
    if (configured == CONFIG_PROXY_NONE)
        return PROXY_PROTOCOL_NONE;
    return configured == CONFIG_PROXY_V1 ? PROXY_PROTOCOL_V1 : PROXY_PROTOCOL_V2;
}

static enum err init_worker(struct dest *d, unsigned index)
{
    const struct config_dest *config = &d->config->dest;
    struct dest_worker *w = &d->workers[index];
    const struct worker_options options = {
        .hold_max = config->send_buffer_max_bytes,
        .memory_budget = config->memory_budget_bytes / d->worker_count,
        .half_close_idle_timeout_ms = config->half_close_idle_timeout_secs * 1000,
        .flow_idle_timeout_ms = config->connection_timeout_ms,
        .flow_sweep_interval_ms = config->stale_cleanup_interval_secs * 1000,
        .owner = &w->owner,
    };

    w->dest = d;
    w->owner.on_stop = on_stop;
    if (d->services.count > 0) {
        w->services = calloc(d->services.count, sizeof(*w->services));
        if (w->services == NULL)
            return ERR_NOMEM;
    }
    for (size_t i = 0; i < d->services.count; i++) {
        w->services[i].service = &d->services.items[i];
        w->services[i].pumps.on_end = on_end;
        w->services[i].pumps.stats = &w->services[i].pump_stats;
        w->services[i].flows.on_flow_end = on_flow_end;
        w->services[i].pumps.proxy_protocol = header_of(d->services.items[i].proxy_protocol);
    }
    enum err e = worker_new(&w->worker, &options);
    if (e != ERR_OK)
        return e;
    w->tunnels = (struct dest_tunnels){
        .config = d->config,
        .placement = d->placement,
        .worker = w->worker,
        .max_streams = streams_max(d),
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
    return dest_gate_open(&d->gate, &options, detail);
}

/* Nothing runs yet, or nothing any more. */
static void release(struct dest *d)
{
    dest_gate_free(d->gate);
    for (unsigned i = 0; d->workers != NULL && i < d->worker_count; i++) {
        worker_free(d->workers[i].worker);
        free(d->workers[i].services);
    }
    credentials_free(d->credentials);
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
    enum err e = credentials_new(&d->credentials, d->config, identity, detail);

    targets_init(&d->targets, &d->config->dest);
    if (e == ERR_OK)
        e = services_init(&d->services, &d->config->dest);
    if (e == ERR_OK)
        e = placement_new(&d->placement, d->worker_count, d->config->dest.max_tunnels);
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
        LOG_UINT("tunnel_port", dest_gate_port(d->gate)), LOG_UINT("services", d->services.count),
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
    d->asked = (struct role_state_owner){.role = CONFIG_ROLE_DEST,
                                         .worker_count = d->worker_count,
                                         .worker_at = worker_at,
                                         .fill = fill_state};
    atomic_init(&d->running, d->worker_count + 1);
    e = start(d, identity, detail);
    if (e == ERR_OK)
        e = open_gate(d, detail);
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

void dest_collect(struct dest *d, struct metric_text *m)
{
    struct collect_workers sum = {.count = 0};
    struct collect_service service;

    dest_sum(d, &sum);
    collect_write_workers(m, &sum);
    metric_count(m, METRIC_TARGETS_DOWN, METRIC_NO_LABELS, sum.targets_down);
    metric_count(m, METRIC_TARGET_FAILURES, METRIC_NO_LABELS, sum.target_failures);
    metric_count(m, METRIC_TARGET_PROBES, METRIC_NO_LABELS, sum.target_probes);
    collect_write_handshakes(m, dest_gate_stats(d->gate),
                             config_kem_mode_name(d->config->crypto.kem_mode));
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
        .has_streams = true,
        .limit = d->targets.limit,
    };
    for (unsigned k = 0; k < d->worker_count; k++)
        collect_add_pumps(out, &d->workers[k].host_stats, COLLECT_TARGETS);
}

bool dest_get_service(struct dest *d, size_t index, struct collect_service *out)
{
    const struct service *service;

    if (index == d->services.count && d->targets.allowed->count > 0) {
        get_hosts(d, out);
        return true;
    }
    if (index >= d->services.count)
        return false;
    service = &d->services.items[index];
    *out = (struct collect_service){
        .port = service->port,
        .target_host = service->target_host,
        .target_port = service->target_port,
        .has_streams = (service->protocol & CONFIG_TCP) != 0,
        .has_flows = (service->protocol & CONFIG_UDP) != 0,
        .limit = service->limit,
    };
    snprintf(out->label, sizeof(out->label), "%s", service->name);
    for (unsigned k = 0; k < d->worker_count; k++) {
        collect_add_pumps(out, &d->workers[k].services[index].pump_stats, COLLECT_TARGETS);
        collect_add_flows(&out->flows, &d->workers[k].services[index].flow_stats);
    }
    return true;
}
