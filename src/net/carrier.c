/*
 * Reading: one block takes up to READ_RECORDS records; the engine opens them in place. What is
 * asked for ends where a record ends, if all are as long as senders make them in bulk: then
 * nothing is left to be moved. While nothing is left over there is no block.
 *
 * What is read costs what its frames cost, and a peer can make them many and dear: a turn ends
 * after TURN_US, between two records, and what it has taken beyond that the carrier waits out, for
 * as many turns of the others.
 *
 * Writing: at the end of a turn, what the session seals goes out until the socket takes no more or
 * FLUSH_BUDGET is written; then the others have a turn.
 *
 * Timer: session_deadline, and before the session is ready the end of patience with a peer that
 * does not prove its keys. It is left running when the deadline moves away, and looks again when it
 * fires; only after a pong it is set anew, so that a heartbeat does not wake its worker once more.
 *
 * The end: fail() or carrier_close() notes why, and the end of the turn does it: never from inside
 * the engine, which may be on the stack.
 */
#include "net/carrier.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "crypto/mceliece.h"
#include "crypto/record.h"
#include "net/socket.h"
#include "net/udp_io.h"
#include "net/watch.h"
#include "tunnel/limits.h"

#define READ_RECORDS 4
#define READ_BUDGET  ((size_t)1024 * 1024)
#define FLUSH_BUDGET ((size_t)1024 * 1024)

/* More than a megabyte of bulk takes. */
#define TURN_US ((uint64_t)2000)

/* More than a record can cost: whoever owes more was not running, which is not the peer's doing. */
#define OWED_MAX_US ((uint64_t)100 * 1000)

/*
 * What may wait unsent in the kernel. More would let small and urgent records wait behind bulk;
 * less would let the connection run dry between two turns.
 */
#define UNSENT_MAX ((uint32_t)128 * 1024)

/* The heartbeat, which can say why, is to be first. */
#define USER_TIMEOUT_SLACK_MS 1000

struct carrier {
    struct tunnel_owner *owner;
    struct list link; /* in its carriers */
    struct session *session;
    struct watch watch;
    struct worker_task flush;
    struct worker_task end;
    uv_timer_t timer;
    uint64_t timer_at; /* what the timer is set to, worker_now; UINT64_MAX: not set */
    uint8_t *block;    /* POOL_BATCH, or NULL while held is 0 */
    size_t held;
    bool has_more;    /* what is held has not been looked at: it waits for the next turn */
    uint64_t owed_us; /* time that it has taken from others */
    bool is_blocked;  /* the socket took less than it was given */
    bool is_ending;
    enum err why;
    uint64_t number;         /* of the session, once it has ended */
    uint64_t pongs;          /* of the session, that are counted */
    bool is_up;              /* counted as such */
    struct established from; /* peer and info are left in it */
    struct carrier_traffic traffic;
};

static void end_later(struct carrier *c, enum err why)
{
    if (c->is_ending)
        return;
    c->is_ending = true;
    c->why = why;
    worker_defer(c->owner->worker, &c->end);
}

/* -- timer -- */

static void set_timer(struct carrier *c);

/* A flush sets the timer when it is done. None comes while the socket is blocked, but time does. */
static void flush_or_wait(struct carrier *c)
{
    if (session_has_output(c->session) && !c->is_blocked)
        carrier_flush_later(c);
    else
        set_timer(c);
}

/* The peer's first record is the last message of the handshake (PROTOCOL 3.4, S4 and D6). */
static uint64_t ready_deadline(const struct carrier *c)
{
    return session_is_ready(c->session) ? UINT64_MAX
                                        : c->traffic.since_us + HANDSHAKE_MESSAGE_MS * 1000;
}

static void on_timer(uv_timer_t *timer)
{
    struct carrier *c = timer->data;
    uint64_t now = worker_now(c->owner->worker);

    c->timer_at = UINT64_MAX;
    if (c->is_ending)
        return;
    if (ready_deadline(c) <= now) {
        end_later(c, ERR_TIMEOUT);
        return;
    }
    if (session_deadline(c->session) <= now) {
        unsigned missed = session_missed_pongs(c->session);
        enum err e = session_tick(c->session, now);

        if (e == ERR_HEARTBEAT || session_missed_pongs(c->session) > missed)
            stats_add(&worker_stats(c->owner->worker)->heartbeats_missed, 1);
        if (e != ERR_OK) {
            end_later(c, e);
            return;
        }
    }
    flush_or_wait(c);
}

