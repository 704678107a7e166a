/*
 * Taking a port, for one socket a worker, TCP or UDP; and accepting on one of the TCP sockets.
 */
#ifndef UTUN_NET_LISTENER_H
#define UTUN_NET_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/watch.h"

/* In the place of a port in use so many of the next ones are tried. */
#define LISTENER_FALLBACK 5

enum listener_kind {
    LISTENER_TCP,
    LISTENER_UDP, /* for udp_port_new: tells for each datagram where it was sent to */
};

struct listener_bind {
    enum listener_kind kind;
    const char *ip;        /* a literal; "::" takes IPv4 too */
    uint16_t port;         /* 0: the kernel chooses */
    unsigned count;        /* sockets that share the port, one for each worker */
    unsigned fallback;     /* next ports to try when it is in use: LISTENER_FALLBACK or 0 */
    const uint16_t *named; /* ports that none of those may be, for they mean something else */
    size_t named_count;
};

/*
 * Takes the port (and listens, for TCP): fds gets `count` non-blocking sockets, *port the port they
 * have in common. On error nothing is open, fds is all -1, and detail says which address and why:
 * ERR_ADDR_IN_USE when the port and those behind it are in use, ERR_PERMISSION, ERR_RESOLVE (not an
 * address), ERR_UNREACHABLE (not an address of this machine) or what errno says.
 *
 * A port that another process listens on counts as in use even when both set SO_REUSEPORT.
 */
enum err listener_bind(int *fds, uint16_t *port, const struct listener_bind *options,
                       struct err_detail *detail) MUST_USE;

struct listener;

/* Embed it in what stands behind the listener, and fill it in. */
struct listener_owner {
    /* A client: fd is non-blocking, has TCP_NODELAY, and is yours. May close the listener. */
    void (*on_client)(struct listener_owner *owner, int fd, const struct address *peer);
    /*
     * Accepting failed, mostly because descriptors ran out (ERR_LIMIT). It goes on by itself every
     * 100 ms; this comes once for each such time of trouble.
     */
    void (*on_trouble)(struct listener_owner *owner, enum err why);
};

/*
 * Accepts on a socket of listener_bind, or one that listeners share by a descriptor each; takes the
 * descriptor (also on error).
 */
enum err listener_new(struct listener **out, struct watch_set *set, int fd,
                      struct listener_owner *owner) MUST_USE;

/*
 * Leaves clients where they are, in the kernel's queue, until listener_go. Both on the loop's
 * thread; a listener that was just made has not accepted anybody yet.
 */
void listener_hold(struct listener *l);
void listener_go(struct listener *l);

/* Stops and closes the socket. No callback comes any more. NULL is fine. */
void listener_close(struct listener *l);

#endif
