/*
 * What TCP does, kept across the tunnel:
 *
 *   local read gives 0            stream_send_finish; the other direction goes on
 *   on_finish                     shutdown(SHUT_WR); the other direction goes on
 *   both                          close: nothing is unread, so the kernel still delivers everything
 *   local error (RST, time-out)   what arrived before it is read and sent on, then stream_reset
 *   on_reset                      what came before it is written, and FIN if there was one; when
 * the local program's kernel has acknowledged all of it, it gets a RST. What the program sends
 * meanwhile is read and dropped, for unread data would turn close(2) into an early RST
 *
 * Linux keeps received data readable behind a RST, and reports the RST once: to the read that finds
 * nothing more, or to a write that comes earlier, after which reading just ends with 0.
 *
 * Timers (sweeps that all pumps of the worker share): half-closed and idle; stalled, while data
 * before a reset waits to be taken; linger, while only acknowledgements are awaited.
 */
#include "net/pump.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/pump_set.h"
#include "net/socket.h"
#include "net/wire_error.h"

/* What is read at once: a chain's smallest block, then four times as much while reads are full. */
#define READ_MIN ((uint32_t)4032)
#define READ_MAX ((uint32_t)256 * 1024)

/* Bytes that one pump moves before the others have their turn. */
#define TURN_BUDGET ((size_t)256 * 1024)

#define PARTS 8

/* What goes to the target ahead of the client's bytes. */
struct proxy_preface {
    size_t len;
    uint8_t data[PROXY_PROTOCOL_ROOM];
};

enum pump_state {
    PUMP_CONNECTING, /* dest: the target has not answered */
    PUMP_ASKING,     /* source: the dest has not, and the client waits to be told */
    PUMP_OPEN,
    PUMP_CUT,        /* the local side is gone; what it sent is read out */
    PUMP_DELIVERING, /* the peer reset; what it sent is written */
    PUMP_LINGERING,  /* all is written; the local kernel has not acknowledged all */
    PUMP_DONE,       /* waits in pump_set.dead */
};

/* What the pump waits for, as counted. */
enum pump_pause {
    PUMP_PAUSE_SEND = 1 << 0,    /* room for what the local side may have sent */
    PUMP_PAUSE_RECEIVE = 1 << 1, /* the local socket to take more */
};

struct stream_owner {
    struct watch watch;
    struct list link;        /* in tunnel_owner.pumps */
    struct sweep_item timer; /* in one of pump_set's sweeps, or dead */
    struct tunnel_owner *tunnel;
    struct stream *stream; /* NULL once released */
    struct pump_owner *owner;
    struct target_owner target_owner;
    struct target *target;                                              /* while connecting */
    size_t (*reply)(enum err why, uint8_t room[static PUMP_REPLY_MAX]); /* for who asks; or NULL */
    char *detail;                                                       /* for people, or NULL */
    char *name;                                                         /* of the target, or NULL */
    struct proxy_preface *preface; /* for the target while connecting, or NULL */
    uint64_t started_us;
    uint64_t bytes_from_local;
    uint64_t bytes_to_local;
    uint64_t linger_since_ms; /* of the last progress */
    uint32_t linger_left;     /* bytes that are not acknowledged */
    uint32_t read_want;
    struct stream_client client;
    uint16_t port;
    uint8_t state; /* enum pump_state */
    uint8_t by;    /* enum pump_side */
    uint8_t linger_step;
    uint8_t pauses; /* set of enum pump_pause */
    bool was_open : 1;
    bool is_half_closed : 1;   /* counted as such */
    bool local_finished : 1;   /* read gave 0 */
    bool peer_finished : 1;    /* shutdown(SHUT_WR) is done */
    bool write_blocked : 1;    /* the socket took less than it was given */
    bool must_read_on : 1;     /* a short read may have left something: FIN, RST, urgent data */
    bool fin_before_error : 1; /* the local FIN came before the error of PUMP_CUT */
    bool is_refused : 1;       /* the client has been told why, and lingers for that */
    enum err why;
};

