/*
 * What the peers of a worker's tunnels may send although we might have to keep it: credit, of which
 * all tunnels share one budget. A tunnel's account of it, and the rule by which one peer does not
 * take what others need:
 *
 *   - Every stream is promised STREAM_WINDOW_INITIAL, for a peer hears of that before anything is
 *     known of it. Beyond these promises the budget is not passed while the tunnels stay the same.
 *   - Three quarters of it are common: who comes first has them. But where there are several peers,
 *     none takes more than it leaves.
 *   - The last quarter is divided evenly among peers, and each one's part among its tunnels. A
 *     tunnel that asks has its part beside its promises, whatever others do and were promised.
 *   - Promises to many streams may be more than there is memory. What comes of them is kept as long
 *     as there is some; when it grows scarce, a tunnel keeps what its part allows, and streams
 *     beyond that are reset: its own, not those of others. Also a tunnel that is alone leaves
 *     memory to send: owners that do not read stop their own streams only.
 *
 * Threads: as the tunnel. Source: docs/PROTOCOL.md, section 8.
 */
#ifndef UTUN_TUNNEL_CREDIT_H
#define UTUN_TUNNEL_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/pool.h"

/*
 * A peer, whose tunnels on a worker share what it may have of the worker's memory. All zeros at
 * first; it outlives its tunnels.
 */
struct tunnel_peer {
    uint64_t held;      /* committed and not acknowledged, of all tunnels */
    uint64_t credit;    /* beyond promises, of all tunnels */
    size_t flow_bytes;  /* in blocks of datagrams, of all tunnels */
    unsigned exchanges; /* offers of key exchanges that are not whole yet, of all sessions */
    unsigned tunnels;
    bool is_only; /* no other peer will come */
};

/* Of one tunnel. */
struct credit {
    struct budget *all; /* its holders are the peers */
    struct tunnel_peer *peer;
    uint64_t given; /* beyond promises */
};

/* The peer has counted the tunnel, and the budget the peer, as long as this is used. */
void credit_init(struct credit *c, struct budget *all, struct tunnel_peer *peer);

/* How much more may be given, beyond promises. */
uint64_t credit_left(const struct credit *c);

/* The peer may send, or has sent what is kept, `to` bytes of a stream where it was `from`. */
void credit_change(struct credit *c, uint64_t from, uint64_t to);

/*
 * Whether the tunnel, of whose blocks so many bytes of the pool are full of what has come, may keep
 * more of it.
 */
bool credit_may_keep(const struct credit *c, const struct pool *pool, uint64_t blocks);

#endif
