/*
 * Everything here but the queue of dials and is_stopping belongs to the handshake thread. An
 * attempt is one try, from a dial or from an accept, until its connection is handed over or closed:
 *
 *   dial ──> dialer ──┐
 *                     ├──> opening ──> established, or failed ──> closed
 *   accept ── let in ─┘
 */
#include "net/handshaker.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <uv.h>

#include "base/list.h"
#include "crypto/keypair_pool.h"
#include "crypto/tls_context.h"
#include "net/dialer.h"
#include "net/listener.h"
#include "net/opening.h"
#include "net/rate_limit.h"
#include "net/socket.h"
#include "net/strangers.h"
#include "net/watch.h"
#include "tunnel/frame.h"
#include "tunnel/handshake.h"

/* Below the data loops: on a busy machine streams go on, and handshakes still get a quarter. */
#define NICE 5

struct handshaker {
    struct handshaker_options options;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t look;
    struct watch_set *watches;
    struct listener_owner listening;
    struct listener *listener;
    struct rate_limit *rate;
    struct strangers *strangers;
    struct list attempts;
    size_t in_flight;
    size_t strangers_in_flight;
    bool is_ending;
    struct handshaker_stats stats;
    pthread_t thread;

    /* The last one there was: sessions of its mode may go on in another one. */
    _Atomic(struct keypair_pool *) pairs;

    /* Shared, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t called;
    struct handshaker_call *calls;
    struct handshaker_call **calls_end;
    struct handshaker_dial *queue;
    struct handshaker_dial **queue_end;
    bool wants_look;
    bool is_stopping;
};

struct dialer_owner {
    struct dialer *dialer;
};

struct handshake_owner {
    struct handshaker_owner *handshaking;
};

struct attempt {
    struct handshaker *handshaker;
    struct opening_owner opening_owner;
    struct opening *opening;
    struct dialer_owner dialing;
    struct handshake_owner resuming;
    struct handshaker_dial *dial; /* NULL: it was accepted, or its outcome has been told */
    bool is_accepted;
    bool is_stranger;
    struct address peer;
    struct list link;
};

static struct attempt *attempt_new(struct handshaker *h)
{
    struct attempt *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->handshaker = h;
    list_init(&a->link);
    list_append(&h->attempts, &a->link);
    h->in_flight++;
    stats_set(&h->stats.in_flight, h->in_flight);
    return a;
}

/* After the last attempt nothing is left for the loop to do. */
static void end_if_over(struct handshaker *h)
{
    if (!h->is_ending || !list_is_empty(&h->attempts) || uv_is_closing((uv_handle_t *)&h->wake))
        return;
    watch_set_close(h->watches);
    uv_close((uv_handle_t *)&h->look, NULL);
    uv_close((uv_handle_t *)&h->wake, NULL);
}

static void attempt_free(struct attempt *a)
{
    struct handshaker *h = a->handshaker;

    if (a->is_stranger)
        h->strangers_in_flight--;
    h->in_flight--;
    stats_set(&h->stats.in_flight, h->in_flight);
    list_remove(&a->link);
    free(a);
    end_if_over(h);
}

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

/* -- outcomes -- */

static void dial_failed(struct handshaker_dial *dial, enum err why)
{
    const struct handshaker_failure failure = {.why = why, .detail = err_text(why)};

    dial->on_outcome(dial, NULL, &failure);
}

static void report(struct attempt *a, const struct handshaker_failure *failure)
{
    struct handshaker_owner *owner = a->handshaker->options.owner;
    struct handshaker_dial *dial = a->dial;

    stats_add(&a->handshaker->stats.ended[failure->why], 1);
    if (dial != NULL) {
        a->dial = NULL;
        dial->on_outcome(dial, NULL, failure);
    } else {
        owner->on_failed(owner, failure);
    }
}

static void report_failure(struct attempt *a, enum err why, const char *detail)
{
    const struct handshaker_failure failure = {.peer = a->peer, .why = why, .detail = detail};

    report(a, &failure);
}

/* It is who it should be, and has cost nothing that strangers share. */
static void give_back(const struct attempt *a)
{
    if (a->is_stranger && a->handshaker->options.rate_limit != 0)
        strangers_give_back(a->handshaker->strangers);
}

