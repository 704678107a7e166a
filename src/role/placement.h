/*
 * Which worker of a dest has which tunnel: a new tunnel goes to the worker with the fewest, a
 * further session of a tunnel to where it lives, so that one worker alone sees all of a tunnel.
 *
 * A tunnel is its identifier together with the identity that its source has proven: a source that
 * learns the identifier of another's tunnel gets a tunnel of its own.
 *
 * Any thread may call; asked once a session, never on the way of data.
 */
#ifndef UTUN_ROLE_PLACEMENT_H
#define UTUN_ROLE_PLACEMENT_H

#include <stdint.h>

#include "base/error.h"

struct placement_key {
    uint8_t tunnel_id[16];
    uint8_t identity[32]; /* fingerprint of the source's certificate; zeros without one */
};

struct placement;

enum err placement_new(struct placement **out, unsigned workers) MUST_USE;

/* NULL is fine. */
void placement_free(struct placement *p);

/*
 * The worker for a session of this tunnel. Each success is ended by one placement_leave; while
 * there are some, the answer stays the same. ERR_NOMEM.
 */
enum err placement_enter(struct placement *p, const struct placement_key *key,
                         unsigned *worker) MUST_USE;

void placement_leave(struct placement *p, const struct placement_key *key);

/* Of all workers, for tests and status. */
unsigned placement_tunnels(struct placement *p);

#endif
