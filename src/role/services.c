#include "role/services.h"

#include <stdlib.h>
#include <string.h>

/* -- places -- */

static struct service_places *places_new(void)
{
    struct service_places *places = calloc(1, sizeof(*places));

    if (places != NULL)
        atomic_init(&places->owners, 1);
    return places;
}

struct service_places *service_places_share(struct service_places *places)
{
    atomic_fetch_add_explicit(&places->owners, 1, memory_order_relaxed);
    return places;
}

void service_places_free(struct service_places *places)
{
    if (places != NULL && atomic_fetch_sub_explicit(&places->owners, 1, memory_order_acq_rel) == 1)
        free(places);
}

/* -- the table -- */

static int compare_ports(const void *a, const void *b)
{
    const struct service *x = a;
    const struct service *y = b;

    return (x->port > y->port) - (x->port < y->port);
}

static void fill(struct services *s, const struct config_dest *config)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct config_exposed_service *row = &config->exposed_services[i];

        s->items[i] = (struct service){
            .name = row->name,
            .target_path = row->target_path,
            .target_host = row->target_path != NULL ? row->target_path : row->target_ip,
            .allowed_clients = &row->allowed_clients,
            .port = row->port,
            .protocol = row->protocol,
            .target_port = row->target_port,
            .proxy_protocol = row->proxy_protocol,
            .limit = config->max_connections_per_service,
        };
    }
    qsort(s->items, s->count, sizeof(*s->items), compare_ports);
    for (size_t i = 0; i < s->count; i++)
        s->items[i].index = i;
}

static enum err fill_hosts(struct services *s, const struct config_dest *config,
                           const struct services *before)
{
    static const struct config_strings everybody;

    s->hosts = (struct service){
        .name = "",
        .target_host = "",
        .allowed_clients = &everybody,
        .protocol = CONFIG_BOTH,
        .limit = config->allowed_targets_max_connections,
        .index = s->count,
        .is_hosts = true,
        .places = before == NULL ? places_new() : service_places_share(before->hosts.places),
    };
    return s->hosts.places == NULL ? ERR_NOMEM : ERR_OK;
}

static enum err take_places(struct services *s, const struct services *before)
{
    size_t *match = calloc(s->count, sizeof(*match));
    enum err e = match == NULL ? ERR_NOMEM : services_match(match, s, before);

    for (size_t i = 0; e == ERR_OK && i < s->count; i++) {
        struct service *service = &s->items[i];

        service->places = match[i] == SERVICES_NONE
                              ? places_new()
                              : service_places_share(before->items[match[i]].places);
        if (service->places == NULL)
            e = ERR_NOMEM;
    }
    free(match);
    return e;
}

enum err services_new(struct services **out, const struct config *config,
                      const struct services *before)
{
    struct services *s = calloc(1, sizeof(*s));
    size_t count = config->dest.exposed_service_count;
    enum err e = ERR_OK;

    *out = NULL;
    if (s == NULL)
        return ERR_NOMEM;
    atomic_init(&s->owners, 1);
    s->config = config_share(config);
    if (count > 0) {
        s->items = calloc(count, sizeof(*s->items));
        e = s->items == NULL ? ERR_NOMEM : ERR_OK;
    }
    if (e == ERR_OK && count > 0) {
        s->count = count;
        fill(s, &config->dest);
        e = take_places(s, before);
    }
    if (e == ERR_OK)
        e = fill_hosts(s, &config->dest, before);
    if (e != ERR_OK) {
        services_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

struct services *services_share(struct services *s)
{
    atomic_fetch_add_explicit(&s->owners, 1, memory_order_relaxed);
    return s;
}

void services_free(struct services *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->owners, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < s->count; i++)
        service_places_free(s->items[i].places);
    service_places_free(s->hosts.places);
    free(s->items);
    config_free(s->config);
    free(s);
}

/* -- asking -- */

static bool has_protocol(const struct service *s, enum config_protocol protocol)
{
    return ((unsigned)s->protocol & (unsigned)protocol) != 0;
}

static const struct service *find_by_name(const struct services *s, uint16_t port, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i].port == port && strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    }
    return NULL;
}

/* One port may stand there twice: for TCP, and for UDP. */
static const struct service *find_by_port(const struct services *s, uint16_t port,
                                          enum config_protocol protocol)
{
    struct service key = {.port = port};
    const struct service *found = NULL;

    if (s->count > 0)
        found = bsearch(&key, s->items, s->count, sizeof(key), compare_ports);
    if (found == NULL || has_protocol(found, protocol))
        return found;
    if (found > s->items && found[-1].port == port)
        return &found[-1];
    return found < &s->items[s->count - 1] && found[1].port == port ? &found[1] : NULL;
}

const struct service *services_find(const struct services *s, uint16_t port, const char *name,
                                    enum config_protocol protocol)
{
    const struct service *found =
        name[0] != 0 ? find_by_name(s, port, name) : find_by_port(s, port, protocol);

    return found != NULL && has_protocol(found, protocol) ? found : NULL;
}

/* -- comparing -- */

/* What is sorted by name. */
struct named {
    const struct service *service;
};

static int compare_names(const void *a, const void *b)
{
    const struct named *x = a;
    const struct named *y = b;

    return strcmp(x->service->name, y->service->name);
}

enum err services_match(size_t *out, const struct services *s, const struct services *before)
{
    struct named *names = NULL;
    size_t count = before == NULL ? 0 : before->count;

    for (size_t i = 0; i < s->count; i++)
        out[i] = SERVICES_NONE;
    if (count == 0)
        return ERR_OK;
    names = calloc(count, sizeof(*names));
    if (names == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        names[i].service = &before->items[i];
    qsort(names, count, sizeof(*names), compare_names);
    for (size_t i = 0; i < s->count; i++) {
        const struct named key = {.service = &s->items[i]};
        const struct named *found = bsearch(&key, names, count, sizeof(*names), compare_names);

        if (found != NULL)
            out[i] = found->service->index;
    }
    free(names);
    return ERR_OK;
}

bool service_is_same_target(const struct service *a, const struct service *b)
{
    bool is_same_path = a->target_path == NULL || b->target_path == NULL
                            ? a->target_path == b->target_path
                            : strcmp(a->target_path, b->target_path) == 0;

    return is_same_path && strcmp(a->target_host, b->target_host) == 0 &&
           a->target_port == b->target_port && a->port == b->port &&
           a->proxy_protocol == b->proxy_protocol;
}