static void set_timer(struct carrier *c)
{
    uint64_t at = session_deadline(c->session);
    uint64_t ready_by = ready_deadline(c);
    uint64_t now;

    if (ready_by < at)
        at = ready_by;
    if (at >= c->timer_at)
        return;
    now = worker_now(c->owner->worker);
    c->timer_at = at;
    uv_timer_start(&c->timer, on_timer, at > now ? (at - now + 999) / 1000 : 0, 0);
}

/* -- out -- */

/* ERR_OK also when the socket takes no more. */
static enum err write_out(struct carrier *c)
{
    struct stats *stats = worker_stats(c->owner->worker);
    uint64_t now = worker_now(c->owner->worker);
    size_t written = 0;

    while (!c->is_blocked && written < FLUSH_BUDGET) {
        const uint8_t *data;
        size_t len;
        ssize_t n;
        enum err e = session_drain(c->session, &data, &len, now);

        if (e != ERR_OK || len == 0)
            return e;
        n = send(c->watch.fd, data, len, MSG_NOSIGNAL);
        stats_add(&stats->carrier_writes, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return err_from_errno(errno);
        c->is_blocked = n < (ssize_t)len;
        if (n > 0) {
            session_drained(c->session, (size_t)n);
            written += (size_t)n;
            c->traffic.bytes_out += (uint64_t)n;
            stats_add(&stats->carrier_bytes_out, (uint64_t)n);
        }
    }
    return ERR_OK;
}

static void flush(struct worker_task *task)
{
    struct carrier *c = list_entry(task, struct carrier, flush);
    enum err e;

    if (c->is_ending)
        return;
    e = write_out(c);
    if (e != ERR_OK) {
        end_later(c, e);
        return;
    }
    if (!c->is_blocked && session_has_output(c->session))
        carrier_flush_later(c);
    set_timer(c);
}

void carrier_flush_later(struct carrier *c)
{
    if (!c->is_ending && !c->is_blocked)
        worker_defer(c->owner->worker, &c->flush);
}

/* -- in -- */

static void count_pong(struct carrier *c)
{
    struct stats *stats = worker_stats(c->owner->worker);
    uint64_t pongs = session_pongs(c->session);

    if (pongs == c->pongs)
        return;
    c->pongs = pongs;
    c->timer_at = UINT64_MAX; /* it was for want of this answer: set_timer is to set it anew */
    histogram_observe(&stats->rtt, session_rtt_us(c->session));
    stats_set(&stats->last_pong_us, session_last_pong(c->session));
}

/*
 * Gives what is held to the engine, about a record at a time until the turn is over, and keeps what
 * is left.
 */
static enum err feed(struct carrier *c, uint64_t until)
{
    struct worker *w = c->owner->worker;
    uint64_t now = worker_now(w);
    size_t at = 0;
    size_t used;

    c->has_more = false;
    do {
        size_t len = c->held - at < RECORD_SIZE_MAX ? c->held - at : RECORD_SIZE_MAX;
        enum err e = session_feed(c->session, c->block + at, len, &used, now);

        count_pong(c);
        /* Datagrams are sent out of the block. */
        udp_io_flush(worker_udp(w));
        if (e != ERR_OK)
            return e;
        at += used;
        now = worker_now(w);
        c->has_more = used > 0 && at < c->held;
    } while (c->has_more && now < until && !c->is_ending);
    c->held -= at;
    if (c->held > 0) {
        memmove(c->block, c->block + at, c->held);
    } else {
        pool_put(worker_pool(c->owner->worker), POOL_BATCH, c->block);
        c->block = NULL;
    }
    return ERR_OK;
}

static enum err take_block(struct carrier *c)
{
    if (c->block == NULL)
        c->block = pool_take(worker_pool(c->owner->worker), POOL_BATCH);
    return c->block == NULL ? ERR_NOMEM : ERR_OK;
}

/* How many bytes to ask the socket for, behind those that are held. */
static size_t read_want(const struct carrier *c)
{
    size_t begun = c->held > 0 ? session_begun_record(c->session) : 0;

    if (begun <= c->held)
        begun = c->held + RECORD_FILL_MAX;
    return begun - c->held + (READ_RECORDS - 1) * RECORD_FILL_MAX;
}

/* until_end: the peer's FIN, or an error, is known to be behind the data. */
static enum err read_in(struct carrier *c, bool until_end)
{
    struct stats *stats = worker_stats(c->owner->worker);
    uint64_t until = worker_now(c->owner->worker) + TURN_US;
    enum err e = c->has_more ? feed(c, until) : ERR_OK;
    size_t total = 0;

