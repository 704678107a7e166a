#include "net/tunnel_owner.h"

#include <string.h>

#include "net/carrier.h"
#include "net/flow_owner.h"
#include "net/pump.h"

static void on_open(struct tunnel_owner *o, struct stream *stream,
                    const struct stream_target *target)
{
    if (o->is_closing || worker_is_draining(o->worker))
        tunnel_owner_refuse(o, stream, WIRE_SHUTDOWN);
    else
        o->events->on_open(o, stream, target);
}

static void on_flow_open(struct tunnel_owner *o, struct flow *flow,
                         const struct stream_target *target)
{
    if (o->is_closing || worker_is_draining(o->worker))
        tunnel_owner_refuse_flow(o, flow, WIRE_SHUTDOWN);
    else
        o->events->on_flow(o, flow, target);
}

static struct carrier *carrier_of(struct tunnel_owner *o, const struct session *session)
{
    struct list *l = o->carriers.next;

    while (!carrier_is_of(carrier_of_link(l), session))
        l = l->next;
    return carrier_of_link(l);
}

static void set_carrier(struct tunnel_owner *o, struct carrier *c)
{
    struct stats *stats = worker_stats(o->worker);

    if (o->carrier != NULL)
        stats_add(&stats->tunnels_carried, (uint64_t)-1);
    if (c != NULL)
        stats_add(&stats->tunnels_carried, 1);
    o->carrier = c;
}

static void count_resent(struct tunnel_owner *o)
{
    struct tunnel_state state;

    tunnel_get_state(o->tunnel, &state);
    stats_add(&worker_stats(o->worker)->resent_bytes, state.resent_total - o->resent);
    o->resent = state.resent_total;
}

static void on_session_ready(struct tunnel_owner *o, struct session *session)
{
    count_resent(o);
    set_carrier(o, carrier_of(o, session));
    carrier_on_session_ready(o->carrier);
    o->events->on_session_ready(o, o->carrier);
}

static void on_session_retired(struct tunnel_owner *o, struct session *session)
{
    struct carrier *c = carrier_of(o, session);

    if (o->carrier == c)
        set_carrier(o, NULL);
    carrier_close(c, ERR_SUPERSEDED);
}

static void on_go_away(struct tunnel_owner *o, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    char string[GO_AWAY_TEXT_MAX + 1];

    if (text_len > GO_AWAY_TEXT_MAX)
        text_len = GO_AWAY_TEXT_MAX;
    memcpy(string, text, text_len);
    string[text_len] = '\0';
    o->events->on_go_away(o, carrier_of(o, session), code, retry_after_ms, string);
}

static void on_keys(struct tunnel_owner *o, struct session *session, enum key_event event)
{
    struct stats *stats = worker_stats(o->worker);

    if (event == KEYS_ROTATED) {
        stats_add(&stats->rotations, 1);
        carrier_on_keys_rotated(carrier_of(o, session));
    } else if (event == KEYS_LATE) {
        stats_add(&stats->rotations_late, 1);
    }
    o->events->on_keys(o, carrier_of(o, session), event);
}

static const struct tunnel_events engine_events = {
    .on_open = on_open,
    .on_accept = pump_on_accept,
    .on_data = pump_on_data,
    .on_finish = pump_on_finish,
    .on_reset = pump_on_reset,
    .on_writable = pump_on_writable,
    .on_sent = pump_on_sent,
    .on_flow_open = on_flow_open,
    .on_datagram = flow_owner_on_datagram,
    .on_flow_closed = flow_owner_on_closed,
    .on_datagram_dropped = flow_owner_on_dropped,
    .on_session_ready = on_session_ready,
    .on_session_retired = on_session_retired,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
};

static void close_if_empty(struct worker_task *task)
{
    struct tunnel_owner *o = list_entry(task, struct tunnel_owner, closing);

    if (!o->is_closing || !list_is_empty(&o->carriers))
        return;
    tunnel_lose_streams(o->tunnel);
    if (!list_is_empty(&o->pumps))
        return;
    list_remove(&o->link);
    tunnel_free(o->tunnel);
    o->tunnel = NULL;
    o->events->on_closed(o);
}

/* How long a peer may be silent before its session ends. */
static uint32_t silence_ms(const struct heartbeat_options *h)
{
    uint64_t ms = (h->interval_us + h->timeout_us * h->max_missed) / 1000;

    return ms > INT32_MAX ? INT32_MAX : (uint32_t)ms;
}

