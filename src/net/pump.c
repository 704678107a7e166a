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

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/pump_state.h"
#include "net/socket.h"
#include "net/wire_error.h"

/* Four times as much as before while reads are full, up to this. */
#define READ_MAX ((uint32_t)256 * 1024)

/* Bytes that one pump moves before the others have their turn. */
#define TURN_BUDGET ((size_t)256 * 1024)

#define PARTS 8

/* -- progress -- */

/* Bytes have moved, in either direction. */
static void note_progress(struct stream_owner *p)
{
    if (p->is_half_closed)
        sweep_touch(&pump_worker_set(p)->half_closed, &p->timer);
    else if (p->state == PUMP_CUT || p->state == PUMP_DELIVERING)
        sweep_touch(&pump_worker_set(p)->stalled, &p->timer);
}

/* One direction of an open pump has ended. */
static void note_finish(struct stream_owner *p)
{
    if (p->local_finished && p->peer_finished)
        pump_finish(p, PUMP_END_CLOSE);
    else
        pump_mark_half_closed(p, true);
}

/* -- from the local socket -- */

/* Everything that the local side sent before it was lost is committed. */
static void reset_after_data(struct stream_owner *p)
{
    stream_reset(p->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
    pump_finish(p, PUMP_END_RESET);
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
    pump_note_reason(p, err_from_errno(error), PUMP_LOCAL);
    reset_after_data(p);
}

/* One piece is the usual case, and cheaper without a list. */
static ssize_t receive(int fd, struct iovec *parts, size_t n)
{
    return n == 1 ? recv(fd, parts[0].iov_base, parts[0].iov_len, 0) : readv(fd, parts, (int)n);
}

static ssize_t transmit(int fd, struct iovec *parts, size_t n)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};

    if (n == 1)
        return send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Returns how many bytes it has read. */
