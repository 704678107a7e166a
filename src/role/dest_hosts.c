#include "role/dest_hosts.h"

void dest_hosts_init(struct dest_hosts *h, size_t count, uint64_t interval_us)
{
    *h = (struct dest_hosts){.count = count, .interval_us = interval_us, .wait_us = interval_us};
}

void dest_hosts_set_interval(struct dest_hosts *h, uint64_t interval_us)
{
    h->interval_us = h->wait_us = interval_us;
}

/* The host of a step: the one in use, then the others in their order. */
static size_t host_of_step(const struct dest_hosts *h, size_t step)
{
    if (h->aim == HOSTS_BETTER || !h->has_current)
        return step;
    if (step == 0)
        return h->current;
    return step <= h->current ? step - 1 : step;
}

static size_t steps(const struct dest_hosts *h)
{
    switch (h->aim) {
    case HOSTS_SAME:
        return h->has_current ? 1 : 0;
    case HOSTS_BETTER:
        return h->current;
    case HOSTS_ANY:
        break;
    }
    return h->count;
}

static void turn_to(struct dest_hosts *h, size_t step)
{
    h->step = step;
    h->index = host_of_step(h, step);
    h->failed.count = 0;
}

bool dest_hosts_begin(struct dest_hosts *h, enum hosts_aim aim)
{
    h->aim = aim;
    if (steps(h) == 0)
        return false;
    turn_to(h, 0);
    return true;
}

bool dest_hosts_failed(struct dest_hosts *h, const struct address *peer)
{
    if (!address_is_none(peer) && address_list_add(&h->failed, peer))
        return true;
    if (h->step + 1 >= steps(h))
        return false;
    turn_to(h, h->step + 1);
    return true;
}

const struct address *dest_hosts_stay(const struct dest_hosts *h)
{
    return h->aim == HOSTS_SAME && !address_is_none(&h->peer) ? &h->peer : NULL;
}

void dest_hosts_up(struct dest_hosts *h, const struct address *peer, uint64_t now_us)
{
    h->peer = *peer;
    if (h->has_current && h->index == h->current)
        return;
    if (h->has_current && h->index > h->current) {
        if (now_us - h->since_us >= h->wait_us)
            h->wait_us = h->interval_us;
        else if (h->wait_us < HOSTS_WAIT_MAX_US / 2)
            h->wait_us *= 2;
        else if (h->wait_us < HOSTS_WAIT_MAX_US)
            h->wait_us = HOSTS_WAIT_MAX_US;
    }
    h->has_current = true;
    h->current = h->index;
    h->since_us = now_us;
}

uint64_t dest_hosts_wait_us(const struct dest_hosts *h)
{
    return h->has_current && h->current > 0 ? h->wait_us : 0;
}
