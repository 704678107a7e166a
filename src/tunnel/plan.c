/*
 * What goes into the next record. Source: docs/PROTOCOL.md, section 9.1.
 *
 * The order: SETTINGS; PONG, PING, GO_AWAY; control frames of streams that are urgent; a chunk of a
 * key exchange; acknowledgements that have waited; datagrams; data, by schedule.c. A session that
 * continues a tunnel sends RESUME before anything of a stream.
 */
#include "tunnel/engine.h"

/* How often the round-trip time is measured while there is traffic. */
#define RTT_REFRESH_US ((uint64_t)1000 * 1000)

/* Payload up to here is copied behind its header: cheaper than to seal it as a part of its own. */
#define COPY_MAX 512

/* Less room than this at the end of a record is not worth a data frame. */
#define PIECE_MIN 512

#define STREAM_PARTS 4

void plan_init(struct plan *p)
{
    p->n = 0;
    p->len = 0;
    wire_writer_init(&p->w, p->scratch, sizeof(p->scratch));
}

static size_t plan_room(const struct plan *p)
{
    return RECORD_PLAINTEXT_MAX - p->len;
}

static void plan_add(struct plan *p, const uint8_t *data, size_t len)
{
    struct iovec *last = p->n > 0 ? &p->parts[p->n - 1] : NULL;

    if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == data) {
        last->iov_len += len;
    } else {
        p->parts[p->n].iov_base = (uint8_t *)(uintptr_t)data; /* record_seal only reads it */
        p->parts[p->n].iov_len = len;
        p->n++;
    }
    p->len += len;
}

bool plan_frame(struct plan *p, const struct frame *f)
{
    struct wire_writer before = p->w;

    if (p->n == PLAN_PARTS || !frame_encode(&p->w, f))
        return false;
    if ((size_t)(p->w.at - before.at) > plan_room(p)) {
        p->w = before;
        return false;
    }
    plan_add(p, before.at, (size_t)(p->w.at - before.at));
    return true;
}

static void plan_session_frames(struct session *s, struct plan *p)
{
    if (!s->settings_sent) {
        struct frame f = {.type = FRAME_SETTINGS};

        f.settings.initial_window = STREAM_WINDOW_INITIAL;
        f.settings.max_streams = s->tunnel->options.max_streams;
        f.settings.session = s->tunnel->options.role == TUNNEL_SOURCE ? s->number : 0;
        f.settings.key_lifetime_ms = s->tunnel->options.key_lifetime_us / 1000;
        s->settings_sent = plan_frame(p, &f);
    }
    while (s->n_pongs > 0) {
        struct frame f = {.type = FRAME_PONG, .ping.token = s->pongs[s->n_pongs - 1]};

        if (!plan_frame(p, &f))
            return;
        s->n_pongs--;
    }
    /* A measurement now and then rides along with other traffic. */
    if (s->is_ready && !s->ping_waits && s->now - s->ping_sent_at >= RTT_REFRESH_US)
        s->ping_wanted = true;
    if (s->ping_wanted) {
        struct frame f = {.type = FRAME_PING, .ping.token = s->ping_token + 1};

        if (!plan_frame(p, &f))
            return;
        s->ping_wanted = false;
        s->ping_waits = true;
        s->pings_open++;
        s->ping_token++;
        s->ping_sent_at = s->now;
    }
    if (s->go_away_wanted)
        s->go_away_wanted = !plan_frame(p, &s->go_away);
}

/* At most one chunk in a record, so that half a megabyte of key does not hold data up. */
static void plan_exchange(struct session *s, struct plan *p)
{
    struct rotation *r = &s->rotation;
    struct wire_writer before = p->w;
    const uint8_t *chunk;
    uint64_t offset;
    size_t len = rotation_chunk(r, KEY_EXCHANGE_CHUNK, &chunk, &offset);

    if (len == 0 || len + FRAME_DATA_OVERHEAD > plan_room(p) || p->n + 2 > PLAN_PARTS ||
        !frame_encode_data_header(&p->w, FRAME_KEY_EXCHANGE, rotation_generation(r), offset, len))
        return;
    plan_add(p, before.at, (size_t)(p->w.at - before.at));
    plan_add(p, chunk, len);
    rotation_sent(r, len);
}

