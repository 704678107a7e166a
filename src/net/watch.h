/*
 * Readiness of many sockets in one libuv loop, edge-triggered: a socket is added once and never
 * changed. A uv_poll_t costs six system calls for each connection and three more each time reading
 * is paused and resumed; a watch costs one. The set is an epoll instance of its own, which the loop
 * watches as one descriptor; loop, timers and all else stay libuv's. watch_set_run turns that
 * around, so that a turn in which only watches are ready is one epoll_wait and nothing else.
 *
 * Edge-triggered means: on_ready says that something became possible. Go on until the socket gives
 * less than was asked for, or ask to be called again (watch_again) and return to let others go on.
 * After a hang-up or an error go on until the end of file, or the error, is read.
 *
 * Threads: a set belongs to its loop's thread and is not locked.
 */
#ifndef UTUN_NET_WATCH_H
#define UTUN_NET_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "base/list.h"

enum watch_event {
    WATCH_READ = 1,
    WATCH_WRITE = 2,
    WATCH_HANGUP = 4,  /* the peer has sent its FIN, or the connection is gone */
    WATCH_ERROR = 8,   /* SO_ERROR may be set */
    WATCH_URGENT = 16, /* a read may stop short before an urgent byte */
};

struct watch_set;

struct watch {
    struct watch_set *set;
    /* events: a set of enum watch_event. May close this watch, or any other. */
    void (*on_ready)(struct watch *w, unsigned events);
    struct list again;
    int fd;
    unsigned again_events;
    bool is_heavy; /* has moved much in its last turn: gives way to others */
};

enum err watch_set_new(struct watch_set **out, uv_loop_t *loop) MUST_USE;

/*
 * Every watch must have been closed. The memory goes when the loop has run its closing callbacks.
 * NULL is fine.
 */
void watch_set_close(struct watch_set *set);

uv_loop_t *watch_set_loop(const struct watch_set *set);

/* What a loop does besides in each turn. */
struct watch_turn {
    /* It has slept, or looked, and has not run anything yet. */
    void (*on_begin)(struct watch_turn *turn);
    /* Before it sleeps. True: there is more to do, so the loop must not sleep. */
    bool (*on_end)(struct watch_turn *turn);
    /*
     * How long the loop looks before it sleeps, while its last waits were shorter than that on
     * average; 0: never. To sleep and to be woken takes some ten microseconds, more in a virtual
     * machine. A quiet loop sleeps at once.
     */
    uint32_t busy_us;
};

/*
 * Runs the loop as uv_run(UV_RUN_DEFAULT) does, until it has no active handle and no request left;
 * once for each set. A turn: turn->on_begin, sockets, then timers and whatever else is libuv's,
 * then watches to be called again, then turn->on_end. The set may be closed meanwhile.
 */
void watch_set_run(struct watch_set *set, struct watch_turn *turn);

/* Before the first watch_open; w is then closed. */
void watch_init(struct watch *w, void (*on_ready)(struct watch *w, unsigned events));

/*
 * Watches fd, which must be non-blocking and stays the caller's. on_ready comes in a later turn of
 * the loop, at once for what is possible already.
 */
enum err watch_open(struct watch *w, struct watch_set *set, int fd) MUST_USE;

/* The same for a socket that is never waited for to write: WATCH_WRITE does not come. */
enum err watch_open_reader(struct watch *w, struct watch_set *set, int fd) MUST_USE;

/*
 * Ends it: on_ready comes no more, w may be freed at once; the fd stays open. Harmless when closed
 * already.
 */
void watch_close(struct watch *w);

/*
 * The same, and closes the fd, which spares a system call. Only for a socket that has no other
 * descriptor, here or in another process: the kernel goes on telling of it until the last is
 * closed.
 */
void watch_close_fd(struct watch *w);

/*
 * on_ready has moved so many bytes. When those that are called again have moved WATCH_TURN_BYTES
 * together, the others of them wait for the next turn; and a watch that has moved WATCH_HEAVY_BYTES
 * by itself is called among them from then on, until it moves less. So small messages do not wait
 * for more than a short turn of bulk.
 */
#define WATCH_TURN_BYTES  ((size_t)256 * 1024)
#define WATCH_HEAVY_BYTES ((size_t)64 * 1024)

void watch_spend(struct watch *w, size_t bytes);

/* Calls on_ready with these events once more before the loop sleeps, after others had a turn. */
void watch_again(struct watch *w, unsigned events);

#endif
