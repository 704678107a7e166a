/* What is done to TCP sockets in more than one place. Failures that change nothing are ignored. */
#ifndef UTUN_NET_SOCKET_H
#define UTUN_NET_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"

/* A non-blocking, close-on-exec TCP socket with TCP_NODELAY for the family of a; errno is kept. */
enum err socket_new(int *fd, const struct address *a) MUST_USE;

/* Starts connecting: ERR_OK also when it goes on in the background (then see socket_error). */
enum err socket_connect(int fd, const struct address *a) MUST_USE;

/* SO_ERROR, read and cleared: 0 or an errno. */
int socket_error(int fd);

void socket_set_nodelay(int fd);

/* SO_KEEPALIVE: a silent peer is probed after `ms`, then every `ms`, and given up after 3; 0: off.
 */
void socket_set_keepalive(int fd, uint32_t ms);

/* TCP_NOTSENT_LOWAT: at most so many bytes wait unsent in the kernel, so that urgent ones can pass.
 */
void socket_set_unsent_max(int fd, uint32_t bytes);

/* Closes so that the peer sees a RST and what is unsent is dropped. */
void socket_reset(int fd);

/* Bytes, and the FIN, that the peer has not acknowledged. 0 when there is no connection any more.
 */
size_t socket_unacked(int fd);

/* Reads and drops what has arrived, bounded for one turn. Returns whether the end has been read. */
bool socket_discard(int fd);

#endif
