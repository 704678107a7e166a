#include "tunnel/credit.h"

#include "tunnel/limits.h"

void credit_init(struct credit *c, struct budget *all, struct tunnel_peer *peer)
{
    *c = (struct credit){.all = all, .peer = peer};
}

static uint64_t difference(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t part_of(const struct credit *c)
{
    return c->all->limit / 4 / c->all->holders / c->peer->tunnels;
}

uint64_t credit_left(const struct credit *c)
{
    uint64_t common = difference(c->all->limit - c->all->limit / 4, c->all->used);
    uint64_t own = difference(part_of(c), c->given);

    if (c->all->holders > 1)
        common = difference(common, c->peer->credit);
    return common > own ? common : own;
}

static uint64_t beyond_promise(uint64_t n)
{
    return difference(n, STREAM_WINDOW_INITIAL);
}

void credit_change(struct credit *c, uint64_t from, uint64_t to)
{
    c->given += beyond_promise(to) - beyond_promise(from);
    c->peer->credit += beyond_promise(to) - beyond_promise(from);
    if (to > from)
        budget_force(c->all, to - from);
    else
        budget_give(c->all, from - to);
}

/*
 * As long as no more was given than the budget has, all of it finds a block. What was promised
 * beyond may fill three eighths of the pool; those who send go on until half of it is in use, and
 * have their own parts of an eighth more (tunnel_hold_left). A chain wastes as much as it holds.
 * One tunnel alone may fill half, for others may come, and send; where none can come, three
 * quarters: then one eighth is left to send, and one for flows.
 */
bool credit_may_keep(const struct credit *c, const struct pool *pool, uint64_t blocks)
{
    bool is_alone = c->all->holders == 1 && c->peer->tunnels == 1;

    if (c->all->used <= c->all->limit)
        return true;
    if (is_alone)
        return blocks < pool_limit(pool) / 4 * (c->peer->is_only ? 3 : 2);
    return blocks < 2 * part_of(c) || pool_in_use(pool) < pool_limit(pool) / 8 * 3;
}
