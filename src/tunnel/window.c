#include "tunnel/window.h"

#include "tunnel/limits.h"

/*
 * Added to the round-trip time: what the two processes need to wake up and to work through a batch.
 * Without it the window of a fast local path would be sized for the wire alone.
 */
#define SCHEDULING_US ((uint64_t)1000)

void window_init(struct window *w, uint64_t promised, struct budget *budget, uint64_t now)
{
    *w = (struct window){.size = promised, .limit = promised, .from_us = now};
    budget_force(budget, promised);
}

void window_close(struct window *w, struct budget *budget)
{
    budget_give(budget, w->limit - w->taken);
    w->limit = w->taken;
    w->size = 0;
}

void window_take(struct window *w, uint64_t len, struct budget *budget)
{
    if (len > w->limit - w->taken)
        len = w->limit - w->taken; /* closed meanwhile */
    w->taken += len;
    budget_give(budget, len);
}

bool window_is_due(const struct window *w)
{
    return w->size > 0 && w->limit - w->taken <= w->size - w->size / 4;
}

static void adjust(struct window *w, uint64_t rtt_us, uint64_t max, uint64_t now)
{
    uint64_t bytes = w->taken - w->from;
    uint64_t elapsed = now > w->from_us ? now - w->from_us : 1;

    if (bytes < w->size / 4)
        return;
    if (rtt_us > 0 && 2 * bytes * (rtt_us + SCHEDULING_US) / elapsed > w->size) {
        w->size *= 2;
        if (w->size > max)
            w->size = max;
    }
    w->from = w->taken;
    w->from_us = now;
}

void window_advance(struct window *w, uint64_t rtt_us, uint64_t max, struct budget *budget,
                    uint64_t now)
{
    uint64_t want;
    uint64_t ahead = w->limit - w->taken;

    if (w->size == 0)
        return;
    adjust(w, rtt_us, max, now);
    want = w->size > ahead ? w->size - ahead : 0;
    if (want > budget_left(budget))
        want = budget_left(budget);
    /* However tight memory is, a stream whose owner reads goes on. */
    if (ahead + want < STREAM_WINDOW_MIN)
        want = STREAM_WINDOW_MIN - ahead;
    budget_force(budget, want);
    w->limit += want;
}

void window_widen(struct window *w, uint64_t size, struct budget *budget)
{
    uint64_t more = w->size < size ? size - w->size : 0;

    if (budget_left(budget) < budget->limit / 2 + more)
        return;
    w->size += more;
}
