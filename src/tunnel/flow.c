/*
 * Flows: datagrams under a number. Source: docs/PROTOCOL.md, sections 6.5 and 7.1.
 *
 *   source   open ──> FLOW_OPEN goes ahead of the first datagram on each session ──> closed
 *   dest     FLOW_OPEN ──> on_flow_open ──> closed, or refused at once
 *
 * A flow ends with flow_close, with the peer's FLOW_CLOSE, or with its tunnel; nothing is kept of
 * it. It outlives sessions: what waits for a record is dropped with its session, and the next one
 * begins with FLOW_OPEN again, which a dest that knows the flow ignores. So whatever a lost session
 * took with it, both ends agree after the next datagram.
 *
 * A datagram waits in a block of the pool, in the queue of its flow, until a record takes it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/engine.h"

static size_t block_bytes(enum pool_size size)
{
    return size == POOL_SMALL ? POOL_SMALL_BYTES : POOL_BULK_BYTES;
}

static_assert(sizeof(struct datagram) + FLOW_DATAGRAM_MAX <= POOL_BULK_BYTES,
              "the largest datagram fits into a block");

static enum pool_size size_for(size_t len)
{
    return sizeof(struct datagram) + len <= POOL_SMALL_BYTES ? POOL_SMALL : POOL_BULK;
}

static void count_drop(struct tunnel *t, struct flow_owner *owner, enum flow_drop why)
{
    if (t->options.events->on_datagram_dropped != NULL)
        t->options.events->on_datagram_dropped(t->options.owner, owner, why);
}

/* -- datagrams -- */

void flow_free_datagram(struct tunnel *t, struct datagram *d)
{
    enum pool_size size = d->is_small ? POOL_SMALL : POOL_BULK;

    list_remove(&d->link);
    t->flow_bytes -= block_bytes(size);
    t->peer->flow_bytes -= block_bytes(size);
    pool_put(t->options.pool, size, d);
}

void flow_free_sent(struct tunnel *t)
{
    struct list *l;

    while ((l = list_first(&t->sent_datagrams)) != NULL)
        flow_free_datagram(t, list_entry(l, struct datagram, link));
}

struct datagram *flow_first(const struct flow *f)
{
    struct list *l = list_first(&f->queue);

    return l == NULL ? NULL : list_entry(l, struct datagram, link);
}

struct datagram *flow_take(struct flow *f)
{
    struct datagram *d = flow_first(f);

    list_remove(&d->link);
    f->queued--;
    f->queued_bytes -= block_bytes(d->is_small ? POOL_SMALL : POOL_BULK);
    return d;
}

static void drop_oldest(struct flow *f, enum flow_drop why)
{
    flow_free_datagram(f->tunnel, flow_take(f));
    count_drop(f->tunnel, f->owner, why);
}

static void drop_all(struct flow *f, enum flow_drop why)
{
    while (!list_is_empty(&f->queue))
        drop_oldest(f, why);
    schedule_remove(&f->turn);
}

/* Half of the pool is kept for what peers have credit for (tunnel_share_memory). */
static struct datagram *take_block(struct tunnel *t, enum pool_size size, size_t limit)
{
    struct pool *pool = t->options.pool;
    size_t bytes = block_bytes(size);
    struct datagram *d;

    if (t->peer->flow_bytes + bytes > limit || pool_in_use(pool) + bytes > pool_limit(pool) / 2)
        return NULL;
    d = pool_take(pool, size);
    if (d == NULL)
        return NULL;
    t->flow_bytes += bytes;
    t->peer->flow_bytes += bytes;
    d->is_small = size == POOL_SMALL;
    list_init(&d->link);
    return d;
}

static struct datagram *take_for_queue(struct flow *f, enum pool_size size)
{
    size_t limit = pool_limit(f->tunnel->options.pool) / FLOW_POOL_PART;

    return take_block(f->tunnel, size, list_is_empty(&f->queue) ? 2 * limit : limit);
}

static bool is_full(const struct flow *f, enum pool_size size)
{
    return f->queued == FLOW_QUEUE_DATAGRAMS ||
           f->queued_bytes + block_bytes(size) > FLOW_QUEUE_BYTES;
}

static struct datagram *find_room(struct flow *f, enum pool_size size)
{
    struct datagram *d;

