/*
 * A bucket of `limit` tokens for each address, kept as one time: when it will be full again. Each
 * attempt moves that time on by the price of a token; one that would move it further than a window
 * from now is refused.
 */
#include "net/rate_limit.h"

#include <stdlib.h>

#include "net/address_table.h"

struct rate_limit {
    uint64_t window; /* 0: no limit */
    uint64_t price;
    struct address_table *full_at;
};

enum err rate_limit_new(struct rate_limit **out, uint32_t limit, uint64_t window_us)
{
    struct rate_limit *r;
    enum err e;

    *out = NULL;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    e = address_table_new(&r->full_at);
    if (e != ERR_OK) {
        free(r);
        return e;
    }
    r->window = limit == 0 ? 0 : window_us;
    r->price = limit == 0 ? 0 : window_us / limit;
    *out = r;
    return ERR_OK;
}

void rate_limit_free(struct rate_limit *r)
{
    if (r == NULL)
        return;
    address_table_free(r->full_at);
    free(r);
}

bool rate_limit_take(struct rate_limit *r, const struct sockaddr *address, uint64_t now)
{
    uint64_t *entry = r->window == 0 ? NULL : address_table_enter(r->full_at, address);

    if (entry == NULL)
        return true;
    uint64_t full_at = (*entry > now ? *entry : now) + r->price;
    if (full_at > now + r->window)
        return false;
    *entry = full_at;
    return true;
}