static void on_failed(struct opening_owner *owner, const struct opening_failure *failure)
{
    struct attempt *a = list_entry(owner, struct attempt, opening_owner);

    if (failure->is_authenticated)
        give_back(a);
    const struct handshaker_failure why = {.peer = a->peer,
                                           .why = failure->why,
                                           .detail = failure->detail,
                                           .retry_after_ms = failure->retry_after_ms};

    report(a, &why);
}

static void on_established(struct opening_owner *owner, struct established *e)
{
    struct attempt *a = list_entry(owner, struct attempt, opening_owner);
    struct handshaker_owner *handshaking = a->handshaker->options.owner;
    struct handshaker_dial *dial = a->dial;
    struct handshaker_stats *stats = &a->handshaker->stats;

    give_back(a);
    if (a->is_accepted)
        strangers_get_to_know(a->handshaker->strangers, (struct sockaddr *)&a->peer.sockaddr,
                              now_us());
    stats_add(&stats->ended[ERR_OK], 1);
    histogram_observe(&stats->duration, e->info->duration_us);
    if (dial != NULL) {
        a->dial = NULL;
        dial->on_outcome(dial, e, NULL);
    } else {
        handshaking->on_established(handshaking, e);
    }
}

static void on_closed(struct opening_owner *owner)
{
    attempt_free(list_entry(owner, struct attempt, opening_owner));
}

/* -- the connection -- */

static bool on_resume(struct handshake_owner *resuming, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    struct handshaker_owner *owner = resuming->handshaking;

    return owner->on_resume != NULL && owner->on_resume(owner, tunnel_id, identity, secret);
}

static uint32_t advise(const struct handshaker *h, enum err why)
{
    struct handshaker_owner *owner = h->options.owner;

    return owner->on_advise == NULL ? 0 : owner->on_advise(owner, why);
}

static enum err on_admit(struct handshake_owner *resuming, bool is_resumed,
                         uint32_t *retry_after_ms)
{
    struct attempt *a = list_entry(resuming, struct attempt, resuming);
    struct handshaker_owner *owner = a->handshaker->options.owner;
    enum err e = ERR_OK;

    if (owner->on_admit != NULL)
        e = owner->on_admit(owner, is_resumed);
    *retry_after_ms = e == ERR_OK ? 0 : advise(a->handshaker, e);
    return e;
}

static const struct tls_context *choose_tls(const struct attempt *a)
{
    const struct handshaker_options *options = &a->handshaker->options;
    const struct tls_context *chosen = NULL;

    if (a->dial != NULL && a->dial->choose_tls != NULL)
        chosen = a->dial->choose_tls(a->dial);
    else if (a->dial == NULL && options->owner->choose_tls != NULL)
        chosen = options->owner->choose_tls(options->owner);
    return chosen != NULL ? chosen : options->tls;
}

/* Takes fd. After an error the attempt is still the caller's, and no callback comes. */
static enum err open_connection(struct attempt *a, int fd, struct err_detail *d)
{
    struct handshaker *h = a->handshaker;
    struct handshake_options options = {.tls = choose_tls(a), .max_size = h->options.max_size};
    struct opening_options opening = {
        .set = h->watches,
        .owner = &a->opening_owner,
        .peer = a->peer,
        .fd = fd,
    };
    enum err e = ERR_OK;

    if (a->dial != NULL) {
        options.dest_host = a->dial->host;
        memcpy(options.tunnel_id, a->dial->tunnel_id, sizeof(options.tunnel_id));
        options.tunnel_secret = a->dial->tunnel_secret;
        if (h->options.pool != NULL)
            e = keypair_pool_take_or_make(h->options.pool, &options.keypair);
    } else {
        a->resuming.handshaking = h->options.owner;
        options.owner = &a->resuming;
        options.on_resume = on_resume;
        options.on_admit = on_admit;
    }
    if (e == ERR_OK)
        e = handshake_new(&opening.handshake, &options, uv_hrtime() / 1000000, d);
    if (e != ERR_OK) {
        close(fd);
        return e;
    }
    a->opening_owner.on_established = on_established;
    a->opening_owner.on_failed = on_failed;
    a->opening_owner.on_closed = on_closed;
    return opening_start(&a->opening, &opening);
}

