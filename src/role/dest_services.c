#include "role/dest_services.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/flow_owner.h"
#include "net/udp_target.h"
#include "net/wire_error.h"
#include "role/audit.h"
#include "role/refusal.h"

/* "host:port" in an audit line: a name of 253 characters. */
#define TARGET_TEXT_MAX 280

struct dest_service {
    struct pump_owner pumps;
    struct pump_stats pump_stats;
    struct udp_target_owner flows;
    struct flow_stats flow_stats;
    struct service *service;
    struct admission *admission;
};

/* -- accounts -- */

static void target_text(char *out, size_t size, const struct service *service)
{
    if (service->target_path != NULL) {
        snprintf(out, size, "%s", service->target_path);
        return;
    }
    snprintf(out, size, strchr(service->target_host, ':') != NULL ? "[%s]:%u" : "%s:%u",
             service->target_host, service->target_port);
}

static void audit(const struct dest_service *s, const struct audit_entry *entry)
{
    char target[TARGET_TEXT_MAX];
    struct audit_entry whole = *entry;

    target_text(target, sizeof(target), s->service);
    whole.service = s->service->name;
    whole.target = target;
    audit_log(&whole);
}

static bool is_no_longer_allowed(enum err why)
{
    return why == ERR_NOT_ALLOWED || err_class(why) == ERR_CLASS_AUTH;
}

static enum audit_result result_of(const struct pump_end *end)
{
    if (end->was_open)
        return is_no_longer_allowed(end->why) ? AUDIT_ENDED : AUDIT_DONE;
    return end->why == ERR_NOT_ALLOWED ? AUDIT_REFUSED : AUDIT_FAILED;
}

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct dest_service *s = list_entry(owner, struct dest_service, pumps);
    struct dest_tunnel *t = list_entry(end->tunnel, struct dest_tunnel, owner);
    struct audit_entry entry = {.who = &t->who,
                                .result = result_of(end),
                                .why = end->why,
                                .detail = end->detail,
                                .protocol = "tcp",
                                .port = end->port,
                                .client = &end->client,
                                .bytes_to_target = end->bytes_to_local,
                                .bytes_from_target = end->bytes_from_local,
                                .duration_us = end->duration_us};

    admission_leave(s->admission, t->source, s->service);
    audit(s, &entry);
    if (!end->was_open && refusal_is_one(end))
        refusal_log(end->port, s->service->name, &end->client, end->why, end->detail);
}

static enum audit_result result_of_flow(const struct flow_end *end)
{
    if (is_no_longer_allowed(end->why))
        return AUDIT_ENDED;
    return refusal_is_flow(end) && end->datagrams_from_local == 0 ? AUDIT_FAILED : AUDIT_DONE;
}

static void on_flow_end(struct udp_target_owner *owner, const struct flow_end *end)
{
    struct dest_service *s = list_entry(owner, struct dest_service, flows);
    struct dest_tunnel *t = list_entry(end->tunnel, struct dest_tunnel, owner);
    struct audit_entry entry = {.who = &t->who,
                                .result = result_of_flow(end),
                                .why = end->why,
                                .detail = end->detail,
                                .protocol = "udp",
                                .port = end->port,
                                .client = &end->client,
                                .bytes_to_target = end->bytes_to_local,
                                .bytes_from_target = end->bytes_from_local,
                                .duration_us = end->duration_us};

    admission_leave(s->admission, t->source, s->service);
    audit(s, &entry);
    if (entry.result == AUDIT_FAILED)
        refusal_log(end->port, s->service->name, &end->client, end->why, end->detail);
}

/* Before there is a pump, or a flow. */
static void note_refused(struct dest_tunnel *t, const struct stream_target *target,
                         enum config_protocol protocol, const char *service, enum err why,
                         const char *detail)
{
    const struct audit_entry entry = {.who = &t->who,
                                      .result = AUDIT_REFUSED,
                                      .why = why,
                                      .detail = detail,
                                      .protocol = protocol == CONFIG_TCP ? "tcp" : "udp",
                                      .service = service,
                                      .port = target->port,
                                      .target = "",
                                      .client = &target->client};

    audit_log(&entry);
    stats_add(&worker_stats(t->owner.worker)->streams_refused[why], 1);
    refusal_log(target->port, service, &target->client, why, detail);
}

/* -- streams and flows -- */

