#include "role/listen_port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/log.h"

/* All workers accept on the one socket, for a Unix socket cannot be bound twice as a port can. */
static enum err bind_path(struct listen_port *port, int *fds, unsigned count, struct err_detail *d)
{
    enum err e = socket_file_listen(&port->file, &fds[0], port->path, port->path_mode, d);

    for (unsigned i = 1; e == ERR_OK && i < count; i++) {
        fds[i] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        if (fds[i] >= 0)
            continue;
        e = err_set(d, err_from_errno(errno), "listen on %s: %s", port->path, strerror(errno));
        socket_file_remove(&port->file);
        while (i > 0)
            close(fds[--i]);
    }
    return e;
}

enum err listen_port_bind(struct listen_port *port, int *fds,
                          const struct listen_port_bind *options, struct err_detail *d)
{
    const struct listener_bind bind = {
        .kind = port->kind,
        .ip = port->ip,
        .port = port->configured,
        .count = options->count,
        .fallback = options->fallback,
        .named = options->named,
        .named_count = options->named_count,
    };

    if (port->path != NULL)
        return bind_path(port, fds, options->count, d);
    return listener_bind(fds, &port->port, &bind, d);
}

static const char *protocol_of(const struct listen_port *port)
{
    return port->kind == LISTENER_UDP ? "udp" : "tcp";
}

size_t listen_port_format(const struct listen_port *port, char *out, size_t size)
{
    int n = port->path != NULL
                ? snprintf(out, size, "%s", port->path)
                : snprintf(out, size, "%u%s", port->port, port->kind == LISTENER_UDP ? "/udp" : "");

    return (size_t)n < size ? (size_t)n : size - 1;
}

static void log_fallback(const struct listen_port *port)
{
    LOG(LOG_LEVEL_WARN, "listener.fallback", LOG_UINT("configured_port", port->configured),
        LOG_UINT("port", port->port), LOG_STR("protocol", protocol_of(port)),
        LOG_STR("ip", port->ip),
        LOG_MSG("the configured port is in use; clients must use the other one"));
}

void listen_port_log_up(const struct listen_port *port)
{
    if (port->path != NULL) {
        LOG(LOG_LEVEL_INFO, "listener.up", LOG_STR("path", port->path),
            LOG_UINT("configured_port", port->configured), LOG_STR("protocol", protocol_of(port)));
        return;
    }
    if (port->port != port->configured)
        log_fallback(port);
    LOG(LOG_LEVEL_INFO, "listener.up", LOG_UINT("port", port->port),
        LOG_UINT("configured_port", port->configured), LOG_STR("protocol", protocol_of(port)),
        LOG_STR("ip", port->ip));
}

void listen_port_log_down(const struct listen_port *port)
{
    static const char why[] = "no longer in the configuration";

    if (port->path != NULL)
        LOG(LOG_LEVEL_INFO, "listener.down", LOG_STR("path", port->path),
            LOG_UINT("configured_port", port->configured), LOG_STR("protocol", protocol_of(port)),
            LOG_MSG(why));
    else
        LOG(LOG_LEVEL_INFO, "listener.down", LOG_UINT("port", port->port),
            LOG_UINT("configured_port", port->configured), LOG_STR("protocol", protocol_of(port)),
            LOG_STR("ip", port->ip), LOG_MSG(why));
}
