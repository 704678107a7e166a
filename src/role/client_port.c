#include "role/client_port.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/association.h"
#include "net/socket.h"
#include "ops/log.h"
#include "role/refusal.h"

/* -- counting -- */

/* Counts one in; false, which is logged, when max_connections are there. Ended by leave. */
static bool enter(struct client_port *port, const struct address *peer)
{
    struct clients *c = port->clients;
    uint32_t limit = c->table->config->source.max_connections;
    char text[ADDRESS_TEXT_MAX];

    if (atomic_fetch_add_explicit(c->count, 1, memory_order_relaxed) < limit) {
        port->users++;
        return true;
    }
    atomic_fetch_sub_explicit(c->count, 1, memory_order_relaxed);
    address_format(peer, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "limit.reached", LOG_STR("limit", "max_connections"),
                LOG_UINT("value", limit), LOG_STR("client", text));
    return false;
}

static void leave(struct client_port *port)
{
    struct clients *c = port->clients;
    uint32_t before = atomic_fetch_sub_explicit(c->count, 1, memory_order_relaxed);

    assert(before > 0 && port->users > 0);
    if (--port->users == 0 && list_is_linked(&port->link))
        worker_defer(c->worker, &c->reap);
}

/* -- clients -- */

static void count_refused(const struct client_port *port, enum err why)
{
    stats_add(&worker_stats(port->clients->entries.worker)->streams_refused[why], 1);
}

static void log_refused(const struct client_port *port, const struct stream_address *client,
                        enum err why)
{
    count_refused(port, why);
    refusal_log(port->port.configured, "", client, why, "");
}

static void on_pump_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct client_port *port = list_entry(owner, struct client_port, pumps);

    if (refusal_is_one(end))
        refusal_log(end->port, end->name, &end->client, end->why, end->detail);
    leave(port);
}

static void forward_directly(struct client_port *port, struct tunnel_owner *tunnel, int fd,
                             const struct address *peer)
{
    struct stream_target target = {.port = port->port.configured};
    struct address local;

    address_identify(peer, fd, &target.client);
    address_of_socket(&local, fd);
    address_to_stream(&local, &target.local);
    enum err e = pump_accept(tunnel, fd, &target, &port->pumps);
    if (e != ERR_OK) {
        leave(port);
        log_refused(port, &target.client, e);
    }
}

/* ERR_OK with the target of what it asked for. */
static enum err target_of(const struct client_port *port, const struct entry_request *request,
                          struct stream_target *target)
{
    enum err e = ERR_OK;

    if (request->wish == ENTRY_CONNECT)
        e = outbound_target(&port->clients->table->outbound, &request->destination, target);
    else
        *target = (struct stream_target){.port = port->port.configured};
    target->client = request->client;
    target->local = request->local;
    return e;
}

static void associate(struct client_port *port, struct entry *entry)
{
    const struct entry_request *request = entry_request(entry);
    struct association_options options = {
        .worker = port->clients->entries.worker,
        .owner = &port->associations,
        .stats = &port->flow_stats,
        .client = request->client,
        .local = request->local,
    };
    struct association *association;

    options.client.port = request->destination.port;
    enum err e = association_new(&association, &options);
    if (e == ERR_OK)
        entry_associate(entry, association);
    else
        entry_refuse(entry, e, err_text(e));
}

static void on_request(struct entry_owner *owner, struct entry *entry)
{
    struct client_port *port = list_entry(owner, struct client_port, entries);
    const struct entry_request *request = entry_request(entry);
    struct tunnel_owner *tunnel = uplink_tunnel(port->clients->uplink);
    struct stream_target target;
    enum err e;

    if (request->wish == ENTRY_UDP) {
        associate(port, entry);
        return;
    }
    e = target_of(port, request, &target);
    if (e != ERR_OK)
        entry_refuse(entry, e,
                     e == ERR_NOT_ALLOWED ? "not in allowed_ips of [source.allowed_outbound]" : "");
    else if (tunnel != NULL)
        entry_forward(entry, tunnel, &target, &port->pumps);
}

static void on_entry_refused(struct entry_owner *owner, const struct entry_request *request,
                             enum err why, const char *detail)
{
    struct client_port *port = list_entry(owner, struct client_port, entries);
    bool has_target = request->wish == ENTRY_CONNECT;

    count_refused(port, why);
    refusal_log(has_target ? request->destination.port : port->port.configured,
                has_target ? request->destination.host : "", &request->client, why, detail);
}

static void on_entry_end(struct entry_owner *owner)
{
    leave(list_entry(owner, struct client_port, entries));
}

static bool is_balancer(const struct clients *c, const struct address *peer)
{
    return cidr_list_is_match(&c->table->config->source.accept_proxy_protocol,
                              (const struct sockaddr *)&peer->sockaddr);
}

