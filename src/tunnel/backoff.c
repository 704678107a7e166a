#include "tunnel/backoff.h"

#include "tunnel/limits.h"

#define GROWTH 3

void backoff_init(struct backoff *b, uint32_t min_ms, uint32_t max_ms)
{
    *b = (struct backoff){.min_ms = min_ms, .max_ms = max_ms < min_ms ? min_ms : max_ms};
}

void backoff_set(struct backoff *b, uint32_t min_ms, uint32_t max_ms)
{
    b->min_ms = min_ms;
    b->max_ms = max_ms < min_ms ? min_ms : max_ms;
}

/* The delay that the advice asks for; it is used up. */
static uint32_t take_advice(struct backoff *b, uint64_t random)
{
    uint32_t ms = b->advised_ms;

    b->advised_ms = 0;
    /* Other bits than those that decide the delay of our own. */
    return ms + (uint32_t)((random >> 32) % (ms / 2 + 1));
}

uint32_t backoff_first(struct backoff *b, uint64_t random)
{
    return take_advice(b, random);
}

void backoff_advise(struct backoff *b, uint32_t ms)
{
    if (ms > RETRY_AFTER_MAX_MS)
        ms = RETRY_AFTER_MAX_MS;
    if (ms > b->advised_ms)
        b->advised_ms = ms;
}

uint32_t backoff_next(struct backoff *b, uint64_t random)
{
    uint32_t advised = take_advice(b, random);
    uint64_t high = (uint64_t)(b->last_ms > b->min_ms ? b->last_ms : b->min_ms) * GROWTH;

    if (high > b->max_ms)
        high = b->max_ms;
    b->last_ms = (uint32_t)(b->min_ms + random % (high - b->min_ms + 1));
    b->attempts++;
    return b->last_ms > advised ? b->last_ms : advised;
}

void backoff_reset(struct backoff *b)
{
    b->last_ms = 0;
    b->attempts = 0;
    b->advised_ms = 0;
}
