/*
 * A port that a source listens on, or a Unix socket that stands for one: what the configuration
 * says of it, and what came of that.
 *
 * Threads: any, one at a time.
 */
#ifndef UTUN_ROLE_LISTEN_PORT_H
#define UTUN_ROLE_LISTEN_PORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "net/entry.h"
#include "net/listener.h"
#include "net/socket_file.h"

struct listen_port {
    const char *ip; /* the configuration's, as path */
    uint16_t configured;
    uint16_t port;    /* that it has got; 0 before, and of a Unix socket */
    const char *path; /* of a Unix socket (LISTENER_TCP), or NULL */
    mode_t path_mode;
    struct socket_file file;
    enum listener_kind kind;
    enum entry_speech speech; /* TCP */
};

/* As in struct listener_bind. */
struct listen_port_bind {
    unsigned count;
    unsigned fallback;
    const uint16_t *named;
    size_t named_count;
};

/*
 * Takes it: fds gets count sockets that listen, one for each worker. On error none is open, and d
 * says why: those of listener_bind and socket_file_listen.
 */
enum err listen_port_bind(struct listen_port *port, int *fds,
                          const struct listen_port_bind *options, struct err_detail *d) MUST_USE;

/* "/run/x.sock", "8443" or "53/udp"; what it has got, cut to size. Returns the length. */
size_t listen_port_format(const struct listen_port *port, char *out, size_t size);

/* "listener.up", after "listener.fallback" where it is another port than the configured one. */
void listen_port_log_up(const struct listen_port *port);

/* "listener.down": it is no longer in the configuration. */
void listen_port_log_down(const struct listen_port *port);

#endif
