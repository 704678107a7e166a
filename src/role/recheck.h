/*
 * Sessions that run are held to CAs and CRLs that have changed: when another set of credentials has
 * come into use, every worker of the role looks at its peers' certificates once more, and is told
 * whether its own is another.
 */
#ifndef UTUN_ROLE_RECHECK_H
#define UTUN_ROLE_RECHECK_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "net/worker.h"
#include "role/credentials.h"

/* Embed it in the role, filled in but for checked; it outlives the workers. */
struct recheck {
    struct credentials *credentials;
    unsigned worker_count;
    struct worker *(*worker_at)(struct recheck *r, unsigned index);
    /* On the thread of that worker: the store decides about its peers from here on; renewals are
     * those of the credentials. */
    void (*on_recheck)(struct recheck *r, unsigned index, X509_STORE *store, uint64_t renewals);
    uint64_t checked; /* the generation that all have been told of */
};

/* Before the role runs. */
void recheck_init(struct recheck *r);

/*
 * Looks at the files, and when they have changed and are good tells the workers; does not wait for
 * them. True: it is worth another look, because what was read last is not good, or for want of
 * memory not all workers were told. The handshake thread's.
 */
bool recheck_look(struct recheck *r);

#endif
