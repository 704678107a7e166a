/*
 * One session: records in, records out, and what the two peers say to each other about the session
 * itself. Source: docs/PROTOCOL.md, sections 5, 6 and 9.
 *
 *   new ──SETTINGS is the peer's first frame──> ready ──any error, or session_close──> gone
 *
 * Timers (all through session_deadline):
 *   acknowledgements that wait for a record to ride on    ACK_DELAY_US after the first of them
 *   owners that wait for memory of other tunnels          every STARVED_RETRY_US
 *   signs of life                                         heartbeat.h
 *
 * Order of what goes into a record: SETTINGS; PONG, PING, GO_AWAY; control frames of streams that
 * are urgent; acknowledgements that have waited; data, by schedule.c. KEY_SWITCH has a record of
 * its own, the last under the old key.
 */
#include "tunnel/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#define STARVED_RETRY_US ((uint64_t)10 * 1000)

/* How often the round-trip time is measured while there is traffic. */
#define RTT_REFRESH_US ((uint64_t)1000 * 1000)

/* Parts of one record: runs of frames that were written out, and payload that stays in its block.
 */
#define PLAN_PARTS        96
#define PLAN_STREAM_PARTS 4
#define PLAN_SCRATCH      16384

/* Payload up to here is copied behind its header: cheaper than to seal it as a part of its own. */
#define PLAN_COPY_MAX 512

/* Less room than this at the end of a record is not worth a data frame. */
#define PLAN_PIECE_MIN 512

struct session {
    struct tunnel *tunnel;
    struct list link; /* in tunnel.sessions */
    uint64_t number;  /* in the tunnel, as the source counts; dest: 0 until it is ready */
    struct session_keys *keys;
    struct record_sealer *sealer;
    struct record_opener *opener;
    enum err error; /* once set, the session is dead */
    uint64_t now;

    uint8_t *out; /* a batch block, while sealed bytes wait */
    size_t out_at;
    size_t out_len;

    struct schedule schedule;
    struct list urgent;
    struct list lazy;
    uint64_t lazy_deadline;
    uint64_t starved_at; /* when owners that wait for memory were last looked after by time */

    bool settings_sent;
    bool is_ready;
    bool is_resumed;      /* it continues a tunnel: RESUME goes both ways first */
    bool resume_sent;     /* to the last */
    bool resume_received; /* to the last */
    bool ping_wanted;
    bool ping_waits; /* for its PONG */
    bool go_away_wanted;

    uint64_t ping_token;
    uint64_t ping_sent_at;
    uint64_t rtt_us;
    uint64_t rtt_min_us;
    uint64_t last_received;
    struct heartbeat heartbeat;

    uint8_t resume_header[RESUME_HEADER_SIZE];
    uint64_t pongs[SESSION_PONGS_MAX];
    size_t n_pongs;

    struct frame go_away;
    char go_away_text[GO_AWAY_TEXT_MAX];
};

static enum key_direction outward(const struct session *s)
{
    return s->tunnel->options.role == TUNNEL_SOURCE ? KEY_FROM_SOURCE : KEY_FROM_DEST;
}

static enum key_direction inward(const struct session *s)
{
    return s->tunnel->options.role == TUNNEL_SOURCE ? KEY_FROM_DEST : KEY_FROM_SOURCE;
}

static void session_free(struct session *s)
{
    record_sealer_free(s->sealer);
    record_opener_free(s->opener);
    session_keys_free(s->keys);
    pool_put(s->tunnel->options.pool, POOL_BATCH, s->out);
    free(s);
}

enum err session_new(struct session **out, struct tunnel *t, struct session_keys *keys,
                     enum session_start start, uint64_t now)
{
    struct session *s = calloc(1, sizeof(*s));
    struct {
        struct traffic_keys out;
        struct traffic_keys in;
    } tmp;
    enum err e;

    *out = NULL;
    if (s == NULL) {
        session_keys_free(keys);
        return ERR_NOMEM;
    }
    s->tunnel = t;
    s->keys = keys;
    s->now = now;
    s->last_received = now;
    s->ping_wanted = true;
    heartbeat_init(&s->heartbeat, &t->options.heartbeat, now);
    s->is_resumed = start == SESSION_RESUMED;
    schedule_init(&s->schedule);
    list_init(&s->urgent);
    list_init(&s->lazy);
    e = session_keys_traffic(keys, outward(s), &tmp.out);
    if (e == ERR_OK)
        e = session_keys_traffic(keys, inward(s), &tmp.in);
    if (e == ERR_OK)
        e = record_sealer_new(&s->sealer, &tmp.out, 0);
    if (e == ERR_OK)
        e = record_opener_new(&s->opener, &tmp.in, 0);
    OPENSSL_cleanse(&tmp, sizeof(tmp));
    if (e != ERR_OK) {
        session_free(s);
        return e;
    }
    if (t->options.role == TUNNEL_SOURCE)
        s->number = ++t->last_number;
    list_append(&t->sessions, &s->link);
    *out = s;
    return ERR_OK;
}

