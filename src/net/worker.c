/*
 * One turn (watch_set_run): sockets -> mailbox, timers -> watches to be called again -> the
 * deferred tasks, then, while draining, a look at whether the end has come -> poll.
 */
#include "net/worker.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/thread.h"
#include "net/flow_owner.h"
#include "net/lag.h"
#include "net/pump.h"
#include "net/names.h"
#include "net/pump_set.h"
#include "net/sweep.h"
#include "net/target_place.h"
#include "net/tunnel_owner.h"
#include "net/udp_io.h"

#define RESET_DRAIN_TIMEOUT_MS 30000

enum phase {
    PHASE_RUNNING,
    PHASE_DRAINING, /* nothing new, what runs may finish */
    PHASE_ENDING,   /* everything has been told to end */
    PHASE_STOPPED,  /* own handles are closed */
};

struct worker {
    struct worker_options options;
    struct stats stats;
    uv_loop_t loop;
    uv_async_t wake;
    struct watch_turn turn;
    uv_timer_t deadline;
    struct lag lag;
    struct watch_set *watches;
    struct names *names;
    struct target_places *targets;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    struct budget exchanges;
    uint64_t seed;
    struct pump_set pumps;
    struct sweep flows;
    struct udp_io *udp;
    struct list tunnels;
    struct list tasks;
    enum phase phase;
    enum err started; /* what on_start said */
    pthread_t thread;
    bool has_thread;

    /* Shared with other threads, under the lock. */
    pthread_mutex_t lock;
    struct worker_item *mail_first;
    struct worker_item **mail_last;
    bool is_deaf; /* the mailbox is closed */
    bool wants_drain;
    uint64_t drain_until; /* microseconds; the earliest that was asked for */
};

/* -- tasks -- */

void worker_task_init(struct worker_task *task, void (*run)(struct worker_task *task))
{
    list_init(&task->link);
    task->run = run;
}

void worker_defer(struct worker *w, struct worker_task *task)
{
    if (!list_is_linked(&task->link))
        list_append(&w->tasks, &task->link);
}

void worker_task_cancel(struct worker_task *task)
{
    list_remove(&task->link);
}

static void run_tasks(struct worker *w)
{
    struct list round;
    struct list *item;

    /* What is deferred meanwhile belongs to the next turn. */
    list_init(&round);
    while ((item = list_first(&w->tasks)) != NULL) {
        list_remove(item);
        list_append(&round, item);
    }
    while ((item = list_first(&round)) != NULL) {
        struct worker_task *task = list_entry(item, struct worker_task, link);

        list_remove(item);
        task->run(task);
    }
}

/* -- mailbox -- */

static void drop_mail(struct worker_item *item)
{
    while (item != NULL) {
        struct worker_item *next = item->next;

        item->drop(item);
        item = next;
    }
}

static struct worker_item *take_mail(struct worker *w)
{
    struct worker_item *first = w->mail_first;

    w->mail_first = NULL;
    w->mail_last = &w->mail_first;
    return first;
}

/* -- the end -- */

/* Streams that are over here but not yet known to be so by the peer count too. */
static bool has_streams(struct worker *w)
{
    if (w->pumps.count > 0)
        return true;
    for (struct list *l = w->tunnels.next; l != &w->tunnels; l = l->next) {
        struct tunnel_owner *o = list_entry(l, struct tunnel_owner, link);
        struct tunnel_state state;

        tunnel_get_state(o->tunnel, &state);
        if (tunnel_owner_has_carrier(o) && state.streams > 0)
            return true;
    }
    return false;
}

static void end_all(struct worker *w)
{
    struct list *next;

    w->phase = PHASE_ENDING;
    for (struct list *l = w->tunnels.next; l != &w->tunnels; l = next) {
        next = l->next;
        tunnel_owner_cut(list_entry(l, struct tunnel_owner, link));
    }
}

static void stop(struct worker *w)
{
    struct worker_item *left;

    w->phase = PHASE_STOPPED;
    pthread_mutex_lock(&w->lock);
    w->is_deaf = true;
    left = take_mail(w);
    pthread_mutex_unlock(&w->lock);
    drop_mail(left);
    if (w->options.owner->on_stop != NULL)
        w->options.owner->on_stop(w->options.owner, w);
    pump_set_close(&w->pumps);
    target_places_free(w->targets);
    w->targets = NULL;
    names_close(w->names);
    sweep_close(&w->flows);
    watch_set_close(w->watches);
    uv_close((uv_handle_t *)&w->wake, NULL);
    uv_close((uv_handle_t *)&w->deadline, NULL);
    lag_close(&w->lag);
}

static void on_deadline(uv_timer_t *timer)
{
    struct worker *w = timer->data;

    if (w->phase == PHASE_DRAINING)
        end_all(w);
}