/* The order matters: OPEN and ACCEPT come before everything else of their stream. */
static const enum notice notice_order[] = {NOTICE_OPEN, NOTICE_ACCEPT, NOTICE_CREDIT, NOTICE_RESET};

/* False when the record is full. */
static bool plan_notices(struct session *s, struct plan *p, struct list *waiting)
{
    struct list *l;

    while ((l = list_first(waiting)) != NULL) {
        struct stream *stream = list_entry(l, struct stream, notice);

        for (size_t i = 0; i < sizeof(notice_order) / sizeof(notice_order[0]); i++) {
            struct frame f;

            if ((stream->notices & notice_order[i]) == 0)
                continue;
            stream_make_frame(stream, notice_order[i], s->now, &f);
            if (!plan_frame(p, &f))
                return false;
            stream->notices &= (uint8_t)~notice_order[i];
            if (stream->notices == 0)
                list_remove(&stream->notice);
            stream_on_notice_sent(stream, &f);
        }
    }
    return true;
}

/* What the record still takes of streams' data, frame headers included. */
static size_t plan_data_room(const struct plan *p)
{
    size_t most = RECORD_FILL_MAX - RECORD_OVERHEAD;

    return p->len < most ? most - p->len : 0;
}

/* Puts data of the stream into the record; false when the record is full. */
static bool plan_data(struct plan *p, struct stream *stream)
{
    struct iovec parts[STREAM_PARTS];
    struct wire_writer before = p->w;
    size_t room = plan_data_room(p);
    size_t n;
    size_t len;
    bool fin;

    if (room < FRAME_DATA_OVERHEAD + PIECE_MIN || p->n + 1 + STREAM_PARTS > PLAN_PARTS ||
        wire_room(&p->w) < FRAME_DATA_OVERHEAD + COPY_MAX)
        return false;
    n = chain_view(&stream->out, stream->sent, room - FRAME_DATA_OVERHEAD, parts, STREAM_PARTS,
                   &len);
    fin = stream->finish && stream->sent + len == stream->out.end;
    if (!frame_encode_data_header(&p->w, fin ? FRAME_STREAM_DATA_FIN : FRAME_STREAM_DATA,
                                  stream->id, stream->sent, len))
        return false;
    for (size_t i = 0; i < n && len <= COPY_MAX; i++)
        wire_put_bytes(&p->w, parts[i].iov_base, parts[i].iov_len);
    plan_add(p, before.at, (size_t)(p->w.at - before.at));
    for (size_t i = 0; i < n && len > COPY_MAX; i++)
        plan_add(p, parts[i].iov_base, parts[i].iov_len);
    stream_on_sent(stream, len, fin);
    schedule_spent(&stream->turn, len > 0 ? len : 1);
    return true;
}

static void plan_streams(struct session *s, struct plan *p)
{
    struct schedule_item *turn;

    while ((turn = schedule_pick(&s->schedule)) != NULL) {
        struct stream *stream = list_entry(turn, struct stream, turn);

        if (!stream_is_sendable(stream))
            schedule_idle(&s->schedule, turn);
        else if (!plan_data(p, stream))
            return;
    }
}

/* Puts the flow's oldest datagram into the record; false when there is no room for it. */
static bool plan_datagram(struct session *s, struct plan *p, struct flow *flow)
{
    struct tunnel *t = s->tunnel;
    struct datagram *d = flow_first(flow);
    struct wire_writer before;

    if (t->options.role == TUNNEL_SOURCE && flow->announced != s->number) {
        struct frame f = {.type = FRAME_FLOW_OPEN};

        f.flow_open.id = flow->id;
        f.flow_open.target = *flow->target;
        if (!plan_frame(p, &f))
            return false;
        flow->announced = s->number;
    }
    if (plan_room(p) < FRAME_DATAGRAM_OVERHEAD + (size_t)d->len || p->n + 2 > PLAN_PARTS ||
        wire_room(&p->w) < FRAME_DATAGRAM_OVERHEAD + COPY_MAX)
        return false;
    before = p->w;
    if (!frame_encode_datagram_header(&p->w, flow->id, d->len))
        return false;
    (void)flow_take(flow);
    if (d->len <= COPY_MAX)
        wire_put_bytes(&p->w, d->data, d->len);
    plan_add(p, before.at, (size_t)(p->w.at - before.at));
    if (d->len > COPY_MAX)
        plan_add(p, d->data, d->len);
    schedule_spent(&flow->turn, (size_t)d->len + FRAME_DATAGRAM_OVERHEAD);
    s->flows_ahead += (size_t)d->len + FRAME_DATAGRAM_OVERHEAD;
    list_append(&t->sent_datagrams, &d->link);
    return true;
}

