/*
 * Everything at once, in one process: certificates for this run, an HTTP service, a dest in front
 * of it, a source, and the session between the two. Source and dest are those of role/source.h and
 * role/dest.h, with configurations like any other.
 */
#ifndef UTUN_ROLE_DEMO_H
#define UTUN_ROLE_DEMO_H

#include <stdint.h>

#include "base/error.h"
#include "role/session_log.h"

struct demo;

struct demo_facts {
    uint16_t source_port; /* where clients connect */
    uint16_t tunnel_port;
    uint16_t web_port;
    uint64_t certificates_us; /* the time it took to make them */
    struct session_view session;
};

/*
 * Returns once the session is up. stop_fd: gives up (ERR_SHUTDOWN) when it becomes readable. On
 * error nothing is left, and d says why. Starts threads; block the signals you want before.
 */
enum err demo_start(struct demo **out, int stop_fd, struct err_detail *d) MUST_USE;

/* Stops everything, within a second, and removes the certificates. NULL is fine. */
void demo_stop(struct demo *demo);

const struct demo_facts *demo_facts(const struct demo *demo);

#endif
