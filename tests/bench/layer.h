/*
 * How the programs that measure one layer alone say what they found: a line for each value, in
 * columns that people read and tests/bench/run takes apart at two or more spaces.
 */
#ifndef UTUN_BENCH_LAYER_H
#define UTUN_BENCH_LAYER_H

#include <stdio.h>
#include <time.h>

/* Seconds that this thread has had of a core. */
static inline double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void print_layer(const char *layer, const char *what, double value, const char *unit)
{
    printf("%-12s  %-46s  %14.3f  %s\n", layer, what, value, unit);
    fflush(stdout);
}

#endif
