/*
 * One thing done by every worker of a role, each on its own thread, while the caller waits for all
 * of them. All that it takes is allocated ahead, so that a round never fails by itself.
 *
 * Threads: any but a worker's.
 */
#ifndef UTUN_ROLE_WORKER_ROUND_H
#define UTUN_ROLE_WORKER_ROUND_H

#include "base/error.h"
#include "net/worker.h"

struct worker_round;

/* Embed it in what the round is about, and fill it in. */
struct worker_round_owner {
    struct worker *(*worker_at)(struct worker_round_owner *owner, unsigned index);
};

/* For any number of rounds. ERR_NOMEM. */
enum err worker_round_new(struct worker_round **out, unsigned workers,
                          struct worker_round_owner *owner) MUST_USE;

/* NULL is fine. */
void worker_round_free(struct worker_round *r);

/*
 * Calls run once for each worker and returns when the last has returned: ERR_OK, or what the first
 * in order has said that failed. One that has stopped does not run it: ERR_SHUTDOWN.
 */
enum err worker_round_run(struct worker_round *r,
                          enum err (*run)(struct worker_round_owner *owner, unsigned index));

#endif
