#include "tunnel/backoff.h"

#define GROWTH 3

void backoff_init(struct backoff *b, uint32_t min_ms, uint32_t max_ms)
{
    *b = (struct backoff){.min_ms = min_ms, .max_ms = max_ms < min_ms ? min_ms : max_ms};
}

uint32_t backoff_next(struct backoff *b, uint64_t random)
{
    uint64_t high = (uint64_t)(b->last_ms > b->min_ms ? b->last_ms : b->min_ms) * GROWTH;

    if (high > b->max_ms)
        high = b->max_ms;
    b->last_ms = (uint32_t)(b->min_ms + random % (high - b->min_ms + 1));
    b->attempts++;
    return b->last_ms;
}

void backoff_reset(struct backoff *b)
{
    b->last_ms = 0;
    b->attempts = 0;
}
