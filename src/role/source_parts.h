/*
 * The parts of a source, private to source.c (its life) and source_reload.c (another configuration
 * while it runs).
 */
#ifndef UTUN_ROLE_SOURCE_PARTS_H
#define UTUN_ROLE_SOURCE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crypto/keypair_pool.h"
#include "net/handshaker.h"
#include "net/worker.h"
#include "role/client_table.h"
#include "role/clients.h"
#include "role/credentials.h"
#include "role/recheck.h"
#include "role/source.h"
#include "role/uplink.h"

struct source_worker {
    struct worker_owner owner;
    struct uplink_owner uplink_owner;
    struct uplink uplink;
    struct source *source;
    struct worker *worker;
    struct clients clients;
};

struct source {
    const struct config *config; /* owned */
    struct role_owner *owner;
    struct credentials *credentials;
    _Atomic(struct keypair_pool *) keypairs; /* NULL until a mode with McEliece needs it */
    struct handshaker *handshaker;
    struct handshaker_owner looking;
    struct recheck recheck;
    struct role_state_owner asked;
    struct source_worker *workers;
    unsigned worker_count;
    struct client_table *table;
    _Atomic uint32_t client_count;
    pthread_mutex_t tables;   /* held while config, table and the workers' ports are replaced */
    _Atomic unsigned running; /* workers that have not stopped, and one until the start is done */
    _Atomic int failure;      /* enum err: why it ends by itself */

    pthread_mutex_t lock;
    struct session_view session; /* the latest; shared, under the lock */
    bool has_session;
};

/* What its workers go by, of times. */
struct worker_times source_times(const struct config_source *config);

/* Begins to make key pairs, for a mode with McEliece. */
enum err source_start_keypairs(struct source *s) MUST_USE;

#endif
