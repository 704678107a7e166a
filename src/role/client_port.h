/*
 * A port of a source on one of its workers, of TCP or of UDP: it takes clients in, as many as
 * max_connections allows, sees to it that each becomes a stream or a flow or is refused, and counts
 * it out when it ends.
 *
 *   new ── open ──> held ── go ──> open ── shut ──> retired ── the last client ends ──> free
 *             └──────────────────────┘
 *
 * Threads: open, go, shut and forward the worker's; new and free any.
 */
#ifndef UTUN_ROLE_CLIENT_PORT_H
#define UTUN_ROLE_CLIENT_PORT_H

#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "net/association.h"
#include "net/entry.h"
#include "net/listener.h"
#include "net/pump.h"
#include "net/udp_port.h"
#include "role/clients.h"
#include "role/listen_port.h"

/* Anybody may read. */
struct client_port {
    struct listener_owner listening; /* TCP */
    struct entry_owner entries;
    struct pump_owner pumps;
    struct pump_stats pump_stats;
    struct listener *listener;
    struct association_owner associations;
    struct udp_port_owner receiving; /* UDP */
    struct udp_port *udp;
    struct flow_stats flow_stats;
    struct clients *clients;
    struct listen_port port; /* as in the table */
    int fd;                  /* until the listener takes it; or -1 */
    uint32_t users;          /* clients that came by it */
    struct list link;        /* in clients->retired */
};

enum client_port_gate {
    CLIENT_PORT_OPEN,
    CLIENT_PORT_HELD, /* listens, and lets nobody in before client_port_go */
};

/* A copy of what the table says; without a socket as yet. NULL: no memory. */
struct client_port *client_port_new(const struct listen_port *what) MUST_USE;

/* Once nobody who came by it is left. Closes a socket that no listener has taken. NULL is fine. */
void client_port_free(struct client_port *port);

/* Listens on port->fd, which is taken. On error client_port_shut still has to follow. */
enum err client_port_open(struct client_port *port, struct clients *c,
                          enum client_port_gate gate) MUST_USE;

/* Lets clients in; harmless on one that has been shut meanwhile. */
void client_port_go(struct client_port *port);

/* Takes nobody more, and ends flows of UDP; streams go on. */
void client_port_shut(struct client_port *port);

/* Whoever waits there for a session goes on, as there is one. */
void client_port_forward(struct entry *entry);

#endif