    while (is_full(f, size))
        drop_oldest(f, FLOW_DROP_QUEUE);
    while ((d = take_for_queue(f, size)) == NULL && !list_is_empty(&f->queue))
        drop_oldest(f, FLOW_DROP_MEMORY);
    return d;
}

void flow_send(struct flow *f, const uint8_t *data, size_t len)
{
    enum pool_size size = size_for(len);
    struct datagram *d;

    if (len > FLOW_DATAGRAM_MAX) {
        count_drop(f->tunnel, f->owner, FLOW_DROP_TOO_LARGE);
        return;
    }
    if (f->tunnel->session == NULL) {
        count_drop(f->tunnel, f->owner, FLOW_DROP_NO_SESSION);
        return;
    }
    d = find_room(f, size);
    if (d == NULL) {
        count_drop(f->tunnel, f->owner, FLOW_DROP_MEMORY);
        return;
    }
    d->len = (uint16_t)len;
    memcpy(d->data, data, len);
    list_append(&f->queue, &d->link);
    f->queued++;
    f->queued_bytes += block_bytes(size);
    schedule_add(&f->tunnel->flow_schedule, &f->turn);
}

/* -- datagrams that wait for somewhere to go -- */

bool flow_first_kept(const struct flow *f, const uint8_t **data, size_t *len)
{
    struct list *l = list_first(&f->kept);

    if (l == NULL)
        return false;
    *data = list_entry(l, struct datagram, link)->data;
    *len = list_entry(l, struct datagram, link)->len;
    return true;
}

void flow_forget_kept(struct flow *f)
{
    flow_free_datagram(f->tunnel, list_entry(list_first(&f->kept), struct datagram, link));
    f->kept_count--;
}

static void drop_oldest_kept(struct flow *f, enum flow_drop why)
{
    flow_forget_kept(f);
    count_drop(f->tunnel, f->owner, why);
}

void flow_keep(struct flow *f, const uint8_t *data, size_t len)
{
    size_t limit = pool_limit(f->tunnel->options.pool) / FLOW_KEPT_PART;
    struct datagram *d;

    if (f->kept_count == FLOW_KEPT_DATAGRAMS)
        drop_oldest_kept(f, FLOW_DROP_QUEUE);
    while ((d = take_block(f->tunnel, size_for(len), limit)) == NULL && f->kept_count > 0)
        drop_oldest_kept(f, FLOW_DROP_MEMORY);
    if (d == NULL) {
        count_drop(f->tunnel, f->owner, FLOW_DROP_MEMORY);
        return;
    }
    d->len = (uint16_t)len;
    memcpy(d->data, data, len);
    list_append(&f->kept, &d->link);
    f->kept_count++;
}

/* -- life -- */

static enum err flow_new(struct flow **out, struct tunnel *t, uint64_t id)
{
    struct flow *f = calloc(1, sizeof(*f));
    enum err e;

    *out = NULL;
    if (f == NULL)
        return ERR_NOMEM;
    e = idmap_put(&t->flows, id, f);
    if (e != ERR_OK) {
        free(f);
        return e;
    }
    f->tunnel = t;
    f->id = id;
    list_init(&f->all);
    list_append(&t->all_flows, &f->all);
    list_init(&f->queue);
    list_init(&f->kept);
    schedule_item_init(&f->turn);
    *out = f;
    return ERR_OK;
}

static void flow_free(struct flow *f)
{
    drop_all(f, FLOW_DROP_CLOSED);
    while (f->kept_count > 0)
        drop_oldest_kept(f, FLOW_DROP_CLOSED);
    list_remove(&f->all);
    idmap_remove(&f->tunnel->flows, f->id);
    free(f->target);
    free(f);
}

enum err flow_open(struct flow **out, struct tunnel *t, const struct stream_target *target,
                   struct flow_owner *owner)
{
    struct stream_target *copy;
    struct flow *f;
    enum err e;

    assert(t->options.role == TUNNEL_SOURCE);
    *out = NULL;
    if (t->session == NULL || !t->has_run)
        return ERR_CLOSED;
    if (t->flows.count >= t->options.max_flows)
        return ERR_LIMIT;
    copy = stream_target_copy(target);
    if (copy == NULL)
        return ERR_NOMEM;
    e = flow_new(&f, t, t->next_flow);
    if (e != ERR_OK) {
        free(copy);
        return e;
    }
    t->next_flow++;
    f->target = copy;
    f->owner = owner;
    *out = f;
    return ERR_OK;
}

