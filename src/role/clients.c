#include "role/clients.h"

#include <stdlib.h>

#include "role/client_port.h"

struct clients_change {
    struct client_table *table;
    struct client_port **ports; /* in its order; NULL where one is taken over */
    size_t *match;              /* which one, in the order of the table in use */
};

static void on_reap(struct worker_task *task)
{
    struct clients *c = list_entry(task, struct clients, reap);
    struct list *next;

    for (struct list *l = c->retired.next; l != &c->retired; l = next) {
        struct client_port *port = list_entry(l, struct client_port, link);

        next = l->next;
        if (port->users == 0)
            client_port_free(port);
    }
}

/* -- another table -- */

enum err clients_change_new(struct clients_change **out, struct client_table *table,
                            const struct client_table *before)
{
    struct clients_change *change = calloc(1, sizeof(*change));
    enum err e = ERR_OK;

    *out = NULL;
    if (change == NULL)
        return ERR_NOMEM;
    change->table = table;
    change->ports = calloc(table->port_count + 1, sizeof(struct client_port *));
    change->match = calloc(table->port_count + 1, sizeof(*change->match));
    if (change->ports == NULL || change->match == NULL)
        e = ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < table->port_count; i++) {
        const struct listen_port *port = &table->ports[i];

        change->match[i] = client_table_find(before, port->kind, port->configured, port->path);
        if (change->match[i] != CLIENT_TABLE_NONE)
            continue;
        change->ports[i] = client_port_new(port);
        if (change->ports[i] == NULL)
            e = ERR_NOMEM;
    }
    if (e != ERR_OK) {
        clients_change_free(change);
        return e;
    }
    *out = change;
    return ERR_OK;
}

void clients_change_free(struct clients_change *change)
{
    if (change == NULL)
        return;
    for (size_t i = 0; change->ports != NULL && i < change->table->port_count; i++)
        client_port_free(change->ports[i]);
    free(change->ports);
    free(change->match);
    free(change);
}

void clients_change_give(struct clients_change *change, size_t index, int fd)
{
    change->ports[index]->fd = fd;
}

enum err clients_change_open(struct clients *c, struct clients_change *change)
{
    enum err e = c->is_draining || !c->is_open ? ERR_SHUTDOWN : ERR_OK;

    if (e == ERR_OK)
        c->pending = change;
    for (size_t i = 0; e == ERR_OK && i < change->table->port_count; i++) {
        if (change->ports[i] != NULL)
            e = client_port_open(change->ports[i], c, CLIENT_PORT_HELD);
    }
    return e;
}

void clients_change_close(struct clients *c, struct clients_change *change)
{
    for (size_t i = 0; i < change->table->port_count; i++) {
        if (change->ports[i] != NULL)
            client_port_shut(change->ports[i]);
    }
    c->pending = NULL;
}

void clients_change(struct clients *c, struct clients_change *change)
{
    size_t old_count = c->port_count;
    struct client_port **old = c->ports;

    c->pending = NULL;
    c->table = change->table;
    c->ports = change->ports;
    c->port_count = c->table->port_count;
    change->ports = NULL;
    entry_set_change(&c->entries, c->table->config->source.connection_timeout_ms,
                     proxy_users_login(c->table->users));
    for (size_t i = 0; i < c->table->port_count; i++) {
        size_t was = change->match[i];

        if (was == CLIENT_TABLE_NONE) {
            client_port_go(c->ports[i]);
            continue;
        }
        c->ports[i] = old[was];
        c->ports[i]->port = c->table->ports[i];
        old[was] = NULL;
    }
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] == NULL)
            continue;
        client_port_shut(old[i]);
        old[i]->port.ip = NULL; /* of a configuration that goes */
        old[i]->port.path = NULL;
        list_append(&c->retired, &old[i]->link);
    }
    worker_defer(c->worker, &c->reap);
    free(old);
}

/* -- one worker -- */

enum err clients_init(struct clients *c, struct client_table *table, _Atomic uint32_t *count,
                      struct uplink *uplink)
{
    struct clients_change *change;
    enum err e = clients_change_new(&change, table, NULL);

    list_init(&c->retired);
    worker_task_init(&c->reap, on_reap);
    if (e != ERR_OK)
        return e;
    c->table = table;
    c->count = count;
    c->uplink = uplink;
    c->ports = change->ports;
    c->port_count = table->port_count;
    change->ports = NULL;
    clients_change_free(change);
    return ERR_OK;
}

void clients_fini(struct clients *c)
{
    struct list *link;

    if (c->ports == NULL)
        return;
    for (size_t i = 0; i < c->port_count; i++)
        client_port_free(c->ports[i]);
    while ((link = list_first(&c->retired)) != NULL)
        client_port_free(list_entry(link, struct client_port, link));
    free(c->ports);
    c->ports = NULL;
}

void clients_give(struct clients *c, size_t index, int fd)
{
    c->ports[index]->fd = fd;
}

const struct pump_stats *clients_stats(const struct clients *c, size_t index)
{
    return &c->ports[index]->pump_stats;
}

const struct flow_stats *clients_flow_stats(const struct clients *c, size_t index)
{
    return &c->ports[index]->flow_stats;
}

enum err clients_open(struct clients *c, struct worker *worker)
{
    enum err e = ERR_OK;

    c->worker = worker;
    entry_set_init(&c->entries, worker, c->table->config->source.connection_timeout_ms,
                   proxy_users_login(c->table->users));
    c->is_open = true;
    for (size_t i = 0; e == ERR_OK && i < c->port_count; i++)
        e = client_port_open(c->ports[i], c, CLIENT_PORT_OPEN);
    return e;
}

void clients_forward(struct clients *c)
{
    struct entry *entry;

    while (uplink_tunnel(c->uplink) != NULL &&
           (entry = entry_set_first_waiting(&c->entries)) != NULL)
        client_port_forward(entry);
}

void clients_drain(struct clients *c)
{
    c->is_draining = true;
    if (!c->is_open)
        return;
    for (size_t i = 0; i < c->port_count; i++)
        client_port_shut(c->ports[i]);
    if (c->pending != NULL)
        clients_change_close(c, c->pending);
    entry_set_abort(&c->entries, ERR_SHUTDOWN);
}

void clients_close(struct clients *c)
{
    if (c->is_open)
        entry_set_close(&c->entries);
}