static const uint8_t legal_next[] = {
    [PUMP_CONNECTING] = 1 << PUMP_OPEN | 1 << PUMP_DONE,
    [PUMP_ASKING] = 1 << PUMP_OPEN | 1 << PUMP_LINGERING | 1 << PUMP_DONE,
    [PUMP_OPEN] = 1 << PUMP_CUT | 1 << PUMP_DELIVERING | 1 << PUMP_DONE,
    [PUMP_CUT] = 1 << PUMP_DONE,
    [PUMP_DELIVERING] = 1 << PUMP_LINGERING | 1 << PUMP_DONE,
    [PUMP_LINGERING] = 1 << PUMP_DONE,
    [PUMP_DONE] = 0,
};

static void set_state(struct stream_owner *p, enum pump_state state)
{
    assert(legal_next[p->state] & 1 << state);
    p->state = (uint8_t)state;
}

static struct worker *worker_of(const struct stream_owner *p)
{
    return p->tunnel->worker;
}

static struct pump_set *set_of(const struct stream_owner *p)
{
    return worker_pumps(worker_of(p));
}

static struct stats *stats_of(const struct stream_owner *p)
{
    return worker_stats(worker_of(p));
}

/* -- the end -- */

enum local_end {
    LOCAL_CLOSE, /* the kernel delivers what is left */
    LOCAL_RESET,
};

static void set_half_closed(struct stream_owner *p, bool is_half_closed)
{
    if (p->is_half_closed == is_half_closed)
        return;
    p->is_half_closed = is_half_closed;
    stats_add(&stats_of(p)->streams_half_closed, is_half_closed ? 1 : (uint64_t)-1);
    if (is_half_closed)
        sweep_touch(&set_of(p)->half_closed, &p->timer);
    else
        sweep_remove(&p->timer);
}

static void set_paused(struct stream_owner *p, unsigned pauses)
{
    struct stats *stats = stats_of(p);
    unsigned changed = p->pauses ^ pauses;

    if (changed == 0)
        return;
    p->pauses = (uint8_t)pauses;
    if (changed & PUMP_PAUSE_SEND)
        stats_add(&stats->streams_paused_send, pauses & PUMP_PAUSE_SEND ? 1 : (uint64_t)-1);
    if (changed & PUMP_PAUSE_RECEIVE)
        stats_add(&stats->streams_paused_receive, pauses & PUMP_PAUSE_RECEIVE ? 1 : (uint64_t)-1);
}

/* The first reason counts. */
static void note_reason(struct stream_owner *p, enum err why, enum pump_side by)
{
    if (p->why != ERR_OK)
        return;
    p->why = why;
    p->by = (uint8_t)by;
}

static void finish(struct stream_owner *p, enum local_end local)
{
    set_half_closed(p, false);
    set_paused(p, 0);
    set_state(p, PUMP_DONE);
    target_cancel(p->target);
    p->target = NULL;
    if (p->watch.fd >= 0 && local == LOCAL_RESET)
        socket_set_abortive(p->watch.fd);
    watch_close_fd(&p->watch);
    if (p->stream != NULL)
        stream_release(p->stream);
    p->stream = NULL;
    tunnel_owner_touch(p->tunnel);
    sweep_remove(&p->timer);
    stats_add(&stats_of(p)->streams_active, (uint64_t)-1);
    if (p->owner->stats != NULL) {
        stats_add(&p->owner->stats->active, (uint64_t)-1);
        stats_add(&p->owner->stats->ended[p->why], 1);
    }
    if (p->why != ERR_OK)
        stats_add(&stats_of(p)->streams_reset, 1);
    pump_set_add_dead(set_of(p), &p->timer);
}