static void open_or_fail(struct attempt *a, int fd)
{
    struct err_detail d;
    enum err e;

    err_set(&d, ERR_OK, "%s", "");
    e = open_connection(a, fd, &d);
    if (e == ERR_OK)
        return;
    report_failure(a, e, d.text[0] != 0 ? d.text : err_text(e));
    attempt_free(a);
}

/* -- the dest accepts -- */

/* Those of the same address, whatever its port; an address in IPv6 counts as its /64. */
static size_t in_flight_of(const struct handshaker *h, const struct address *peer)
{
    struct stream_address wanted;
    size_t count = 0;

    address_to_stream(peer, &wanted);
    for (struct list *l = h->attempts.next; l != &h->attempts; l = l->next) {
        struct stream_address other;

        address_to_stream(&list_entry(l, struct attempt, link)->peer, &other);
        if (other.address_len == wanted.address_len &&
            memcmp(other.address, wanted.address, wanted.address_len > 8 ? 8 : 4) == 0)
            count++;
    }
    return count;
}

static enum err let_in(struct handshaker *h, const struct address *peer, bool *is_stranger)
{
    const struct sockaddr *sockaddr = (const struct sockaddr *)&peer->sockaddr;
    uint32_t most = h->options.max_in_flight - h->options.max_in_flight / 4;
    struct handshaker_owner *owner = h->options.owner;
    uint64_t now = now_us();

    if (owner->is_allowed != NULL && !owner->is_allowed(owner, peer))
        return ERR_NOT_ALLOWED;
    *is_stranger = !strangers_is_known(h->strangers, sockaddr, now);
    if (h->in_flight >= h->options.max_in_flight ||
        (*is_stranger && h->strangers_in_flight >= most) || in_flight_of(h, peer) >= most)
        return ERR_LIMIT;
    if (!rate_limit_take(h->rate, sockaddr, now))
        return ERR_RATE;
    if (*is_stranger && h->options.rate_limit != 0 && !strangers_take(h->strangers, now))
        return ERR_RATE;
    return ERR_OK;
}

static void on_client(struct listener_owner *listening, int fd, const struct address *peer)
{
    struct handshaker *h = list_entry(listening, struct handshaker, listening);
    struct handshaker_owner *owner = h->options.owner;
    bool is_stranger = false;
    enum err e = let_in(h, peer, &is_stranger);
    struct attempt *a = e == ERR_OK ? attempt_new(h) : NULL;

    if (a == NULL) {
        e = e != ERR_OK ? e : ERR_NOMEM;
        socket_reset(fd);
        stats_add(&h->stats.refused[e], 1);
        owner->on_refused(owner, peer, e);
        return;
    }
    a->is_accepted = true;
    a->is_stranger = is_stranger;
    h->strangers_in_flight += is_stranger ? 1 : 0;
    a->peer = *peer;
    open_or_fail(a, fd);
}

static void on_trouble(struct listener_owner *listening, enum err why)
{
    struct handshaker *h = list_entry(listening, struct handshaker, listening);

    h->options.owner->on_trouble(h->options.owner, why);
}

/* -- the source dials -- */

static void on_dialed(struct dialer_owner *owner, const struct dialer_outcome *outcome)
{
    struct attempt *a = list_entry(owner, struct attempt, dialing);

    a->dialing.dialer = NULL;
    if (outcome->error != ERR_OK) {
        report_failure(a, outcome->error, outcome->detail);
        attempt_free(a);
        return;
    }
    address_of_peer(&a->peer, outcome->fd);
    open_or_fail(a, outcome->fd);
}

static void start_dial(struct handshaker *h, struct handshaker_dial *dial)
{
    struct attempt *a = h->is_ending ? NULL : attempt_new(h);
    enum err e = h->is_ending ? ERR_SHUTDOWN : ERR_NOMEM;

    if (a == NULL) {
        dial_failed(dial, e);
        return;
    }
    const struct dialer_options options = {
        .host = dial->host,
        .port = dial->port,
        .skip = dial->skip,
        .timeout_ms = h->options.connect_timeout_ms,
        .on_done = on_dialed,
        .owner = &a->dialing,
    };
    a->dial = dial;
    e = dialer_start(&a->dialing.dialer, &h->loop, &options);
    if (e != ERR_OK) {
        report_failure(a, e, err_text(e));
        attempt_free(a);
    }
}

