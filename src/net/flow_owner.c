#include "net/flow_owner.h"

#include <string.h>

#include "net/wire_error.h"
#include "net/worker.h"

static struct flow_stats *total_of(const struct flow_owner *o)
{
    return &worker_stats(o->tunnel->worker)->flows;
}

void flow_owner_init(struct flow_owner *o, const struct flow_owner_events *events,
                     struct flow_stats *stats)
{
    memset(o, 0, sizeof(*o));
    o->events = events;
    o->stats = stats;
    sweep_item_init(&o->idle);
}

static void touch(struct flow_owner *o)
{
    sweep_touch(worker_flows(o->tunnel->worker), &o->idle);
}

static void begin(struct flow_owner *o)
{
    o->started_us = worker_now(o->tunnel->worker);
    stats_add(&o->stats->flows_opened, 1);
    stats_add(&o->stats->flows_active, 1);
    stats_add(&total_of(o)->flows_opened, 1);
    stats_add(&total_of(o)->flows_active, 1);
    touch(o);
}

static void end(struct flow_owner *o)
{
    o->flow = NULL;
    sweep_remove(&o->idle);
    stats_add(&o->stats->flows_active, (uint64_t)-1);
    stats_add(&total_of(o)->flows_active, (uint64_t)-1);
}

enum err flow_owner_open(struct flow_owner *o, struct tunnel_owner *tunnel,
                         const struct stream_target *target)
{
    enum err e = flow_open(&o->flow, tunnel->tunnel, target, o);

    if (e != ERR_OK)
        return e;
    o->tunnel = tunnel;
    begin(o);
    return ERR_OK;
}

void flow_owner_adopt(struct flow_owner *o, struct tunnel_owner *tunnel, struct flow *flow)
{
    o->tunnel = tunnel;
    o->flow = flow;
    flow_set_owner(flow, o);
    begin(o);
}

void flow_owner_send(struct flow_owner *o, const uint8_t *data, size_t len)
{
    if (o->flow == NULL)
        return;
    o->datagrams_from_local++;
    o->bytes_from_local += len;
    stats_add(&o->stats->datagrams_from_local, 1);
    stats_add(&o->stats->datagram_bytes_from_local, len);
    stats_add(&total_of(o)->datagrams_from_local, 1);
    stats_add(&total_of(o)->datagram_bytes_from_local, len);
    touch(o);
    flow_send(o->flow, data, len);
    tunnel_owner_touch(o->tunnel);
}

void flow_owner_close(struct flow_owner *o, enum wire_code code)
{
    if (o->flow == NULL)
        return;
    flow_close(o->flow, code);
    tunnel_owner_touch(o->tunnel);
    end(o);
}

void flow_owner_abort_of(struct tunnel_owner *tunnel, const struct flow_stats *stats, enum err why)
{
    struct sweep *all = worker_flows(tunnel->worker);
    struct list *next;

    for (struct list *l = all->items.next; l != &all->items; l = next) {
        struct flow_owner *o =
            list_entry(list_entry(l, struct sweep_item, link), struct flow_owner, idle);

        next = l->next;
        if (o->tunnel != tunnel || (stats != NULL && o->stats != stats))
            continue;
        flow_owner_close(o, wire_code_of(why));
        o->events->on_end(o, why);
    }
}

void flow_owner_get_end(const struct flow_owner *o, enum err why, struct flow_end *end)
{
    *end = (struct flow_end){
        .why = why,
        .tunnel = o->tunnel,
        .detail = "",
        .datagrams_from_local = o->datagrams_from_local,
        .datagrams_to_local = o->datagrams_to_local,
        .bytes_from_local = o->bytes_from_local,
        .bytes_to_local = o->bytes_to_local,
        .duration_us = worker_now(o->tunnel->worker) - o->started_us,
    };
}

void flow_owner_on_idle(struct sweep *sweep, struct sweep_item *item)
{
    struct flow_owner *o = list_entry(item, struct flow_owner, idle);

    (void)sweep;
    flow_owner_close(o, WIRE_TIMEOUT);
    o->events->on_end(o, ERR_TIMEOUT);
}

void flow_owner_on_datagram(struct flow_owner *o, struct flow *flow, const uint8_t *data,
                            size_t len)
{
    (void)flow;
    touch(o);
    o->events->on_datagram(o, data, len);
}

void flow_owner_keep(struct flow_owner *o, const uint8_t *data, size_t len)
{
    flow_keep(o->flow, data, len);
}

bool flow_owner_first_kept(const struct flow_owner *o, const uint8_t **data, size_t *len)
{
    return flow_first_kept(o->flow, data, len);
}

void flow_owner_forget_kept(struct flow_owner *o)
{
    flow_forget_kept(o->flow);
}

void flow_owner_delivered(struct flow_owner *o, size_t len)
{
    o->datagrams_to_local++;
    o->bytes_to_local += len;
}

void flow_owner_on_closed(struct flow_owner *o, enum wire_code code)
{
    end(o);
    o->events->on_end(o, wire_error(code));
}

/* The counter of each reason; the order is that of enum flow_drop. */
static _Atomic uint64_t *counter_of(struct flow_stats *stats, enum flow_drop why)
{
    _Atomic uint64_t *const counters[FLOW_DROPS] = {
        [FLOW_DROP_QUEUE] = &stats->dropped_queue,
        [FLOW_DROP_MEMORY] = &stats->dropped_memory,
        [FLOW_DROP_NO_SESSION] = &stats->dropped_no_session,
        [FLOW_DROP_TOO_LARGE] = &stats->dropped_too_large,
        [FLOW_DROP_LIMIT] = &stats->dropped_limit,
        [FLOW_DROP_UNKNOWN] = &stats->dropped_unknown,
        [FLOW_DROP_CLOSED] = &stats->dropped_closed,
    };

    return counters[why];
}

void flow_owner_on_dropped(struct tunnel_owner *tunnel, struct flow_owner *o, enum flow_drop why)
{
    stats_add(counter_of(&worker_stats(tunnel->worker)->flows, why), 1);
    if (o != NULL)
        stats_add(counter_of(o->stats, why), 1);
}
