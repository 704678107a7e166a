/*
 * The receive window of one stream: how much credit its peer is given. It starts small and doubles
 * as long as the owner takes bytes faster than the window lets them come, that is while the window
 * is smaller than twice rate x round-trip time; never beyond what the tunnel has of the credit.
 * Source: docs/PROTOCOL.md, section 8.
 */
#ifndef UTUN_TUNNEL_WINDOW_H
#define UTUN_TUNNEL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "tunnel/credit.h"

struct window {
    uint64_t size;  /* how far ahead of what is taken the limit is put */
    uint64_t limit; /* the offset below which the peer may send */
    uint64_t taken; /* bytes the owner has taken */
    uint64_t from;  /* taken, and when, at the last adjustment */
    uint64_t from_us;
};

/* Starts with the credit that was promised: it is given in any case. */
void window_init(struct window *w, uint64_t promised, struct credit *credit, uint64_t now);

/* Gives back what the peer may no longer use. */
void window_close(struct window *w, struct credit *credit);

/* The peer has sent its last byte, up to end: what it was given beyond is given back. */
void window_end(struct window *w, uint64_t end, struct credit *credit);

/* len bytes were taken by the owner: they are no longer ours to keep. */
void window_take(struct window *w, uint64_t len, struct credit *credit);

/* Whether a new limit is worth a frame: at least a quarter of the window has been used up. */
bool window_is_due(const struct window *w);

/*
 * Puts the limit forward, as far as there is credit, and adjusts the size. rtt_us is the path's
 * smallest round-trip time, or 0 when unknown (then the size stays).
 */
void window_advance(struct window *w, uint64_t rtt_us, uint64_t max, struct credit *credit,
                    uint64_t now);

/* Makes the window at least size, if the tunnel has then used no more than half of what it may. */
void window_widen(struct window *w, uint64_t size, struct credit *credit);

#endif
