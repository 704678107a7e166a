/*
 * Two ways to run. Under uv_run, libuv polls the set's epoll instance as one descriptor of its own
 * and `idle` keeps it awake. Under watch_set_run the set polls libuv's (uv_backend_fd) as one of
 * its, and libuv has a turn only when it has something to do: uv_backend_timeout says so by 0.
 */
#include "net/watch.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Events taken from the kernel at once; the loop comes back for more. */
#define BATCH 128

/* Waits that the average is about; and what one counts at most, times busy_us: three end it. */
#define WAITS    8
#define WAIT_MAX 4

#define NS_PER_MS ((uint64_t)1000 * 1000)

/* Gone for so long between two looks, others do not just take turns with us; and how long it is
 * taken that they do not. */
#define CROWDED_NS       ((uint64_t)100 * 1000)
#define CROWDED_PAUSE_NS ((uint64_t)100 * NS_PER_MS)

struct watch_set {
    uv_poll_t poll; /* of epoll_fd */
    uv_idle_t idle; /* active while `again` has items: the loop must not sleep */
    int epoll_fd;
    int handles;      /* of the two above, not yet closed */
    bool is_running;  /* in watch_set_run */
    bool is_uv_ready; /* libuv's descriptor was in the last batch */
    struct list again;
    struct list round; /* those of `again` whose turn has come, which may take several */
    size_t spent;      /* bytes moved by those of them that have been called in this turn */
    uint64_t wait_ns;  /* about how long the last waits were, cut at WAIT_MAX */
    uint64_t busy_at;  /* from when on it may be waited busily: the processors were crowded */

    /* The batch that is being dispatched: watch_close takes its watch out. */
    struct epoll_event batch[BATCH];
    int batch_len;
    int batch_at;
};

static unsigned events_of(uint32_t epoll_events)
{
    unsigned events = 0;

    if (epoll_events & EPOLLIN)
        events |= WATCH_READ;
    if (epoll_events & EPOLLOUT)
        events |= WATCH_WRITE;
    if (epoll_events & (EPOLLRDHUP | EPOLLHUP))
        events |= WATCH_HANGUP;
    if (epoll_events & EPOLLERR)
        events |= WATCH_ERROR;
    if (epoll_events & EPOLLPRI)
        events |= WATCH_URGENT;
    return events;
}

static void poll_now(struct watch_set *set, int timeout_ms)
{
    assert(set->batch_at == set->batch_len); /* loops do not nest */
    set->batch_at = 0;
    set->batch_len = epoll_wait(set->epoll_fd, set->batch, BATCH, timeout_ms);
    if (set->batch_len < 0)
        set->batch_len = 0; /* EINTR */
}

static void dispatch(struct watch_set *set)
{
    while (set->batch_at < set->batch_len) {
        struct epoll_event *e = &set->batch[set->batch_at++];
        struct watch *w = e->data.ptr;

        if (e->data.ptr == set)
            set->is_uv_ready = true;
        else if (w != NULL && w->is_heavy)
            watch_again(w, events_of(e->events));
        else if (w != NULL)
            w->on_ready(w, events_of(e->events));
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch_set *set = poll->data;

    (void)status;
    (void)events;
    poll_now(set, 0);
    dispatch(set);
}

static void call_again(struct watch_set *set)
{
    struct list *item;

    set->spent = 0; /* whatever others have moved, these get on */
    /* What is added meanwhile has its turn after everybody else's. */
    while ((item = list_first(&set->again)) != NULL) {
        list_remove(item);
        list_append(&set->round, item);
    }
    while ((item = list_first(&set->round)) != NULL && set->spent < WATCH_TURN_BYTES) {
        struct watch *w = list_entry(item, struct watch, again);
        unsigned events = w->again_events;

        list_remove(item);
        w->again_events = 0;
        w->on_ready(w, events);
    }
}

static bool has_more(const struct watch_set *set)
{
    return !list_is_empty(&set->again) || !list_is_empty(&set->round);
}

static void on_idle(uv_idle_t *idle)
{
    struct watch_set *set = idle->data;

    call_again(set);
    if (!has_more(set))
        uv_idle_stop(idle);
}

static void destroy(struct watch_set *set)
{
    close(set->epoll_fd);
    free(set);
}

enum err watch_set_new(struct watch_set **out, uv_loop_t *loop)
{
    struct watch_set *set = calloc(1, sizeof(*set));

    *out = NULL;
    if (set == NULL)
        return ERR_NOMEM;
    list_init(&set->again);
    list_init(&set->round);
    set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (set->epoll_fd < 0) {
        enum err e = err_from_errno(errno);

        free(set);
        return e;
    }
    if (uv_poll_init(loop, &set->poll, set->epoll_fd) < 0) {
        close(set->epoll_fd);
        free(set);
        return ERR_IO;
    }
    set->handles = 2;
    set->poll.data = set;
    uv_idle_init(loop, &set->idle);
    set->idle.data = set;
    uv_poll_start(&set->poll, UV_READABLE, on_poll);
    *out = set;
    return ERR_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct watch_set *set = handle->data;

    if (--set->handles == 0 && !set->is_running)
        destroy(set);
}

void watch_set_close(struct watch_set *set)
{
    if (set == NULL)
        return;
    assert(list_is_empty(&set->again) && list_is_empty(&set->round));
    uv_close((uv_handle_t *)&set->poll, on_handle_closed);
    uv_close((uv_handle_t *)&set->idle, on_handle_closed);
}

uv_loop_t *watch_set_loop(const struct watch_set *set)
{
    return set->poll.loop;
}

/* False where the system refuses: it bounds how many watches a user has, and how deep they nest. */
static bool take_over(struct watch_set *set)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = set};

    uv_poll_stop(&set->poll); /* before: two instances must not hold each other */
    if (epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, uv_backend_fd(set->poll.loop), &e) == 0)
        return true;
    uv_poll_start(&set->poll, UV_READABLE, on_poll);
    return false;
}

