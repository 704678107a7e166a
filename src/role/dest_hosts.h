/*
 * Which of several dests a source turns to. A plain state machine: who dials tells it how it went.
 *
 * The list is by priority. A round of tries begins with the dest that has the tunnel, for only it
 * can continue its streams, and goes on with the others from the first. A host's name with several
 * addresses counts as several: where a handshake has failed, the others are tried before the next
 * host's.
 *
 * A session that is well is renewed where it is and nowhere else, for elsewhere its streams would
 * be cut: at its host, and there at its address as long as the name has that.
 *
 * Fail-back: a session at another dest than the first is left for a better one when it has lasted
 * for the wait, which begins at the interval. A dest that is lost again sooner than that doubles
 * the wait, up to HOSTS_WAIT_MAX_US; one that lasted longer sets it back. So a dest that comes and
 * goes is returned to ever more rarely.
 */
#ifndef UTUN_ROLE_DEST_HOSTS_H
#define UTUN_ROLE_DEST_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "net/address_list.h"

#define HOSTS_WAIT_MAX_US ((uint64_t)3600 * 1000000)

enum hosts_aim {
    HOSTS_ANY,    /* there is no session, or only one that will not last */
    HOSTS_SAME,   /* the one in use: its session is well, and is to be renewed */
    HOSTS_BETTER, /* only those that come before the one in use */
};

/* Fields are for dest_hosts.c; anybody may read index and failed. */
struct dest_hosts {
    size_t count;
    size_t index;               /* of the host to be tried now */
    struct address_list failed; /* addresses of that host that need not be tried again */
    enum hosts_aim aim;
    size_t step; /* of the round */
    size_t current;
    bool has_current;    /* there was a session */
    struct address peer; /* of the session there; len 0: unknown */
    uint64_t since_us;
    uint64_t interval_us; /* 0: no fail-back */
    uint64_t wait_us;
};

void dest_hosts_init(struct dest_hosts *h, size_t count, uint64_t interval_us);

/* Another interval; what has been learnt of dests that come and go is forgotten. */
void dest_hosts_set_interval(struct dest_hosts *h, uint64_t interval_us);

/* Begins a round: index is set. False, but never with HOSTS_ANY: there is no such host. */
bool dest_hosts_begin(struct dest_hosts *h, enum hosts_aim aim) MUST_USE;

/*
 * The try failed: peer is the address that was connected to, none if there was none. True: index
 * and failed say what to try next. False: the round is over.
 */
bool dest_hosts_failed(struct dest_hosts *h, const struct address *peer) MUST_USE;

/* The address that the round is to stay with as long as the name has it; NULL: there is none. */
const struct address *dest_hosts_stay(const struct dest_hosts *h);

/* The try has become a session, at that address. */
void dest_hosts_up(struct dest_hosts *h, const struct address *peer, uint64_t now_us);

/* How long the session is to last before a better dest is tried; 0: never. */
uint64_t dest_hosts_wait_us(const struct dest_hosts *h);

#endif