/* -- the thread -- */

/* May free it. */
static void end_attempt(struct attempt *a)
{
    struct handshaker *h = a->handshaker;

    if (a->is_accepted) {
        opening_refuse(a->opening, ERR_SHUTDOWN, advise(h, ERR_SHUTDOWN), HANDSHAKER_FAREWELL_MS);
        return;
    }
    if (a->dial != NULL)
        report_failure(a, ERR_SHUTDOWN, err_text(ERR_SHUTDOWN));
    if (a->opening != NULL) {
        opening_abort(a->opening);
        return;
    }
    if (a->dialing.dialer != NULL)
        dialer_cancel(a->dialing.dialer);
    attempt_free(a);
}

static void end_all(struct handshaker *h)
{
    struct list *link = h->attempts.next;

    h->is_ending = true;
    listener_close(h->listener);
    h->listener = NULL;
    while (link != &h->attempts) {
        struct attempt *a = list_entry(link, struct attempt, link);

        link = link->next; /* a may be freed here, but no other */
        end_attempt(a);
    }
    end_if_over(h);
}

static void on_look_due(uv_timer_t *timer);

static void look(struct handshaker *h)
{
    struct handshaker_owner *owner = h->options.owner;

    if (!h->is_ending && owner != NULL && owner->on_look != NULL && owner->on_look(owner))
        uv_timer_start(&h->look, on_look_due, HANDSHAKER_LOOK_MS, 0);
}

static void on_look_due(uv_timer_t *timer)
{
    look(list_entry(timer, struct handshaker, look));
}

static void run_calls(struct handshaker *h, struct handshaker_call *call)
{
    while (call != NULL) {
        struct handshaker_call *next = call->next;

        call->run(call, h);
        pthread_mutex_lock(&h->lock);
        call->is_done = true; /* whoever waits may free it from here on */
        pthread_cond_broadcast(&h->called);
        pthread_mutex_unlock(&h->lock);
        call = next;
    }
}

static void on_wake(uv_async_t *async)
{
    struct handshaker *h = async->data;
    struct handshaker_call *calls;
    struct handshaker_dial *dial;
    bool wants_look;
    bool is_stopping;

    pthread_mutex_lock(&h->lock);
    calls = h->calls;
    h->calls = NULL;
    h->calls_end = &h->calls;
    dial = h->queue;
    h->queue = NULL;
    h->queue_end = &h->queue;
    wants_look = h->wants_look;
    h->wants_look = false;
    is_stopping = h->is_stopping;
    pthread_mutex_unlock(&h->lock);
    run_calls(h, calls);
    if (wants_look)
        look(h);
    while (dial != NULL) {
        struct handshaker_dial *next = dial->next;
        start_dial(h, dial);
        dial = next;
    }
    if (is_stopping && !h->is_ending)
        end_all(h);
}

