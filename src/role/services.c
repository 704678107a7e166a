#include "role/services.h"

#include <assert.h>
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
        if ((row->protocol & CONFIG_TCP) == 0)
            continue;
        struct service *service = &s->items[s->count++];
        service->name = row->name;
        service->target_host = row->target_ip;
        service->port = row->port;
        service->target_port = row->target_port;
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

static struct service *find_by_name(const struct services *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    }
    return NULL;
}

struct service *services_find(const struct services *s, uint16_t port, const char *name)
{
    struct service key = {.port = port};

    if (name[0] != 0)
        return find_by_name(s, name);
    if (s->count == 0)
        return NULL;
    return bsearch(&key, s->items, s->count, sizeof(key), compare_ports);
}

bool service_enter(struct service *s)
{
    if (atomic_fetch_add_explicit(&s->active, 1, memory_order_relaxed) < s->limit)
        return true;
    service_leave(s);
    return false;
}

void service_leave(struct service *s)
{
    uint32_t before = atomic_fetch_sub_explicit(&s->active, 1, memory_order_relaxed);

    assert(before > 0);
}
