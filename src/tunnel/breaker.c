#include "tunnel/breaker.h"

#include <assert.h>
#include <stdlib.h>

enum err breaker_init(struct breaker *b, uint64_t window_us, uint64_t pause_us, uint32_t max)
{
    assert(max > 0);
    *b = (struct breaker){.window_us = window_us, .pause_us = pause_us, .max = max};
    b->losses = calloc(max, sizeof(*b->losses));
    return b->losses == NULL ? ERR_NOMEM : ERR_OK;
}

void breaker_fini(struct breaker *b)
{
    free(b->losses);
    b->losses = NULL;
}

static void open_up(struct breaker *b, uint64_t now)
{
    b->state = BREAKER_OPEN;
    b->until = now + b->pause_us;
    b->count = 0;
    b->next = 0;
}

static void count_loss(struct breaker *b, uint64_t now)
{
    if (b->count == b->max && now - b->losses[b->next] < b->window_us) {
        open_up(b, now);
        return;
    }
    b->losses[b->next] = now;
    b->next = (b->next + 1) % b->max;
    if (b->count < b->max)
        b->count++;
}

void breaker_on_up(struct breaker *b, uint64_t now)
{
    if (b->state == BREAKER_HALF_OPEN)
        b->up_at = now;
}

void breaker_on_loss(struct breaker *b, uint64_t now)
{
    if (b->state == BREAKER_OPEN)
        return;
    if (b->state == BREAKER_HALF_OPEN) {
        if (b->up_at == UINT64_MAX || now - b->up_at < b->window_us) {
            open_up(b, now);
            return;
        }
        b->state = BREAKER_CLOSED;
    }
    count_loss(b, now);
}

void breaker_on_failure(struct breaker *b, uint64_t now)
{
    if (b->state == BREAKER_HALF_OPEN)
        open_up(b, now);
}

uint64_t breaker_wait_us(struct breaker *b, uint64_t now)
{
    if (b->state != BREAKER_OPEN)
        return 0;
    if (now < b->until)
        return b->until - now;
    b->state = BREAKER_HALF_OPEN;
    b->up_at = UINT64_MAX;
    return 0;
}

const char *breaker_state_name(enum breaker_state state)
{
    switch (state) {
    case BREAKER_OPEN:
        return "open";
    case BREAKER_HALF_OPEN:
        return "half_open";
    case BREAKER_CLOSED:
        break;
    }
    return "closed";
}
