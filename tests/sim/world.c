#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/record.h"
#include "tunnel/limits.h"

static struct sim *running;

void world_begin(struct sim *sim)
{
    running = sim;
}

void fail(const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "sim: seed %" PRIu64 ", step %" PRIu64 ": ", running->seed, running->steps);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void must(enum err e, const char *what)
{
    if (e != ERR_OK)
        fail("%s: %s", what, err_text(e));
}

void side_begin_tunnel(struct side *side)
{
    const struct tunnel_options options = {
        .role = side->role,
        .max_streams = side->bounds.max_streams,
        .window_max = side->bounds.window_max,
        .output_max = side->bounds.output_max,
        .events = &network_events,
        .owner = &side->as_owner,
        .heartbeat = side->bounds.heartbeat,
        .key_lifetime_us = side->bounds.key_lifetime_us,
        .key_margin_us = side->bounds.key_margin_us,
        .pool = side->pool,
        .hold = &side->hold,
        .credit = &side->credit,
    };

    side->is_ready = false;
    must(tunnel_new(&side->tunnel, &options), "tunnel");
}

void side_init(struct sim *sim, struct side *side, enum tunnel_role role)
{
    /* From barely enough to plenty: 16 streams with 32 KiB of promised credit need 2.7 MiB. */
    size_t memory = 3 * 1024 * 1024 + rng_size(&sim->rng, 8 * 1024 * 1024);
    size_t pool_limit;

    side->sim = sim;
    side->role = role;
    side->bounds = (struct tunnel_bounds){
        .max_streams = STREAMS_MAX,
        .window_max = 32 * 1024 + rng_size(&sim->rng, 1024 * 1024),
        .heartbeat = {.interval_us = 100000, .timeout_us = 300000, .max_missed = 3},
        .key_lifetime_us = sim->key_lifetime_us[role],
        .key_margin_us = sim->key_margin_us,
    };
    tunnel_share_memory(memory, &pool_limit, &side->hold, &side->credit);
    must(pool_new(&side->pool, pool_limit), "pool");
    side_begin_tunnel(side);
}

void side_fini(struct side *side)
{
    tunnel_free(side->tunnel);
    budget_give(&side->hold, side->elsewhere);
    if (side->hold.used != 0 || side->credit.used != 0)
        fail("budgets are not given back: hold %" PRIu64 ", credit %" PRIu64, side->hold.used,
             side->credit.used);
    pool_free(side->pool);
}

void check_memory(struct side *side)
{
    struct tunnel_state state;
    struct tunnel_state former = {0};

    tunnel_get_state(side->tunnel, &state);
    if (side->former != NULL)
        tunnel_get_state(side->former, &former);
    if (pool_in_use(side->pool) > pool_limit(side->pool))
        fail("the pool is beyond its bound");
    if (side->hold.used > side->hold.limit ||
        state.send_held + former.send_held + side->elsewhere != side->hold.used)
        fail("held bytes are beyond their bound, or miscounted");
    if (side->credit.used > side->credit.limit + STREAMS_MAX * STREAM_WINDOW_INITIAL)
        fail("credit is beyond its bound");
    if (state.recv_held + former.recv_held > side->credit.used)
        fail("more is kept than credit was given for");
}

void step_reload(struct side *side)
{
    struct sim *sim = side->sim;

    if (sim->weather.reload == 0 || !rng_once_in(&sim->rng, sim->weather.reload))
        return;
    side->bounds.max_streams = 1 + (uint32_t)rng_below(&sim->rng, STREAMS_MAX);
    side->bounds.window_max = STREAM_WINDOW_MIN + rng_size(&sim->rng, 1024 * 1024);
    side->bounds.output_max = rng_size(&sim->rng, 4 * RECORD_PLAINTEXT_MAX);
    side->bounds.heartbeat.max_missed = 1 + (unsigned)rng_below(&sim->rng, 40);
    tunnel_set_bounds(side->tunnel, &side->bounds);
}

void step_elsewhere(struct side *side)
{
    struct rng *rng = &side->sim->rng;

    if (side->elsewhere > 0) {
        budget_give(&side->hold, side->elsewhere);
        side->elsewhere = 0;
    } else if (rng_once_in(rng, 4)) {
        side->elsewhere = rng_size(rng, (size_t)budget_left(&side->hold));
        budget_force(&side->hold, side->elsewhere);
    }
}
