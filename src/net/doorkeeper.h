/*
 * Who may begin a handshake at a dest. In this order: so many in flight, of which three quarters
 * may be strangers, and as many come from one address (an IPv6 /64 is one), or a quarter if that is
 * a stranger's, so that one that stays silent leaves room for others; so many in a time from one
 * address (net/rate_limit.h); the budget that all strangers share (net/strangers.h). The quarter
 * that is left is for addresses from which a session has come before.
 *
 * A decision is some look-ups in tables of fixed size, so it can be had before anything is spent on
 * who asks. Times are in microseconds of a monotonic clock. Not locked.
 */
#ifndef UTUN_NET_DOORKEEPER_H
#define UTUN_NET_DOORKEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "net/address.h"

struct doorkeeper;
struct rate_limit; /* net/rate_limit.h */

struct doorkeeper_options {
    uint32_t max_in_flight;
    uint32_t rate_limit; /* of one address; 0: no limit, neither for one nor for all strangers */
    uint32_t rate_window_ms;
};

/* ERR_NOMEM, ERR_RANDOM. */
enum err doorkeeper_new(struct doorkeeper **out, const struct doorkeeper_options *options) MUST_USE;

/* Whoever is inside is forgotten. NULL is fine. */
void doorkeeper_free(struct doorkeeper *k);

/* Other bounds, for all who ask from now on. */
struct doorkeeper_bounds {
    uint32_t max_in_flight;
    uint32_t rate_limit;
    struct rate_limit *rate; /* taken, and what it replaces freed; NULL: it stays as it is */
};

void doorkeeper_set_bounds(struct doorkeeper *k, const struct doorkeeper_bounds *bounds);

/* One connection. Embed it, and copy it freely until doorkeeper_enter. */
struct visitor {
    struct address peer;
    bool is_stranger;
    bool has_paid; /* a token of all strangers' */
    struct list link;
};

/*
 * Fills v in for this peer. ERR_OK: it may begin, and its attempt counts as one. ERR_LIMIT: too
 * many are in flight; ERR_RATE: it, or strangers altogether, come too often; neither counts.
 */
enum err doorkeeper_ask(struct doorkeeper *k, struct visitor *v, const struct address *peer,
                        uint64_t now) MUST_USE;

/* It has begun, and is in flight until doorkeeper_leave. */
void doorkeeper_enter(struct doorkeeper *k, struct visitor *v);
void doorkeeper_leave(struct doorkeeper *k, struct visitor *v);

/* It is who it should be, and has cost nothing that strangers share. */
void doorkeeper_give_back(struct doorkeeper *k, struct visitor *v);

/* A session has come of it: its address is known from now on. */
void doorkeeper_get_to_know(struct doorkeeper *k, const struct visitor *v, uint64_t now);

#endif
