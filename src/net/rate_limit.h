/*
 * How often one address may try: `limit` attempts at once, and from then on one more each
 * `window_us / limit`. Counted by IPv4 address, or by the /64 of an IPv6 address (one customer's
 * network). A refused attempt is not counted, so a peer that hammers still gets its share.
 *
 * When more addresses are active than an address_table holds, one that has used least of its share
 * is forgotten. Not locked.
 */
#ifndef UTUN_NET_RATE_LIMIT_H
#define UTUN_NET_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

struct rate_limit;

/* limit 0: everything is allowed. ERR_NOMEM, ERR_RANDOM. */
enum err rate_limit_new(struct rate_limit **out, uint32_t limit, uint64_t window_us) MUST_USE;

/* NULL is fine. */
void rate_limit_free(struct rate_limit *r);

/*
 * Whether the address may try now, which is then counted. `now` is in microseconds of a monotonic
 * clock. Any family but IPv4 and IPv6 is allowed without counting.
 */
bool rate_limit_take(struct rate_limit *r, const struct sockaddr *address, uint64_t now) MUST_USE;

#endif