static void begin_drain(struct worker *w)
{
    if (w->phase != PHASE_RUNNING)
        return;
    w->phase = PHASE_DRAINING;
    if (w->options.owner->on_drain != NULL)
        w->options.owner->on_drain(w->options.owner, w);
    for (struct list *l = w->tunnels.next; l != &w->tunnels; l = l->next) {
        struct tunnel_owner *o = list_entry(l, struct tunnel_owner, link);

        tunnel_owner_go_away(o, WIRE_SHUTDOWN, "shutting down");
        if (!tunnel_owner_has_carrier(o))
            tunnel_owner_lose(o); /* nobody connects again */
    }
}

static void on_turn_begin(struct watch_turn *turn)
{
    lag_turn(&list_entry(turn, struct worker, turn)->lag);
}

static bool on_turn_end(struct watch_turn *turn)
{
    struct worker *w = list_entry(turn, struct worker, turn);

    if (w->phase == PHASE_STOPPED)
        return false;
    run_tasks(w);
    if (w->phase == PHASE_DRAINING && !has_streams(w))
        end_all(w);
    if (w->phase == PHASE_ENDING && list_is_empty(&w->tunnels) && list_is_empty(&w->tasks))
        stop(w);
    stats_set(&w->stats.pool_bytes, pool_in_use(w->pool));
    stats_set(&w->stats.hold_bytes, w->hold.used);
    stats_set(&w->stats.credit_bytes, w->credit.used);
    stats_add(&w->stats.turns, 1);
    return !list_is_empty(&w->tasks);
}

/* -- from other threads -- */

