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
 *   new keys, and the end of the old ones                 key_age.h
 */
#include "tunnel/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STARVED_RETRY_US ((uint64_t)10 * 1000)

static void session_free(struct session *s)
{
    rekey_fini(s);
    pool_put(s->tunnel->options.pool, POOL_BATCH, s->out);
    free(s);
}

enum err session_new(struct session **out, struct tunnel *t, struct session_keys *keys,
                     enum session_start start, uint64_t now)
{
    struct session *s = calloc(1, sizeof(*s));
    enum err e;

    *out = NULL;
    if (s == NULL) {
        session_keys_free(keys);
        return ERR_NOMEM;
    }
    s->tunnel = t;
    s->now = now;
    s->last_received = now;
    s->ping_wanted = true;
    heartbeat_init(&s->heartbeat, &t->options.heartbeat, now);
    s->is_resumed = start == SESSION_RESUMED;
    schedule_init(&s->schedule);
    list_init(&s->urgent);
    list_init(&s->lazy);
    e = rekey_init(s, keys);
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
        flow_on_session_lost(t);
    }
    session_free(s);
}

/* -- in -- */

static enum err on_pong(struct session *s, uint64_t token)
{
    uint64_t rtt;

    if (s->pings_open > 0)
        s->pings_open--;
    if (!s->ping_waits || token != s->ping_token)
        return ERR_OK; /* an answer to an older one */
    s->ping_waits = false;
    rtt = s->now > s->ping_sent_at ? s->now - s->ping_sent_at : 1;
    s->rtt_us = rtt;
    s->pong_count++;
    s->last_pong = s->now;
    if (s->rtt_min_us == 0 || rtt < s->rtt_min_us)
        s->rtt_min_us = rtt;
    return ERR_OK;
}

/* -- frames -- */

void session_finish_resume(struct session *s)
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
    rekey_on_settings(s, f);
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
        session_finish_resume(s);
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
    case FRAME_KEY_EXCHANGE:
        return rekey_on_exchange(s, f);
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
            return wire_left(&r) > 0 ? ERR_UNEXPECTED : rekey_on_switch(s, &f);
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
    s->begun = 0;
    tunnel_enter(s->tunnel);
    while (s->error == ERR_OK) {
        size_t need;
        uint8_t *plain;
        size_t plain_len;

        s->error = record_peek(s->opener, data + *used, len - *used, &need);
        if (s->error != ERR_OK || need == 0 || need > len - *used) {
            s->begun = need;
            break;
        }
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

size_t session_begun_record(const struct session *s)
{
    return s->begun;
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

/* Whether streams may speak on this session now. */
bool session_carries_streams(const struct session *s)
{
    if (s->tunnel->session != s)
        return false;
    return !s->is_resumed || (s->resume_sent && s->resume_received);
}

uint64_t session_now(const struct tunnel *t)
{
    return t->session == NULL ? 0 : t->session->now;
}

/* -- out: records -- */

enum err session_seal(struct session *s, const struct plan *p)
{
    size_t len;
    enum err e = record_seal(s->sealer, p->parts, p->n, s->out + s->out_len,
                             POOL_BATCH_BYTES - s->out_len, &len);

    if (e == ERR_OK)
        s->out_len += len;
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
        e = p.len > 0 ? session_seal(s, &p) : ERR_OK;
        flow_free_sent(s->tunnel);
        if (e == ERR_OK)
            e = rekey_if_due(s);
        if (e != ERR_OK || p.len == 0)
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
        s->go_away_wanted || rotation_has_output(&s->rotation))
        return true;
    if (s->tunnel->session == s && s->is_resumed && !s->resume_sent)
        return true;
    return session_carries_streams(s) &&
           (!list_is_empty(&s->urgent) || !schedule_is_empty(&s->schedule) ||
            flow_has_output(s->tunnel) || (!list_is_empty(&s->lazy) && s->now >= s->lazy_deadline));
}

/* -- time -- */

uint64_t session_deadline(const struct session *s)
{
    uint64_t deadline = heartbeat_deadline(&s->heartbeat);

    if (key_age_deadline(&s->key_age) < deadline)
        deadline = key_age_deadline(&s->key_age);
    /* What has waited long enough is output, and waits for nothing but the socket. */
    if (!list_is_empty(&s->lazy) && s->now < s->lazy_deadline && s->lazy_deadline < deadline)
        deadline = s->lazy_deadline;
    /* While sealed bytes wait for the socket, more of them would only wait longer. */
    if (!list_is_empty(&s->tunnel->starved) && s->out == NULL &&
        s->starved_at + STARVED_RETRY_US < deadline)
        deadline = s->starved_at + STARVED_RETRY_US;
    return deadline;
}

/* One more than a peer may leave unanswered would end the session: it has enough to answer. */
static void want_ping(struct session *s)
{
    if (s->pings_open < SESSION_PONGS_MAX)
        s->ping_wanted = true;
}

static enum err tick_heartbeat(struct session *s)
{
    switch (heartbeat_tick(&s->heartbeat, s->now)) {
    case HEARTBEAT_WAIT:
        break;
    case HEARTBEAT_PING:
        want_ping(s);
        break;
    case HEARTBEAT_DEAD:
        return ERR_HEARTBEAT;
    }
    return ERR_OK;
}

enum err session_tick(struct session *s, uint64_t now)
{
    if (s->error != ERR_OK)
        return s->error;
    s->now = now;
    s->starved_at = now;
    tunnel_enter(s->tunnel);
    tunnel_expire_grants(s->tunnel);
    s->error = tick_heartbeat(s);
    if (s->error == ERR_OK)
        s->error = rekey_tick(s);
    tunnel_leave(s->tunnel); /* looks after those who wait for memory */
    return s->error;
}

void session_ping(struct session *s, uint64_t now)
{
    s->now = now;
    want_ping(s);
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

uint64_t session_pongs(const struct session *s)
{
    return s->pong_count;
}

uint64_t session_last_pong(const struct session *s)
{
    return s->last_pong;
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
