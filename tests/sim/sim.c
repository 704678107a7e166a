/*
 * Deterministic simulation of the engine: a source and a dest in one process, a fake clock, and a
 * network that cuts what is sent into random pieces and delivers them when it likes. Every run
 * follows from its seed alone.
 *
 * What is checked in each run: every byte arrives once, in order and unaltered; FIN and reset
 * arrive and never overtake data that they must follow; an owner that was told there is no room is
 * woken, also when it was another tunnel that had the memory; owners may do from inside events what
 * they may do outside; memory stays inside its bounds; all streams end; nothing is left over; a
 * session whose bytes were tampered with dies and delivers nothing wrong.
 *
 * main.c runs many seeds, or one again.
 */
#include "world.h"

#include <string.h>

#define STEPS_MAX 4000000

static void step(struct sim *sim)
{
    unsigned i = (unsigned)rng_below(&sim->rng, sim->n_streams);

    sim->steps++;
    switch (rng_below(&sim->rng, 16)) {
    case 0:
        step_open(sim);
        break;
    case 1:
    case 2:
        step_owner(sim, &sim->clients[i]);
        break;
    case 3:
    case 4:
        step_owner(sim, &sim->targets[i]);
        break;
    case 5:
        step_time(sim);
        break;
    default:
        step_network(sim);
        break;
    }
    check_memory(&sim->source);
    check_memory(&sim->dest);
}

/* -- the run -- */

static bool is_settled(const struct sim *sim)
{
    struct tunnel_state source;
    struct tunnel_state dest;

    for (unsigned i = 0; i < sim->n_streams; i++) {
        if (owner_is_live(&sim->clients[i]) || owner_is_live(&sim->targets[i]))
            return false;
        if (!sim->clients[i].is_opened)
            return false;
    }
    tunnel_get_state(sim->source.tunnel, &source);
    tunnel_get_state(sim->dest.tunnel, &dest);
    return source.streams == 0 && dest.streams == 0 && sim->source.former == NULL;
}

struct sim_result sim_run(uint64_t seed)
{
    static struct sim sim;

    memset(&sim, 0, sizeof(sim));
    sim.seed = seed;
    sim.rng.state = seed * UINT64_C(0xd1342543de82ef95) + 1;
    sim.now = 1;
    world_begin(&sim);
    witness_begin();
    sim.n_streams = 1 + (unsigned)rng_below(&sim.rng, STREAMS_MAX);
    sim.capacity = RECORD_SIZE_MAX + rng_size(&sim.rng, 512 * 1024);
    sim.storms = rng_size(&sim.rng, 60);
    network_make_weather(&sim);
    sim.rash = rng_once_in(&sim.rng, 2);
    side_init(&sim, &sim.source, TUNNEL_SOURCE);
    side_init(&sim, &sim.dest, TUNNEL_DEST);
    owners_plan(&sim);
    while (!is_settled(&sim)) {
        step(&sim);
        if (sim.steps > STEPS_MAX)
            fail("stuck");
    }
    owners_check_end(&sim);
    network_close(&sim);
    side_fini(&sim.source);
    side_fini(&sim.dest);
    sim.result.steps = sim.steps;
    sim.result.streams = sim.n_streams;
    sim.result.records = witness_count();
    witness_begin(); /* frees what it has */
    return sim.result;
}