/* Lets libuv do what it has to do now, if there is anything. */
static void run_uv(struct watch_set *set, uv_loop_t *loop)
{
    if (set->is_uv_ready || uv_backend_timeout(loop) == 0)
        uv_run(loop, UV_RUN_NOWAIT);
    set->is_uv_ready = false;
}

static void count_wait(struct watch_set *set, uint64_t ns, uint64_t busy_ns)
{
    if (ns > WAIT_MAX * busy_ns)
        ns = WAIT_MAX * busy_ns;
    set->wait_ns += ns / WAITS;
    set->wait_ns -= set->wait_ns / WAITS;
}

/*
 * Looks again and again; between two looks whoever else can run does. False: there was nothing, or
 * somebody else has use for the processor.
 */
static bool poll_for_a_while(struct watch_set *set, uint64_t began, uint64_t busy_ns)
{
    uint64_t now = began;
    uint64_t before;

    do {
        poll_now(set, 0);
        if (set->batch_len > 0)
            return true;
        sched_yield();
        before = now;
        now = uv_hrtime();
    } while (now - began < busy_ns && now - before < CROWDED_NS);
    if (now - before >= CROWDED_NS)
        set->busy_at = now + CROWDED_PAUSE_NS;
    return false;
}

/* Sleeps, unless something is likely to come so soon that to be woken would take longer. */
static void wait_for_events(struct watch_set *set, int timeout_ms, uint64_t busy_ns)
{
    uint64_t began = uv_hrtime();
    bool has_time = timeout_ms < 0 || busy_ns <= (uint64_t)timeout_ms * NS_PER_MS;
    bool is_busy = set->wait_ns < busy_ns && has_time && began >= set->busy_at;

    if (!is_busy || !poll_for_a_while(set, began, busy_ns))
        poll_now(set, timeout_ms);
    count_wait(set, uv_hrtime() - began, busy_ns);
}

static void run_over_uv(struct watch_set *set, uv_loop_t *loop, struct watch_turn *turn)
{
    while (uv_loop_alive(loop)) {
        bool is_busy;

        run_uv(set, loop);
        call_again(set);
        is_busy = turn->on_end(turn) || has_more(set);
        if (!is_busy)
            uv_update_time(loop);
        if (is_busy)
            poll_now(set, 0);
        else
            wait_for_events(set, uv_backend_timeout(loop), (uint64_t)turn->busy_us * 1000);
        uv_update_time(loop);
        turn->on_begin(turn);
        dispatch(set);
    }
}

static void run_under_uv(uv_loop_t *loop, struct watch_turn *turn)
{
    while (uv_loop_alive(loop)) {
        uv_run(loop, turn->on_end(turn) ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        turn->on_begin(turn); /* late, as libuv has run what was ready already */
    }
}

void watch_set_run(struct watch_set *set, struct watch_turn *turn)
{
    uv_loop_t *loop = set->poll.loop;

    if (!take_over(set)) {
        run_under_uv(loop, turn);
        return;
    }
    set->is_running = true;
    run_over_uv(set, loop, turn);
    set->is_running = false;
    if (set->handles == 0)
        destroy(set);
}

void watch_init(struct watch *w, void (*on_ready)(struct watch *w, unsigned events))
{
    memset(w, 0, sizeof(*w));
    w->on_ready = on_ready;
    w->fd = -1;
    list_init(&w->again);
}

static enum err add(struct watch *w, struct watch_set *set, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events | EPOLLET, .data.ptr = w};

    assert(w->fd < 0);
    if (epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
        return err_from_errno(errno);
    w->set = set;
    w->fd = fd;
    return ERR_OK;
}

enum err watch_open(struct watch *w, struct watch_set *set, int fd)
{
    return add(w, set, fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP);
}

enum err watch_open_reader(struct watch *w, struct watch_set *set, int fd)
{
    return add(w, set, fd, EPOLLIN);
}

/* No callback for w is on its way any more. */
static void forget(struct watch *w)
{
    struct watch_set *set = w->set;

    for (int i = set->batch_at; i < set->batch_len; i++) {
        if (set->batch[i].data.ptr == w)
            set->batch[i].data.ptr = NULL;
    }
    list_remove(&w->again);
    w->again_events = 0;
    w->fd = -1;
}

void watch_close(struct watch *w)
{
    if (w->fd < 0)
        return;
    epoll_ctl(w->set->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    forget(w);
}

void watch_close_fd(struct watch *w)
{
    int fd = w->fd;

    if (fd < 0)
        return;
    forget(w);
    close(fd);
}

void watch_spend(struct watch *w, size_t bytes)
{
    w->set->spent += bytes;
    w->is_heavy = bytes >= WATCH_HEAVY_BYTES;
}

void watch_again(struct watch *w, unsigned events)
{
    struct watch_set *set = w->set;

    assert(w->fd >= 0);
    w->again_events |= events;
    if (list_is_linked(&w->again))
        return;
    list_append(&set->again, &w->again);
    if (!set->is_running && !uv_is_active((uv_handle_t *)&set->idle))
        uv_idle_start(&set->idle, on_idle);
}
