#include "base/histogram.h"

static const uint64_t bounds_us[HISTOGRAM_BOUNDS] = {
    100,    250,    500,    1000,    2500,    5000,    10000,    25000,    50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000,
};

uint64_t histogram_bound_us(size_t index)
{
    return bounds_us[index];
}

/* The only writer needs no locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, before + n, memory_order_relaxed);
}

void histogram_observe(struct histogram *h, uint64_t us)
{
    size_t i = 0;

    while (i < HISTOGRAM_BOUNDS && us > bounds_us[i])
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum_us, us);
}

void histogram_sum_add(struct histogram_sum *sum, const struct histogram *h)
{
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        uint64_t n = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);

        sum->buckets[i] += n;
        sum->count += n;
    }
    sum->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}
