/*
 * The way in to a dest: the tunnel port, the handshakes, and to which worker a session goes that
 * comes out of them: the one that has the source's tunnel, or the one with the fewest.
 *
 *   handshake thread: established ──> placement ──> mailbox of the worker ──> dest_tunnels_adopt
 *
 * A source that is authenticated and cannot have a session now, because the dest shuts down or has
 * as many tunnels as it may, is told so and when to come again. Who has not got so far is closed.
 *
 * Threads: any; callbacks on the handshake thread.
 */
#ifndef UTUN_ROLE_DEST_GATE_H
#define UTUN_ROLE_DEST_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "net/handshaker.h"
#include "role/credentials.h"
#include "role/dest_tunnel.h"
#include "role/placement.h"

struct dest_gate;

/* Embed it in what stands behind the gate, and fill it in. */
struct dest_gate_owner {
    /* The tunnels of a worker that placement has named. Any thread. */
    struct dest_tunnels *(*tunnels_at)(struct dest_gate_owner *owner, unsigned worker);
    /* Files may have changed; on the handshake thread. True: once more, a little later. */
    bool (*on_look)(struct dest_gate_owner *owner);
};

/* All of it outlives the gate. */
struct dest_gate_options {
    const struct config *config;
    struct credentials *credentials; /* the handshake thread's from now on */
    struct placement *placement;
    struct dest_gate_owner *owner;
};

/* Takes the tunnel port; sources wait until it is started. Errors as dest_new's. */
enum err dest_gate_open(struct dest_gate **out, const struct dest_gate_options *options,
                        struct err_detail *d) MUST_USE;

/* Lets sources in: when everything behind the gate runs. On error only dest_gate_free may follow.
 */
enum err dest_gate_start(struct dest_gate *g) MUST_USE;

/* No new sessions; after dest_gate_start. Does not wait. */
void dest_gate_shut(struct dest_gate *g);

/* Shuts it, waits for its thread, frees. NULL is fine. */
void dest_gate_free(struct dest_gate *g);

/* Of another configuration; all of it is made ahead, so that the change cannot fail. */
struct dest_gate_change {
    const struct config *config; /* lives as the one before */
    struct credentials *credentials;
    struct rate_limit *rate; /* or NULL: the one in use stays, with what it knows */
};

/*
 * For handshakes that begin from now on; waits for the handshake thread. Takes credentials and
 * rate. False: the gate is shut, and nothing was taken.
 */
bool dest_gate_change(struct dest_gate *g, const struct dest_gate_change *change) MUST_USE;

/* Calls on_look soon. Does not wait. */
void dest_gate_look(struct dest_gate *g);

/* The port that is really listened on. */
uint16_t dest_gate_port(const struct dest_gate *g);

const struct handshaker_stats *dest_gate_stats(const struct dest_gate *g);

#endif
