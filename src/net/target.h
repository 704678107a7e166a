/*
 * The dest's way to a service: connects to its host and port. An address literal is connected to
 * directly, at the price of one watch; a name goes through a dialer, which asks the resolver and
 * tries every address.
 */
#ifndef UTUN_NET_TARGET_H
#define UTUN_NET_TARGET_H

#include <stdint.h>

#include "base/error.h"
#include "net/watch.h"

struct target;

/* Embed it in what waits for the connection, and fill it in. */
struct target_owner {
    /*
     * Once, never from inside target_start. ERR_OK with fd: connected, non-blocking, TCP_NODELAY,
     * the owner's. Otherwise fd is -1 and why is ERR_REFUSED, ERR_UNREACHABLE, ERR_TIMEOUT,
     * ERR_RESOLVE, ... and detail says it for people (lives as long as the callback runs). The
     * target is gone when this is called.
     */
    void (*on_connect)(struct target_owner *owner, enum err why, int fd, const char *detail);
};

struct target_options {
    const char *host; /* an address literal or a name; copied */
    uint16_t port;
    uint32_t timeout_ms; /* for everything together */
};

/* *out is valid until on_connect is called. On error on_connect is never called. */
enum err target_start(struct target **out, struct watch_set *set,
                      const struct target_options *options, struct target_owner *owner) MUST_USE;

/* Gives up: on_connect does not come. NULL is fine. */
void target_cancel(struct target *t);

#endif
