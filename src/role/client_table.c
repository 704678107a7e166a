#include "role/client_table.h"

#include <stdlib.h>
#include <string.h>

#include "ops/log.h"

static bool is_same(const struct listen_port *port, enum listener_kind kind, uint16_t configured,
                    const char *path)
{
    if (port->kind != kind || (port->path == NULL) != (path == NULL))
        return false;
    /* A Unix socket may come to stand for another port. */
    return path != NULL ? strcmp(port->path, path) == 0 : port->configured == configured;
}

size_t client_table_find(const struct client_table *t, enum listener_kind kind, uint16_t configured,
                         const char *path)
{
    for (size_t i = 0; t != NULL && i < t->port_count; i++) {
        if (is_same(&t->ports[i], kind, configured, path))
            return i;
    }
    return CLIENT_TABLE_NONE;
}

bool client_table_has(const struct client_table *t, const struct listen_port *port)
{
    return client_table_find(t, port->kind, port->configured, port->path) != CLIENT_TABLE_NONE;
}

void client_table_give_files(const struct client_table *t, uid_t uid, gid_t gid)
{
    for (size_t i = 0; i < t->port_count; i++) {
        const struct listen_port *port = &t->ports[i];
        enum err e = port->path == NULL ? ERR_OK : socket_file_give(&port->file, uid, gid);

        if (e != ERR_OK)
            LOG(LOG_LEVEL_WARN, "sandbox.socket_owner", LOG_STR("path", port->path),
                LOG_MSG(err_text(e)));
    }
}

void client_table_set_rights(const struct client_table *t, const struct client_table *before)
{
    for (size_t i = 0; i < t->port_count; i++) {
        const struct listen_port *port = &t->ports[i];
        size_t was = client_table_find(before, port->kind, port->configured, port->path);
        enum err e = ERR_OK;

        if (port->path != NULL && was != CLIENT_TABLE_NONE &&
            before->ports[was].path_mode != port->path_mode)
            e = socket_file_set_rights(&port->file, port->path_mode);
        if (e != ERR_OK)
            LOG(LOG_LEVEL_WARN, "listener.rights", LOG_STR("path", port->path), LOG_ERR("error", e),
                LOG_MSG("the socket keeps the permissions that it had"));
    }
}

void client_table_remove_files(struct client_table *t, const struct client_table *keep)
{
    for (size_t i = 0; t != NULL && i < t->port_count; i++) {
        if (!client_table_has(keep, &t->ports[i]))
            socket_file_remove(&t->ports[i].file);
    }
}

static struct listen_port *add(struct client_table *t, const struct client_table *before,
                               enum listener_kind kind, uint16_t configured, const char *path)
{
    struct listen_port *port = &t->ports[t->port_count++];
    size_t was = client_table_find(before, kind, configured, path);

    *port = (struct listen_port){
        .ip = t->config->source.listen_ip,
        .configured = configured,
        .path = path,
        .kind = kind,
        .speech = ENTRY_SILENT,
    };
    if (was != CLIENT_TABLE_NONE) {
        port->port = before->ports[was].port;
        port->file = before->ports[was].file;
    }
    return port;
}

static void list_ports(struct client_table *t, const struct client_table *before)
{
    const struct config_source *source = &t->config->source;

    if (source->mode != CONFIG_MODE_TRANSPARENT)
        add(t, before, LISTENER_TCP, source->listen_port, NULL)->speech = ENTRY_PROXY;
    for (size_t i = 0; source->mode != CONFIG_MODE_PROTOCOL && i < source->exposed_port_count;
         i++) {
        const struct config_exposed_port *row = &source->exposed_ports[i];

        if (row->listen_path != NULL) {
            add(t, before, LISTENER_TCP, row->port, row->listen_path)->path_mode = row->listen_mode;
            continue;
        }
        if ((row->protocol & CONFIG_TCP) != 0)
            add(t, before, LISTENER_TCP, row->port, NULL);
        if ((row->protocol & CONFIG_UDP) != 0)
            add(t, before, LISTENER_UDP, row->port, NULL);
    }
}

static void list_named(struct client_table *t)
{
    const struct config_source *source = &t->config->source;

    t->named[t->named_count++] = source->listen_port;
    t->named[t->named_count++] = t->config->metrics.metrics_port;
    for (size_t i = 0; i < source->exposed_port_count; i++)
        t->named[t->named_count++] = source->exposed_ports[i].port;
}

enum err client_table_new(struct client_table **out, const struct config *config,
                          const struct client_table *before, struct err_detail *d)
{
    const struct config_source *source = &config->source;
    struct client_table *t = calloc(1, sizeof(*t));
    enum err e = ERR_OK;

    *out = NULL;
    if (t == NULL)
        return err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    t->config = config_share(config);
    outbound_init(&t->outbound, source);
    t->ports = calloc(2 * source->exposed_port_count + 1, sizeof(*t->ports));
    t->named = calloc(source->exposed_port_count + 2, sizeof(*t->named));
    if (t->ports == NULL || t->named == NULL) {
        client_table_free(t);
        return err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    }
    list_ports(t, before);
    list_named(t);
    if (source->mode != CONFIG_MODE_TRANSPARENT)
        e = proxy_users_new(&t->users, config, d);
    if (e != ERR_OK) {
        client_table_free(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

void client_table_free(struct client_table *t)
{
    if (t == NULL)
        return;
    free(t->ports);
    free(t->named);
    proxy_users_free(t->users);
    config_free(t->config);
    free(t);
}
