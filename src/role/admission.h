/*
 * Who may use which service of a dest, and how much of it. A source is known by the identity that
 * its certificate has proven (without one: by its address); all its tunnels, of all workers, count
 * together.
 *
 * Places of a service (max_connections_per_service), and of the hosts that clients may name
 * (max_connections of [dest.allowed_targets]): half of them belong to whoever comes first,
 * the other half is divided evenly among the sources that are connected, used or not. So a source
 * that is alone may have all but what it would take away from others, once there are others: it
 * never gets what is kept for them, and nothing that runs is ever ended to make room.
 *
 * Threads: admission_new, _free and _set_services any; what is about a struct admitted belongs to
 * its tunnel's worker.
 */
#ifndef UTUN_ROLE_ADMISSION_H
#define UTUN_ROLE_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/peer_cert.h"
#include "crypto/peer_identity.h"
#include "role/services.h"

/* Tunnels of one source: far above one for each worker of a few processes with one certificate. */
#define ADMISSION_TUNNELS_MAX 1024

struct admission;
struct admitted; /* a tunnel of a source */

/* It becomes an owner of the services. ERR_NOMEM. */
enum err admission_new(struct admission **out, struct services *services) MUST_USE;

/* All tunnels must have parted. NULL is fine. */
void admission_free(struct admission *a);

/*
 * A tunnel of the source with this identity begins; cert (NULL: none) is taken, also on error.
 * Each success is ended by one admission_part. ERR_LIMIT, ERR_NOMEM.
 */
enum err admission_join(struct admission *a, struct admitted **out,
                        const uint8_t identity[PEER_IDENTITY_SIZE],
                        struct peer_cert *cert) MUST_USE;
void admission_part(struct admission *a, struct admitted *t);

/* Which source it is a tunnel of, to be compared with others that are there. */
const void *admission_source(const struct admitted *t);

/* The source has shown another certificate of the same identity, which is taken. */
void admission_renew(struct admitted *t, struct peer_cert *cert);

/* NULL for a source without a certificate. Lives until admission_renew or admission_part. */
struct peer_cert *admission_cert(const struct admitted *t);

/* Whether the service's rule allows it. */
bool admission_is_allowed(struct admission *a, struct admitted *t, const struct service *service);

/*
 * A place for one stream or flow. Each success is ended by one admission_leave. ERR_NOT_ALLOWED,
 * ERR_LIMIT, ERR_NOMEM; *why is then a static sentence.
 */
enum err admission_enter(struct admission *a, struct admitted *t, const struct service *service,
                         const char **why) MUST_USE;
void admission_leave(struct admission *a, struct admitted *t, struct service_places *places);

/*
 * Other services, limits and rules; it becomes an owner of them. Workers may go on asking about
 * the services of before until they have the new ones too. Never fails.
 */
void admission_set_services(struct admission *a, struct services *services);

#endif
