#include "base/clock.h"

#define US_PER_S  1000000
#define MS_PER_S  1000
#define NS_PER_S  1000000000
#define NS_PER_MS 1000000
#define NS_PER_US 1000

static struct timespec now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t;
}

uint64_t clock_us(void)
{
    struct timespec t = now();

    return (uint64_t)t.tv_sec * US_PER_S + (uint64_t)t.tv_nsec / NS_PER_US;
}

uint64_t clock_ms(void)
{
    return clock_us() / (US_PER_S / MS_PER_S);
}

struct timespec clock_in_ms(uint32_t ms)
{
    struct timespec t = now();

    t.tv_nsec += (long)(ms % MS_PER_S) * NS_PER_MS;
    t.tv_sec += (time_t)(ms / MS_PER_S) + t.tv_nsec / NS_PER_S;
    t.tv_nsec %= NS_PER_S;
    return t;
}
