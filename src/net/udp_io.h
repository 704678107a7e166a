/*
 * Datagrams of many sockets in batches: one system call receives, and one sends, up to UDP_BATCH of
 * them. One belongs to a worker, whose UDP sockets share its buffers.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_UDP_IO_H
#define UTUN_NET_UDP_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/stats.h"

#define UDP_BATCH 32

struct udp_io;

enum err udp_io_new(struct udp_io **out) MUST_USE;
void udp_io_free(struct udp_io *io); /* NULL is fine */

struct udp_packet {
    struct address from; /* none on a connected socket */
    struct address to;   /* the local address to answer from, where the socket tells; port 0 */
    const uint8_t *data;
    size_t len;
};

/*
 * What has arrived at fd, at most UDP_BATCH datagrams; *packets lives until the next call. With
 * UDP_BATCH there may be more. *n is 0 when there is nothing, and on an error: that of a datagram
 * sent earlier (ERR_REFUSED), after which it can be called again, or ERR_IO.
 */
enum err udp_io_receive(struct udp_io *io, int fd, const struct udp_packet **packets,
                        size_t *n) MUST_USE;

struct udp_send {
    int fd;
    const struct address *to;   /* NULL: the socket is connected */
    const struct address *from; /* the local address to send it from; NULL or none: the socket's */
    const uint8_t *data;        /* stays as it is until udp_io_flush */
    size_t len;
    struct flow_stats *stats; /* where its end is counted; live until udp_io_flush */
    struct flow_stats *total; /* likewise */
};

/* Queues a datagram; a full queue is flushed. What the kernel does not take at once is dropped. */
void udp_io_send(struct udp_io *io, const struct udp_send *send);

/* Sends what is queued. Also before an fd that it may hold is closed. Cheap when there is none. */
void udp_io_flush(struct udp_io *io);

#endif
