#include "tunnel/heartbeat.h"

void heartbeat_init(struct heartbeat *h, const struct heartbeat_options *options, uint64_t now)
{
    *h = (struct heartbeat){.options = *options, .life = now, .due = now + options->interval_us};
}

/* While quiet, due stays where it is: a busy session would move a timer for every record. */
void heartbeat_on_life(struct heartbeat *h, uint64_t now)
{
    h->life = now;
    if (h->probes == 0)
        return;
    h->probes = 0;
    h->due = now + h->options.interval_us;
}

enum heartbeat_verdict heartbeat_tick(struct heartbeat *h, uint64_t now)
{
    if (h->options.interval_us == 0 || now < h->due)
        return HEARTBEAT_WAIT;
    if (h->probes == 0 && now < h->life + h->options.interval_us) {
        h->due = h->life + h->options.interval_us;
        return HEARTBEAT_WAIT;
    }
    if (h->probes >= h->options.max_missed)
        return HEARTBEAT_DEAD;
    h->probes++;
    h->due = now + h->options.timeout_us;
    return HEARTBEAT_PING;
}

uint64_t heartbeat_deadline(const struct heartbeat *h)
{
    return h->options.interval_us == 0 ? UINT64_MAX : h->due;
}

unsigned heartbeat_missed(const struct heartbeat *h)
{
    return h->probes > 0 ? h->probes - 1 : 0;
}
