/*
 * The clients of a source: listeners on its ports, what TCP clients say first (net/entry.h), the
 * limit on clients, and the pumps and flows that they become. One struct clients for each worker;
 * they share a struct clients_shared.
 *
 * A TCP client that comes while there is no session is held, unread, until there is one or
 * connection_timeout_ms are over. A datagram is not: by then it would be worth nothing.
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
#include "net/socket_file.h"
#include "net/worker.h"
#include "role/outbound.h"
#include "role/proxy_users.h"
#include "role/uplink.h"

struct client_port;

/* A port that is listened on, or a Unix socket that stands for one. */
struct clients_port {
    uint16_t configured;
    uint16_t port;    /* that it has got; 0 before, and of a Unix socket */
    const char *path; /* of a Unix socket (LISTENER_TCP), or NULL */
    mode_t path_mode;
    struct socket_file file;
    enum listener_kind kind;
    enum entry_speech speech; /* TCP */
};

/* Immutable once the workers run, but for the count and the files. */
struct clients_shared {
    const struct config_source *config;
    struct proxy_users *users; /* NULL: nobody has to log in */
    struct outbound outbound;
    struct clients_port *ports;
    size_t port_count;
    _Atomic uint32_t count; /* clients: connections and flows */
};

/* On error d says why; clients_shared_fini is harmless then, as it is on zeros. */
enum err clients_shared_init(struct clients_shared *s, const struct config *config,
                             struct err_detail *d) MUST_USE;
void clients_shared_fini(struct clients_shared *s);

/* Removes the files of Unix sockets, which must still be open. One thread at a time. */
void clients_shared_remove_files(struct clients_shared *s);

/* Counts one in; false, which is logged, when max_connections are there. Ended by clients_leave. */
bool clients_enter(struct clients_shared *s, const struct address *peer) MUST_USE;
void clients_leave(struct clients_shared *s);

/* One worker's. Embed it. */
struct clients {
    struct clients_shared *shared;
    struct uplink *uplink;
    struct client_port *ports; /* in the order of shared->ports */
    struct entry_set entries;
    bool is_open; /* clients_open has been through */
};

/* Only memory. clients_fini is harmless on zeros, and closes what has not been opened. */
enum err clients_init(struct clients *c, struct clients_shared *shared,
                      struct uplink *uplink) MUST_USE;
void clients_fini(struct clients *c);

/* The socket for port number index, bound and listening; taken. Before clients_open. */
void clients_give(struct clients *c, size_t index, int fd);

/* What the streams, and the flows, of port number index have done; for any thread. */
const struct pump_stats *clients_stats(const struct clients *c, size_t index);
const struct flow_stats *clients_flow_stats(const struct clients *c, size_t index);

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
