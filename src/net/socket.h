/* What is done to TCP sockets in more than one place. Failures that change nothing are ignored. */
#ifndef UTUN_NET_SOCKET_H
#define UTUN_NET_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"

/* Clients that wait to be accepted; the system's own bound counts too. */
#define SOCKET_BACKLOG 4096

/*
 * A non-blocking, close-on-exec TCP socket for the family of a, prepared by socket_prepare.
 */
enum err socket_new(int *fd, const struct address *a) MUST_USE;

/* Starts connecting: ERR_OK also when it goes on in the background (then see socket_error). */
enum err socket_connect(int fd, const struct address *a) MUST_USE;

/* SO_ERROR, read and cleared: 0 or an errno. */
int socket_error(int fd);

/*
 * For sockets whose bytes are passed on as they are: TCP_NODELAY; SO_OOBINLINE, so that urgent
 * bytes stay where they were sent; SO_KEEPALIVE at the system's pace, so that a program whose
 * machine is gone does not hold its stream for ever. Where a, which it connects to, listens on or
 * was accepted from, is of loopback, TCP_CONGESTION is "reno", which does not pace: what the system
 * has for real paths may (bbr), and holds bytes back by timers where nothing can be congested. What
 * is accepted on a prepared listener is prepared too.
 */
void socket_prepare(int fd, const struct address *a);

/*
 * SO_KEEPALIVE: a silent peer is probed after `ms`, then every `ms`, both in whole seconds rounded
 * up, and given up after 3; 0: off.
 */
void socket_set_keepalive(int fd, uint32_t ms);

/* TCP_USER_TIMEOUT: what is sent is acknowledged within `ms`, or the connection ends; 0: in 15 min.
 */
void socket_set_user_timeout(int fd, uint32_t ms);

/* TCP_NOTSENT_LOWAT: at most so many bytes wait unsent in the kernel, so that urgent ones can pass.
 */
void socket_set_unsent_max(int fd, uint32_t bytes);

/* Closes so that the peer sees a RST and what is unsent is dropped. */
void socket_reset(int fd);

/* From now on close(2) does what socket_reset does. */
void socket_set_abortive(int fd);

/* Bytes, and the FIN, that the peer has not acknowledged. 0 when there is no connection any more.
 */
size_t socket_unacked(int fd);

enum socket_left {
    SOCKET_EMPTY, /* all that has arrived is read */
    SOCKET_MORE,  /* there may be more */
    SOCKET_ENDED, /* the end of file, or an error, is read */
};

/* Reads and drops what has arrived, at most 256 KiB. */
enum socket_left socket_discard(int fd);

#endif
