#include "role/services.h"

#include <stdlib.h>
#include <string.h>

static int compare_ports(const void *a, const void *b)
{
    const struct service *x = a;
    const struct service *y = b;

    return (x->port > y->port) - (x->port < y->port);
}

enum err services_init(struct services *s, const struct config_dest *config)
{
    *s = (struct services){.items = NULL};
    if (config->exposed_service_count == 0)
        return ERR_OK;
    s->items = calloc(config->exposed_service_count, sizeof(*s->items));
    if (s->items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < config->exposed_service_count; i++) {
        const struct config_exposed_service *row = &config->exposed_services[i];
        struct service *service = &s->items[s->count++];
        service->name = row->name;
        service->target_path = row->target_path;
        service->target_host = row->target_path != NULL ? row->target_path : row->target_ip;
        service->port = row->port;
        service->protocol = row->protocol;
        service->target_port = row->target_port;
        service->proxy_protocol = row->proxy_protocol;
        service->limit = config->max_connections_per_service;
        atomic_init(&service->active, 0);
    }
    qsort(s->items, s->count, sizeof(*s->items), compare_ports);
    return ERR_OK;
}

void services_fini(struct services *s)
{
    free(s->items);
    *s = (struct services){.items = NULL};
}

static bool has_protocol(const struct service *s, enum config_protocol protocol)
{
    return ((unsigned)s->protocol & (unsigned)protocol) != 0;
}

static struct service *find_by_name(const struct services *s, uint16_t port, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i].port == port && strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    }
    return NULL;
}

/* One port may stand there twice: for TCP, and for UDP. */
static struct service *find_by_port(const struct services *s, uint16_t port,
                                    enum config_protocol protocol)
{
    struct service key = {.port = port};
    struct service *found = NULL;

    if (s->count > 0)
        found = bsearch(&key, s->items, s->count, sizeof(key), compare_ports);
    if (found == NULL || has_protocol(found, protocol))
        return found;
    if (found > s->items && found[-1].port == port)
        return &found[-1];
    return found < &s->items[s->count - 1] && found[1].port == port ? &found[1] : NULL;
}

struct service *services_find(const struct services *s, uint16_t port, const char *name,
                              enum config_protocol protocol)
{
    struct service *found =
        name[0] != 0 ? find_by_name(s, port, name) : find_by_port(s, port, protocol);

    return found != NULL && has_protocol(found, protocol) ? found : NULL;
}
