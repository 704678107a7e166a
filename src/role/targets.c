#include "role/targets.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "net/pump.h"
#include "net/target.h"
#include "role/reach.h"
#include "role/refusal.h"

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

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct host_stream *h = list_entry(owner, struct host_stream, pumps);

    if (refusal_is_one(end))
        refusal_log(end->port, end->name, &end->client, end->why, end->detail);
    leave(h->targets);
    free(h);
}

static void refuse(struct tunnel_owner *tunnel, struct stream *stream,
                   const struct stream_target *target, enum wire_code code, enum err why,
                   const char *detail)
{
    tunnel_owner_refuse(tunnel, stream, code);
    stats_add(&worker_stats(tunnel->worker)->streams_refused[why], 1);
    refusal_log(target->port, target->name, &target->client, why, detail);
}

/* A port of 0, or an address that is not allowed, needs no resolver to be refused. */
static bool is_hopeless(const struct host_stream *h, const struct stream_target *target)
{
    struct address a;

    return h->targets->allowed->count == 0 || target->port == 0 ||
           (address_parse(&a, target->name, target->port) == ERR_OK && !is_allowed(&h->filter, &a));
}

void targets_open(struct targets *t, struct tunnel_owner *tunnel, struct stream *stream,
                  const struct stream_target *target, struct pump_stats *stats)
{
    struct host_stream *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        refuse(tunnel, stream, target, WIRE_INTERNAL, ERR_NOMEM, "");
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
        refuse(tunnel, stream, target, WIRE_NOT_ALLOWED, ERR_NOT_ALLOWED,
               "not in allowed_ips of [dest.allowed_targets]");
        free(h);
        return;
    }
    if (!enter(t)) {
        refuse(tunnel, stream, target, WIRE_LIMIT, ERR_LIMIT,
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
    enum err e = pump_dial(tunnel, stream, target, &options, &h->pumps);
    if (e != ERR_OK) {
        stats_add(&worker_stats(tunnel->worker)->streams_refused[e], 1);
        refusal_log(target->port, target->name, &target->client, e, "");
        leave(t);
        free(h);
    }
}
