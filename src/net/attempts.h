/*
 * The attempts of a handshaker: each is one try at a session, from a dial or from an accept, until
 * its connection is handed over or closed:
 *
 *   dial ──> dialer ──┐
 *                     ├──> opening ──> established, or failed ──> closed
 *   accept ───────────┘
 *
 * It tells the dial, or the handshaker's owner, what has come of it, and counts that.
 *
 * Threads: the handshaker's only.
 */
#ifndef UTUN_NET_ATTEMPTS_H
#define UTUN_NET_ATTEMPTS_H

#include <stddef.h>

#include "base/list.h"
#include "net/doorkeeper.h"
#include "net/handshaker.h"
#include "net/watch.h"

/* What they have in common. Embed it, and fill in what is not theirs. */
struct attempts {
    const struct handshaker_options *options; /* as they are when an attempt begins */
    struct watch_set *watches;
    struct doorkeeper *doorkeeper; /* of a dest */
    struct handshaker_stats *stats;
    void (*on_empty)(struct attempts *all); /* the last one is gone */

    struct list list; /* theirs */
    size_t count;
};

void attempts_init(struct attempts *all);

/* A client that was accepted: takes fd. Whom the doorkeeper does not let in is reset at once. */
void attempts_accept(struct attempts *all, int fd, const struct address *peer);

void attempts_dial(struct attempts *all, struct handshaker_dial *dial);

/* Tells a dial that there is no attempt, and why. */
void attempts_refuse_dial(struct handshaker_dial *dial, enum err why);

/*
 * Ends them all: dials at once; who was accepted is told so, within HANDSHAKER_FAREWELL_MS. They
 * are gone when on_empty comes, perhaps inside; it does not come where there is none.
 */
void attempts_end(struct attempts *all);

#endif