    while (e == ERR_OK && !c->has_more && !c->is_ending && total < READ_BUDGET) {
        size_t want;
        ssize_t n;

        e = take_block(c);
        if (e != ERR_OK)
            return e;
        want = read_want(c);
        if (want > POOL_BATCH_BYTES - c->held)
            want = POOL_BATCH_BYTES - c->held;
        n = recv(c->watch.fd, c->block + c->held, want, 0);
        stats_add(&stats->carrier_reads, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            /* Gives the block back when nothing is held. */
            e = feed(c, until);
            if (!c->has_more)
                return e;
            break;
        }
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return ERR_CLOSED;
        c->held += (size_t)n;
        total += (size_t)n;
        c->traffic.bytes_in += (uint64_t)n;
        stats_add(&stats->carrier_bytes_in, (uint64_t)n);
        e = feed(c, until);
        if (e == ERR_OK && (size_t)n < want && !until_end && !c->has_more)
            return ERR_OK;
        if (worker_now(c->owner->worker) >= until)
            break;
    }
    if (e != ERR_OK || c->is_ending)
        return e;
    watch_again(&c->watch, WATCH_READ | (until_end ? WATCH_HANGUP : 0));
    return ERR_OK;
}

static enum err take_turn(struct carrier *c, unsigned events)
{
    uint64_t began = worker_now(c->owner->worker);
    uint64_t spent;
    enum err e;

    if (c->owed_us >= TURN_US) {
        c->owed_us -= TURN_US;
        watch_again(&c->watch, events);
        return ERR_OK;
    }
    e = read_in(c, (events & (WATCH_HANGUP | WATCH_ERROR)) != 0);
    spent = worker_now(c->owner->worker) - began;
    c->owed_us += spent > TURN_US ? spent - TURN_US : 0;
    if (c->owed_us > OWED_MAX_US)
        c->owed_us = OWED_MAX_US;
    return e;
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct carrier *c = list_entry(watch, struct carrier, watch);
    unsigned reading = events & (WATCH_READ | WATCH_HANGUP | WATCH_ERROR);
    enum err e = ERR_OK;

