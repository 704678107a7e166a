/* The ends of a pump: its states, its reasons, what is counted, and when it is freed. */
#include "net/pump_state.h"

#include <assert.h>
#include <stdlib.h>

#include "net/socket.h"
#include "net/wire_error.h"

static const uint8_t legal_next[] = {
    [PUMP_CONNECTING] = 1 << PUMP_OPEN | 1 << PUMP_DONE,
    [PUMP_ASKING] = 1 << PUMP_OPEN | 1 << PUMP_LINGERING | 1 << PUMP_DONE,
    [PUMP_OPEN] = 1 << PUMP_CUT | 1 << PUMP_DELIVERING | 1 << PUMP_DONE,
    [PUMP_CUT] = 1 << PUMP_DONE,
    [PUMP_DELIVERING] = 1 << PUMP_LINGERING | 1 << PUMP_DONE,
    [PUMP_LINGERING] = 1 << PUMP_DONE,
    [PUMP_DONE] = 0,
};

void pump_enter(struct stream_owner *p, enum pump_state state)
{
    assert(legal_next[p->state] & 1 << state);
    p->state = (uint8_t)state;
}

void pump_mark_half_closed(struct stream_owner *p, bool is_half_closed)
{
    if (p->is_half_closed == is_half_closed)
        return;
    p->is_half_closed = is_half_closed;
    stats_add(&pump_stats_of(p)->streams_half_closed, is_half_closed ? 1 : (uint64_t)-1);
    if (is_half_closed)
        sweep_touch(&pump_worker_set(p)->half_closed, &p->timer);
    else
        sweep_remove(&p->timer);
}

void pump_mark_paused(struct stream_owner *p, unsigned pauses)
{
    struct stats *stats = pump_stats_of(p);
    unsigned changed = p->pauses ^ pauses;

    if (changed == 0)
        return;
    p->pauses = (uint8_t)pauses;
    if (changed & PUMP_PAUSE_SEND)
        stats_add(&stats->streams_paused_send, pauses & PUMP_PAUSE_SEND ? 1 : (uint64_t)-1);
    if (changed & PUMP_PAUSE_RECEIVE)
        stats_add(&stats->streams_paused_receive, pauses & PUMP_PAUSE_RECEIVE ? 1 : (uint64_t)-1);
}

void pump_note_reason(struct stream_owner *p, enum err why, enum pump_side by)
{
    if (p->why != ERR_OK)
        return;
    p->why = why;
    p->by = (uint8_t)by;
}

void pump_finish(struct stream_owner *p, enum pump_local_end local)
{
    pump_mark_half_closed(p, false);
    pump_mark_paused(p, 0);
    pump_enter(p, PUMP_DONE);
    target_cancel(p->target);
    p->target = NULL;
    if (p->watch.fd >= 0 && local == PUMP_END_RESET)
        socket_set_abortive(p->watch.fd);
    watch_close_fd(&p->watch);
    if (p->stream != NULL)
        stream_release(p->stream);
    p->stream = NULL;
    tunnel_owner_touch(p->tunnel);
    sweep_remove(&p->timer);
    stats_add(&pump_stats_of(p)->streams_active, (uint64_t)-1);
    if (p->owner->stats != NULL) {
        stats_add(&p->owner->stats->active, (uint64_t)-1);
        stats_add(&p->owner->stats->ended[p->why], 1);
    }
    if (p->why != ERR_OK)
        stats_add(&pump_stats_of(p)->streams_reset, 1);
    pump_set_add_dead(pump_worker_set(p), &p->timer);
}

void pump_free(struct stream_owner *p)
{
    if (p == NULL)
        return;
    free(p->detail);
    free(p->name);
    free(p->preface);
    free(p);
}

void pump_bury(struct sweep_item *item)
{
    struct stream_owner *p = list_entry(item, struct stream_owner, timer);
    struct pump_end end = {
        .why = p->why,
        .by = (enum pump_side)p->by,
        .detail = p->detail == NULL ? "" : p->detail,
        .port = p->port,
        .name = p->name == NULL ? "" : p->name,
        .client = p->client,
        .tunnel = p->tunnel,
        .was_open = p->was_open,
        .bytes_from_local = p->bytes_from_local,
        .bytes_to_local = p->bytes_to_local,
        .duration_us = worker_now(pump_worker(p)) - p->started_us,
    };

    p->owner->on_end(p->owner, &end);
    list_remove(&p->link);
    tunnel_owner_pump_gone(p->tunnel);
    pump_free(p);
}

void pump_cut_both(struct stream_owner *p, enum err why)
{
    pump_note_reason(p, why, PUMP_LOCAL);
    if (p->stream != NULL)
        stream_reset(p->stream, wire_code_of(why), STREAM_RESET_NOW);
    pump_finish(p, PUMP_END_RESET);
}

void pump_abort(struct stream_owner *p, enum err why)
{
    if (p->state != PUMP_DONE)
        pump_cut_both(p, why);
}

void pump_abort_all(struct tunnel_owner *o, enum err why)
{
    /* Ended pumps stay in the list until the turn is over. */
    for (struct list *l = o->pumps.next; l != &o->pumps; l = l->next)
        pump_abort(list_entry(l, struct stream_owner, link), why);
}

void pump_abort_of(struct tunnel_owner *o, const struct pump_stats *stats, enum err why)
{
    for (struct list *l = o->pumps.next; l != &o->pumps; l = l->next) {
        struct stream_owner *p = list_entry(l, struct stream_owner, link);

        if (p->owner->stats == stats)
            pump_abort(p, why);
    }
}

/* One that is still connecting asks the filter itself. */
static bool is_outside(const struct stream_owner *p, const struct target_filter *filter)
{
    struct address peer;

    if (p->watch.fd < 0)
        return false;
    address_of_peer(&peer, p->watch.fd);
    return !address_is_none(&peer) && !filter->is_allowed(filter, &peer);
}

void pump_abort_outside(struct tunnel_owner *o, const struct pump_stats *stats,
                        const struct target_filter *filter, enum err why)
{
    for (struct list *l = o->pumps.next; l != &o->pumps; l = l->next) {
        struct stream_owner *p = list_entry(l, struct stream_owner, link);

        if (p->owner->stats == stats && is_outside(p, filter))
            pump_abort(p, why);
    }
}