static bool plan_flow_closes(struct tunnel *t, struct plan *p)
{
    while (t->flow_closes_sent < t->n_flow_closes) {
        const struct flow_closing *closing = &t->flow_closes[t->flow_closes_sent];
        struct frame f = {.type = FRAME_FLOW_CLOSE};

        f.flow_close.id = closing->id;
        f.flow_close.code = closing->code;
        if (!plan_frame(p, &f))
            return false;
        t->flow_closes_sent++;
    }
    flow_forget_closes(t);
    return true;
}

/*
 * Datagrams go ahead of streams' data, but no further than FLOWS_AHEAD_MAX: then streams that have
 * something to send catch up first. False when the record is full: one datagram waits for the next.
 */
static bool plan_flows(struct session *s, struct plan *p)
{
    struct tunnel *t = s->tunnel;
    struct schedule_item *turn;

    s->is_datagram_next = false;
    if (!plan_flow_closes(t, p))
        return false;
    while ((turn = schedule_pick(&t->flow_schedule)) != NULL) {
        struct flow *flow = list_entry(turn, struct flow, turn);

        if (list_is_empty(&flow->queue)) {
            schedule_idle(&t->flow_schedule, turn);
            continue;
        }
        if (s->flows_ahead >= FLOWS_AHEAD_MAX && !schedule_is_empty(&s->schedule))
            return true;
        if (!plan_datagram(s, p, flow)) {
            s->is_datagram_next = true;
            return false;
        }
    }
    return true;
}

/* Streams' data, and what they catch up with datagrams by it. */
static void plan_data_of_all(struct session *s, struct plan *p)
{
    size_t before = p->len;

    plan_streams(s, p);
    if (schedule_is_empty(&s->schedule) || p->len - before > s->flows_ahead)
        s->flows_ahead = 0;
    else
        s->flows_ahead -= p->len - before;
}

/* As many entries as the scratch buffer holds; more go into the next record. */
static void plan_resume(struct session *s, struct plan *p)
{
    struct tunnel *t = s->tunnel;
    uint8_t *start = p->w.at;
    struct wire_writer header;
    struct wire_writer entries;

    wire_writer_init(&entries, start + RESUME_HEADER_SIZE,
                     (size_t)(p->w.end - start) - RESUME_HEADER_SIZE);
    resume_list(t, s->number, &entries, &s->resume_sent);
    wire_writer_init(&header, s->resume_header, sizeof(s->resume_header));
    if (!frame_encode_resume_header(&header, t->next_id, s->resume_sent, wire_written(&entries)))
        return;
    plan_add(p, header.start, wire_written(&header));
    plan_add(p, entries.start, wire_written(&entries));
    p->w.at = entries.at;
}

void plan_record(struct session *s, struct plan *p)
{
    plan_init(p);
    plan_session_frames(s, p);
    if (s->tunnel->session == s && s->is_resumed && !s->resume_sent) {
        plan_resume(s, p);
        session_finish_resume(s);
        return;
    }
    if (!session_carries_streams(s)) {
        plan_exchange(s, p);
        return;
    }
    /* The record is nearly empty, so this one fits now. */
    if (s->is_datagram_next && !plan_flows(s, p))
        return;
    /* Data must not overtake its stream's OPEN or ACCEPT: it waits until all notices are out. */
    if (!plan_notices(s, p, &s->urgent))
        return;
    plan_exchange(s, p);
    if (p->len == 0 && schedule_is_empty(&s->schedule) && !flow_has_output(s->tunnel) &&
        s->now < s->lazy_deadline)
        return;
    if (plan_notices(s, p, &s->lazy) && plan_flows(s, p))
        plan_data_of_all(s, p);
    /* A stream may have come to its RESET, which goes right behind its data. */
    plan_notices(s, p, &s->urgent);
}
