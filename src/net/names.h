/*
 * What a worker knows of names: their addresses, and who waits for them. The system's resolver is
 * asked, in libuv's threads.
 *
 *   idle ── look ──> asking ── an answer ──> idle         old addresses are good enough for who
 *      └── no lookup is free ──> queued ── one is ──┘     looks while the answer is late
 *
 * A name is asked for again NAME_TTL_MS after the last time, for the system's resolver does not
 * tell a record's own time to live.
 *
 * A name server that does not answer holds a lookup for 10 s and longer, and libuv has a fixed
 * number of them for the process (names_size_pool). Names that configured services have are always
 * asked for. What peers name shares a number for each worker, such that all workers together have
 * at most half of all lookups; no peer has more than half of its worker's. Names beyond that wait
 * in a queue, out of which peers are served in turn: it is as long as there are streams and flows
 * of them, which have their own bound.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_NAMES_H
#define UTUN_NET_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/attr.h"
#include "base/error.h"
#include "base/list.h"
#include "net/address_list.h"

/* How long the addresses of a name are used before it is asked for again. */
#define NAME_TTL_MS 30000

/* A name is not asked for more often. */
#define NAME_PAUSE_MS 1000

/* How long a new answer is waited for where there are old addresses. */
#define NAME_LATE_MS 250

/* Names that nobody uses now and whose addresses are kept. */
#define NAMES_KEPT 256

/* Lookups of what peers name, at once: of one worker, and of all (but one each they may have). */
#define NAMES_OF_PEERS     4
#define NAMES_OF_PEERS_ALL 32

/*
 * How many a worker has, one of so many; and the size of libuv's pool that goes with it, four
 * threads for each: libuv gives half of its threads to lookups, and half of those are for services.
 * The pool starts with the first name that is asked for; an idle thread costs some 20 KiB. To be
 * called before it does, and while there is one thread. ERR_NOMEM.
 */
unsigned names_of_peers(unsigned workers);
enum err names_size_pool(unsigned workers) MUST_USE;

/* Every name of a worker. */
struct names;

enum err names_new(struct names **out, uv_loop_t *loop, unsigned of_peers) MUST_USE;

/* All names must have been left. The loop must run until its handles are closed. NULL is fine. */
void names_close(struct names *all);

struct name;

/* One who wants to know. Embed it, fill in on_news. */
struct name_user {
    struct list link; /* theirs; while it waits */
    /* Once after each NAME_COMING: look again. */
    void (*on_news)(struct name_user *user);
};

/* host is no literal. Each success is ended by one name_leave. ERR_NOMEM, ERR_TOO_LARGE. */
enum err name_enter(struct names *all, struct name **out, const char *host,
                    struct name_user *user) MUST_USE;
void name_leave(struct name *n, struct name_user *user);

enum name_answer {
    NAME_KNOWN,  /* there are addresses */
    NAME_COMING, /* on_news comes, not from inside */
    NAME_FAILED, /* there are none; it is not asked for again before NAME_PAUSE_MS */
};

/*
 * Asks for it where what is known is older than max_age_ms (at least NAME_PAUSE_MS). asker is who
 * has named it, a peer of whom only the pointer is looked at; NULL: the configuration.
 */
enum name_answer name_look(struct name *n, struct name_user *user, uint32_t max_age_ms,
                           const void *asker);

/* After NAME_KNOWN; with port 0. Live until the loop's next turn, or name_leave. */
const struct address_list *name_addresses(const struct name *n);

/* After NAME_FAILED: why. After NAME_COMING: what is waited for, ERR_OK when there are addresses.
 * The text lives until the next call. */
enum err name_trouble(struct name *n, const char **text);

/*
 * Its addresses lead nowhere: they count as old. What a peer (asker as in name_look) says of a name
 * counts for peers only: none of them makes a service wait.
 */
void name_doubt(struct name *n, const void *asker);

#endif
