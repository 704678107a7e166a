/* The simulator's only source of chance: SplitMix64, so that a seed replays a run exactly. */
#ifndef UTUN_SIM_RANDOM_H
#define UTUN_SIM_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Evenly in [0, n); n > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

/* True once in n times. */
static inline bool rng_once_in(struct rng *r, uint64_t n)
{
    return rng_below(r, n) == 0;
}

/* A size up to max that is as often tiny as it is large. */
static inline size_t rng_size(struct rng *r, size_t max)
{
    size_t bits = 0;

    while (bits < 40 && ((size_t)1 << bits) < max)
        bits++;
    bits = (size_t)rng_below(r, bits + 1);
    return (size_t)rng_below(r, ((uint64_t)1 << bits) + 1) % (max + 1);
}

#endif
