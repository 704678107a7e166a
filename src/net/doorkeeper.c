#include "net/doorkeeper.h"

#include <stdlib.h>
#include <string.h>

#include "net/rate_limit.h"
#include "net/strangers.h"
#include "tunnel/frame.h"

struct doorkeeper {
    uint32_t max_in_flight;
    bool is_limited; /* by rates */
    struct rate_limit *rate;
    struct strangers *strangers;
    struct list inside; /* visitors */
    size_t in_flight;
    size_t strangers_in_flight;
};

static const struct sockaddr *sockaddr_of(const struct address *peer)
{
    return (const struct sockaddr *)&peer->sockaddr;
}

/* As many as may be in flight, and as many again. */
static uint32_t burst_of(uint32_t max_in_flight)
{
    return 2 * max_in_flight;
}

enum err doorkeeper_new(struct doorkeeper **out, const struct doorkeeper_options *options)
{
    struct doorkeeper *k = calloc(1, sizeof(*k));
    enum err e;

    *out = NULL;
    if (k == NULL)
        return ERR_NOMEM;
    k->max_in_flight = options->max_in_flight;
    k->is_limited = options->rate_limit != 0;
    list_init(&k->inside);
    e = rate_limit_new(&k->rate, options->rate_limit, (uint64_t)options->rate_window_ms * 1000);
    if (e == ERR_OK)
        e = strangers_new(&k->strangers, burst_of(options->max_in_flight));
    if (e != ERR_OK) {
        doorkeeper_free(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void doorkeeper_free(struct doorkeeper *k)
{
    if (k == NULL)
        return;
    rate_limit_free(k->rate);
    strangers_free(k->strangers);
    free(k);
}

void doorkeeper_set_bounds(struct doorkeeper *k, const struct doorkeeper_bounds *bounds)
{
    k->max_in_flight = bounds->max_in_flight;
    k->is_limited = bounds->rate_limit != 0;
    strangers_set_burst(k->strangers, burst_of(bounds->max_in_flight));
    if (bounds->rate != NULL) {
        rate_limit_free(k->rate);
        k->rate = bounds->rate;
    }
}

/* Those of the same address, whatever its port; an address in IPv6 counts as its /64. */
static size_t in_flight_of(const struct doorkeeper *k, const struct address *peer)
{
    struct stream_address wanted;
    size_t count = 0;

    address_to_stream(peer, &wanted);
    for (struct list *l = k->inside.next; l != &k->inside; l = l->next) {
        struct stream_address other;

        address_to_stream(&list_entry(l, struct visitor, link)->peer, &other);
        if (other.address_len == wanted.address_len &&
            memcmp(other.address, wanted.address, address_customer_bytes(&wanted)) == 0)
            count++;
    }
    return count;
}

enum err doorkeeper_ask(struct doorkeeper *k, struct visitor *v, const struct address *peer,
                        uint64_t now)
{
    uint32_t quarter = k->max_in_flight / 4;
    uint32_t most = k->max_in_flight - quarter;
    uint32_t most_of_address = most;

    *v = (struct visitor){
        .peer = *peer,
        .is_stranger = !strangers_is_known(k->strangers, sockaddr_of(peer), now),
    };
    if (v->is_stranger)
        most_of_address = quarter > 0 ? quarter : 1;
    if (k->in_flight >= k->max_in_flight || (v->is_stranger && k->strangers_in_flight >= most) ||
        in_flight_of(k, peer) >= most_of_address)
        return ERR_LIMIT;
    if (v->is_stranger && k->is_limited) {
        v->has_paid = strangers_take(k->strangers, now);
        if (!v->has_paid)
            return ERR_RATE;
    }
    if (!rate_limit_take(k->rate, sockaddr_of(peer), now)) {
        doorkeeper_give_back(k, v);
        return ERR_RATE;
    }
    return ERR_OK;
}

void doorkeeper_enter(struct doorkeeper *k, struct visitor *v)
{
    list_init(&v->link);
    list_append(&k->inside, &v->link);
    k->in_flight++;
    k->strangers_in_flight += v->is_stranger ? 1 : 0;
}

void doorkeeper_leave(struct doorkeeper *k, struct visitor *v)
{
    list_remove(&v->link);
    k->in_flight--;
    k->strangers_in_flight -= v->is_stranger ? 1 : 0;
}

void doorkeeper_give_back(struct doorkeeper *k, struct visitor *v)
{
    if (v->has_paid)
        strangers_give_back(k->strangers);
    v->has_paid = false;
}

void doorkeeper_get_to_know(struct doorkeeper *k, const struct visitor *v, uint64_t now)
{
    strangers_get_to_know(k->strangers, sockaddr_of(&v->peer), now);
}