void session_close(struct session *s)
{
    struct tunnel *t;

    if (s == NULL)
        return;
    t = s->tunnel;
    assert(t->in_events == 0);
    list_remove(&s->link);
    if (t->session == s) {
        t->session = NULL;
        tunnel_detach_streams(t);
    }
    session_free(s);
}

/* -- in -- */

static enum err on_pong(struct session *s, uint64_t token)
{
    uint64_t rtt;

    if (!s->ping_waits || token != s->ping_token)
        return ERR_OK; /* an answer to an older one */
    s->ping_waits = false;
    rtt = s->now > s->ping_sent_at ? s->now - s->ping_sent_at : 1;
    s->rtt_us = rtt;
    if (s->rtt_min_us == 0 || rtt < s->rtt_min_us)
        s->rtt_min_us = rtt;
    return ERR_OK;
}

static enum err on_key_switch(struct session *s)
{
    struct traffic_keys next;
    enum err e = session_keys_ratchet(s->keys, inward(s));

    if (e == ERR_OK)
        e = session_keys_traffic(s->keys, inward(s), &next);
    if (e == ERR_OK)
        e = record_opener_rekey(s->opener, &next);
    OPENSSL_cleanse(&next, sizeof(next));
    return e;
}

/* Both have told where they are: streams go on. */
static void finish_resume(struct session *s)
{
    struct tunnel *t = s->tunnel;

    if (!s->resume_sent || !s->resume_received)
        return;
    resume_finish(t);
    t->options.events->on_session_ready(t->options.owner, s);
}

/* From here on no older session carries anything: what the streams are at now is what RESUME says.
 */
static void make_current(struct session *s)
{
    struct tunnel *t = s->tunnel;
    struct session *older = t->session;

    tunnel_detach_streams(t);
    t->session = s;
    t->ready_number = s->number;
    t->has_run = true;
    if (older != NULL)
        t->options.events->on_session_retired(t->options.owner, older);
    if (!s->is_resumed)
        t->options.events->on_session_ready(t->options.owner, s);
}

static enum err on_settings(struct session *s, const struct frame *f)
{
    struct tunnel *t = s->tunnel;

    if (s->is_ready)
        return ERR_UNEXPECTED;
    s->is_ready = true;
    if (t->options.role == TUNNEL_DEST) {
        if (f->settings.session == 0)
            return ERR_MALFORMED;
        s->number = f->settings.session;
    }
    if (s->number <= t->ready_number) {
        /* A newer one was faster: this one never carries anything. */
        t->options.events->on_session_retired(t->options.owner, s);
        return ERR_OK;
    }
    t->send_window = f->settings.initial_window;
    t->peer_max_streams = f->settings.max_streams;
    make_current(s);
    return ERR_OK;
}

static enum err on_resume(struct session *s, const struct frame *f)
{
    enum err e;

    if (!s->is_resumed || s->resume_received)
        return ERR_UNEXPECTED;
    if (s->tunnel->session != s)
        return ERR_OK;
    e = resume_on_frame(s->tunnel, s->number, f);
    if (e == ERR_OK && f->resume.is_last) {
        s->resume_received = true;
        finish_resume(s);
    }
    return e;
}

/* Frames of streams count on the newest session only, and there once RESUME has gone both ways. */
static enum err on_stream_frame(struct session *s, const struct frame *f)
{
    if (s->tunnel->session != s)
        return ERR_OK;
    if (s->is_resumed && !s->resume_received)
        return ERR_UNEXPECTED;
    return tunnel_on_frame(s->tunnel, f);
}

static enum err on_frame(struct session *s, const struct frame *f)
{
    struct tunnel *t = s->tunnel;