/* The service that is asked for, with this stream or flow counted in; or why not. */
static enum err admit(struct dest_services *s, struct dest_tunnel *t,
                      const struct stream_target *target, enum config_protocol protocol,
                      struct dest_service **out)
{
    struct service *service = services_find(s->table, target->port, target->name, protocol);
    const char *why;
    enum err e;

    *out = NULL;
    if (service == NULL) {
        note_refused(t, target, protocol, target->name, ERR_NO_SERVICE,
                     protocol == CONFIG_TCP ? "no exposed_services row is this for TCP"
                                            : "no exposed_services row is this for UDP");
        return ERR_NO_SERVICE;
    }
    e = admission_enter(s->admission, t->source, service, &why);
    if (e == ERR_OK)
        *out = &s->items[service - s->table->items];
    else
        note_refused(t, target, protocol, service->name, e, why);
    return e;
}

void dest_services_open(struct dest_services *s, struct dest_tunnel *t, struct stream *stream,
                        const struct stream_target *target)
{
    struct dest_service *item;
    enum err e;

    if (targets_is_host(s->table, target, CONFIG_TCP)) {
        targets_open(s->targets, t, stream, target, &s->hosts);
        return;
    }
    e = admit(s, t, target, CONFIG_TCP, &item);
    if (e != ERR_OK) {
        tunnel_owner_refuse(&t->owner, stream, wire_code_of(e));
        return;
    }
    const struct target_options options = {
        .host = item->service->target_host,
        .port = item->service->target_port,
        .path = item->service->target_path,
        .timeout_ms = s->config->dest.target_connect_timeout_ms,
    };
    e = pump_dial(&t->owner, stream, target, &options, &item->pumps);
    if (e != ERR_OK) {
        admission_leave(s->admission, t->source, item->service);
        note_refused(t, target, CONFIG_TCP, item->service->name, e, "");
    }
}

void dest_services_flow(struct dest_services *s, struct dest_tunnel *t, struct flow *flow,
                        const struct stream_target *target)
{
    struct dest_service *item;
    enum err e;

    if (targets_is_host(s->table, target, CONFIG_UDP)) {
        targets_open_flow(s->targets, t, flow, target, &s->host_flows);
        return;
    }
    e = admit(s, t, target, CONFIG_UDP, &item);
    if (e != ERR_OK) {
        tunnel_owner_refuse_flow(&t->owner, flow, wire_code_of(e));
        return;
    }
    const struct udp_target_options options = {
        .host = item->service->target_host,
        .port = item->service->target_port,
        .stats = &item->flow_stats,
    };
    e = udp_target_start(&t->owner, flow, target, &options, &item->flows);
    if (e != ERR_OK) {
        admission_leave(s->admission, t->source, item->service);
        note_refused(t, target, CONFIG_UDP, item->service->name, e, "");
    }
}

void dest_services_recheck(struct dest_services *s, struct dest_tunnel *t)
{
    for (size_t i = 0; i < s->table->count; i++) {
        struct dest_service *item = &s->items[i];

        if (admission_is_allowed(s->admission, t->source, item->service))
            continue;
        pump_abort_of(&t->owner, &item->pumps, ERR_NOT_ALLOWED);
        flow_owner_abort_of(&t->owner, &item->flow_stats, ERR_NOT_ALLOWED);
    }
}

/* -- life -- */

static enum proxy_protocol_version header_of(enum config_proxy_protocol configured)
{
    if (configured == CONFIG_PROXY_NONE)
        return PROXY_PROTOCOL_NONE;
    return configured == CONFIG_PROXY_V1 ? PROXY_PROTOCOL_V1 : PROXY_PROTOCOL_V2;
}

enum err dest_services_init(struct dest_services *s)
{
    if (s->table->count == 0)
        return ERR_OK;
    s->items = calloc(s->table->count, sizeof(*s->items));
    if (s->items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->table->count; i++) {
        s->items[i].service = &s->table->items[i];
        s->items[i].admission = s->admission;
        s->items[i].pumps.on_end = on_end;
        s->items[i].pumps.stats = &s->items[i].pump_stats;
        s->items[i].pumps.proxy_protocol = header_of(s->table->items[i].proxy_protocol);
        s->items[i].flows.on_flow_end = on_flow_end;
    }
    return ERR_OK;
}

void dest_services_fini(struct dest_services *s)
{
    free(s->items);
    s->items = NULL;
}

const struct pump_stats *dest_services_pumps(const struct dest_services *s, size_t index)
{
    return &s->items[index].pump_stats;
}

const struct flow_stats *dest_services_flows(const struct dest_services *s, size_t index)
{
    return &s->items[index].flow_stats;
}