void flow_set_owner(struct flow *f, struct flow_owner *owner)
{
    f->owner = owner;
}

void flow_forget_closes(struct tunnel *t)
{
    free(t->flow_closes);
    t->flow_closes = NULL;
    t->flow_closes_sent = 0;
    t->n_flow_closes = 0;
    t->flow_closes_room = 0;
}

static bool has_room_for_close(struct tunnel *t)
{
    size_t room = t->flow_closes_room == 0 ? 16 : t->flow_closes_room * 2;
    struct flow_closing *more;

    if (t->n_flow_closes < t->flow_closes_room)
        return true;
    if (room > FLOW_CLOSES_MAX)
        return false;
    more = realloc(t->flow_closes, room * sizeof(*more));
    if (more == NULL)
        return false;
    t->flow_closes = more;
    t->flow_closes_room = room;
    return true;
}

/* The peer learns of it with the next record; not later than with this session. */
static void tell_closed(struct tunnel *t, uint64_t id, enum wire_code code)
{
    if (t->session == NULL || !has_room_for_close(t))
        return;
    t->flow_closes[t->n_flow_closes++] = (struct flow_closing){.id = id, .code = (uint16_t)code};
}

void flow_close(struct flow *f, enum wire_code code)
{
    tell_closed(f->tunnel, f->id, code);
    flow_free(f);
}

void flow_lose_all(struct tunnel *t)
{
    struct list *l;

    while ((l = list_first(&t->all_flows)) != NULL) {
        struct flow *f = list_entry(l, struct flow, all);
        struct flow_owner *owner = f->owner;

        flow_free(f);
        if (owner != NULL)
            t->options.events->on_flow_closed(owner, WIRE_SESSION_LOST);
    }
}

void flow_on_session_lost(struct tunnel *t)
{
    for (struct list *l = t->all_flows.next; l != &t->all_flows; l = l->next)
        drop_all(list_entry(l, struct flow, all), FLOW_DROP_NO_SESSION);
    flow_forget_closes(t);
}

/* -- frames -- */

static enum err on_open(struct tunnel *t, const struct frame *frame)
{
    struct flow *f;

    if (t->options.role != TUNNEL_DEST)
        return ERR_UNEXPECTED;
    if (idmap_get(&t->flows, frame->flow_open.id) != NULL)
        return ERR_OK; /* from an earlier session: the source cannot know whether it came */
    if (t->flows.count >= t->options.max_flows || flow_new(&f, t, frame->flow_open.id) != ERR_OK) {
        tell_closed(t, frame->flow_open.id, WIRE_LIMIT);
        count_drop(t, NULL, FLOW_DROP_LIMIT);
        return ERR_OK;
    }
    t->options.events->on_flow_open(t->options.owner, f, &frame->flow_open.target);
    return ERR_OK;
}

static void on_datagram(struct tunnel *t, const struct frame *frame)
{
    struct flow *f = idmap_get(&t->flows, frame->datagram.id);

    if (f == NULL) {
        /* It was closed meanwhile; said again, in case the peer has not been told. */
        tell_closed(t, frame->datagram.id, WIRE_NO_ERROR);
        count_drop(t, NULL, FLOW_DROP_UNKNOWN);
    } else if (f->owner == NULL) {
        count_drop(t, NULL, FLOW_DROP_UNKNOWN);
    } else {
        t->options.events->on_datagram(f->owner, f, frame->datagram.data, frame->datagram.len);
    }
}

static void on_close(struct tunnel *t, const struct frame *frame)
{
    struct flow *f = idmap_get(&t->flows, frame->flow_close.id);
    struct flow_owner *owner;

    if (f == NULL)
        return;
    owner = f->owner;
    flow_free(f);
    if (owner != NULL)
        t->options.events->on_flow_closed(owner, (enum wire_code)frame->flow_close.code);
}

enum err flow_on_frame(struct tunnel *t, const struct frame *frame)
{
    if (frame->type == FRAME_FLOW_OPEN)
        return on_open(t, frame);
    if (frame->type == FRAME_FLOW_DATAGRAM)
        on_datagram(t, frame);
    else
        on_close(t, frame);
    return ERR_OK;
}
