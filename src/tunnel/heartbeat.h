/*
 * When to ask the peer for a sign of life, and when to give it up.
 *
 *   quiet ──nothing received for the interval──> PING, probing
 *   probing ──anything received──> quiet
 *   probing ──nothing for the timeout──> missed + 1: PING again, or dead at max_missed
 *
 * Any record that opens counts as life, so a busy session is never probed, and never killed. A
 * clock that jumps (the machine slept) costs one probe, not the session: only time in which an
 * answer was awaited counts. A dead peer is found within interval + timeout x max_missed.
 */
#ifndef UTUN_TUNNEL_HEARTBEAT_H
#define UTUN_TUNNEL_HEARTBEAT_H

#include <stdint.h>

struct heartbeat_options {
    uint64_t interval_us; /* 0: never */
    uint64_t timeout_us;
    unsigned max_missed;
};

struct heartbeat {
    struct heartbeat_options options;
    uint64_t life;   /* when something was received last */
    uint64_t due;    /* of the next probe, or of the answer to the last one */
    unsigned probes; /* sent since anything was received */
};

enum heartbeat_verdict {
    HEARTBEAT_WAIT,
    HEARTBEAT_PING, /* send one now */
    HEARTBEAT_DEAD,
};

void heartbeat_init(struct heartbeat *h, const struct heartbeat_options *options, uint64_t now);

/* A record of the peer has opened. */
void heartbeat_on_life(struct heartbeat *h, uint64_t now);

enum heartbeat_verdict heartbeat_tick(struct heartbeat *h, uint64_t now);

/* When heartbeat_tick is to be called next; UINT64_MAX for never. */
uint64_t heartbeat_deadline(const struct heartbeat *h);

/* Probes that were not answered in time. */
unsigned heartbeat_missed(const struct heartbeat *h);

#endif
