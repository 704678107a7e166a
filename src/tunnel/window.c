#include "tunnel/window.h"

#include "tunnel/limits.h"

/*
 * Added to the round-trip time: what the two processes need to wake up and to work through a batch.
 * Without it the window of a fast local path would be sized for the wire alone.
 */
#define SCHEDULING_US ((uint64_t)1000)

void window_init(struct window *w, uint64_t promised, struct credit *credit, uint64_t now)
{
    *w = (struct window){.size = promised, .limit = promised, .from_us = now};
    credit_change(credit, 0, promised);
}

void window_close(struct window *w, struct credit *credit)
{
    credit_change(credit, w->limit - w->taken, 0);
    w->limit = w->taken;
    w->size = 0;
}

void window_end(struct window *w, uint64_t end, struct credit *credit)
{
    if (end < w->taken || end > w->limit)
        return; /* closed */
    credit_change(credit, w->limit - w->taken, end - w->taken);
    w->limit = end;
}

void window_take(struct window *w, uint64_t len, struct credit *credit)
{
    if (len > w->limit - w->taken)
        len = w->limit - w->taken; /* closed meanwhile */
    credit_change(credit, w->limit - w->taken, w->limit - w->taken - len);
    w->taken += len;
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

void window_advance(struct window *w, uint64_t rtt_us, uint64_t max, struct credit *credit,
                    uint64_t now)
{
    uint64_t ahead = w->limit - w->taken;
    uint64_t beyond = ahead > STREAM_WINDOW_INITIAL ? ahead - STREAM_WINDOW_INITIAL : 0;
    uint64_t left = credit_left(credit);
    uint64_t most = STREAM_WINDOW_INITIAL + (left + beyond) / 4 * 3;
    uint64_t want;

    if (w->size == 0)
        return;
    adjust(w, rtt_us, max, now);
    want = w->size > ahead ? w->size - ahead : 0;
    if (want > left)
        want = left;
    /* Of what there is for all, none has more than three times what it leaves. */
    if (ahead + want > most)
        want = most > ahead ? most - ahead : 0;
    /* However tight memory is, a stream whose owner reads goes on. */
    if (ahead + want < STREAM_WINDOW_MIN)
        want = STREAM_WINDOW_MIN - ahead;
    credit_change(credit, ahead, ahead + want);
    w->limit += want;
}

void window_widen(struct window *w, uint64_t size, struct credit *credit)
{
    uint64_t more = w->size < size ? size - w->size : 0;

    if (credit_left(credit) < credit->given + 2 * more)
        return;
    w->size += more;
}
