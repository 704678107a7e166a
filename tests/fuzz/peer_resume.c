/* The peer's half of PROTOCOL 9.2: what it says of its streams, and what it makes of the engine's.
 */
#include <assert.h>
#include <string.h>

#include "peer.h"

bool peer_carries_streams(const struct peer *p)
{
    if (p->number < p->tunnel->ready_number)
        return false;
    return !p->is_resumed ||
           (p->number == p->tunnel->ready_number && p->resume_sent && p->resume_received);
}

/* Nothing is left to be said of it. */
static bool is_over(const struct peer_stream *s)
{
    return (s->reset_sent && s->reset_received) ||
           (s->fin_sent && s->acked > s->sent && s->fin_received);
}

static size_t tracked(const struct peer_tunnel *t)
{
    return t->opened_ids < PEER_STREAMS ? (size_t)t->opened_ids : PEER_STREAMS;
}

/* What a peer as it should be would say of the stream. */
static struct resume_entry make_entry(const struct peer_stream *s, uint64_t id)
{
    return (struct resume_entry){
        .id = id,
        .received = s->received + (s->fin_received ? 1 : 0),
        .limit = s->receive_limit,
        .is_accepted = s->is_accepted,
        .has_reset = s->reset_received,
    };
}

static void write_resume(struct peer *p, uint64_t next, bool is_last, const struct wire_writer *w)
{
    size_t len = wire_written(w);

    assert(wire_room(&p->w) >= RESUME_HEADER_SIZE + len);
    assert(frame_encode_resume_header(&p->w, next, is_last, len));
    wire_put_bytes(&p->w, w->start, len);
}

void peer_resume(struct peer *p, unsigned most, uint8_t gives_up)
{
    uint8_t room[PEER_STREAMS * RESUME_ENTRY_SIZE_MAX];
    struct peer_tunnel *t = p->tunnel;
    struct wire_writer entries;

    /* Not before the session is the current one here: then streams are at rest. */
    if (!p->is_resumed || !p->settings_sent || !p->settings_received || p->resume_sent ||
        p->number != t->ready_number || wire_room(&p->w) < sizeof(room) + RESUME_HEADER_SIZE)
        return;
    wire_writer_init(&entries, room, sizeof(room));
    for (; p->resume_at < tracked(t) && most > 0; p->resume_at++) {
        struct peer_stream *s = peer_find(p, p->resume_at);
        struct resume_entry e;

        if (s == NULL)
            continue;
        if (is_over(s) || (gives_up >> p->resume_at % 8 & 1) != 0) {
            s->is_open = false;
            continue;
        }
        e = make_entry(s, p->resume_at);
        resume_entry_encode(&entries, &e);
        if (e.has_reset)
            s->reset_sent = true; /* it counts as the answer */
        most--;
    }
    p->resume_sent = p->resume_at >= tracked(t);
    write_resume(p, t->opened_ids, p->resume_sent, &entries);
}

/* A number at, or near, the right one, or any. */
static uint64_t read_near(struct wire_reader *in, uint64_t right)
{
    uint8_t v = wire_u8(in);

    if (v < 128)
        return right;
    if (v < 192)
        return right + (v & 7);
    if (v < 248)
        return right - (right < (v & 7U) ? right : v & 7U);
    return wire_varint(in);
}

void peer_lie(struct peer *p, struct wire_reader *says, unsigned entries)
{
    uint8_t room[UINT8_MAX * RESUME_ENTRY_SIZE_MAX];
    struct peer_tunnel *t = p->tunnel;
    struct wire_writer w;
    uint64_t next = read_near(says, t->opened_ids);
    bool is_last = wire_u8(says) % 2 != 0;

    if (!p->settings_sent || wire_room(&p->w) < sizeof(room) + RESUME_HEADER_SIZE)
        return;
    assert(entries <= UINT8_MAX);
    wire_writer_init(&w, room, sizeof(room));
    for (unsigned i = 0; i < entries && wire_left(says) > 0; i++) {
        uint64_t id = wire_u8(says) % (PEER_STREAMS + 2);
        const struct peer_stream *s = peer_find(p, id);
        struct peer_stream none = {0};
        struct resume_entry e = make_entry(s != NULL ? s : &none, id);
        uint8_t flip = wire_u8(says);

        e.received = read_near(says, e.received);
        e.limit = read_near(says, e.limit);
        e.is_accepted = e.is_accepted != ((flip & 1) != 0);
        e.has_reset = e.has_reset != ((flip & 2) != 0);
        resume_entry_encode(&w, &e);
    }
    write_resume(p, next, is_last, &w);
    p->resume_sent = p->resume_sent || is_last;
    t->is_honest = false;
    t->is_untracked = true;
}

/* -- the engine's -- */

static void on_entry(struct peer *p, const struct resume_entry *e)
{
    const struct peer_tunnel *t = p->tunnel;
    struct peer_stream *s = peer_find(p, e->id);

    assert(p->engine_role == TUNNEL_SOURCE || e->id < t->opened_ids);
    if (e->id < PEER_STREAMS) {
        assert(!p->is_named[e->id]);
        p->is_named[e->id] = true;
    }
    if (s == NULL)
        return;
    assert(e->received >= s->acked && e->received <= s->sent + (s->fin_sent ? 1 : 0));
    if (e->received <= s->sent) {
        s->sent = e->received;
        s->fin_sent = false;
    }
    s->acked = e->received;
    if (e->limit > s->send_limit)
        s->send_limit = e->limit;
    if (p->engine_role == TUNNEL_SOURCE)
        s->is_accepted = e->is_accepted; /* else ours has not come there */
    if (e->has_reset) {
        assert(s->reset_sent);
        s->reset_received = true;
    } else if (!s->reset_received) {
        s->reset_sent = false;
    }
}

static void on_last(struct peer *p, uint64_t next)
{
    struct peer_tunnel *t = p->tunnel;

    for (size_t id = 0; id < tracked(t); id++) {
        struct peer_stream *s = peer_find(p, id);

        if (s == NULL || p->is_named[id])
            continue;
        s->is_open = false;
        if (p->engine_role == TUNNEL_DEST && id >= next)
            continue; /* it has never come there, and is to be opened again */
        /* It is over there; not without a reason. */
        assert(t->engine_gave_up || s->reset_sent || s->reset_received ||
               (s->fin_sent && s->fin_received));
    }
    if (p->engine_role == TUNNEL_DEST)
        t->opened_ids = next;
}

void peer_on_resume(struct peer *p, const struct frame *f)
{
    struct peer_tunnel *t = p->tunnel;
    struct wire_reader r = f->resume.entries;

    assert(p->is_resumed && !p->resume_received);
    p->resume_received = f->resume.is_last;
    while (wire_left(&r) > 0) {
        struct resume_entry e;

        assert(resume_entry_decode(&r, &e) == ERR_OK);
        if (!t->is_untracked && p->number == t->ready_number)
            on_entry(p, &e);
    }
    if (t->is_untracked || p->number < t->ready_number)
        return;
    assert(p->engine_role == TUNNEL_SOURCE ? f->resume.next_id >= t->opened_ids
                                           : f->resume.next_id <= t->opened_ids);
    if (f->resume.is_last)
        on_last(p, f->resume.next_id);
}
