/*
 * How long to wait before the next try: "decorrelated jitter". Each delay is drawn evenly between
 * the smallest and three times the last one, and never above the largest; so delays grow, and
 * peers that lost the same dest at the same moment do not come back at the same moment.
 *
 * A dest may advise how long to wait. Then the next delay is at least that, and up to half as much
 * again, drawn evenly, for the same reason; advice beyond RETRY_AFTER_MAX_MS counts as that.
 */
#ifndef UTUN_TUNNEL_BACKOFF_H
#define UTUN_TUNNEL_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint32_t min_ms;
    uint32_t max_ms;
    uint32_t last_ms;    /* 0: none yet */
    uint32_t attempts;   /* delays given since the last reset */
    uint32_t advised_ms; /* for the next delay; 0: no advice */
};

/* A max below min counts as min. */
void backoff_init(struct backoff *b, uint32_t min_ms, uint32_t max_ms);

/* Other bounds for the delays that come. */
void backoff_set(struct backoff *b, uint32_t min_ms, uint32_t max_ms);

/* The delay in milliseconds; random is a number that the caller drew from the whole range. */
uint32_t backoff_next(struct backoff *b, uint64_t random);

/* The same for a first try, which nothing but advice delays: mostly 0. It counts as no attempt. */
uint32_t backoff_first(struct backoff *b, uint64_t random);

/* The dest's advice, for the next delay only; of several the longest counts. 0 is none. */
void backoff_advise(struct backoff *b, uint32_t ms);

/* It worked: start small again, and without advice. */
void backoff_reset(struct backoff *b);

#endif
