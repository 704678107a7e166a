/*
 * The parts of a dest, private to dest.c (its life) and dest_reload.c (another configuration while
 * it runs).
 */
#ifndef UTUN_ROLE_DEST_PARTS_H
#define UTUN_ROLE_DEST_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "net/worker.h"
#include "role/admission.h"
#include "role/credentials.h"
#include "role/dest.h"
#include "role/dest_gate.h"
#include "role/dest_services.h"
#include "role/dest_tunnel.h"
#include "role/placement.h"
#include "role/recheck.h"
#include "role/services.h"

struct dest_worker {
    struct worker_owner owner;
    struct dest *dest;
    struct worker *worker;
    struct dest_services services;
    struct dest_tunnels tunnels;
};

struct dest {
    const struct config *config; /* owned */
    struct role_owner *owner;
    struct dest_gate_owner sessions;
    struct dest_gate *gate;
    struct recheck recheck;
    struct credentials *credentials;
    struct placement *placement;
    struct admission *admission;
    struct services *services;
    pthread_mutex_t tables; /* held while config, services and the workers' items are replaced */
    struct role_state_owner asked;
    struct dest_worker *workers;
    unsigned worker_count;
    _Atomic unsigned running; /* workers that have not stopped, and one until the start is done */
};

/* What its workers go by, of times. */
struct worker_times dest_times(const struct config_dest *config);

/* Streams of one tunnel at once: all that services and hosts take, and some to be refused. */
uint32_t dest_streams_max(const struct config_dest *config);

#endif
