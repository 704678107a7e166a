/*
 * UDP ASSOCIATE of SOCKS5 (RFC 1928, section 7): a UDP socket for one client. Each datagram of the
 * client says where it is to go; there is a flow for each such destination, and what comes back
 * says where it is from. Datagrams of anybody else are dropped. It lives as long as the client's
 * TCP connection does, which is its owner's matter.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_ASSOCIATION_H
#define UTUN_NET_ASSOCIATION_H

#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/destination.h"
#include "net/flow_owner.h"
#include "net/worker.h"

/* Destinations of one client at once; datagrams to one more are dropped until one is idle. */
#define ASSOCIATION_FLOWS_MAX 64

struct association;

/* Embed it in what associations belong to, and fill it in. */
struct association_owner {
    /*
     * A new destination: in which tunnel to open a flow, and to what target (which is zeroed but
     * for client and local). An error drops the datagram. Where it was ERR_OK, on_flow_end
     * follows, also if the flow could not be opened.
     */
    enum err (*on_destination)(struct association_owner *owner, const struct destination *to,
                               struct tunnel_owner **tunnel, struct stream_target *target);
    void (*on_flow_end)(struct association_owner *owner, const struct flow_end *end);
};

struct association_options {
    struct worker *worker;
    struct association_owner *owner;
    struct flow_stats *stats;     /* outlive the association */
    struct stream_address client; /* port 0: that of its first datagram counts */
    struct stream_address local;  /* the address to listen on; its port does not count */
};

/* ERR_LIMIT when descriptors have run out, and what else the system says. */
enum err association_new(struct association **out,
                         const struct association_options *options) MUST_USE;

/* Where the client is to send to. */
const struct address *association_address(const struct association *a);

/* Ends its flows (on_flow_end comes for each, from inside). NULL is fine. */
void association_close(struct association *a);

#endif
