/*
 * The clients of a source: listeners on its ports, what TCP clients say first (net/entry.h), the
 * limit on clients, and the pumps and flows that they become. One struct clients for each worker;
 * they share a client_table and a count.
 *
 * A TCP client that comes while there is no session is held, unread, until there is one or
 * connection_timeout_ms are over. A datagram is not: by then it would be worth nothing.
 *
 * Another table (a reload) comes in two steps, so that it is all or nothing on all workers:
 *
 *   change_new ── give (sockets) ──> change_open (the worker's: listens, lets nobody in yet)
 *        └── change_free <── change (the worker's: cannot fail) | change_close (the worker's) ──┘
 *
 * A TCP port that is gone accepts nobody more; whoever came by it goes on to his end. Flows of a
 * UDP port that is gone end with its socket.
 */
#ifndef UTUN_ROLE_CLIENTS_H
#define UTUN_ROLE_CLIENTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "net/entry.h"
#include "net/listener.h"
#include "net/worker.h"
#include "role/client_table.h"
#include "role/uplink.h"

struct client_port;

/* One worker's. Embed it. */
struct clients {
    struct client_table *table;
    _Atomic uint32_t *count; /* clients, connections and flows, of all workers */
    struct uplink *uplink;
    struct worker *worker;
    struct client_port **ports; /* in the order of the table */
    size_t port_count;
    struct list retired;            /* ports that are gone and still have clients */
    struct worker_task reap;        /* of those of them that have none any more */
    struct clients_change *pending; /* between change_open and its end */
    struct entry_set entries;
    bool is_open; /* clients_open has been through */
    bool is_draining;
};

/* Only memory. The table is for as long as no other takes its place. clients_fini is harmless on
 * zeros, and closes what has not been opened. */
enum err clients_init(struct clients *c, struct client_table *table, _Atomic uint32_t *count,
                      struct uplink *uplink) MUST_USE;
void clients_fini(struct clients *c);

/* The socket for port number index, bound and listening; taken. Before clients_open. */
void clients_give(struct clients *c, size_t index, int fd);

/*
 * What the streams, and the flows, of port number index have done; for any thread, while nothing
 * changes the table.
 */
const struct pump_stats *clients_stats(const struct clients *c, size_t index);
const struct flow_stats *clients_flow_stats(const struct clients *c, size_t index);

/* -- another table, for one worker -- */

struct clients_change;

/* before is the table in use. Any thread. ERR_NOMEM. */
enum err clients_change_new(struct clients_change **out, struct client_table *table,
                            const struct client_table *before) MUST_USE;

/* NULL is fine. Closes what was given and not opened. */
void clients_change_free(struct clients_change *change);

/* The socket for a port that before does not have; taken. */
void clients_change_give(struct clients_change *change, size_t index, int fd);

/* On the worker's thread; each is as said above. change_close is for what change_open has begun. */
enum err clients_change_open(struct clients *c, struct clients_change *change) MUST_USE;
void clients_change(struct clients *c, struct clients_change *change);
void clients_change_close(struct clients *c, struct clients_change *change);

/* -- on the worker's thread -- */

/* Begins to accept. On error clients_drain and clients_close still have to follow. */
enum err clients_open(struct clients *c, struct worker *worker) MUST_USE;

/* A session is there: those who wait are forwarded. */
void clients_forward(struct clients *c);

/* Accepts no more, and refuses those who wait. */
void clients_drain(struct clients *c);

/* Closes the rest; the memory must stay until the loop has ended. */
void clients_close(struct clients *c);

#endif
