/*
 * The dest's end of a flow: a UDP socket connected to the target, so that only the target can
 * answer on it. While a name's addresses are awaited (net/names.h), what comes waits (flow_keep).
 *
 * When the target's machine says that nobody listens (ICMP), that is counted. The flow stays, so
 * that a target that comes back is found again; but one to a name is closed, so that the client's
 * next datagram asks for its addresses anew.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_UDP_TARGET_H
#define UTUN_NET_UDP_TARGET_H

#include <stdint.h>

#include "base/error.h"
#include "net/flow_owner.h"
#include "net/target.h"
#include "net/worker.h"

/* Embed it in what targets belong to (a service), and fill it in. */
struct udp_target_owner {
    /* Once for each that was started. */
    void (*on_flow_end)(struct udp_target_owner *owner, const struct flow_end *end);
};

struct udp_target_options {
    struct udp_target_owner *owner;
    const char *host; /* an address literal or a name; copied */
    uint16_t port;
    const void *asker;        /* who has named the host, see name_look; NULL: the configuration */
    struct flow_stats *stats; /* of the service; outlive the worker's flows */
    /* As in struct target_options: asked before an address is connected to. NULL: all are allowed.
     */
    const struct target_filter *filter;
};

/*
 * Takes a flow that on_flow brought, also on error, when it has been refused and on_flow_end does
 * not come. target says who the client is and which service it asked for.
 */
enum err udp_target_start(struct tunnel_owner *o, struct flow *flow,
                          const struct stream_target *target,
                          const struct udp_target_options *options,
                          struct err_detail *detail) MUST_USE;

/*
 * Ends the tunnel's flows that count in stats and whose socket is connected to an address that the
 * filter does not allow; as flow_owner_abort_of. All flows of the worker are of targets.
 */
void udp_target_abort_outside(struct tunnel_owner *o, const struct flow_stats *stats,
                              const struct target_filter *filter, enum err why);

#endif