    switch (f->type) {
    case FRAME_SETTINGS:
        return on_settings(s, f);
    case FRAME_PING:
        if (s->n_pongs == SESSION_PONGS_MAX)
            return ERR_LIMIT;
        s->pongs[s->n_pongs++] = f->ping.token;
        return ERR_OK;
    case FRAME_PONG:
        return on_pong(s, f->ping.token);
    case FRAME_GO_AWAY:
        t->options.events->on_go_away(t->options.owner, s, (enum wire_code)f->go_away.code,
                                      f->go_away.retry_after_ms, f->go_away.text,
                                      f->go_away.text_len);
        return ERR_OK;
    case FRAME_RESUME:
        return on_resume(s, f);
    default:
        return on_stream_frame(s, f);
    }
}

static enum err on_plaintext(struct session *s, const uint8_t *plain, size_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, plain, len);
    while (wire_left(&r) > 0) {
        struct frame f;
        enum err e = frame_decode(&r, &f);

        if (e == ERR_OK && !s->is_ready && f.type != FRAME_SETTINGS)
            return ERR_UNEXPECTED;
        if (e == ERR_OK && f.type == FRAME_KEY_SWITCH)
            /* Everything behind it is under the next key, so it must be the record's last. */
            return wire_left(&r) > 0 ? ERR_UNEXPECTED : on_key_switch(s);
        if (e == ERR_OK && f.type < FRAME_IGNORABLE_FROM)
            e = on_frame(s, &f);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err session_feed(struct session *s, uint8_t *data, size_t len, size_t *used, uint64_t now)
{
    *used = 0;
    if (s->error != ERR_OK)
        return s->error;
    s->now = now;
    tunnel_enter(s->tunnel);
    while (s->error == ERR_OK) {
        size_t need;
        uint8_t *plain;
        size_t plain_len;

        s->error = record_peek(s->opener, data + *used, len - *used, &need);
        if (s->error != ERR_OK || need == 0 || need > len - *used)
            break;
        s->error = record_open(s->opener, data + *used, need, &plain, &plain_len);
        if (s->error != ERR_OK) {
            if (!s->is_ready && s->error == ERR_AUTH_TAG)
                s->error = ERR_KEY_CONFIRM;
            break;
        }
        *used += need;
        s->last_received = now;
        heartbeat_on_life(&s->heartbeat, now);
        s->error = on_plaintext(s, plain, plain_len);
    }
    tunnel_leave(s->tunnel);
    return s->error;
}

/* -- out: what waits -- */

void session_notify(struct stream *stream, enum notice notice)
{
    struct session *s = stream->is_lost ? NULL : stream->tunnel->session;

    stream->notices |= (uint8_t)notice;
    if (s == NULL || (stream->is_urgent && list_is_linked(&stream->notice)))
        return; /* it keeps its place: OPEN frames must go in the order of their streams */
    list_remove(&stream->notice);
    list_append(&s->urgent, &stream->notice);
    stream->is_urgent = true;
}

void session_notify_lazily(struct stream *stream, enum notice notice)
{
    struct session *s = stream->is_lost ? NULL : stream->tunnel->session;

    stream->notices |= (uint8_t)notice;
    if (s == NULL || list_is_linked(&stream->notice))
        return;
    if (list_is_empty(&s->lazy))
        s->lazy_deadline = s->now + ACK_DELAY_US;
    list_append(&s->lazy, &stream->notice);
    stream->is_urgent = false;
}

void session_schedule(struct stream *stream)
{
    struct session *s = stream->is_lost ? NULL : stream->tunnel->session;

    if (s != NULL && stream_is_sendable(stream))
        schedule_add(&s->schedule, &stream->turn);
}

void session_detach(struct stream *stream)
{
    list_remove(&stream->notice);
    schedule_remove(&stream->turn);
}

struct session *session_of_link(struct list *link)
{
    return list_entry(link, struct session, link);
}

uint64_t session_now(const struct tunnel *t)
{
    return t->session == NULL ? 0 : t->session->now;
}

/* -- out: making records -- */

struct plan {
    struct iovec parts[PLAN_PARTS];
    size_t n;
    size_t len;
    struct wire_writer w; /* over scratch: frames, and headers of data frames */
    uint8_t scratch[PLAN_SCRATCH];
};

static void plan_init(struct plan *p)
{
    p->n = 0;
    p->len = 0;
    wire_writer_init(&p->w, p->scratch, sizeof(p->scratch));
}

static size_t plan_room(const struct plan *p)
{
    return RECORD_PLAINTEXT_MAX - p->len;
}

static void plan_add(struct plan *p, uint8_t *data, size_t len)
{
    struct iovec *last = p->n > 0 ? &p->parts[p->n - 1] : NULL;

    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == data) {
        last->iov_len += len;
    } else {
        p->parts[p->n].iov_base = data;
        p->parts[p->n].iov_len = len;
        p->n++;
    }
    p->len += len;
}

