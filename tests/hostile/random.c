/*
 * Sessions of frames that are each well-formed, in an order and with numbers that chance chooses:
 * mostly what an honest peer might say, so that they get far, and now and then a lie. A seed
 * replays what this side says; when the daemon answers is not ours to choose.
 */
#include "hostile.h"

#include <stdio.h>

#include "../sim/random.h"

#define STREAMS 24
#define RECORDS 60
#define FRAMES  12

struct guess {
    struct rng rng;
    struct hostile *h;
    uint64_t sent[STREAMS];
    bool is_over[STREAMS];
    uint64_t next_id;
};

/* A number that an honest peer would not name. */
static uint64_t wild(struct guess *g)
{
    return rng_next(&g->rng) >> (2 + rng_below(&g->rng, 62));
}

static uint64_t pick(struct guess *g, uint64_t honest)
{
    return rng_once_in(&g->rng, 500) ? wild(g) : honest;
}

static uint64_t known_id(struct guess *g)
{
    uint64_t n = g->next_id < STREAMS ? g->next_id : STREAMS;

    return n == 0 ? 0 : rng_below(&g->rng, n);
}

static void put_stream_frame(struct guess *g)
{
    const uint16_t ports[] = {g->h->world->echo, g->h->world->sink, g->h->world->spring, 1};
    struct hostile *h = g->h;
    uint64_t id = known_id(g);
    size_t len = rng_size(&g->rng, 2000);
    bool is_fin;

    if (h->world->engine_role == TUNNEL_SOURCE)
        g->next_id = h->frames[FRAME_STREAM_OPEN];
    if (h->world->engine_role == TUNNEL_DEST && (g->next_id == 0 || rng_once_in(&g->rng, 8))) {
        put_open(h, pick(g, g->next_id), ports[rng_below(&g->rng, 4)], pick(g, 1000));
        g->next_id++;
        return;
    }
    if (g->next_id == 0 || (g->is_over[id] && !rng_once_in(&g->rng, 40)))
        return;
    switch (rng_below(&g->rng, 8)) {
    case 0:
        put_reset(h, pick(g, id), pick(g, g->sent[id]));
        g->is_over[id] = true;
        break;
    case 1:
    case 2:
        put_credit(h, pick(g, id), pick(g, 0), pick(g, rng_below(&g->rng, 1000000)));
        break;
    case 3:
        if (h->world->engine_role == TUNNEL_SOURCE)
            put_accept(h, pick(g, id), pick(g, 1000));
        break;
    default:
        is_fin = rng_once_in(&g->rng, 10);
        put_data(h, is_fin ? FRAME_STREAM_DATA_FIN : FRAME_STREAM_DATA, pick(g, id),
                 pick(g, g->sent[id]), len + (is_fin ? 0 : 1));
        g->sent[id] += len + (is_fin ? 0 : 1);
        g->is_over[id] = is_fin;
        break;
    }
}

static void put_other_frame(struct guess *g)
{
    struct hostile *h = g->h;
    uint8_t ignored[] = {(uint8_t)(0x80 | rng_next(&g->rng)), 0};

    switch (rng_below(&g->rng, 12)) {
    case 0:
    case 1:
        put_ping(h, wild(g));
        break;
    case 2:
        put_go_away(h, (uint16_t)pick(g, 0),
                    h->world->engine_role == TUNNEL_DEST ? (uint32_t)wild(g) : 0);
        break;
    case 3:
    case 4:
        put_datagram(h, rng_below(&g->rng, 8), rng_size(&g->rng, 2000));
        break;
    case 5:
        put_flow_close(h, pick(g, rng_below(&g->rng, 8)));
        break;
    case 6:
    case 7:
        if (h->world->engine_role == TUNNEL_DEST)
            put_flow_open(h, pick(g, rng_below(&g->rng, 8)), h->world->datagrams);
        break;
    case 8:
        peer_key_exchange(&h->peer, 1 + rng_size(&g->rng, 1500));
        break;
    case 9:
        if (rng_once_in(&g->rng, 50))
            put_exchange(h, pick(g, 1), pick(g, 0), 1 + rng_size(&g->rng, 100));
        break;
    case 10:
        if (rng_once_in(&g->rng, 50))
            put_resume(h, pick(g, 0), rng_once_in(&g->rng, 2), NULL, 0);
        break;
    default:
        put_raw(h, ignored, sizeof(ignored));
        break;
    }
}

static void put_record(struct guess *g)
{
    for (uint64_t n = 1 + rng_below(&g->rng, FRAMES); n > 0; n--) {
        if (rng_below(&g->rng, 3) > 0)
            put_stream_frame(g);
        else
            put_other_frame(g);
    }
    if (rng_once_in(&g->rng, 20))
        peer_key_switch(&g->h->peer, 0);
}

static void run(const struct world *world, uint64_t seed)
{
    struct guess g = {.rng = {.state = seed}};

    g.h = hostile_begin(world, world->tls, NULL);
    put_settings(g.h, pick(&g, 1000), pick(&g, 1000), world->engine_role == TUNNEL_DEST ? 1 : 0);
    g.h->peer.settings_sent = true;
    say(g.h);
    for (unsigned i = 0; i < RECORDS && !g.h->is_over; i++) {
        put_record(&g);
        say(g.h);
        hear(g.h, rng_once_in(&g.rng, 4) ? 1 : 0);
    }
    hostile_end(g.h);
}

static void any(const struct world *world)
{
    for (uint64_t i = 0; i < world->count; i++) {
        printf("seed %llu\n", (unsigned long long)(world->seed + i));
        fflush(stdout);
        run(world, world->seed + i);
    }
    struct hostile *h = hostile_ready(world);
    if (world->engine_role == TUNNEL_DEST)
        must_serve(h);
    must_live(h);
    hostile_end(h);
}

const struct attack attacks_by_chance[] = {
    {"any", any},
    {NULL, NULL},
};
