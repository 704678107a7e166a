/*
 * A worker: one thread with one loop, and everything that lives on it: tunnels, their connections,
 * their pumps, a pool of buffers. Workers share nothing that changes.
 *
 *   new ── start ──> running ── drain ──> draining ── all done, or the deadline ──> stopped ── free
 *
 * A turn of the loop: sockets, mailbox and timers run first; what they have left to do in common
 * (worker_defer: above all, sealing and writing what every stream has to send) runs once at its
 * end.
 *
 * Threads: worker_post, worker_drain, worker_join and worker_stats may be called from any thread.
 * Everything else belongs to the worker's own; before worker_start that is the caller's.
 */
#ifndef UTUN_NET_WORKER_H
#define UTUN_NET_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/budget.h"
#include "base/error.h"
#include "base/list.h"
#include "base/pool.h"
#include "net/stats.h"
#include "net/watch.h"

struct names;
struct pump_set;
struct sweep;
struct target_places;
struct udp_io;
struct worker;

/* Embed it in what is behind the worker, and fill it in. Callbacks run on the worker's thread. */
struct worker_owner {
    /* The loop is about to run: open what needs it. An error stops the worker at once. May be NULL.
     */
    enum err (*on_start)(struct worker_owner *owner, struct worker *worker);
    /* Accept nothing new: close listeners and dialers. Once, before on_stop. May be NULL. */
    void (*on_drain)(struct worker_owner *owner, struct worker *worker);
    /*
     * Every pump and carrier is gone, every tunnel_owner is closed: close your own uv handles.
     * Once; the thread ends when the loop has none left. May be NULL.
     */
    void (*on_stop)(struct worker_owner *owner, struct worker *worker);
};

/* The ones that can be others while it runs. */
struct worker_times {
    uint32_t half_close_idle_ms; /* a half-closed stream without a byte; 0: no end */
    uint32_t flow_idle_ms;       /* a flow without a datagram either way; 0: no end */
    uint32_t flow_sweep_ms;      /* how often they are looked for; 0: in good time */
};

struct worker_options {
    size_t memory_budget; /* bytes of buffers, divided by tunnel_share_memory */
    size_t hold_max; /* of them, that may wait for acknowledgement; 0: its share of the budget */
    unsigned names_of_peers;         /* see net/names.h; 0: as of one worker alone */
    uint32_t reset_drain_timeout_ms; /* for data before a reset, without progress; 0: 30 s */
    uint32_t busy_wait_us;           /* struct watch_turn's busy_us */
    struct worker_times times;
    struct worker_owner *owner;
};

enum err worker_new(struct worker **out, const struct worker_options *options) MUST_USE;

/* Starts the thread. ERR_LIMIT if the system gives none. */
enum err worker_start(struct worker *w) MUST_USE;

/* Instead of worker_start: runs on the calling thread until it has stopped. */
void worker_run(struct worker *w);

/*
 * Begins the end: on_drain, GO_AWAY to the peers, streams may finish. When none is left, or after
 * timeout_ms, the rest is reset, the connections closed, on_stop called. Calling it again can only
 * bring the end nearer; 0 means now.
 */
void worker_drain(struct worker *w, uint32_t timeout_ms);

/* Waits for the thread's end. Returns what on_start said. */
enum err worker_join(struct worker *w);

/* The worker must have stopped, or never been started. NULL is fine. */
void worker_free(struct worker *w);

/* -- mailbox -- */

/* Embed it in what is posted. Exactly one of the two is called; the item is then the callee's. */
struct worker_item {
    struct worker_item *next;
    void (*run)(struct worker_item *item, struct worker *w); /* on the worker's thread */
    void (*drop)(struct worker_item *item);                  /* it has stopped; on any thread */
};

void worker_post(struct worker *w, struct worker_item *item);

/* -- on the worker's thread -- */

uv_loop_t *worker_loop(struct worker *w);
struct pool *worker_pool(struct worker *w);
struct budget *worker_hold(struct worker *w);      /* for struct tunnel_options */
struct budget *worker_credit(struct worker *w);    /* likewise */
struct budget *worker_exchanges(struct worker *w); /* likewise */
uint64_t worker_seed(const struct worker *w);      /* likewise */
struct list *worker_tunnels(struct worker *w);     /* of struct tunnel_owner.link */
struct pump_set *worker_pumps(struct worker *w);
struct watch_set *worker_watches(struct worker *w);
struct names *worker_names(struct worker *w);
struct target_places *worker_targets(struct worker *w);
struct sweep *worker_flows(struct worker *w); /* idle flows, of flow_owner.idle */
struct udp_io *worker_udp(struct worker *w);
const struct worker_options *worker_options(const struct worker *w);
bool worker_is_draining(const struct worker *w);

/* Other times, also for what runs. */
void worker_set_times(struct worker *w, const struct worker_times *times);

/* Microseconds of the monotonic clock, read now. */
uint64_t worker_now(const struct worker *w);

/* Work for the end of this turn. Embed it; once queued it runs once. */
struct worker_task {
    struct list link;
    void (*run)(struct worker_task *task);
};

void worker_task_init(struct worker_task *task, void (*run)(struct worker_task *task));
/* Harmless when queued already. */
void worker_defer(struct worker *w, struct worker_task *task);
void worker_task_cancel(struct worker_task *task);

/* Counters that this worker's thread writes and every thread may read. Never NULL. */
struct stats *worker_stats(struct worker *w);

/* What three of them may come to. They never change; any thread. */
struct worker_limits {
    uint64_t pool_bytes;
    uint64_t hold_bytes;
    uint64_t credit_bytes;
};

void worker_get_limits(const struct worker *w, struct worker_limits *limits);

/* How many a role has that is configured so; 0: one for each processor that it may run on. */
unsigned worker_count(uint32_t configured);

#endif
