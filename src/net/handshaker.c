/*
 * The thread and what reaches it from others: dials, calls, the end. Everything here but their
 * queues and is_stopping belongs to the thread.
 */
#include "net/handshaker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <uv.h>

#include "base/list.h"
#include "base/thread.h"
#include "crypto/keypair_pool.h"
#include "net/attempts.h"
#include "net/doorkeeper.h"
#include "net/listener.h"
#include "net/watch.h"

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
    struct doorkeeper *doorkeeper; /* of a dest */
    struct attempts attempts;
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

/* After the last attempt nothing is left for the loop to do. */
static void end_if_over(struct handshaker *h)
{
    if (!h->is_ending || h->attempts.count > 0 || uv_is_closing((uv_handle_t *)&h->wake))
        return;
    watch_set_close(h->watches);
    uv_close((uv_handle_t *)&h->look, NULL);
    uv_close((uv_handle_t *)&h->wake, NULL);
}

static void on_empty(struct attempts *attempts)
{
    end_if_over(list_entry(attempts, struct handshaker, attempts));
}

/* -- the dest accepts -- */

static void on_client(struct listener_owner *listening, int fd, const struct address *peer)
{
    struct handshaker *h = list_entry(listening, struct handshaker, listening);

    attempts_accept(&h->attempts, fd, peer);
}

static void on_trouble(struct listener_owner *listening, enum err why)
{
    struct handshaker *h = list_entry(listening, struct handshaker, listening);

    h->options.owner->on_trouble(h->options.owner, why);
}

/* -- the thread -- */

static void end_all(struct handshaker *h)
{
    h->is_ending = true;
    listener_close(h->listener);
    h->listener = NULL;
    attempts_end(&h->attempts);
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
        if (h->is_ending)
            attempts_refuse_dial(dial, ERR_SHUTDOWN);
        else
            attempts_dial(&h->attempts, dial);
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

/* The loop is initialized, nothing else need be. */
static void release(struct handshaker *h)
{
    uv_run(&h->loop, UV_RUN_DEFAULT);
    uv_loop_close(&h->loop);
    doorkeeper_free(h->doorkeeper);
    pthread_cond_destroy(&h->called);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static enum err open_listener(struct handshaker *h)
{
    const struct handshaker_options *options = &h->options;
    const struct doorkeeper_options bounds = {
        .max_in_flight = options->max_in_flight,
        .rate_limit = options->rate_limit,
        .rate_window_ms = options->rate_window_ms,
    };
    enum err e = doorkeeper_new(&h->doorkeeper, &bounds);

    if (e != ERR_OK) {
        close(options->listen_fd);
        return e;
    }
    h->attempts.doorkeeper = h->doorkeeper;
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
    attempts_init(&h->attempts);
    h->attempts.options = &h->options;
    h->attempts.stats = &h->stats;
    h->attempts.on_empty = on_empty;
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
    h->attempts.watches = h->watches;
    if (options->listen_fd >= 0)
        e = open_listener(h);
    if (e == ERR_OK)
        e = thread_start(&h->thread, run, h);
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
        attempts_refuse_dial(dial, ERR_SHUTDOWN);
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
    const struct doorkeeper_bounds door = {
        .max_in_flight = bounds->max_in_flight,
        .rate_limit = bounds->rate_limit,
        .rate = bounds->rate,
    };

    h->options.max_size = bounds->max_size;
    h->options.pool = bounds->pool;
    if (bounds->pool != NULL)
        atomic_store(&h->pairs, bounds->pool);
    if (h->doorkeeper != NULL)
        doorkeeper_set_bounds(h->doorkeeper, &door);
}

const struct handshaker_stats *handshaker_stats(const struct handshaker *h)
{
    return &h->stats;
}
