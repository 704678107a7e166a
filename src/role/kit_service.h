/* A service as `utun init` is told of it: at once, as one word, or part by part. */
#ifndef UTUN_ROLE_KIT_SERVICE_H
#define UTUN_ROLE_KIT_SERVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"

#define KIT_SERVICE_FORM "NAME:PORT:HOST:PORT[/udp]"

struct kit_service {
    char name[64];
    uint16_t port;         /* that clients connect to, at the source */
    char target_host[256]; /* seen from the dest */
    uint16_t target_port;
    enum config_protocol protocol;
};

/* The parts as they were typed. */
struct kit_service_words {
    const char *name;
    const char *port;
    const char *target_host;
    const char *target_port;
    const char *protocol; /* tcp, udp, both */
};

/* Checks each part as the configuration would. ERR_USAGE with the reason in d. */
enum err kit_service_set(struct kit_service *out, const struct kit_service_words *words,
                         struct err_detail *d) MUST_USE;

/*
 * Reads "web:8080:10.0.0.5:80", "dns:53:[fd00::1]:53/udp": the name, the port at the source, the
 * target's host and port, and the protocol where it is not tcp. ERR_USAGE with the reason in d.
 */
enum err kit_service_parse(struct kit_service *out, const char *text,
                           struct err_detail *d) MUST_USE;

/* Whether the last of them can be there beside the others. ERR_USAGE with the reason in d. */
enum err kit_service_check_last(const struct kit_service *services, size_t count,
                                struct err_detail *d) MUST_USE;

#endif