void worker_post(struct worker *w, struct worker_item *item)
{
    bool is_deaf;
    bool was_empty;

    item->next = NULL;
    pthread_mutex_lock(&w->lock);
    is_deaf = w->is_deaf;
    was_empty = w->mail_first == NULL;
    if (!is_deaf) {
        *w->mail_last = item;
        w->mail_last = &item->next;
        /* Under the lock: the handle must not be closed in between. */
        if (was_empty)
            uv_async_send(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    if (is_deaf)
        item->drop(item);
}

void worker_drain(struct worker *w, uint32_t timeout_ms)
{
    uint64_t until = worker_now(w) + (uint64_t)timeout_ms * 1000;

    pthread_mutex_lock(&w->lock);
    if (!w->wants_drain || until < w->drain_until)
        w->drain_until = until;
    w->wants_drain = true;
    if (!w->is_deaf)
        uv_async_send(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static void set_deadline(struct worker *w, uint64_t until)
{
    uint64_t now = worker_now(w);

    uv_update_time(&w->loop);
    uv_timer_start(&w->deadline, on_deadline, until > now ? (until - now + 999) / 1000 : 0, 0);
}

static void on_wake(uv_async_t *async)
{
    struct worker *w = async->data;
    struct worker_item *item;
    bool wants_drain;
    uint64_t until;

    pthread_mutex_lock(&w->lock);
    item = take_mail(w);
    wants_drain = w->wants_drain;
    until = w->drain_until;
    pthread_mutex_unlock(&w->lock);
    while (item != NULL) {
        struct worker_item *next = item->next;

        if (w->phase <= PHASE_DRAINING)
            item->run(item, w);
        else
            item->drop(item);
        item = next;
    }
    if (wants_drain && w->phase <= PHASE_DRAINING) {
        begin_drain(w);
        set_deadline(w, until);
    }
}

/* -- life -- */

enum err worker_new(struct worker **out, const struct worker_options *options)
{
    struct worker *w = calloc(1, sizeof(*w));
    size_t pool_limit;
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (w == NULL)
        return ERR_NOMEM;
    w->options = *options;
    if (w->options.reset_drain_timeout_ms == 0)
        w->options.reset_drain_timeout_ms = RESET_DRAIN_TIMEOUT_MS;
    list_init(&w->tunnels);
    list_init(&w->tasks);
    w->mail_last = &w->mail_first;
    if (uv_loop_init(&w->loop) < 0) {
        free(w);
        return ERR_NOMEM;
    }
    tunnel_share_memory(options->memory_budget, &pool_limit, &w->hold, &w->credit);
    w->exchanges = tunnel_exchange_budget(options->memory_budget);
    if (options->hold_max > 0 && options->hold_max < w->hold.limit)
        w->hold.limit = options->hold_max;
    e = pool_new(&w->pool, pool_limit);
    if (e == ERR_OK && getrandom(&w->seed, sizeof(w->seed), 0) != (ssize_t)sizeof(w->seed))
        e = ERR_RANDOM;
    if (e == ERR_OK)
        e = udp_io_new(&w->udp);
    if (e == ERR_OK)
        e = watch_set_new(&w->watches, &w->loop);
    if (e == ERR_OK)
        e = names_new(&w->names, &w->loop,
                      options->names_of_peers > 0 ? options->names_of_peers : names_of_peers(1));
    if (e == ERR_OK)
        e = target_places_new(&w->targets, &w->loop, w->names, &w->stats);
    if (e == ERR_OK && uv_async_init(&w->loop, &w->wake, on_wake) < 0)
        e = ERR_LIMIT;
    if (e != ERR_OK) {
        target_places_free(w->targets);
        names_close(w->names);
        watch_set_close(w->watches);
        uv_run(&w->loop, UV_RUN_DEFAULT);
        uv_loop_close(&w->loop);
        udp_io_free(w->udp);
        pool_free(w->pool);
        free(w);
        return e;
    }
    pthread_mutex_init(&w->lock, NULL);
    uv_timer_init(&w->loop, &w->deadline);
    w->wake.data = w;
    w->deadline.data = w;
    w->turn.on_begin = on_turn_begin;
    w->turn.on_end = on_turn_end;
    w->turn.busy_us = options->busy_wait_us;
    lag_init(&w->lag, &w->loop, &w->stats.loop_lag);
    pump_set_init(&w->pumps, w);
    sweep_init(&w->flows, &w->loop, options->times.flow_idle_ms, flow_owner_on_idle);
    sweep_every(&w->flows, options->times.flow_sweep_ms);
    *out = w;
    return ERR_OK;
}

void worker_run(struct worker *w)
{
    uv_update_time(&w->loop);
    if (w->options.owner->on_start != NULL)
        w->started = w->options.owner->on_start(w->options.owner, w);
    if (w->started != ERR_OK) {
        begin_drain(w);
        end_all(w);
    }
    /* The end comes from on_turn_end, so the loop always has a turn. */
    watch_set_run(w->watches, &w->turn);
    assert(w->phase == PHASE_STOPPED);
}

static void *thread_main(void *argument)
{
    pthread_setname_np(pthread_self(), "worker");
    worker_run(argument);
    return NULL;
}

enum err worker_start(struct worker *w)
{
    enum err e = thread_start(&w->thread, thread_main, w);

    w->has_thread = e == ERR_OK;
    return e;
}

enum err worker_join(struct worker *w)
{
    if (w->has_thread)
        pthread_join(w->thread, NULL);
    w->has_thread = false;
    return w->started;
}

void worker_free(struct worker *w)
{
    int closed;

    if (w == NULL)
        return;
    assert(!w->has_thread);
    if (w->phase != PHASE_STOPPED) {
        assert(list_is_empty(&w->tunnels));
        stop(w);
        uv_run(&w->loop, UV_RUN_DEFAULT);
    }
    closed = uv_loop_close(&w->loop);
    assert(closed == 0);
    (void)closed;
    udp_io_free(w->udp);
    pool_free(w->pool);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* -- what others ask for -- */

uv_loop_t *worker_loop(struct worker *w)
{
    return &w->loop;
}

struct pool *worker_pool(struct worker *w)
{
    return w->pool;
}

struct budget *worker_hold(struct worker *w)
{
    return &w->hold;
}

struct budget *worker_credit(struct worker *w)
{
    return &w->credit;
}

struct budget *worker_exchanges(struct worker *w)
{
    return &w->exchanges;
}

uint64_t worker_seed(const struct worker *w)
{
    return w->seed;
}

struct list *worker_tunnels(struct worker *w)
{
    return &w->tunnels;
}

struct pump_set *worker_pumps(struct worker *w)
{
    return &w->pumps;
}

struct watch_set *worker_watches(struct worker *w)
{
    return w->watches;
}

struct names *worker_names(struct worker *w)
{
    return w->names;
}

struct target_places *worker_targets(struct worker *w)
{
    return w->targets;
}

struct sweep *worker_flows(struct worker *w)
{
    return &w->flows;
}

struct udp_io *worker_udp(struct worker *w)
{
    return w->udp;
}

const struct worker_options *worker_options(const struct worker *w)
{
    return &w->options;
}

bool worker_is_draining(const struct worker *w)
{
    return w->phase != PHASE_RUNNING;
}

void worker_set_times(struct worker *w, const struct worker_times *times)
{
    w->options.times = *times;
    sweep_every(&w->flows, times->flow_sweep_ms);
    sweep_set_timeout(&w->flows, times->flow_idle_ms);
    sweep_set_timeout(&w->pumps.half_closed, times->half_close_idle_ms);
}

uint64_t worker_now(const struct worker *w)
{
    (void)w;
    return uv_hrtime() / 1000;
}

struct stats *worker_stats(struct worker *w)
{
    return &w->stats;
}

void worker_get_limits(const struct worker *w, struct worker_limits *limits)
{
    limits->pool_bytes = pool_limit(w->pool);
    limits->hold_bytes = w->hold.limit;
    limits->credit_bytes = w->credit.limit;
}

unsigned worker_count(uint32_t configured)
{
    cpu_set_t set;

    if (configured > 0)
        return configured;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    return 1;
}