static void *run(void *data)
{
    struct handshaker *h = data;

    pthread_setname_np(pthread_self(), "handshaker");
    /* On Linux the priority is the thread's. Without it everything works, only less smoothly. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    return NULL;
}

static enum err start_thread(struct handshaker *h)
{
    sigset_t all;
    sigset_t before;
    int result;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = pthread_create(&h->thread, NULL, run, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result == 0 ? ERR_OK : ERR_LIMIT;
}

/* The loop is initialized, nothing else need be. */
static void release(struct handshaker *h)
{
    uv_run(&h->loop, UV_RUN_DEFAULT);
    uv_loop_close(&h->loop);
    rate_limit_free(h->rate);
    strangers_free(h->strangers);
    pthread_cond_destroy(&h->called);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static enum err open_listener(struct handshaker *h)
{
    const struct handshaker_options *options = &h->options;
    enum err e =
        rate_limit_new(&h->rate, options->rate_limit, (uint64_t)options->rate_window_ms * 1000);

    if (e == ERR_OK)
        e = strangers_new(&h->strangers, 2 * options->max_in_flight);
    if (e != ERR_OK) {
        close(options->listen_fd);
        return e;
    }
    h->listening.on_client = on_client;
    h->listening.on_trouble = on_trouble;
    return listener_new(&h->listener, h->watches, options->listen_fd, &h->listening);
}

enum err handshaker_start(struct handshaker **out, const struct handshaker_options *options)
{
    struct handshaker *h = calloc(1, sizeof(*h));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (h == NULL || uv_loop_init(&h->loop) != 0) {
        if (options->listen_fd >= 0)
            close(options->listen_fd);
        free(h);
        return ERR_NOMEM;
    }
    h->options = *options;
    h->queue_end = &h->queue;
    h->calls_end = &h->calls;
    atomic_init(&h->pairs, options->pool);
    list_init(&h->attempts);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->called, NULL);
    if (uv_async_init(&h->loop, &h->wake, on_wake) != 0) {
        e = ERR_LIMIT;
        goto fail;
    }
    h->wake.data = h;
    uv_timer_init(&h->loop, &h->look);
    e = watch_set_new(&h->watches, &h->loop);
    if (e != ERR_OK)
        goto fail_wake;
    if (options->listen_fd >= 0)
        e = open_listener(h);
    if (e == ERR_OK)
        e = start_thread(h);
    if (e != ERR_OK) {
        end_all(h);
        release(h);
        return e;
    }
    *out = h;
    return ERR_OK;

fail_wake:
    uv_close((uv_handle_t *)&h->look, NULL);
    uv_close((uv_handle_t *)&h->wake, NULL);
fail:
    if (options->listen_fd >= 0)
        close(options->listen_fd);
    release(h);
    return e;
}

void handshaker_stop(struct handshaker *h)
{
    pthread_mutex_lock(&h->lock);
    if (!h->is_stopping)
        uv_async_send(&h->wake);
    h->is_stopping = true;
    pthread_mutex_unlock(&h->lock);
}

void handshaker_free(struct handshaker *h)
{
    if (h == NULL)
        return;
    handshaker_stop(h);
    pthread_join(h->thread, NULL);
    release(h);
}

void handshaker_dial(struct handshaker *h, struct handshaker_dial *dial)
{
    bool is_stopping;

    dial->next = NULL;
    pthread_mutex_lock(&h->lock);
    is_stopping = h->is_stopping;
    if (!is_stopping) {
        *h->queue_end = dial;
        h->queue_end = &dial->next;
        uv_async_send(&h->wake);
    }
    pthread_mutex_unlock(&h->lock);
    if (is_stopping)
        dial_failed(dial, ERR_SHUTDOWN);
}

struct mceliece_keypair *handshaker_take_keypair(struct handshaker *h)
{
    struct keypair_pool *pool = atomic_load(&h->pairs);

    return pool == NULL ? NULL : keypair_pool_take(pool);
}

void handshaker_look(struct handshaker *h)
{
    pthread_mutex_lock(&h->lock);
    h->wants_look = true;
    if (!h->is_stopping)
        uv_async_send(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

bool handshaker_run(struct handshaker *h, struct handshaker_call *call)
{
    bool is_stopping;

    call->next = NULL;
    call->is_done = false;
    pthread_mutex_lock(&h->lock);
    is_stopping = h->is_stopping;
    if (!is_stopping) {
        *h->calls_end = call;
        h->calls_end = &call->next;
        uv_async_send(&h->wake);
        while (!call->is_done)
            pthread_cond_wait(&h->called, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return !is_stopping;
}

void handshaker_set_bounds(struct handshaker *h, const struct handshaker_bounds *bounds)
{
    h->options.max_size = bounds->max_size;
    h->options.max_in_flight = bounds->max_in_flight;
    h->options.rate_limit = bounds->rate_limit;
    h->options.pool = bounds->pool;
    if (bounds->pool != NULL)
        atomic_store(&h->pairs, bounds->pool);
    if (bounds->rate != NULL) {
        rate_limit_free(h->rate);
        h->rate = bounds->rate;
    }
}

const struct handshaker_stats *handshaker_stats(const struct handshaker *h)
{
    return &h->stats;
}
