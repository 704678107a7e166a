/*
 * How often durations fell between fixed bounds. One thread writes; any thread may read, each
 * number by itself and without a lock. All zeros is an empty one.
 */
#ifndef UTUN_BASE_HISTOGRAM_H
#define UTUN_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One set of bounds for everything that is measured here, from 100 microseconds (the round trip of
 * a LAN) to 60 s (a long recovery), about 2.2 times apart.
 */
#define HISTOGRAM_BOUNDS 18

/* In microseconds, inclusive; what is above the last one is in a bucket of its own. */
uint64_t histogram_bound_us(size_t index);

struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BOUNDS + 1];
    _Atomic uint64_t sum_us;
};

/* The writer's thread. */
void histogram_observe(struct histogram *h, uint64_t us);

/* Several histograms together; all zeros is none. */
struct histogram_sum {
    uint64_t buckets[HISTOGRAM_BOUNDS + 1];
    uint64_t count;
    uint64_t sum_us;
};

void histogram_sum_add(struct histogram_sum *sum, const struct histogram *h);

#endif
