/*
 * How long to wait before the next try: "decorrelated jitter". Each delay is drawn evenly between
 * the smallest and three times the last one, and never above the largest; so delays grow, and
 * peers that lost the same dest at the same moment do not come back at the same moment.
 */
#ifndef UTUN_TUNNEL_BACKOFF_H
#define UTUN_TUNNEL_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint32_t min_ms;
    uint32_t max_ms;
    uint32_t last_ms;  /* 0: none yet */
    uint32_t attempts; /* delays given since the last reset */
};

/* A max below min counts as min. */
void backoff_init(struct backoff *b, uint32_t min_ms, uint32_t max_ms);

/* The delay in milliseconds; random is a number that the caller drew from the whole range. */
uint32_t backoff_next(struct backoff *b, uint64_t random);

/* It worked: start small again. */
void backoff_reset(struct backoff *b);

#endif