/* False when the record has no room for it. */
static bool plan_frame(struct plan *p, const struct frame *f)
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
        s->ping_token++;
        s->ping_sent_at = s->now;
    }
    if (s->go_away_wanted)
        s->go_away_wanted = !plan_frame(p, &s->go_away);
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

/* Puts data of the stream into the record; false when the record is full. */
static bool plan_data(struct plan *p, struct stream *stream)
{
    struct iovec parts[PLAN_STREAM_PARTS];
    struct wire_writer before = p->w;
    size_t room = plan_room(p);
    size_t n;
    size_t len;
    bool fin;

    if (room < FRAME_DATA_OVERHEAD + PLAN_PIECE_MIN || p->n + 1 + PLAN_STREAM_PARTS > PLAN_PARTS ||
        wire_room(&p->w) < FRAME_DATA_OVERHEAD + PLAN_COPY_MAX)
        return false;
    n = chain_view(&stream->out, stream->sent, room - FRAME_DATA_OVERHEAD, parts, PLAN_STREAM_PARTS,
                   &len);
    fin = stream->finish && stream->sent + len == stream->out.end;
    if (!frame_encode_data_header(&p->w, fin ? FRAME_STREAM_DATA_FIN : FRAME_STREAM_DATA,
                                  stream->id, stream->sent, len))
        return false;
    for (size_t i = 0; i < n && len <= PLAN_COPY_MAX; i++)
        wire_put_bytes(&p->w, parts[i].iov_base, parts[i].iov_len);
    plan_add(p, before.at, (size_t)(p->w.at - before.at));
    for (size_t i = 0; i < n && len > PLAN_COPY_MAX; i++)
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

/* Whether streams may speak on this session now. */
static bool carries_streams(const struct session *s)
{
    if (s->tunnel->session != s)
        return false;
    return !s->is_resumed || (s->resume_sent && s->resume_received);
}

static void plan_record(struct session *s, struct plan *p)
{
    plan_init(p);
    plan_session_frames(s, p);
    if (s->tunnel->session == s && s->is_resumed && !s->resume_sent) {
        plan_resume(s, p);
        finish_resume(s);
        return;
    }
    if (!carries_streams(s))
        return;
    /* Data must not overtake its stream's OPEN or ACCEPT: it waits until all notices are out. */
    if (!plan_notices(s, p, &s->urgent))
        return;
    if (p->len == 0 && schedule_is_empty(&s->schedule) && s->now < s->lazy_deadline)
        return;
    if (plan_notices(s, p, &s->lazy))
        plan_streams(s, p);
    /* A stream may have come to its RESET, which goes right behind its data. */
    plan_notices(s, p, &s->urgent);
}

static enum err seal(struct session *s, const struct plan *p)
{
    size_t len;
    enum err e = record_seal(s->sealer, p->parts, p->n, s->out + s->out_len,
                             POOL_BATCH_BYTES - s->out_len, &len);

    if (e == ERR_OK)
        s->out_len += len;
    return e;
}

static enum err switch_key(struct session *s)
{
    struct frame f = {.type = FRAME_KEY_SWITCH};
    struct traffic_keys next;
    struct plan p;
    enum err e;

    plan_init(&p);
    if (!plan_frame(&p, &f))
        return ERR_INTERNAL;
    e = seal(s, &p);
    if (e == ERR_OK)
        e = session_keys_ratchet(s->keys, outward(s));
    if (e == ERR_OK)
        e = session_keys_traffic(s->keys, outward(s), &next);
    if (e == ERR_OK)
        e = record_sealer_rekey(s->sealer, &next);
    OPENSSL_cleanse(&next, sizeof(next));
    return e;
}

/* As many records as one write moves and may wait. */
static size_t batch_records(const struct session *s)
{
    size_t n = s->tunnel->options.output_max / RECORD_PLAINTEXT_MAX;

    if (s->tunnel->options.output_max == 0 || n > SESSION_BATCH_RECORDS)
        return SESSION_BATCH_RECORDS;
    return n > 0 ? n : 1;
}

static enum err fill(struct session *s)
{
    for (size_t i = 0, n = batch_records(s); i < n; i++) {
        struct plan p;
        enum err e;

        plan_record(s, &p);
        if (p.len == 0)
            return ERR_OK;
        e = seal(s, &p);
        if (e == ERR_OK && record_sealer_needs_epoch(s->sealer))
            e = switch_key(s);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err session_drain(struct session *s, const uint8_t **data, size_t *len, uint64_t now)
{
    *data = NULL;
    *len = 0;
    if (s->error != ERR_OK)
        return s->error;
    s->now = now;
    if (s->out == NULL && session_has_output(s)) {
        s->out = pool_take(s->tunnel->options.pool, POOL_BATCH);
        if (s->out == NULL)
            return s->error = ERR_NOMEM;
        s->out_at = 0;
        s->out_len = 0;
        tunnel_enter(s->tunnel);
        s->error = fill(s);
        tunnel_leave(s->tunnel);
        session_drained(s, 0);
    }
    if (s->out != NULL) {
        *data = s->out + s->out_at;
        *len = s->out_len - s->out_at;
    }
    return s->error;
}

void session_drained(struct session *s, size_t n)
{
    assert(n <= s->out_len - s->out_at);
    s->out_at += n;
    if (s->out_at == s->out_len) {
        pool_put(s->tunnel->options.pool, POOL_BATCH, s->out);
        s->out = NULL;
    }
}

bool session_has_output(const struct session *s)
{
    if (s->error != ERR_OK)
        return false;
    if (s->out != NULL || !s->settings_sent || s->n_pongs > 0 || s->ping_wanted ||
        s->go_away_wanted)
        return true;
    if (s->tunnel->session == s && s->is_resumed && !s->resume_sent)
        return true;
    return carries_streams(s) && (!list_is_empty(&s->urgent) || !schedule_is_empty(&s->schedule) ||
                                  (!list_is_empty(&s->lazy) && s->now >= s->lazy_deadline));
}

/* -- time -- */

uint64_t session_deadline(const struct session *s)
{
    uint64_t deadline = heartbeat_deadline(&s->heartbeat);

    if (!list_is_empty(&s->lazy) && s->lazy_deadline < deadline)
        deadline = s->lazy_deadline;
    if (!list_is_empty(&s->tunnel->starved) && s->starved_at + STARVED_RETRY_US < deadline)
        deadline = s->starved_at + STARVED_RETRY_US;
    return deadline;
}

enum err session_tick(struct session *s, uint64_t now)
{
    if (s->error != ERR_OK)
        return s->error;
    s->now = now;
    switch (heartbeat_tick(&s->heartbeat, now)) {
    case HEARTBEAT_WAIT:
        break;
    case HEARTBEAT_PING:
        s->ping_wanted = true;
        break;
    case HEARTBEAT_DEAD:
        s->error = ERR_HEARTBEAT;
        return s->error;
    }
    s->starved_at = now;
    tunnel_enter(s->tunnel);
    tunnel_leave(s->tunnel); /* looks after those who wait for memory */
    return ERR_OK;
}

void session_ping(struct session *s, uint64_t now)
{
    s->now = now;
    s->ping_wanted = true;
}

void session_go_away(struct session *s, enum wire_code code, uint32_t retry_after_ms,
                     const char *text)
{
    size_t len = text == NULL ? 0 : strnlen(text, sizeof(s->go_away_text));

    if (len > 0)
        memcpy(s->go_away_text, text, len);
    s->go_away = (struct frame){.type = FRAME_GO_AWAY};
    s->go_away.go_away.code = (uint16_t)code;
    s->go_away.go_away.retry_after_ms = retry_after_ms;
    s->go_away.go_away.text = (const uint8_t *)s->go_away_text;
    s->go_away.go_away.text_len = len;
    s->go_away_wanted = true;
}

bool session_is_ready(const struct session *s)
{
    return s->is_ready;
}

uint64_t session_number(const struct session *s)
{
    return s->number;
}

uint64_t session_rtt_us(const struct session *s)
{
    return s->rtt_us;
}

uint64_t session_rtt_min_us(const struct session *s)
{
    return s->rtt_min_us;
}

uint64_t session_last_received(const struct session *s)
{
    return s->last_received;
}

void session_skip_to_for_test(struct session *s, uint64_t sealed, uint64_t opened)
{
    record_sealer_skip_to_for_test(s->sealer, sealed);
    record_opener_skip_to_for_test(s->opener, opened);
}

unsigned session_missed_pongs(const struct session *s)
{
    return heartbeat_missed(&s->heartbeat);
}