static void on_client(struct listener_owner *owner, int fd, const struct address *peer)
{
    struct client_port *port = list_entry(owner, struct client_port, listening);
    struct clients *c = port->clients;
    struct tunnel_owner *tunnel = uplink_tunnel(c->uplink);
    const struct entry_options options = {
        .set = &c->entries,
        .owner = &port->entries,
        .fd = fd,
        .peer = *peer,
        .speech = port->port.speech,
        .balancer = is_balancer(c, peer) ? ENTRY_BALANCED : ENTRY_DIRECT,
    };
    struct stream_address client;

    if (!enter(port, peer)) {
        socket_reset(fd);
        count_refused(port, ERR_LIMIT);
        return;
    }
    if (tunnel != NULL && options.speech == ENTRY_SILENT && options.balancer == ENTRY_DIRECT) {
        forward_directly(port, tunnel, fd, peer);
        return;
    }
    address_identify(peer, fd, &client);
    enum err e = entry_start(&options);
    if (e != ERR_OK) {
        leave(port);
        log_refused(port, &client, e);
    }
}

static void on_trouble(struct listener_owner *owner, enum err why)
{
    struct client_port *port = list_entry(owner, struct client_port, listening);

    LOG_LIMITED(LOG_LEVEL_ERROR, "listener.trouble", LOG_UINT("port", port->port.configured),
                LOG_ERR("error", why), LOG_MSG("cannot accept clients; trying again"));
}

/* -- UDP -- */

static enum err on_udp_client(struct udp_port_owner *owner, const struct address *client,
                              struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct client_port *port = list_entry(owner, struct client_port, receiving);

    target->port = port->port.configured;
    *tunnel = uplink_tunnel(port->clients->uplink);
    if (*tunnel == NULL)
        return ERR_CLOSED;
    return enter(port, client) ? ERR_OK : ERR_LIMIT;
}

static void on_flow_end(struct udp_port_owner *owner, const struct flow_end *end)
{
    if (refusal_is_flow(end))
        refusal_log(end->port, "", &end->client, end->why, end->detail);
    leave(list_entry(owner, struct client_port, receiving));
}

/* -- datagrams of the entry point -- */

static enum err on_destination(struct association_owner *owner, const struct destination *to,
                               struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct client_port *port = list_entry(owner, struct client_port, associations);
    const struct stream_address client = target->client;
    const struct stream_address local = target->local;
    struct address address;
    enum err e = outbound_target(&port->clients->table->outbound, to, target);

    target->client = client;
    target->local = local;
    address_from_stream(&address, &client);
    *tunnel = uplink_tunnel(port->clients->uplink);
    if (e != ERR_OK) {
        count_refused(port, e);
        refusal_log(to->port, to->host, &client, e,
                    "not in allowed_ips of [source.allowed_outbound]");
    } else if (*tunnel == NULL) {
        e = ERR_CLOSED;
    } else if (!enter(port, &address)) {
        e = ERR_LIMIT;
    }
    return e;
}

static void on_association_flow_end(struct association_owner *owner, const struct flow_end *end)
{
    if (refusal_is_flow(end))
        refusal_log(end->port, "", &end->client, end->why, end->detail);
    leave(list_entry(owner, struct client_port, associations));
}

/* -- ports -- */

struct client_port *client_port_new(const struct listen_port *what)
{
    struct client_port *port = calloc(1, sizeof(*port));

    if (port == NULL)
        return NULL;
    port->listening.on_client = on_client;
    port->listening.on_trouble = on_trouble;
    port->entries.on_request = on_request;
    port->entries.on_refused = on_entry_refused;
    port->entries.on_end = on_entry_end;
    port->pumps.on_end = on_pump_end;
    port->pumps.stats = &port->pump_stats;
    port->associations.on_destination = on_destination;
    port->associations.on_flow_end = on_association_flow_end;
    port->receiving.on_client = on_udp_client;
    port->receiving.on_flow_end = on_flow_end;
    port->port = *what;
    port->fd = -1;
    list_init(&port->link);
    return port;
}

void client_port_free(struct client_port *port)
{
    if (port == NULL)
        return;
    list_remove(&port->link);
    if (port->fd >= 0)
        close(port->fd);
    free(port);
}

enum err client_port_open(struct client_port *port, struct clients *c, enum client_port_gate gate)
{
    bool is_udp = port->port.kind == LISTENER_UDP;
    int fd = port->fd;
    enum err e;

    port->clients = c;
    port->fd = -1;
    if (is_udp)
        e = udp_port_new(&port->udp, c->worker, fd, &port->flow_stats, &port->receiving);
    else
        e = listener_new(&port->listener, worker_watches(c->worker), fd, &port->listening);
    if (e == ERR_OK && gate == CLIENT_PORT_HELD && is_udp)
        udp_port_hold(port->udp);
    else if (e == ERR_OK && gate == CLIENT_PORT_HELD)
        listener_hold(port->listener);
    return e;
}

void client_port_shut(struct client_port *port)
{
    listener_close(port->listener);
    port->listener = NULL;
    udp_port_close(port->udp);
    port->udp = NULL;
}

void client_port_go(struct client_port *port)
{
    if (port->listener != NULL)
        listener_go(port->listener);
    if (port->udp != NULL)
        udp_port_go(port->udp);
}

void client_port_forward(struct entry *entry)
{
    on_request(entry_owner(entry), entry);
}
