/*
 * Connects to a name: resolves it anew, then tries its addresses, both families in turn, each
 * started DIALER_STAGGER_MS after the one before (or at once when that one has failed), until one
 * answers (Happy Eyeballs, RFC 8305). One dialer is one try; it frees itself when it is done.
 *
 * Runs on the loop it is given; all calls and the callback on that loop's thread.
 */
#ifndef UTUN_NET_DIALER_H
#define UTUN_NET_DIALER_H

#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "net/address_list.h"

#define DIALER_STAGGER_MS 250

struct dialer;
struct dialer_owner; /* the user's */

struct dialer_outcome {
    int fd; /* connected, non-blocking, close-on-exec, TCP_NODELAY; the callback owns it. Or -1 */
    struct address address; /* of the peer, when connected */
    enum err
        error; /* of all addresses the most telling; ERR_RESOLVE, ERR_TIMEOUT, ERR_REFUSED ... */
    const char *detail; /* for people: each address and why; lives as long as the callback runs */
};

struct dialer_options {
    const char *host; /* a name or an address; copied */
    uint16_t port;
    const struct address_list *addresses; /* resolved already; NULL: host is. Copied */
    const struct address *stay; /* alone is tried where the name has it; NULL: all are. Copied */
    const struct address_list *skip; /* not to be tried: ERR_NOT_FOUND when none is left. Copied */
    uint32_t timeout_ms;             /* for all of it, resolving too */
    /* Runs exactly once, unless dialer_cancel comes first; never from inside dialer_start. */
    void (*on_done)(struct dialer_owner *owner, const struct dialer_outcome *outcome);
    struct dialer_owner *owner;
};

/* ERR_NOMEM, ERR_TOO_LARGE (the name): no callback. *out is dead once on_done has been called. */
enum err dialer_start(struct dialer **out, uv_loop_t *loop,
                      const struct dialer_options *options) MUST_USE;

/* No callback comes any more. The loop must run on until the dialer's handles are closed. */
void dialer_cancel(struct dialer *d);

#endif