    if (c->is_ending)
        return;
    if (reading != 0)
        e = take_turn(c, reading);
    if (e != ERR_OK) {
        end_later(c, e);
        return;
    }
    if (events & (WATCH_WRITE | WATCH_ERROR))
        c->is_blocked = false;
    if (!c->is_ending)
        flush_or_wait(c);
}

/* -- life -- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct carrier *c = handle->data;

    established_fini(&c->from);
    free(c);
}

static void end(struct worker_task *task)
{
    struct carrier *c = list_entry(task, struct carrier, end);
    struct tunnel_owner *o = c->owner;
    struct worker *w = o->worker;
    struct tunnel_state state;

    /* What the peer is owed of an orderly end: go-away, resets, the last acknowledgements. */
    if (c->why == ERR_SHUTDOWN)
        (void)write_out(c);
    worker_task_cancel(&c->flush);
    tunnel_get_state(o->tunnel, &state);
    if (o->carrier == c)
        c->traffic.streams = state.streams;
    c->number = carrier_number(c);
    session_close(c->session);
    c->session = NULL;
    watch_close_fd(&c->watch);
    pool_put(worker_pool(w), POOL_BATCH, c->block);
    stats_add(&worker_stats(w)->carriers_active, (uint64_t)-1);
    if (c->is_up)
        stats_add(&worker_stats(w)->sessions_up, (uint64_t)-1);
    list_remove(&c->link);
    tunnel_owner_carrier_gone(o, c, c->why);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

enum err carrier_new(struct tunnel_owner *o, struct established *e,
                     const struct carrier_options *options)
{
    struct worker *w = o->worker;
    struct carrier *c = calloc(1, sizeof(*c));
    enum err error = ERR_NOMEM;

    assert(!o->is_closing);
    if (c == NULL)
        goto out;
    if (e->leftover_len > POOL_BATCH_BYTES) {
        error = ERR_TOO_LARGE;
        goto out;
    }
    c->owner = o;
    c->traffic.since_us = worker_now(w);
    c->traffic.keys_since_us = c->traffic.since_us;
    c->timer_at = UINT64_MAX;
    list_init(&c->link);
    worker_task_init(&c->flush, flush);
    worker_task_init(&c->end, end);
    watch_init(&c->watch, on_ready);
    socket_prepare(e->fd, &e->peer);
    socket_set_keepalive(e->fd, options->keep_alive_ms);
    socket_set_unsent_max(e->fd, UNSENT_MAX);
    if (o->silence_ms > 0)
        socket_set_user_timeout(e->fd, o->silence_ms + USER_TIMEOUT_SLACK_MS);
    if (e->leftover_len > 0) {
        c->block = pool_take(worker_pool(w), POOL_BATCH);
        if (c->block == NULL)
            goto out;
        memcpy(c->block, e->leftover, e->leftover_len);
        c->held = e->leftover_len;
        c->has_more = true; /* before the socket is asked, which may have ended behind it */
    }
    error = watch_open(&c->watch, worker_watches(w), e->fd);
    if (error != ERR_OK)
        goto out;
    error = session_new(&c->session, o->tunnel, e->keys, options->start, c->traffic.since_us);
    e->keys = NULL;
    if (error != ERR_OK) {
        watch_close(&c->watch);
        goto out;
    }
    e->fd = -1;
    c->from = *e;
    established_init(e);
    uv_timer_init(worker_loop(w), &c->timer);
    c->timer.data = c;
    list_append(&o->carriers, &c->link);
    stats_add(&worker_stats(w)->carriers_active, 1);
    stats_add(&worker_stats(w)->carriers_opened, 1);
    carrier_flush_later(c);
    /* The leftover bytes are fed in a turn of their own: no event comes from inside this call. */
    watch_again(&c->watch, WATCH_READ);
    c = NULL;

out:
    if (c != NULL)
        pool_put(worker_pool(w), POOL_BATCH, c->block);
    free(c);
    established_fini(e);
    return error;
}

void carrier_close(struct carrier *c, enum err why)
{
    end_later(c, why);
}

void carrier_go_away(struct carrier *c, enum wire_code code, uint32_t retry_after_ms,
                     const char *text)
{
    if (c->is_ending)
        return;
    session_go_away(c->session, code, retry_after_ms, text);
    carrier_flush_later(c);
}

void carrier_rotate(struct carrier *c, struct mceliece_keypair *pair)
{
    enum err e;

    if (c->is_ending) {
        mceliece_keypair_free(pair);
        return;
    }
    e = session_rotate(c->session, pair);
    if (e == ERR_OK)
        carrier_flush_later(c);
    else if (e != ERR_UNEXPECTED)
        end_later(c, e);
}

struct session *carrier_session(struct carrier *c)
{
    return c->is_ending ? NULL : c->session;
}

uint64_t carrier_number(const struct carrier *c)
{
    if (c->session == NULL)
        return c->number;
    return session_is_ready(c->session) ? session_number(c->session) : 0;
}

uint64_t carrier_generation(const struct carrier *c)
{
    return c->session == NULL ? 0 : session_generation(c->session);
}

struct carrier *carrier_of_link(struct list *link)
{
    return list_entry(link, struct carrier, link);
}

void carrier_on_session_ready(struct carrier *c)
{
    struct stats *stats = worker_stats(c->owner->worker);

    if (c->is_up)
        return;
    c->is_up = true;
    stats_add(&stats->sessions_up, 1);
    stats_add(&stats->sessions_opened, 1);
    stats_set(&stats->last_up_us, worker_now(c->owner->worker));
}

void carrier_on_keys_rotated(struct carrier *c)
{
    c->traffic.keys_since_us = worker_now(c->owner->worker);
}

bool carrier_is_of(const struct carrier *c, const struct session *session)
{
    return c->session == session;
}

const struct address *carrier_peer(const struct carrier *c)
{
    return &c->from.peer;
}

const struct handshake_result *carrier_info(const struct carrier *c)
{
    return c->from.info;
}

void carrier_get_traffic(const struct carrier *c, struct carrier_traffic *traffic)
{
    *traffic = c->traffic;
}
