/*
 * A UDP port of the source on one worker: datagrams of its clients become flows, one for each
 * client address and local address, and what comes back goes to that client only, from the address
 * that it had sent to.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_UDP_PORT_H
#define UTUN_NET_UDP_PORT_H

#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/flow_owner.h"
#include "net/worker.h"

struct udp_port;

/* Embed it in what stands behind the port, and fill it in. */
struct udp_port_owner {
    /*
     * A client that has no flow: in which tunnel to open one, and to what target (which is zeroed
     * but for its client). An error drops the datagram, and counts it: ERR_CLOSED (no session), or
     * ERR_LIMIT. Where it was ERR_OK, on_flow_end follows, also if the flow could not be opened.
     */
    enum err (*on_client)(struct udp_port_owner *owner, const struct address *client,
                          struct tunnel_owner **tunnel, struct stream_target *target);
    void (*on_flow_end)(struct udp_port_owner *owner, const struct flow_end *end);
};

/* fd is one of listener_bind, and taken, also on error. stats outlive the port. */
enum err udp_port_new(struct udp_port **out, struct worker *w, int fd, struct flow_stats *stats,
                      struct udp_port_owner *owner) MUST_USE;

/* As listener_hold and listener_go. */
void udp_port_hold(struct udp_port *p);
void udp_port_go(struct udp_port *p);

/* Ends its flows (on_flow_end comes for each) and closes the socket. NULL is fine. */
void udp_port_close(struct udp_port *p);

#endif