enum err tunnel_owner_start(struct tunnel_owner *o, struct worker *w,
                            const struct tunnel_owner_options *options)
{
    struct tunnel_options engine_options = {
        .role = options->role,
        .pool = worker_pool(w),
        .max_streams = options->bounds.max_streams,
        .max_flows = options->bounds.max_flows,
        .window_max = options->bounds.window_max,
        .output_max = options->bounds.output_max,
        .heartbeat = options->bounds.heartbeat,
        .key_lifetime_us = options->bounds.key_lifetime_us,
        .key_margin_us = options->bounds.key_margin_us,
        .hold = worker_hold(w),
        .credit = worker_credit(w),
        .exchanges = worker_exchanges(w),
        .seed = worker_seed(w),
        .peer = options->peer,
        .events = &engine_events,
        .owner = o,
    };
    enum err e;

    memset(o, 0, sizeof(*o));
    e = tunnel_new(&o->tunnel, &engine_options);
    if (e != ERR_OK)
        return e;
    o->worker = w;
    o->events = options->events;
    o->silence_ms = silence_ms(&options->bounds.heartbeat);
    list_init(&o->link);
    list_append(worker_tunnels(w), &o->link);
    list_init(&o->carriers);
    list_init(&o->pumps);
    worker_task_init(&o->closing, close_if_empty);
    stats_add(&worker_stats(w)->tunnels, 1);
    return ERR_OK;
}

void tunnel_owner_set_bounds(struct tunnel_owner *o, const struct tunnel_bounds *bounds)
{
    if (o->tunnel != NULL)
        tunnel_set_bounds(o->tunnel, bounds);
    o->silence_ms = silence_ms(&bounds->heartbeat);
}

void tunnel_owner_close(struct tunnel_owner *o, enum err why)
{
    if (!o->is_closing)
        stats_add(&worker_stats(o->worker)->tunnels, (uint64_t)-1);
    o->is_closing = true;
    for (struct list *l = o->carriers.next; l != &o->carriers; l = l->next)
        carrier_close(carrier_of_link(l), why);
    worker_defer(o->worker, &o->closing);
}

void tunnel_owner_cut(struct tunnel_owner *o)
{
    pump_abort_all(o, ERR_SHUTDOWN);
    tunnel_owner_close(o, ERR_SHUTDOWN);
}

void tunnel_owner_lose(struct tunnel_owner *o)
{
    struct tunnel_state state;

    tunnel_get_state(o->tunnel, &state);
    if (!state.has_session)
        tunnel_lose_streams(o->tunnel);
}

void tunnel_owner_go_away(struct tunnel_owner *o, enum wire_code code, const char *text)
{
    for (struct list *l = o->carriers.next; l != &o->carriers; l = l->next)
        carrier_go_away(carrier_of_link(l), code, 0, text);
}

void tunnel_owner_pump_gone(struct tunnel_owner *o)
{
    if (o->is_closing)
        worker_defer(o->worker, &o->closing);
}

void tunnel_owner_carrier_gone(struct tunnel_owner *o, struct carrier *c, enum err why)
{
    if (o->carrier == c)
        set_carrier(o, NULL);
    /* A peer closes what it has retired, perhaps before we know that it has. */
    if ((why == ERR_CLOSED || why == ERR_RESET) && tunnel_owner_has_carrier(o))
        why = ERR_SUPERSEDED;
    stats_add(&worker_stats(o->worker)->sessions_closed[why], 1);
    o->events->on_session_lost(o, c, why);
    /* Nobody connects again by now. */
    if (worker_is_draining(o->worker) && !tunnel_owner_has_carrier(o))
        tunnel_owner_lose(o);
    if (o->is_closing)
        worker_defer(o->worker, &o->closing);
}

void tunnel_owner_refuse(struct tunnel_owner *o, struct stream *stream, enum wire_code code)
{
    stream_reset(stream, code, STREAM_RESET_NOW);
    stream_release(stream);
    tunnel_owner_touch(o);
}

void tunnel_owner_refuse_flow(struct tunnel_owner *o, struct flow *flow, enum wire_code code)
{
    flow_close(flow, code);
    tunnel_owner_touch(o);
}

void tunnel_owner_touch(struct tunnel_owner *o)
{
    if (o->carrier != NULL)
        carrier_flush_later(o->carrier);
}

bool tunnel_owner_is_ready(const struct tunnel_owner *o)
{
    return o->carrier != NULL && carrier_session(o->carrier) != NULL;
}

bool tunnel_owner_has_carrier(const struct tunnel_owner *o)
{
    return !list_is_empty(&o->carriers);
}