static size_t read_some(struct stream_owner *p)
{
    size_t total = 0;

    while (total < TURN_BUDGET) {
        struct iovec parts[PARTS];
        size_t used;
        ssize_t n;
        size_t room = stream_send_reserve(p->stream, p->read_want, parts, PARTS, &used);

        if (room == 0) {
            pump_mark_paused(p, p->pauses | PUMP_PAUSE_SEND);
            /* on_writable comes: if it is memory of others that is waited for, by the timer. */
            tunnel_owner_touch(p->tunnel);
            return total;
        }
        pump_mark_paused(p, p->pauses & ~(unsigned)PUMP_PAUSE_SEND);
        n = receive(p->watch.fd, parts, used);
        stream_send_commit(p->stream, n > 0 ? (size_t)n : 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return total;
        if (n < 0) {
            on_local_error(p, errno);
            return total;
        }
        if (n == 0) {
            on_local_end(p);
            return total;
        }
        total += (size_t)n;
        p->bytes_from_local += (uint64_t)n;
        stats_add(&pump_stats_of(p)->bytes_from_local, (uint64_t)n);
        if (p->owner->stats != NULL)
            stats_add(&p->owner->stats->bytes_from_local, (uint64_t)n);
        tunnel_owner_touch(p->tunnel);
        note_progress(p);
        if ((size_t)n == p->read_want && p->read_want < READ_MAX)
            p->read_want = p->read_want * 4 < READ_MAX ? p->read_want * 4 : READ_MAX;
        else if ((size_t)n < p->read_want / 4 && p->read_want > PUMP_READ_MIN)
            p->read_want = p->read_want / 4 > PUMP_READ_MIN ? p->read_want / 4 : PUMP_READ_MIN;
        /* A short read has emptied the socket: the next edge says when there is more. */
        if ((size_t)n < room && !p->must_read_on)
            return total;
    }
    watch_again(&p->watch, WATCH_READ);
    return total;
}

static void read_local(struct stream_owner *p)
{
    size_t read = read_some(p);

    if (p->watch.fd >= 0)
        watch_spend(&p->watch, read);
}

/* -- to the local socket -- */

/* The local side is gone, as a write found out. What it sent before may still be unread. */
static void cut_local(struct stream_owner *p, int error)
{
    pump_note_reason(p, err_from_errno(error), PUMP_LOCAL);
    if (p->state != PUMP_OPEN || p->local_finished) {
        if (p->state == PUMP_OPEN)
            stream_reset(p->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        pump_finish(p, PUMP_END_RESET);
        return;
    }
    pump_mark_half_closed(p, false);
    pump_enter(p, PUMP_CUT);
    /* A RST behind a FIN is reported as EPIPE, any other as ECONNRESET. */
    p->fin_before_error = error == EPIPE;
    p->must_read_on = true;
    sweep_touch(&pump_worker_set(p)->stalled, &p->timer);
    watch_again(&p->watch, WATCH_READ);
}

/* Bytes taken by the socket, which may be 0; -1 if it is lost, and the pump with it. */
static ssize_t write_parts(struct stream_owner *p, struct iovec *parts, size_t n, size_t len)
{
    ssize_t written;

    do {
        written = transmit(p->watch.fd, parts, n);
    } while (written < 0 && errno == EINTR);
    if (written < 0 && errno != EAGAIN) {
        cut_local(p, errno);
        return -1;
    }
    if (written < 0)
        written = 0;
    p->write_blocked = (size_t)written < len;
    pump_mark_paused(p, p->write_blocked ? p->pauses | PUMP_PAUSE_RECEIVE
                                         : p->pauses & ~(unsigned)PUMP_PAUSE_RECEIVE);
    if (written > 0) {
        p->bytes_to_local += (uint64_t)written;
        stats_add(&pump_stats_of(p)->bytes_to_local, (uint64_t)written);
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
        pump_cut_both(p, ERR_RESET);
        return;
    }
    pump_enter(p, PUMP_OPEN);
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
    struct pump_set *set = pump_worker_set(p);
    uint64_t now = uv_now(worker_loop(pump_worker(p)));
    size_t left = socket_unacked(p->watch.fd);

    if (left < p->linger_left)
        p->linger_since_ms = now;
    p->linger_left = left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
    if (left == 0 || now - p->linger_since_ms >= set->stalled.timeout_ms) {
        pump_finish(p, p->is_refused ? PUMP_END_CLOSE : PUMP_END_RESET);
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
    pump_enter(p, PUMP_LINGERING);
    p->linger_since_ms = uv_now(worker_loop(pump_worker(p)));
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
        pump_finish(p, PUMP_END_RESET);
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
    pump_note_reason(p, wire_error(code), PUMP_PEER);
    if (p->state == PUMP_ASKING) {
        refuse(p);
        return;
    }
    if (p->state != PUMP_OPEN) {
        pump_finish(p, PUMP_END_RESET);
        return;
    }
    pump_mark_half_closed(p, false);
    pump_enter(p, PUMP_DELIVERING);
    sweep_touch(&pump_worker_set(p)->stalled, &p->timer);
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

void pump_on_ready(struct watch *watch, unsigned events)
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
            pump_finish(p, PUMP_END_RESET);
        else
            discard_local(p);
        break;
    case PUMP_ASKING:
        /* A FIN may be a client that has said all; a RST is one that has left. */
        if (events & WATCH_ERROR && socket_error(p->watch.fd) != 0)
            pump_cut_both(p, ERR_RESET);
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
    pump_cut_both(list_entry(item, struct stream_owner, timer), ERR_TIMEOUT);
}

void pump_on_stalled_due(struct sweep *sweep, struct sweep_item *item)
{
    struct stream_owner *p = list_entry(item, struct stream_owner, timer);

    (void)sweep;
    if (p->state == PUMP_CUT)
        stream_reset(p->stream, WIRE_RESET, STREAM_RESET_NOW);
    pump_finish(p, PUMP_END_RESET);
}

void pump_on_linger_due(struct sweep *sweep, struct sweep_item *item)
{
    (void)sweep;
    linger(list_entry(item, struct stream_owner, timer));
}