static void pump_free(struct stream_owner *p)
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
        .duration_us = worker_now(worker_of(p)) - p->started_us,
    };

    p->owner->on_end(p->owner, &end);
    list_remove(&p->link);
    tunnel_owner_pump_gone(p->tunnel);
    pump_free(p);
}

/* Both sides at once. */
static void cut_both(struct stream_owner *p, enum err why)
{
    note_reason(p, why, PUMP_LOCAL);
    if (p->stream != NULL)
        stream_reset(p->stream, wire_code_of(why), STREAM_RESET_NOW);
    finish(p, LOCAL_RESET);
}

void pump_abort(struct stream_owner *p, enum err why)
{
    if (p->state != PUMP_DONE)
        cut_both(p, why);
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

/* -- progress -- */

/* Bytes have moved, in either direction. */
static void note_progress(struct stream_owner *p)
{
    if (p->is_half_closed)
        sweep_touch(&set_of(p)->half_closed, &p->timer);
    else if (p->state == PUMP_CUT || p->state == PUMP_DELIVERING)
        sweep_touch(&set_of(p)->stalled, &p->timer);
}

/* One direction of an open pump has ended. */
static void note_finish(struct stream_owner *p)
{
    if (p->local_finished && p->peer_finished)
        finish(p, LOCAL_CLOSE);
    else
        set_half_closed(p, true);
}

/* -- from the local socket -- */

/* Everything that the local side sent before it was lost is committed. */
static void reset_after_data(struct stream_owner *p)
{
    stream_reset(p->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    finish(p, LOCAL_RESET);
}

static void on_local_end(struct stream_owner *p)
{
    bool is_fin = p->state == PUMP_OPEN || p->fin_before_error;

    if (is_fin) {
        p->local_finished = true;
        stream_send_finish(p->stream);
        tunnel_owner_touch(p->tunnel);
    }
    if (p->state == PUMP_CUT)
        reset_after_data(p);
    else
        note_finish(p);
}

static void on_local_error(struct stream_owner *p, int error)
{
    note_reason(p, err_from_errno(error), PUMP_LOCAL);
    reset_after_data(p);
}

static void read_local(struct stream_owner *p)
{
    size_t total = 0;

    while (total < TURN_BUDGET) {
        struct iovec parts[PARTS];
        size_t used;
        ssize_t n;
        size_t room = stream_send_reserve(p->stream, p->read_want, parts, PARTS, &used);

        if (room == 0) {
            set_paused(p, p->pauses | PUMP_PAUSE_SEND);
            return; /* on_writable comes */
        }
        set_paused(p, p->pauses & ~(unsigned)PUMP_PAUSE_SEND);
        n = readv(p->watch.fd, parts, (int)used);
        stream_send_commit(p->stream, n > 0 ? (size_t)n : 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            on_local_error(p, errno);
            return;
        }
        if (n == 0) {
            on_local_end(p);
            return;
        }
        total += (size_t)n;
        p->bytes_from_local += (uint64_t)n;
        stats_add(&stats_of(p)->bytes_from_local, (uint64_t)n);
        if (p->owner->stats != NULL)
            stats_add(&p->owner->stats->bytes_from_local, (uint64_t)n);
        tunnel_owner_touch(p->tunnel);
        note_progress(p);
        if ((size_t)n == p->read_want && p->read_want < READ_MAX)
            p->read_want = p->read_want * 4 < READ_MAX ? p->read_want * 4 : READ_MAX;
        else if ((size_t)n < p->read_want / 4 && p->read_want > READ_MIN)
            p->read_want = p->read_want / 4 > READ_MIN ? p->read_want / 4 : READ_MIN;
        /* A short read has emptied the socket: the next edge says when there is more. */
        if ((size_t)n < room && !p->must_read_on)
            return;
    }
    watch_again(&p->watch, WATCH_READ);
}

/* -- to the local socket -- */

/* The local side is gone, as a write found out. What it sent before may still be unread. */
static void cut_local(struct stream_owner *p, int error)
{
    note_reason(p, err_from_errno(error), PUMP_LOCAL);
    if (p->state != PUMP_OPEN || p->local_finished) {
        if (p->state == PUMP_OPEN)
            stream_reset(p->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        finish(p, LOCAL_RESET);
        return;
    }
    set_half_closed(p, false);
    set_state(p, PUMP_CUT);
    /* A RST behind a FIN is reported as EPIPE, any other as ECONNRESET. */
    p->fin_before_error = error == EPIPE;
    p->must_read_on = true;
    sweep_touch(&set_of(p)->stalled, &p->timer);
    watch_again(&p->watch, WATCH_READ);
}

/* Bytes taken by the socket, which may be 0; -1 if it is lost, and the pump with it. */
static ssize_t write_parts(struct stream_owner *p, struct iovec *parts, size_t n, size_t len)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};
    ssize_t written;

    do {
        written = sendmsg(p->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (written < 0 && errno == EINTR);
    if (written < 0 && errno != EAGAIN) {
        cut_local(p, errno);
        return -1;
    }
    if (written < 0)
        written = 0;
    p->write_blocked = (size_t)written < len;
    set_paused(p, p->write_blocked ? p->pauses | PUMP_PAUSE_RECEIVE
                                   : p->pauses & ~(unsigned)PUMP_PAUSE_RECEIVE);
    if (written > 0) {
        p->bytes_to_local += (uint64_t)written;
        stats_add(&stats_of(p)->bytes_to_local, (uint64_t)written);
        if (p->owner->stats != NULL)
            stats_add(&p->owner->stats->bytes_to_local, (uint64_t)written);
        note_progress(p);
    }
    return written;
}

/* Writes what the stream has kept. True when nothing is left and the pump still lives. */
static bool write_kept(struct stream_owner *p)
{
    size_t total = 0;

    p->write_blocked = false;
    while (total < TURN_BUDGET) {
        struct iovec parts[PARTS];
        size_t viewed;
        size_t n = stream_recv_view(p->stream, parts, PARTS, &viewed);
        ssize_t written;

        if (n == 0)
            return true;
        written = write_parts(p, parts, n, viewed);
        if (written < 0)
            return false;
        /* May call pump_on_finish, and that may end the pump. */
        stream_recv_consume(p->stream, (size_t)written);
        tunnel_owner_touch(p->tunnel);
        if (p->state == PUMP_DONE || p->write_blocked)
            return false;
        total += (size_t)written;
    }
    p->write_blocked = true;
    watch_again(&p->watch, WATCH_WRITE);
    return false;
}

/* -- the answer to who asked -- */

/* Whole, or false: nearly nothing has been sent to the client so far, so there is room. */
static bool tell(struct stream_owner *p, enum err why)
{
    uint8_t room[PUMP_REPLY_MAX];
    size_t len = p->reply(why, room);

    return send(p->watch.fd, room, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* The target is connected. Data from it says so, too. */
static void answer(struct stream_owner *p)
{
    if (p->state != PUMP_ASKING)
        return;
    if (!tell(p, ERR_OK)) {
        cut_both(p, ERR_RESET);
        return;
    }
    set_state(p, PUMP_OPEN);
    /* What the socket has reported so far was passed over. */
    p->must_read_on = true;
    watch_again(&p->watch, WATCH_READ);
}

size_t pump_on_data(struct stream_owner *p, struct stream *stream, const uint8_t *data, size_t len)
{
    /* Only read from. */
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    ssize_t written;

    (void)stream;
    answer(p);
    if (p->state == PUMP_CUT || p->state == PUMP_DONE)
        return len;
    if (p->state != PUMP_OPEN || p->write_blocked)
        return 0;
    written = write_parts(p, &part, 1, len);
    return written < 0 ? len : (size_t)written;
}

void pump_on_finish(struct stream_owner *p, struct stream *stream)
{
    (void)stream;
    answer(p);
    if (p->state != PUMP_OPEN && p->state != PUMP_DELIVERING)
        return;
    /* Where the local side has ended, too, close(2) follows, and sends the FIN. */
    if (p->state != PUMP_OPEN || !p->local_finished)
        (void)shutdown(p->watch.fd, SHUT_WR);
    p->peer_finished = true;
    if (p->state == PUMP_OPEN)
        note_finish(p);
}

/* -- the peer's reset -- */

static void discard_local(struct stream_owner *p)
{
    if (socket_discard(p->watch.fd) == SOCKET_MORE)
        watch_again(&p->watch, WATCH_READ);
}

static void linger(struct stream_owner *p)
{
    struct pump_set *set = set_of(p);
    uint64_t now = uv_now(worker_loop(worker_of(p)));
    size_t left = socket_unacked(p->watch.fd);

    if (left < p->linger_left)
        p->linger_since_ms = now;
    p->linger_left = left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
    if (left == 0 || now - p->linger_since_ms >= set->stalled.timeout_ms) {
        finish(p, p->is_refused ? LOCAL_CLOSE : LOCAL_RESET);
        return;
    }
    sweep_touch(&set->linger[p->linger_step], &p->timer);
    if (p->linger_step + 1 < PUMP_LINGER_STEPS)
        p->linger_step++;
}

static void begin_to_linger(struct stream_owner *p)
{
    stream_release(p->stream);
    p->stream = NULL;
    sweep_remove(&p->timer);
    set_state(p, PUMP_LINGERING);
    p->linger_since_ms = uv_now(worker_loop(worker_of(p)));
    linger(p);
}

static void deliver(struct stream_owner *p)
{
    if (write_kept(p))
        begin_to_linger(p);
}

/* The client that asked hears why, and has the time to read it. */
static void refuse(struct stream_owner *p)
{
    if (!tell(p, p->why)) {
        finish(p, LOCAL_RESET);
        return;
    }
    (void)shutdown(p->watch.fd, SHUT_WR);
    p->is_refused = true;
    discard_local(p);
    begin_to_linger(p);
}

void pump_on_reset(struct stream_owner *p, struct stream *stream, enum wire_code code)
{
    (void)stream;
    note_reason(p, wire_error(code), PUMP_PEER);
    if (p->state == PUMP_ASKING) {
        refuse(p);
        return;
    }
    if (p->state != PUMP_OPEN) {
        finish(p, LOCAL_RESET);
        return;
    }
    set_half_closed(p, false);
    set_state(p, PUMP_DELIVERING);
    sweep_touch(&set_of(p)->stalled, &p->timer);
    discard_local(p);
    if (!p->write_blocked)
        deliver(p);
}

/* -- the rest of the engine's events -- */

void pump_on_accept(struct stream_owner *p, struct stream *stream)
{
    (void)stream;
    answer(p);
}

void pump_on_writable(struct stream_owner *p, struct stream *stream)
{
    (void)stream;
    /* Later, for the engine is on the stack and others may have been waiting as long. */
    if (p->state == PUMP_OPEN || p->state == PUMP_CUT)
        watch_again(&p->watch, WATCH_READ);
}

void pump_on_sent(struct stream_owner *p, struct stream *stream)
{
    /* The pump does not wait for it: its local side has ended in both directions by then, or the
     * other direction goes on. */
    (void)p;
    (void)stream;
}

/* -- events of the socket and the timers -- */

static void on_open_ready(struct stream_owner *p, unsigned events)
{
    int error;

    if (events & (WATCH_HANGUP | WATCH_ERROR | WATCH_URGENT))
        p->must_read_on = true;
    if (!p->local_finished && events & (WATCH_READ | WATCH_HANGUP | WATCH_ERROR))
        read_local(p);
    if (p->state == PUMP_OPEN && p->write_blocked && events & (WATCH_WRITE | WATCH_ERROR))
        (void)write_kept(p);
    /* Behind a FIN, or while there is no room to read on, only SO_ERROR tells of a RST. */
    if (p->state == PUMP_OPEN && events & WATCH_ERROR) {
        error = socket_error(p->watch.fd);
        if (error != 0)
            cut_local(p, error);
    }
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct stream_owner *p = list_entry(watch, struct stream_owner, watch);

    switch ((enum pump_state)p->state) {
    case PUMP_OPEN:
        on_open_ready(p, events);
        break;
    case PUMP_CUT:
        read_local(p);
        break;
    case PUMP_DELIVERING:
        discard_local(p);
        if (events & (WATCH_WRITE | WATCH_ERROR))
            deliver(p);
        break;
    case PUMP_LINGERING:
        if (events & WATCH_ERROR)
            finish(p, LOCAL_RESET);
        else
            discard_local(p);
        break;
    case PUMP_ASKING:
        /* A FIN may be a client that has said all; a RST is one that has left. */
        if (events & WATCH_ERROR && socket_error(p->watch.fd) != 0)
            cut_both(p, ERR_RESET);
        break;
    case PUMP_CONNECTING:
        target_on_ready(p->target, events);
        /* The target may have spoken already. */
        if (p->state == PUMP_OPEN)
            on_open_ready(p, events);
        break;
    case PUMP_DONE:
        break;
    }
}

void pump_on_half_closed_due(struct sweep *sweep, struct sweep_item *item)
{
    (void)sweep;
    cut_both(list_entry(item, struct stream_owner, timer), ERR_TIMEOUT);
}

void pump_on_stalled_due(struct sweep *sweep, struct sweep_item *item)
{
    struct stream_owner *p = list_entry(item, struct stream_owner, timer);

    (void)sweep;
    if (p->state == PUMP_CUT)
        stream_reset(p->stream, WIRE_RESET, STREAM_RESET_NOW);
    finish(p, LOCAL_RESET);
}

void pump_on_linger_due(struct sweep *sweep, struct sweep_item *item)
{
    (void)sweep;
    linger(list_entry(item, struct stream_owner, timer));
}

/* -- the beginning -- */

static void count_connect(struct pump_stats *stats, enum err why, uint64_t started, uint64_t now)
{
    if (why == ERR_OK) {
        histogram_observe(&stats->connect, now - started);
        stats_set(&stats->connected_at_us, now);
    } else {
        stats_set(&stats->failure, why);
        stats_set(&stats->failed_at_us, now);
    }
}

/* Whole, or false: the socket is new, so there is room. */
static bool send_preface(struct stream_owner *p, int fd)
{
    const struct proxy_preface *preface = p->preface;
    bool is_sent = preface == NULL ||
                   send(fd, preface->data, preface->len, MSG_NOSIGNAL) == (ssize_t)preface->len;

    free(p->preface);
    p->preface = NULL;
    return is_sent;
}

static void on_connect(struct target_owner *target_owner, enum err why, int fd, const char *detail)
{
    struct stream_owner *p = list_entry(target_owner, struct stream_owner, target_owner);

    p->target = NULL;
    if (why == ERR_OK && p->watch.fd < 0) {
        why = watch_open(&p->watch, worker_watches(worker_of(p)), fd);
        if (why != ERR_OK)
            socket_reset(fd);
    }
    if (why == ERR_OK && !send_preface(p, fd))
        why = ERR_RESET;
    if (p->owner->stats != NULL)
        count_connect(p->owner->stats, why, p->started_us, worker_now(worker_of(p)));
    if (why != ERR_OK) {
        p->detail = strdup(detail);
        cut_both(p, why);
        return;
    }
    set_state(p, PUMP_OPEN);
    p->was_open = true;
    /* Delivers what has come meanwhile, and may end the pump. */
    stream_accept(p->stream);
    tunnel_owner_touch(p->tunnel);
}

static struct stream_owner *pump_new(struct tunnel_owner *o, const struct stream_target *target,
                                     struct pump_owner *owner, enum pump_state state)
{
    struct stream_owner *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    watch_init(&p->watch, on_ready);
    list_init(&p->link);
    sweep_item_init(&p->timer);
    p->tunnel = o;
    p->owner = owner;
    p->target_owner.on_connect = on_connect;
    p->target_owner.watch = &p->watch;
    p->started_us = worker_now(o->worker);
    p->read_want = READ_MIN;
    p->client = target->client;
    p->port = target->port;
    p->name = target->name[0] == '\0' ? NULL : strdup(target->name);
    p->state = (uint8_t)state;
    p->was_open = state == PUMP_OPEN;
    return p;
}

/* From here on on_end will come. */
static void begin(struct stream_owner *p)
{
    list_append(&p->tunnel->pumps, &p->link);
    set_of(p)->count++;
    stats_add(&stats_of(p)->streams_opened, 1);
    stats_add(&stats_of(p)->streams_active, 1);
    if (p->owner->stats != NULL) {
        stats_add(&p->owner->stats->opened, 1);
        stats_add(&p->owner->stats->active, 1);
    }
    tunnel_owner_touch(p->tunnel);
}

enum err pump_ask(struct tunnel_owner *o, int fd, const struct stream_target *target,
                  size_t (*reply)(enum err why, uint8_t room[static PUMP_REPLY_MAX]),
                  struct pump_owner *owner)
{
    struct stream_owner *p = pump_new(o, target, owner, reply == NULL ? PUMP_OPEN : PUMP_ASKING);
    enum err e = ERR_NOMEM;

    if (p != NULL)
        e = o->is_closing ? ERR_CLOSED : watch_open(&p->watch, worker_watches(o->worker), fd);
    if (e == ERR_OK) {
        e = stream_open(&p->stream, o->tunnel, target, p);
        if (e != ERR_OK)
            watch_close(&p->watch);
    }
    if (e != ERR_OK) {
        pump_free(p);
        return e;
    }
    p->reply = reply;
    begin(p);
    /* Most clients speak first, and many have by now: then their words go out with the OPEN. */
    if (reply == NULL)
        watch_again(&p->watch, WATCH_READ);
    return ERR_OK;
}

enum err pump_accept(struct tunnel_owner *o, int fd, const struct stream_target *target,
                     struct pump_owner *owner)
{
    enum err e = pump_ask(o, fd, target, NULL, owner);

    if (e != ERR_OK)
        socket_reset(fd);
    return e;
}

static enum err make_preface(struct stream_owner *p, const struct stream_target *target)
{
    enum proxy_protocol_version version = p->owner->proxy_protocol;

    if (version == PROXY_PROTOCOL_NONE)
        return ERR_OK;
    p->preface = malloc(sizeof(*p->preface));
    if (p->preface == NULL)
        return ERR_NOMEM;
    p->preface->len =
        proxy_protocol_encode(version, &target->client, &target->local, p->preface->data);
    return ERR_OK;
}

enum err pump_dial(struct tunnel_owner *o, struct stream *stream,
                   const struct stream_target *target, const struct target_options *options,
                   struct pump_owner *owner)
{
    struct stream_owner *p = pump_new(o, target, owner, PUMP_CONNECTING);
    enum err e = p == NULL ? ERR_NOMEM : make_preface(p, target);

    if (e == ERR_OK)
        e = target_start(&p->target, worker_targets(o->worker), worker_watches(o->worker), options,
                         &p->target_owner);
    if (e != ERR_OK) {
        pump_free(p);
        tunnel_owner_refuse(o, stream, wire_code_of(e));
        return e;
    }
    p->stream = stream;
    stream_set_owner(stream, p);
    begin(p);
    return ERR_OK;
}
