#include "net/tunnel_owner.h"

#include <string.h>

#include "net/carrier.h"
#include "net/pump.h"

static void on_open(struct tunnel_owner *o, struct stream *stream,
                    const struct stream_target *target)
{
    if (o->is_closing || worker_is_draining(o->worker))
        tunnel_owner_refuse(o, stream, WIRE_SHUTDOWN);
    else
        o->events->on_open(o, stream, target);
}

static const struct tunnel_events engine_events = {
    .on_open = on_open,
    .on_accept = pump_on_accept,
    .on_data = pump_on_data,
    .on_finish = pump_on_finish,
    .on_reset = pump_on_reset,
    .on_writable = pump_on_writable,
    .on_sent = pump_on_sent,
    .on_session_ready = carrier_on_session_ready,
    .on_go_away = carrier_on_go_away,
};

static void close_if_empty(struct worker_task *task)
{
    struct tunnel_owner *o = list_entry(task, struct tunnel_owner, closing);

    if (!o->is_closing || o->carrier != NULL || !list_is_empty(&o->pumps))
        return;
    list_remove(&o->link);
    tunnel_free(o->tunnel);
    o->tunnel = NULL;
    o->events->on_closed(o);
}

enum err tunnel_owner_start(struct tunnel_owner *o, struct worker *w,
                            const struct tunnel_owner_options *options)
{
    struct tunnel_options engine_options = {
        .role = options->role,
        .pool = worker_pool(w),
        .max_streams = options->max_streams,
        .window_max = options->window_max,
        .hold = worker_hold(w),
        .credit = worker_credit(w),
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
    list_init(&o->link);
    list_append(worker_tunnels(w), &o->link);
    list_init(&o->pumps);
    worker_task_init(&o->closing, close_if_empty);
    return ERR_OK;
}

void tunnel_owner_close(struct tunnel_owner *o)
{
    o->is_closing = true;
    if (o->carrier != NULL)
        carrier_close(o->carrier, ERR_SHUTDOWN);
    worker_defer(o->worker, &o->closing);
}

void tunnel_owner_cut(struct tunnel_owner *o)
{
    pump_abort_all(o, ERR_SHUTDOWN);
    tunnel_owner_close(o);
}

void tunnel_owner_part_gone(struct tunnel_owner *o)
{
    if (o->is_closing)
        worker_defer(o->worker, &o->closing);
}

void tunnel_owner_refuse(struct tunnel_owner *o, struct stream *stream, enum wire_code code)
{
    stream_reset(stream, code, STREAM_RESET_NOW);
    stream_release(stream);
    tunnel_owner_touch(o);
}

void tunnel_owner_touch(struct tunnel_owner *o)
{
    if (o->carrier != NULL)
        carrier_flush_later(o->carrier);
}

bool tunnel_owner_is_ready(const struct tunnel_owner *o)
{
    struct session *s = o->carrier == NULL ? NULL : carrier_session(o->carrier);

    return s != NULL && session_is_ready(s);
}
