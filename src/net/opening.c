#include "net/opening.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS 1000000u
#define NS_PER_US 1000u

/* One read; and the most of them in one turn, so that one peer's half megabyte does not hold up
 * all. */
#define READ_SIZE  ((size_t)16 * 1024)
#define READ_TURNS 8

enum opening_state {
    OPENING_TALKING,
    OPENING_TELLING,   /* failed; the reason is being sent */
    OPENING_LINGERING, /* our FIN is sent; the rest of the peer's words is read and dropped */
};

struct opening {
    struct watch watch;
    uv_timer_t timer;
    struct opening_owner *owner;
    struct handshake *handshake;
    struct address peer;
    enum opening_state state;
    int fd;
    int write_error; /* errno; the peer's reason may still be there to be read */
    size_t lingered; /* bytes */
    uint64_t started_ns;
    uint64_t over_ms; /* when all is over, whatever has been told by then; UINT64_MAX: no end yet */
};

static void on_timer(uv_timer_t *timer);

static uint64_t now_ms(void)
{
    return uv_hrtime() / NS_PER_MS;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* o is dead afterwards. */
static void end(struct opening *o)
{
    struct opening_owner *owner = o->owner;

    watch_close(&o->watch);
    if (o->fd >= 0)
        close(o->fd);
    handshake_free(o->handshake);
    uv_close((uv_handle_t *)&o->timer, on_timer_closed);
    owner->on_closed(owner);
}

static void fail(struct opening *o, enum err why, const char *detail)
{
    assert(o->state == OPENING_TALKING);
    const struct opening_failure failure = {
        .why = why,
        .detail = detail,
        .retry_after_ms = handshake_retry_after_ms(o->handshake),
        .is_authenticated = handshake_is_authenticated(o->handshake),
    };

    o->state = OPENING_TELLING;
    o->owner->on_failed(o->owner, &failure);
}

static void fail_for_socket(struct opening *o, int errnum)
{
    struct err_detail d;

    fail(o, err_set(&d, err_from_errno(errnum), "during the handshake: %s", strerror(errnum)),
         d.text);
}

static void set_timer(struct opening *o)
{
    uint64_t deadline = handshake_deadline_ms(o->handshake);
    uint64_t now = now_ms();

    if (o->state == OPENING_LINGERING)
        return;
    if (deadline > o->over_ms)
        deadline = o->over_ms;
    if (deadline == UINT64_MAX) {
        uv_timer_stop(&o->timer);
        return;
    }
    uv_update_time(o->timer.loop);
    uv_timer_start(&o->timer, on_timer, deadline > now ? deadline - now : 0, 0);
}

/* Whether everything has been written. */
static bool write_out(struct opening *o)
{
    const uint8_t *data;
    size_t len;

    for (;;) {
        handshake_drain(o->handshake, &data, &len);
        if (len == 0)
            return true;
        if (o->write_error != 0)
            return false;
        ssize_t n = send(o->fd, data, len, MSG_NOSIGNAL);
        if (n >= 0) {
            handshake_drained(o->handshake, (size_t)n, now_ms());
        } else if (errno != EINTR) {
            if (errno != EAGAIN)
                o->write_error = errno;
            return false;
        }
    }
}

static void establish(struct opening *o)
{
    struct handshake_result *result;
    struct established e;
    enum err error = handshake_take_result(o->handshake, &result);

    if (error != ERR_OK) {
        fail(o, error, err_text(error));
        end(o);
        return;
    }
    established_init(&e);
    result->duration_us = (uv_hrtime() - o->started_ns) / NS_PER_US;
    e.fd = o->fd;
    e.peer = o->peer;
    e.keys = result->keys;
    e.leftover = result->leftover;
    e.leftover_len = result->leftover_len;
    e.info = result;
    result->keys = NULL;
    result->leftover = NULL;
    result->leftover_len = 0;
    o->fd = -1;
    watch_close(&o->watch);
    o->owner->on_established(o->owner, &e);
    end(o);
}

static void linger(struct opening *o)
{
    uint64_t now = now_ms();
    uint64_t until = now + (handshake_is_authenticated(o->handshake) ? OPENING_LINGER_MS
                                                                     : OPENING_LINGER_STRANGER_MS);

    if (until > o->over_ms)
        until = o->over_ms;
    o->state = OPENING_LINGERING;
    shutdown(o->fd, SHUT_WR);
    uv_update_time(o->timer.loop);
    uv_timer_start(&o->timer, on_timer, until > now ? until - now : 0, 0);
}

/* After every event: sends what there is, and sees how far it has come. May end o. */
static void go_on(struct opening *o, bool is_peer_gone)
{
    if (o->state == OPENING_TALKING && handshake_status(o->handshake) == HANDSHAKE_FAILED)
        fail(o, handshake_error(o->handshake), handshake_error_text(o->handshake));

    bool is_written = write_out(o);
    bool is_done = o->state == OPENING_TALKING && handshake_status(o->handshake) == HANDSHAKE_DONE;
    if (is_done && is_written) {
        establish(o);
        return;
    }
    /* Nothing is read any more where all is done, so nothing else would tell. */
    if (is_peer_gone || (is_done && o->write_error != 0)) {
        if (o->state == OPENING_TALKING)
            fail_for_socket(o, o->write_error != 0 ? o->write_error : ECONNRESET);
        end(o);
        return;
    }
    if (o->state == OPENING_TELLING && (is_written || o->write_error != 0))
        linger(o);
    set_timer(o);
}

enum read_result {
    READ_EMPTY,
    READ_MORE, /* stopped to let others have a turn */
    READ_GONE, /* FIN or error */
};

static enum read_result read_in(struct opening *o)
{
    uint8_t buffer[READ_SIZE];

    for (int i = 0; i < READ_TURNS; i++) {
        /* What comes after the handshake is for the worker to read. */
        if (o->state == OPENING_TALKING && handshake_status(o->handshake) == HANDSHAKE_DONE)
            return READ_EMPTY;
        ssize_t n = recv(o->fd, buffer, sizeof(buffer), 0);
        if (n > 0) {
            if (o->state == OPENING_LINGERING)
                o->lingered += (size_t)n;
            if (o->lingered > OPENING_LINGER_BYTES)
                return READ_GONE;
            /* Its error is its state, which go_on looks at. */
            if (handshake_feed(o->handshake, buffer, (size_t)n, now_ms()) != ERR_OK &&
                o->state == OPENING_TALKING)
                return READ_MORE;
        } else if (n == 0) {
            (void)!handshake_feed_end(o->handshake, now_ms());
            return READ_GONE;
        } else if (errno == EAGAIN) {
            return READ_EMPTY;
        } else if (errno != EINTR) {
            if (o->write_error == 0)
                o->write_error = errno;
            return READ_GONE;
        }
    }
    return READ_MORE;
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct opening *o = list_entry(watch, struct opening, watch);
    enum read_result result = READ_EMPTY;

    if ((events & (WATCH_READ | WATCH_HANGUP | WATCH_ERROR)) != 0)
        result = read_in(o);
    if (result == READ_MORE)
        watch_again(&o->watch, WATCH_READ);
    go_on(o, result == READ_GONE);
}

static void on_timer(uv_timer_t *timer)
{
    struct opening *o = timer->data;

    if (o->state == OPENING_LINGERING || now_ms() >= o->over_ms) {
        end(o);
        return;
    }
    bool was_telling = o->state == OPENING_TELLING;
    (void)!handshake_tick(o->handshake, now_ms());
    if (was_telling && now_ms() >= handshake_deadline_ms(o->handshake)) {
        end(o); /* the peer does not even take the reason */
        return;
    }
    go_on(o, false);
}

enum err opening_start(struct opening **out, const struct opening_options *options)
{
    struct opening *o = calloc(1, sizeof(*o));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (o == NULL)
        goto fail;
    o->owner = options->owner;
    o->handshake = options->handshake;
    o->peer = options->peer;
    o->fd = options->fd;
    o->started_ns = uv_hrtime();
    o->over_ms = UINT64_MAX;
    watch_init(&o->watch, on_ready);
    e = watch_open(&o->watch, options->set, o->fd);
    if (e != ERR_OK)
        goto fail;
    uv_timer_init(watch_set_loop(options->set), &o->timer);
    o->timer.data = o;
    set_timer(o);
    *out = o;
    return ERR_OK;

fail:
    free(o);
    handshake_free(options->handshake);
    close(options->fd);
    return e;
}

void opening_refuse(struct opening *o, enum err why, uint32_t retry_after_ms, uint32_t linger_ms)
{
    const uint8_t *data;
    size_t len;

    o->over_ms = now_ms() + linger_ms;
    if (o->state == OPENING_LINGERING) {
        linger(o);
        return;
    }
    handshake_refuse(o->handshake, why, retry_after_ms);
    handshake_drain(o->handshake, &data, &len);
    if (o->state == OPENING_TALKING &&
        (len == 0 || handshake_status(o->handshake) == HANDSHAKE_DONE)) {
        /* Too early for words, or, all being agreed, too late. */
        fail(o, why, err_text(why));
        end(o);
        return;
    }
    go_on(o, false);
}

void opening_abort(struct opening *o)
{
    end(o);
}
