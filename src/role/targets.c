#include "role/targets.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "net/pump.h"
#include "net/target.h"
#include "net/udp_target.h"
#include "net/wire_error.h"
#include "role/account.h"
#include "role/reach.h"

/* What the addresses of a host must meet, for one stream or flow. */
struct reach {
    struct target_filter filter; /* first: is_allowed goes from it to the rest */
    struct targets *targets;
    uint8_t ranges[REACH_RANGES_MAX];
    uint8_t ranges_len; /* 0: the source sets no bound */
};

struct host_stream {
    struct pump_owner pumps;
    struct reach reach;
};

struct host_flow {
    struct udp_target_owner flows;
    struct reach reach;
    char name[STREAM_TARGET_NAME_MAX + 1];
};

void targets_set(struct targets *t, const struct services *services)
{
    const struct config_dest *config = &services->config->dest;

    t->allowed = &config->allowed_targets;
    t->hosts = &services->hosts;
    t->timeout_ms = config->target_connect_timeout_ms;
}

bool targets_is_host(const struct services *services, const struct stream_target *target,
                     enum config_protocol protocol)
{
    return target->kind == STREAM_TARGET_HOST &&
           services_find(services, target->port, target->name, protocol) == NULL;
}

static void leave(struct targets *t, struct dest_tunnel *tunnel)
{
    admission_leave(t->admission, tunnel->source, t->hosts->places);
}

static bool is_allowed(const struct target_filter *filter, const struct address *a)
{
    const struct reach *r = (const struct reach *)(const void *)filter;

    return reach_is_allowed(r->targets->allowed, a) &&
           (r->ranges_len == 0 || reach_has(r->ranges, r->ranges_len, a));
}

void targets_recheck(struct targets *t, struct dest_tunnel *tunnel,
                     const struct pump_stats *streams, const struct flow_stats *flows)
{
    const struct reach reach = {.filter = {.is_allowed = is_allowed}, .targets = t};

    pump_abort_outside(&tunnel->owner, streams, &reach.filter, ERR_NOT_ALLOWED);
    udp_target_abort_outside(&tunnel->owner, flows, &reach.filter, ERR_NOT_ALLOWED);
}

static void reach_init(struct reach *r, struct targets *t, const struct stream_target *target)
{
    r->filter.is_allowed = is_allowed;
    r->targets = t;
    r->ranges_len = target->ranges_len;
    if (target->ranges_len > 0)
        memcpy(r->ranges, target->ranges, target->ranges_len);
}

/* A port of 0, or an address that is not allowed, needs no resolver to be refused. */
static bool is_hopeless(const struct reach *r, const struct stream_target *target)
{
    struct address a;

    return r->targets->allowed->count == 0 || target->port == 0 ||
           (address_parse(&a, target->name, target->port) == ERR_OK && !is_allowed(&r->filter, &a));
}

static struct account account_of(struct dest_tunnel *tunnel, const char *protocol, const char *host,
                                 uint16_t port)
{
    return (struct account){.who = &tunnel->who,
                            .pace = &tunnel->refusals,
                            .now_us = worker_now(tunnel->owner.worker),
                            .stats = worker_stats(tunnel->owner.worker),
                            .protocol = protocol,
                            .service = "",
                            .target_host = host,
                            .target_port = port};
}

static void note_refused(struct dest_tunnel *tunnel, const struct stream_target *target,
                         const char *protocol, enum err why, const char *detail)
{
    const struct account account = account_of(tunnel, protocol, target->name, target->port);

    account_refused(&account, target, why, detail);
}

/* ERR_OK with a place taken; otherwise it is accounted for. */
static enum err admit(struct reach *r, struct dest_tunnel *tunnel,
                      const struct stream_target *target, const char *protocol)
{
    struct targets *t = r->targets;
    const char *why = "not in allowed_ips of [dest.allowed_targets]";
    enum err e = is_hopeless(r, target)
                     ? ERR_NOT_ALLOWED
                     : admission_enter(t->admission, tunnel->source, t->hosts, &why);

    if (e != ERR_OK)
        note_refused(tunnel, target, protocol, e, why);
    return e;
}

/* -- streams -- */

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct host_stream *h = list_entry(owner, struct host_stream, pumps);
    struct dest_tunnel *tunnel = list_entry(end->tunnel, struct dest_tunnel, owner);
    const struct account account = account_of(tunnel, "tcp", end->name, end->port);

    (void)account_stream(&account, end);
    leave(h->reach.targets, tunnel);
    free(h);
}

void targets_open(struct targets *t, struct dest_tunnel *tunnel, struct stream *stream,
                  const struct stream_target *target, struct pump_stats *stats)
{
    struct host_stream *h = calloc(1, sizeof(*h));
    enum err e = ERR_NOMEM;

    if (h != NULL) {
        h->pumps.on_end = on_end;
        h->pumps.stats = stats;
        reach_init(&h->reach, t, target);
        e = admit(&h->reach, tunnel, target, "tcp");
    }
    if (e != ERR_OK) {
        tunnel_owner_refuse(&tunnel->owner, stream, wire_code_of(e));
        free(h);
        return;
    }
    const struct target_options options = {
        .host = target->name,
        .port = target->port,
        .timeout_ms = t->timeout_ms,
        .patience = TARGET_IMPATIENT,
        .asker = admission_source(tunnel->source),
        .filter = &h->reach.filter,
    };
    e = pump_dial(&tunnel->owner, stream, target, &options, &h->pumps);
    if (e != ERR_OK) {
        note_refused(tunnel, target, "tcp", e, "");
        leave(t, tunnel);
        free(h);
    }
}

/* -- flows -- */

static void on_flow_end(struct udp_target_owner *owner, const struct flow_end *end)
{
    struct host_flow *h = list_entry(owner, struct host_flow, flows);
    struct dest_tunnel *tunnel = list_entry(end->tunnel, struct dest_tunnel, owner);
    const struct account account = account_of(tunnel, "udp", h->name, end->port);

    (void)account_flow(&account, end);
    leave(h->reach.targets, tunnel);
    free(h);
}

void targets_open_flow(struct targets *t, struct dest_tunnel *tunnel, struct flow *flow,
                       const struct stream_target *target, struct flow_stats *stats)
{
    struct host_flow *h = calloc(1, sizeof(*h));
    struct err_detail detail;
    enum err e = ERR_NOMEM;

    if (h != NULL) {
        h->flows.on_flow_end = on_flow_end;
        memcpy(h->name, target->name, sizeof(h->name));
        reach_init(&h->reach, t, target);
        e = admit(&h->reach, tunnel, target, "udp");
    }
    if (e != ERR_OK) {
        tunnel_owner_refuse_flow(&tunnel->owner, flow, wire_code_of(e));
        free(h);
        return;
    }
    const struct udp_target_options options = {
        .owner = &h->flows,
        .asker = admission_source(tunnel->source),
        .host = target->name,
        .port = target->port,
        .stats = stats,
        .filter = &h->reach.filter,
    };
    e = udp_target_start(&tunnel->owner, flow, target, &options, &detail);
    if (e != ERR_OK) {
        note_refused(tunnel, target, "udp", e, detail.text);
        leave(t, tunnel);
        free(h);
    }
}
