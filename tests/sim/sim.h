/* One run of the simulation; see sim.c for what it does and checks. */
#ifndef UTUN_SIM_SIM_H
#define UTUN_SIM_SIM_H

#include <stdint.h>

struct sim_result {
    uint64_t steps;
    unsigned streams;
    unsigned sessions;
    unsigned exchanges; /* of keys, inside sessions */
    unsigned restarts;  /* of the dest */
    uint64_t records;   /* sealed by both sides */
};

/* Returns only when all was well; otherwise it says on standard error what was not, and exits. */
struct sim_result sim_run(uint64_t seed);

#endif
