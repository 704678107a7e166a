/*
 * Ephemeral McEliece key pairs made ahead of time: a background thread keeps a few ready, so that a
 * handshake does not wait for one and no event loop ever makes one. Each pair is handed out once.
 * Every function may be called from any thread until keypair_pool_close.
 */
#ifndef UTUN_CRYPTO_KEYPAIR_POOL_H
#define UTUN_CRYPTO_KEYPAIR_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/mceliece.h"

/* Half a megabyte each. Two cover a refresh that begins while the last one has just ended. */
#define KEYPAIR_POOL_DEFAULT 2
#define KEYPAIR_POOL_MAX     65 /* one for each of 64 workers, and one more */

struct keypair_pool;

/* Starts the thread. size: 1 to KEYPAIR_POOL_MAX pairs. ERR_NOMEM, or ERR_LIMIT without a thread.
 */
enum err keypair_pool_start(struct keypair_pool **out, size_t size) MUST_USE;

/*
 * Wipes the pairs that are left and ends the thread; waits for the pair that it is making (some
 * 35 ms). No other call may be under way or follow. NULL is fine.
 */
void keypair_pool_close(struct keypair_pool *pool);

/* Never waits: NULL if no pair is ready. The pair is the caller's, to free. */
struct mceliece_keypair *keypair_pool_take(struct keypair_pool *pool) MUST_USE;

/*
 * For handshake threads: makes one here and now if none is ready. It waits for the background
 * thread's very first pair, which was begun earlier and at an ordinary priority, but for no other:
 * a busy machine may let that thread starve. ERR_NOMEM with *out NULL.
 */
enum err keypair_pool_take_or_make(struct keypair_pool *pool,
                                   struct mceliece_keypair **out) MUST_USE;

struct keypair_pool_counters {
    uint64_t made;   /* by the background thread */
    uint64_t taken;  /* of those */
    uint64_t missed; /* calls that found none ready */
    size_t ready;
};

void keypair_pool_count(struct keypair_pool *pool, struct keypair_pool_counters *out);

#endif
