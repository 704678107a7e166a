/*
 * What a dest lets its sources reach: the services of one configuration, by port. A table never
 * changes and may have several owners; a reload makes another one, in which a service of the same
 * name has the same places, so that what runs goes on counting.
 *
 * Threads: any; a table lives as long as its last owner.
 */
#ifndef UTUN_ROLE_SERVICES_H
#define UTUN_ROLE_SERVICES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

/* How many streams and flows a service has; of all workers. Counted by role/admission.h alone. */
struct service_places {
    _Atomic uint32_t active; /* at this moment */
    uint32_t limit;          /* the following three under admission's lock */
    uint32_t share;          /* of the limit, that each source may always have */
    uint32_t kept;           /* what the shares of all sources still lack */
    _Atomic uint32_t owners; /* rows, and what counts in it */
};

struct service_places *service_places_share(struct service_places *places);

/* One owner less. NULL is fine. */
void service_places_free(struct service_places *places);

struct service {
    const char *name; /* these point into the configuration, which the table owns */
    const char *target_host;
    const char *target_path; /* of a Unix socket, or NULL; target_host is the same then, port 0 */
    const struct config_strings *allowed_clients;
    uint16_t port;
    uint16_t target_port;
    enum config_protocol protocol;
    enum config_proxy_protocol proxy_protocol;
    uint32_t limit; /* streams and flows at once */
    size_t index;   /* in the table; of the hosts: behind its last */
    bool is_hosts;
    struct service_places *places;
};

struct services {
    struct service *items; /* by port; NULL when there is none */
    size_t count;
    /*
     * All hosts that clients may name besides, as one: it has places, and nobody is kept out by
     * its name.
     */
    struct service hosts;
    const struct config *config;
    _Atomic uint32_t owners;
};

/* The services of [dest]. before (NULL: none) is the table that it is to replace. ERR_NOMEM. */
enum err services_new(struct services **out, const struct config *config,
                      const struct services *before) MUST_USE;

struct services *services_share(struct services *s);

/* One owner less. NULL is fine. */
void services_free(struct services *s);

/*
 * By its port, and by its name where one is given (not ""), if it speaks the protocol, CONFIG_TCP
 * or CONFIG_UDP; NULL: there is none.
 */
const struct service *services_find(const struct services *s, uint16_t port, const char *name,
                                    enum config_protocol protocol);

#define SERVICES_NONE SIZE_MAX

/*
 * For each row of s, in its order, the index in before of the service with the same name, or
 * SERVICES_NONE. out has room for s->count. ERR_NOMEM.
 */
enum err services_match(size_t *out, const struct services *s,
                        const struct services *before) MUST_USE;

/* Whether a stream that one row has connected is where the other would connect it. */
bool service_is_same_target(const struct service *a, const struct service *b);

#endif
