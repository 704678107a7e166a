#include "role/clients.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/association.h"
#include "net/listener.h"
#include "net/pump.h"
#include "net/socket.h"
#include "net/udp_port.h"
#include "ops/log.h"
#include "role/refusal.h"

/* A port, of TCP or of UDP, on one worker. */
struct client_port {
    struct listener_owner listening; /* TCP */
    struct entry_owner entries;
    struct pump_owner pumps;
    struct pump_stats pump_stats;
    struct listener *listener;
    struct association_owner associations;
    struct udp_port_owner receiving; /* UDP */
    struct udp_port *udp;
    struct flow_stats flow_stats;
    struct clients *clients;
    const struct clients_port *port;
    int fd; /* until the listener takes it; or -1 */
};

/* -- shared -- */

static struct clients_port *list_port(struct clients_shared *s, enum listener_kind kind,
                                      uint16_t configured)
{
    struct clients_port *port = &s->ports[s->port_count++];

    *port = (struct clients_port){.configured = configured, .kind = kind, .speech = ENTRY_SILENT};
    return port;
}

enum err clients_shared_init(struct clients_shared *s, const struct config *config,
                             struct err_detail *d)
{
    const struct config_source *source = &config->source;

    s->config = source;
    atomic_init(&s->count, 0);
    outbound_init(&s->outbound, source);
    s->ports = calloc(2 * source->exposed_port_count + 1, sizeof(*s->ports));
    if (s->ports == NULL)
        return err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    if (source->mode != CONFIG_MODE_TRANSPARENT)
        list_port(s, LISTENER_TCP, source->listen_port)->speech = ENTRY_PROXY;
    for (size_t i = 0; source->mode != CONFIG_MODE_PROTOCOL && i < source->exposed_port_count;
         i++) {
        const struct config_exposed_port *row = &source->exposed_ports[i];
        if (row->listen_path != NULL) {
            struct clients_port *port = list_port(s, LISTENER_TCP, row->port);
            port->path = row->listen_path;
            port->path_mode = row->listen_mode;
            continue;
        }
        if ((row->protocol & CONFIG_TCP) != 0)
            list_port(s, LISTENER_TCP, row->port);
        if ((row->protocol & CONFIG_UDP) != 0)
            list_port(s, LISTENER_UDP, row->port);
    }
    return source->mode == CONFIG_MODE_TRANSPARENT ? ERR_OK : proxy_users_new(&s->users, config, d);
}

void clients_shared_fini(struct clients_shared *s)
{
    free(s->ports);
    proxy_users_free(s->users);
    s->ports = NULL;
    s->users = NULL;
}

void clients_shared_remove_files(struct clients_shared *s)
{
    for (size_t i = 0; i < s->port_count; i++)
        socket_file_remove(&s->ports[i].file);
}

bool clients_enter(struct clients_shared *s, const struct address *peer)
{
    char text[ADDRESS_TEXT_MAX];

    if (atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed) < s->config->max_connections)
        return true;
    atomic_fetch_sub_explicit(&s->count, 1, memory_order_relaxed);
    address_format(peer, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "limit.reached", LOG_STR("limit", "max_connections"),
                LOG_UINT("value", s->config->max_connections), LOG_STR("client", text));
    return false;
}

void clients_leave(struct clients_shared *s)
{
    uint32_t before = atomic_fetch_sub_explicit(&s->count, 1, memory_order_relaxed);

    assert(before > 0);
}

/* -- clients -- */

static void count_refused(const struct client_port *port, enum err why)
{
    stats_add(&worker_stats(port->clients->entries.worker)->streams_refused[why], 1);
}

static void log_refused(const struct client_port *port, const struct stream_client *client,
                        enum err why)
{
    count_refused(port, why);
    refusal_log(port->port->configured, "", client, why, "");
}

static void on_pump_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct client_port *port = list_entry(owner, struct client_port, pumps);

    clients_leave(port->clients->shared);
    if (refusal_is_one(end))
        refusal_log(end->port, end->name, &end->client, end->why, end->detail);
}

static void forward_directly(struct client_port *port, struct tunnel_owner *tunnel, int fd,
                             const struct address *peer)
{
    struct stream_target target = {.port = port->port->configured};
    struct address local;

    address_identify(peer, fd, &target.client);
    address_of_socket(&local, fd);
    address_to_client(&local, &target.local);
    enum err e = pump_accept(tunnel, fd, &target, &port->pumps);
    if (e != ERR_OK) {
        clients_leave(port->clients->shared);
        log_refused(port, &target.client, e);
    }
}

/* ERR_OK with the target of what it asked for. */
static enum err target_of(const struct client_port *port, const struct entry_request *request,
                          struct stream_target *target)
{
    enum err e = ERR_OK;

    if (request->wish == ENTRY_CONNECT)
        e = outbound_target(&port->clients->shared->outbound, &request->destination, target);
    else
        *target = (struct stream_target){.port = port->port->configured};
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
    refusal_log(has_target ? request->destination.port : port->port->configured,
                has_target ? request->destination.host : "", &request->client, why, detail);
}

static void on_entry_end(struct entry_owner *owner)
{
    clients_leave(list_entry(owner, struct client_port, entries)->clients->shared);
}

