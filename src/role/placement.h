/*
 * Which worker of a dest has which tunnel, and the secret by which its source may continue it. A
 * source that comes back is sent to the worker that has its tunnel; a new one goes where the fewest
 * are. A tunnel is known by the source's identity and the id that the source chose, so that nobody
 * can reach another's: who connects with another identity and the same id gets a tunnel of its own.
 * So does who has the same identity and cannot prove the tunnel's secret, once its source has shown
 * that it can (docs/PROTOCOL.md, section 12.7).
 *
 * Of max_tunnels places the last quarter is for sources that have less than a quarter: one may have
 * three quarters while nobody else comes, and others still find room. What it has without a session
 * does not count beside what it has with one, as far as it is not more: a source that was restarted
 * has its tunnels twice, until those that it lost are given up.
 *
 * Any thread may call; asked once a session, never on the way of data.
 */
#ifndef UTUN_ROLE_PLACEMENT_H
#define UTUN_ROLE_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/key_schedule.h"
#include "crypto/peer_identity.h"

/*
 * So many tunnels a source may have even where they are more than its part of a small max_tunnels:
 * one for each worker of a usual machine.
 */
#define PLACEMENT_SOURCE_MIN 8

struct placement_key {
    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    uint8_t identity[PEER_IDENTITY_SIZE]; /* of the source; zeros without a certificate */
    uint32_t twin; /* 0, but of a tunnel beside a proven one of the same id and identity */
};

struct placement;

/* max_tunnels: of all workers. ERR_NOMEM. */
enum err placement_new(struct placement **out, unsigned workers, unsigned max_tunnels) MUST_USE;

/* Wipes the secrets. NULL is fine. */
void placement_free(struct placement *p);

/*
 * The worker for a tunnel that begins; secret is copied and takes the place of that of an older
 * tunnel with this key, unless that one is proven: then key->twin becomes another than 0, and the
 * tunnel can never be continued. Each success is ended by one placement_leave; while there are
 * some, the answer stays the same. ERR_NOMEM; ERR_LIMIT: as placement_admit says.
 */
enum err placement_enter(struct placement *p, struct placement_key *key,
                         const uint8_t secret[TUNNEL_SECRET_SIZE], unsigned *worker) MUST_USE;

/* The source of the tunnel with this secret has shown that it knows it. */
void placement_prove(struct placement *p, const struct placement_key *key,
                     const uint8_t secret[TUNNEL_SECRET_SIZE]);

/*
 * The worker that has the tunnel with this key and secret, for a session that continues it. Ended
 * by placement_leave too. ERR_NOT_FOUND: it has gone, or another one has taken its place.
 */
enum err placement_resume(struct placement *p, const struct placement_key *key,
                          const uint8_t secret[TUNNEL_SECRET_SIZE], unsigned *worker) MUST_USE;

/* Copies the secret of the tunnel; false if there is none that may be continued. */
bool placement_secret(struct placement *p, const struct placement_key *key,
                      uint8_t secret[TUNNEL_SECRET_SIZE]);

/* The tunnel with this secret may not be continued any more. Harmless if another has its place. */
void placement_forget(struct placement *p, const struct placement_key *key,
                      const uint8_t secret[TUNNEL_SECRET_SIZE]);

void placement_leave(struct placement *p, const struct placement_key *key);

/* Another bound; tunnels that are above it stay. */
void placement_set_max(struct placement *p, unsigned max_tunnels);

/*
 * Whether a tunnel with this key would find a place now: ERR_OK, or ERR_LIMIT, and why in *why,
 * which is static and for people on both sides.
 */
enum err placement_admit(struct placement *p, const struct placement_key *key,
                         const char **why) MUST_USE;

/* No session carries the tunnel any more; one does again. */
void placement_rest(struct placement *p, const struct placement_key *key);
void placement_wake(struct placement *p, const struct placement_key *key);

/* Of all workers, for tests and status. */
unsigned placement_tunnels(struct placement *p);

#endif
