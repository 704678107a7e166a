#include "role/targets.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/pump.h"
#include "net/target.h"
#include "net/wire_error.h"
#include "role/audit.h"
#include "role/reach.h"
#include "role/refusal.h"

/* "host:port" in an audit line. */
#define HOST_TEXT_MAX (STREAM_TARGET_NAME_MAX + 16)

/* A stream to a host, and what its addresses must meet. */
struct host_stream {
    struct pump_owner pumps;
    struct target_filter filter;
    struct targets *targets;
    uint8_t ranges[REACH_RANGES_MAX];
    uint8_t ranges_len; /* 0: the source sets no bound */
};

void targets_init(struct targets *t, const struct config_dest *config)
{
    t->allowed = &config->allowed_targets;
    t->limit = config->allowed_targets_max_connections;
    t->timeout_ms = config->target_connect_timeout_ms;
    atomic_init(&t->active, 0);
}

bool targets_is_host(const struct services *services, const struct stream_target *target)
{
    return target->kind == STREAM_TARGET_HOST &&
           services_find(services, target->port, target->name, CONFIG_TCP) == NULL;
}

static bool enter(struct targets *t)
{
    if (atomic_fetch_add_explicit(&t->active, 1, memory_order_relaxed) < t->limit)
        return true;
    atomic_fetch_sub_explicit(&t->active, 1, memory_order_relaxed);
    return false;
}

static void leave(struct targets *t)
{
    uint32_t before = atomic_fetch_sub_explicit(&t->active, 1, memory_order_relaxed);

    assert(before > 0);
}

static bool is_allowed(const struct target_filter *filter, const struct address *a)
{
    const char *at = (const char *)filter - offsetof(struct host_stream, filter);
    const struct host_stream *h = (const struct host_stream *)(const void *)at;

    return reach_is_allowed(h->targets->allowed, a) &&
           (h->ranges_len == 0 || reach_has(h->ranges, h->ranges_len, a));
}

static void audit(const struct dest_tunnel *tunnel, struct audit_entry *entry, const char *host)
{
    char target[HOST_TEXT_MAX];

    snprintf(target, sizeof(target), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
             entry->port);
    entry->who = &tunnel->who;
    entry->protocol = "tcp";
    entry->service = "";
    entry->target = target;
    audit_log(entry);
}

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
                                .port = end->port,
                                .client = &end->client,
                                .bytes_to_target = end->bytes_to_local,
                                .bytes_from_target = end->bytes_from_local,
                                .duration_us = end->duration_us};

    audit(list_entry(end->tunnel, struct dest_tunnel, owner), &entry, end->name);
    if (refusal_is_one(end))
        refusal_log(end->port, end->name, &end->client, end->why, end->detail);
    leave(h->targets);
    free(h);
}

static void note_refused(struct dest_tunnel *tunnel, const struct stream_target *target,
                         enum err why, const char *detail)
{
    struct audit_entry entry = {.result = AUDIT_REFUSED,
                                .why = why,
                                .detail = detail,
                                .port = target->port,
                                .client = &target->client};

    audit(tunnel, &entry, target->name);
    stats_add(&worker_stats(tunnel->owner.worker)->streams_refused[why], 1);
    refusal_log(target->port, target->name, &target->client, why, detail);
}

static void refuse(struct dest_tunnel *tunnel, struct stream *stream,
                   const struct stream_target *target, enum err why, const char *detail)
{
    tunnel_owner_refuse(&tunnel->owner, stream, wire_code_of(why));
    note_refused(tunnel, target, why, detail);
}

/* A port of 0, or an address that is not allowed, needs no resolver to be refused. */
static bool is_hopeless(const struct host_stream *h, const struct stream_target *target)
{
    struct address a;

    return h->targets->allowed->count == 0 || target->port == 0 ||
           (address_parse(&a, target->name, target->port) == ERR_OK && !is_allowed(&h->filter, &a));
}

void targets_open(struct targets *t, struct dest_tunnel *tunnel, struct stream *stream,
                  const struct stream_target *target, struct pump_stats *stats)
{
    struct host_stream *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        refuse(tunnel, stream, target, ERR_NOMEM, "");
        return;
    }
    h->pumps.on_end = on_end;
    h->pumps.stats = stats;
    h->filter.is_allowed = is_allowed;
    h->targets = t;
    h->ranges_len = target->ranges_len;
    if (target->ranges_len > 0)
        memcpy(h->ranges, target->ranges, target->ranges_len);
    if (is_hopeless(h, target)) {
        refuse(tunnel, stream, target, ERR_NOT_ALLOWED,
               "not in allowed_ips of [dest.allowed_targets]");
        free(h);
        return;
    }
    if (!enter(t)) {
        refuse(tunnel, stream, target, ERR_LIMIT,
               "max_connections of [dest.allowed_targets] are there");
        free(h);
        return;
    }
    const struct target_options options = {
        .host = target->name,
        .port = target->port,
        .timeout_ms = t->timeout_ms,
        .patience = TARGET_IMPATIENT,
        .filter = &h->filter,
    };
    enum err e = pump_dial(&tunnel->owner, stream, target, &options, &h->pumps);
    if (e != ERR_OK) {
        note_refused(tunnel, target, e, "");
        leave(t);
        free(h);
    }
}