static bool is_balancer(const struct clients *c, const struct address *peer)
{
    return cidr_list_is_match(&c->shared->config->accept_proxy_protocol,
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
        .speech = port->port->speech,
        .balancer = is_balancer(c, peer) ? ENTRY_BALANCED : ENTRY_DIRECT,
    };
    struct stream_client client;

    if (!clients_enter(c->shared, peer)) {
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
        clients_leave(c->shared);
        log_refused(port, &client, e);
    }
}

static void on_trouble(struct listener_owner *owner, enum err why)
{
    struct client_port *port = list_entry(owner, struct client_port, listening);

    LOG_LIMITED(LOG_LEVEL_ERROR, "listener.trouble", LOG_UINT("port", port->port->configured),
                LOG_ERR("error", why), LOG_MSG("cannot accept clients; trying again"));
}

/* -- UDP -- */

static enum err on_udp_client(struct udp_port_owner *owner, const struct address *client,
                              struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct client_port *port = list_entry(owner, struct client_port, receiving);

    target->port = port->port->configured;
    *tunnel = uplink_tunnel(port->clients->uplink);
    if (*tunnel == NULL)
        return ERR_CLOSED;
    return clients_enter(port->clients->shared, client) ? ERR_OK : ERR_LIMIT;
}

static void on_flow_end(struct udp_port_owner *owner, const struct flow_end *end)
{
    clients_leave(list_entry(owner, struct client_port, receiving)->clients->shared);
    if (refusal_is_flow(end))
        refusal_log(end->port, "", &end->client, end->why, end->detail);
}

/* -- datagrams of the entry point -- */

static enum err on_destination(struct association_owner *owner, const struct destination *to,
                               struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct client_port *port = list_entry(owner, struct client_port, associations);
    const struct stream_client client = target->client;
    const struct stream_client local = target->local;
    struct address address;
    enum err e = outbound_target(&port->clients->shared->outbound, to, target);

    target->client = client;
    target->local = local;
    address_from_client(&address, &client);
    *tunnel = uplink_tunnel(port->clients->uplink);
    if (e != ERR_OK) {
        count_refused(port, e);
        refusal_log(to->port, to->host, &client, e,
                    "not in allowed_ips of [source.allowed_outbound]");
    } else if (*tunnel == NULL) {
        e = ERR_CLOSED;
    } else if (!clients_enter(port->clients->shared, &address)) {
        e = ERR_LIMIT;
    }
    return e;
}

static void on_association_flow_end(struct association_owner *owner, const struct flow_end *end)
{
    clients_leave(list_entry(owner, struct client_port, associations)->clients->shared);
    if (refusal_is_flow(end))
        refusal_log(end->port, "", &end->client, end->why, end->detail);
}

/* -- one worker -- */

enum err clients_init(struct clients *c, struct clients_shared *shared, struct uplink *uplink)
{
    c->shared = shared;
    c->uplink = uplink;
    c->ports = calloc(shared->port_count + 1, sizeof(*c->ports));
    if (c->ports == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < shared->port_count; i++) {
        struct client_port *port = &c->ports[i];
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
        port->clients = c;
        port->port = &shared->ports[i];
        port->fd = -1;
    }
    return ERR_OK;
}

void clients_fini(struct clients *c)
{
    for (size_t i = 0; c->ports != NULL && i < c->shared->port_count; i++) {
        if (c->ports[i].fd >= 0)
            close(c->ports[i].fd);
    }
    free(c->ports);
    c->ports = NULL;
}

void clients_give(struct clients *c, size_t index, int fd)
{
    c->ports[index].fd = fd;
}

const struct pump_stats *clients_stats(const struct clients *c, size_t index)
{
    return &c->ports[index].pump_stats;
}

const struct flow_stats *clients_flow_stats(const struct clients *c, size_t index)
{
    return &c->ports[index].flow_stats;
}

enum err clients_open(struct clients *c, struct worker *worker)
{
    enum err e = ERR_OK;

    entry_set_init(&c->entries, worker, c->shared->config->connection_timeout_ms,
                   proxy_users_login(c->shared->users));
    c->is_open = true;
    for (size_t i = 0; e == ERR_OK && i < c->shared->port_count; i++) {
        struct client_port *port = &c->ports[i];
        if (port->port->kind == LISTENER_UDP)
            e = udp_port_new(&port->udp, worker, port->fd, &port->flow_stats, &port->receiving);
        else
            e = listener_new(&port->listener, worker_watches(worker), port->fd, &port->listening);
        port->fd = -1;
    }
    return e;
}

void clients_forward(struct clients *c)
{
    struct entry *entry;

    while (uplink_tunnel(c->uplink) != NULL &&
           (entry = entry_set_first_waiting(&c->entries)) != NULL)
        on_request(entry_owner(entry), entry);
}

void clients_drain(struct clients *c)
{
    if (!c->is_open)
        return;
    for (size_t i = 0; i < c->shared->port_count; i++) {
        listener_close(c->ports[i].listener);
        c->ports[i].listener = NULL;
        udp_port_close(c->ports[i].udp);
        c->ports[i].udp = NULL;
    }
    entry_set_abort(&c->entries, ERR_SHUTDOWN);
}

void clients_close(struct clients *c)
{
    if (c->is_open)
        entry_set_close(&c->entries);
}
