/*
 * The dest's way to a service: connects to its host and port, or to its Unix socket. What the
 * connections to one target have in common is in net/target_place.h: a target that is down is
 * waited for, and tried by one of those who wait.
 */
#ifndef UTUN_NET_TARGET_H
#define UTUN_NET_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/watch.h"

struct target;
struct target_places; /* net/target_place.h */

/* Embed it in what waits for the connection, and fill it in. */
struct target_owner {
    /*
     * Once, never from inside target_start. ERR_OK with fd: connected, non-blocking, TCP_NODELAY,
     * the owner's; the watch may be open for it already. Otherwise fd is -1 and why is ERR_REFUSED,
     * ERR_UNREACHABLE, ERR_TIMEOUT, ERR_RESOLVE, ... and detail says it for people (lives as long
     * as the callback runs). The target is gone when this is called.
     */
    void (*on_connect)(struct target_owner *owner, enum err why, int fd, const char *detail);
    /*
     * Closed. Where one address is tried, it is opened for the socket and stays open when that has
     * connected, which spares two system calls. Its on_ready calls target_on_ready while there is a
     * target; when there is none any more, the same events are the owner's to look at.
     */
    struct watch *watch;
};

enum target_patience {
    TARGET_PATIENT,   /* waits for a target that is down */
    TARGET_IMPATIENT, /* fails when one try of each address has */
};

/* Which addresses may be connected to. Embed it, fill it in; it outlives the target. */
struct target_filter {
    bool (*is_allowed)(const struct target_filter *filter, const struct address *a);
};

struct target_options {
    const char *host; /* an address literal or a name; copied */
    uint16_t port;
    const char *path;    /* of a Unix socket, instead of host and port; or NULL. Copied */
    uint32_t timeout_ms; /* for everything together */
    enum target_patience patience;
    const void *asker; /* who has named the host, see name_look; NULL: the configuration */
    /*
     * What the name has resolved to is asked one by one, immediately before it is connected to.
     * None left: ERR_NOT_ALLOWED at once. NULL: all are allowed.
     */
    const struct target_filter *filter;
};

/* *out is valid until on_connect is called. On error on_connect is never called. */
enum err target_start(struct target **out, struct target_places *places, struct watch_set *set,
                      const struct target_options *options, struct target_owner *owner) MUST_USE;

/* Something happened to the socket that the owner's watch is open for. */
void target_on_ready(struct target *t, unsigned events);

/* Gives up: on_connect does not come, the watch is closed. NULL is fine. */
void target_cancel(struct target *t);

#endif
