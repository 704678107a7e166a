/*
 * What a dest lets its sources reach: the services of the configuration by port, each with its
 * count of streams and flows. The table never changes; the counts are shared by all workers.
 */
#ifndef UTUN_ROLE_SERVICES_H
#define UTUN_ROLE_SERVICES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

struct service {
    const char *name; /* of the configuration, which must outlive the table */
    const char *target_host;
    const char *target_path; /* of a Unix socket, or NULL; target_host is the same then, port 0 */
    uint16_t port;
    uint16_t target_port;
    enum config_protocol protocol;
    enum config_proxy_protocol proxy_protocol;
    uint32_t limit;          /* streams and flows at once */
    _Atomic uint32_t active; /* at this moment; counted by role/admission.h */
};

struct services {
    struct service *items; /* by port; NULL when there is none */
    size_t count;
};

/* The services of the configuration; the table is empty on error (ERR_NOMEM). */
enum err services_init(struct services *s, const struct config_dest *config) MUST_USE;
void services_fini(struct services *s);

/*
 * By its port, and by its name where one is given (not ""), if it speaks the protocol, CONFIG_TCP
 * or CONFIG_UDP; NULL: there is none.
 */
struct service *services_find(const struct services *s, uint16_t port, const char *name,
                              enum config_protocol protocol);

#endif
