#include "role/targets.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/pump.h"
#include "net/target.h"
#include "net/udp_target.h"
#include "net/wire_error.h"
#include "role/audit.h"
#include "role/reach.h"
#include "role/refusal.h"

/* "host:port" in an audit line. */
#define HOST_TEXT_MAX (STREAM_TARGET_NAME_MAX + 16)

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

void targets_set(struct targets *t, const struct config_dest *config)
{
    t->allowed = &config->allowed_targets;
    t->limit = config->allowed_targets_max_connections;
    t->timeout_ms = config->target_connect_timeout_ms;
}

bool targets_is_host(const struct services *services, const struct stream_target *target,
                     enum config_protocol protocol)
{
    return target->kind == STREAM_TARGET_HOST &&
           services_find(services, target->port, target->name, protocol) == NULL;
}

static bool enter(struct targets *t)
{
    if (atomic_fetch_add_explicit(t->active, 1, memory_order_relaxed) < t->limit)
        return true;
    atomic_fetch_sub_explicit(t->active, 1, memory_order_relaxed);
    return false;
}

static void leave(struct targets *t)
{
    uint32_t before = atomic_fetch_sub_explicit(t->active, 1, memory_order_relaxed);

    assert(before > 0);
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

static void audit(const struct dest_tunnel *tunnel, const struct audit_entry *entry,
                  const char *host)
{
    char target[HOST_TEXT_MAX];
    struct audit_entry whole = *entry;

    snprintf(target, sizeof(target), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
             entry->port);
    whole.who = &tunnel->who;
    whole.service = "";
    whole.target = target;
    audit_log(&whole);
}

static void note_refused(struct dest_tunnel *tunnel, const struct stream_target *target,
                         const char *protocol, enum err why, const char *detail)
{
    struct audit_entry entry = {.result = AUDIT_REFUSED,
                                .why = why,
                                .detail = detail,
                                .protocol = protocol,
                                .port = target->port,
                                .client = &target->client};

    audit(tunnel, &entry, target->name);
    stats_add(&worker_stats(tunnel->owner.worker)->streams_refused[why], 1);
    refusal_log(target->port, target->name, &target->client, why, detail);
}

/* ERR_OK with the count taken; otherwise it is accounted for. */
static enum err admit(struct reach *r, struct dest_tunnel *tunnel,
                      const struct stream_target *target, const char *protocol)
{
    enum err e = ERR_OK;

    if (is_hopeless(r, target)) {
        e = ERR_NOT_ALLOWED;
        note_refused(tunnel, target, protocol, e, "not in allowed_ips of [dest.allowed_targets]");
    } else if (!enter(r->targets)) {
        e = ERR_LIMIT;
        note_refused(tunnel, target, protocol, e,
                     "max_connections of [dest.allowed_targets] are there");
    }
    return e;
}

/* -- streams -- */

static enum audit_result result_of(const struct pump_end *end)
{
    if (end->was_open)
        return err_class(end->why) == ERR_CLASS_AUTH ? AUDIT_ENDED : AUDIT_DONE;
    return end->why == ERR_NOT_ALLOWED ? AUDIT_REFUSED : AUDIT_FAILED;
}

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct host_stream *h = list_entry(owner, struct host_stream, pumps);
    struct audit_entry entry = {.result = result_of(end),
                                .why = end->why,
                                .detail = end->detail,
                                .protocol = "tcp",
                                .port = end->port,
                                .client = &end->client,
                                .bytes_to_target = end->bytes_to_local,
                                .bytes_from_target = end->bytes_from_local,
                                .duration_us = end->duration_us};

    audit(list_entry(end->tunnel, struct dest_tunnel, owner), &entry, end->name);
    if (refusal_is_one(end))
        refusal_log(end->port, end->name, &end->client, end->why, end->detail);
    leave(h->reach.targets);
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
        .filter = &h->reach.filter,
    };
    e = pump_dial(&tunnel->owner, stream, target, &options, &h->pumps);
    if (e != ERR_OK) {
        note_refused(tunnel, target, "tcp", e, "");
        leave(t);
        free(h);
    }
}

/* -- flows -- */

static void on_flow_end(struct udp_target_owner *owner, const struct flow_end *end)
{
    struct host_flow *h = list_entry(owner, struct host_flow, flows);
    bool was_open = end->datagrams_to_local > 0 || end->why == ERR_OK || end->why == ERR_TIMEOUT;
    struct audit_entry entry = {.result = AUDIT_DONE,
                                .why = end->why,
                                .detail = end->detail,
                                .protocol = "udp",
                                .port = end->port,
                                .client = &end->client,
                                .bytes_to_target = end->bytes_to_local,
                                .bytes_from_target = end->bytes_from_local,
                                .duration_us = end->duration_us};

    if (end->why == ERR_NOT_ALLOWED)
        entry.result = AUDIT_REFUSED;
    else if (!was_open)
        entry.result = AUDIT_FAILED;
    audit(list_entry(end->tunnel, struct dest_tunnel, owner), &entry, h->name);
    if (refusal_is_flow(end))
        refusal_log(end->port, h->name, &end->client, end->why, end->detail);
    leave(h->reach.targets);
    free(h);
}

void targets_open_flow(struct targets *t, struct dest_tunnel *tunnel, struct flow *flow,
                       const struct stream_target *target, struct flow_stats *stats)
{
    struct host_flow *h = calloc(1, sizeof(*h));
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
        .host = target->name,
        .port = target->port,
        .stats = stats,
        .filter = &h->reach.filter,
    };
    e = udp_target_start(&tunnel->owner, flow, target, &options, &h->flows);
    if (e != ERR_OK) {
        note_refused(tunnel, target, "udp", e, "");
        leave(t);
        free(h);
    }
}
