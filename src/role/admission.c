/*
 * One lock for all of it, held for a few comparisons, once for each stream and flow.
 *
 *   share of each source       (limit / 2) / sources
 *   kept                       what the shares of all sources still lack
 *   a place beyond the share   only while used + kept < limit
 */
#include "role/admission.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "role/client_rules.h"

/* What a source has of a service. */
struct holding {
    struct service_places *of; /* owned */
    uint32_t count;            /* above 0 */
};

struct source {
    struct list link;
    uint8_t identity[PEER_IDENTITY_SIZE];
    unsigned tunnels;
    struct holding *holdings; /* of the services that it uses now */
    size_t holding_count;
    size_t holding_room;
};

/* Reading a certificate's names is dear: the last answers are kept. */
#define VERDICTS 32

struct admitted {
    struct source *source;
    struct peer_cert *cert;
    uint64_t generation; /* of the services that the verdicts are about */
    struct {
        const struct service *service; /* NULL: not asked yet */
        bool is_allowed;
    } verdicts[VERDICTS]; /* by the service's index */
};

struct admission {
    _Atomic uint64_t generation; /* of the services */
    pthread_mutex_t lock;
    struct services *services;
    struct list sources;
    uint32_t source_count;
};

static void divide(struct admission *a);

enum err admission_new(struct admission **out, struct services *services)
{
    struct admission *a = calloc(1, sizeof(*a));

    *out = NULL;
    if (a == NULL)
        return ERR_NOMEM;
    list_init(&a->sources);
    pthread_mutex_init(&a->lock, NULL);
    a->services = services_share(services);
    divide(a);
    *out = a;
    return ERR_OK;
}

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    assert(list_is_empty(&a->sources));
    services_free(a->services);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* -- sources -- */

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void divide_service(const struct admission *a, const struct service *service)
{
    struct service_places *p = service->places;

    p->limit = service->limit;
    p->share = a->source_count == 0 ? 0 : p->limit / 2 / a->source_count;
    p->kept = p->share * a->source_count;
}

/* The number of sources has changed, or the services. */
static void divide(struct admission *a)
{
    for (size_t i = 0; i < a->services->count; i++)
        divide_service(a, &a->services->items[i]);
    divide_service(a, &a->services->hosts);
    for (struct list *l = a->sources.next; l != &a->sources; l = l->next) {
        const struct source *source = list_entry(l, struct source, link);

        for (size_t i = 0; i < source->holding_count; i++) {
            const struct holding *h = &source->holdings[i];

            h->of->kept -= smaller(h->count, h->of->share);
        }
    }
}

static struct source *find(const struct admission *a, const uint8_t identity[PEER_IDENTITY_SIZE])
{
    for (struct list *l = a->sources.next; l != &a->sources; l = l->next) {
        struct source *source = list_entry(l, struct source, link);
        if (memcmp(source->identity, identity, sizeof(source->identity)) == 0)
            return source;
    }
    return NULL;
}

static struct source *source_new(struct admission *a, const uint8_t identity[PEER_IDENTITY_SIZE])
{
    struct source *source = calloc(1, sizeof(*source));

    if (source == NULL)
        return NULL;
    memcpy(source->identity, identity, sizeof(source->identity));
    list_init(&source->link);
    list_append(&a->sources, &source->link);
    a->source_count++;
    divide(a);
    return source;
}

static enum err enter_source(struct admission *a, struct source **out,
                             const uint8_t identity[PEER_IDENTITY_SIZE])
{
    struct source *source = find(a, identity);

    if (source == NULL)
        source = source_new(a, identity);
    if (source == NULL)
        return ERR_NOMEM;
    if (source->tunnels >= ADMISSION_TUNNELS_MAX)
        return ERR_LIMIT;
    source->tunnels++;
    *out = source;
    return ERR_OK;
}

enum err admission_join(struct admission *a, struct admitted **out,
                        const uint8_t identity[PEER_IDENTITY_SIZE], struct peer_cert *cert)
{
    struct admitted *t = calloc(1, sizeof(*t));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (t != NULL) {
        pthread_mutex_lock(&a->lock);
        e = enter_source(a, &t->source, identity);
        pthread_mutex_unlock(&a->lock);
    }
    if (e != ERR_OK) {
        peer_cert_free(cert);
        free(t);
        return e;
    }
    t->cert = cert;
    *out = t;
    return ERR_OK;
}

void admission_part(struct admission *a, struct admitted *t)
{
    struct source *source = t->source;

    pthread_mutex_lock(&a->lock);
    if (--source->tunnels == 0) {
        list_remove(&source->link);
        a->source_count--;
        divide(a);
        assert(source->holding_count == 0);
        free(source->holdings);
        free(source);
    }
    pthread_mutex_unlock(&a->lock);
    peer_cert_free(t->cert);
    free(t);
}

const void *admission_source(const struct admitted *t)
{
    return t->source;
}

void admission_renew(struct admitted *t, struct peer_cert *cert)
{
    peer_cert_free(t->cert);
    t->cert = cert;
}

struct peer_cert *admission_cert(const struct admitted *t)
{
    return t->cert;
}

/* -- places -- */

bool admission_is_allowed(struct admission *a, struct admitted *t, const struct service *service)
{
    uint64_t generation = atomic_load(&a->generation);
    size_t slot = service->index % VERDICTS;

    if (t->generation != generation)
        memset(t->verdicts, 0, sizeof(t->verdicts));
    t->generation = generation;
    if (t->verdicts[slot].service != service) {
        t->verdicts[slot].service = service;
        t->verdicts[slot].is_allowed = client_rules_is_allowed(service->allowed_clients, t->cert);
    }
    return t->verdicts[slot].is_allowed;
}

static struct holding *find_holding(struct source *source, const struct service_places *of)
{
    for (size_t i = 0; i < source->holding_count; i++) {
        if (source->holdings[i].of == of)
            return &source->holdings[i];
    }
    return NULL;
}

/* One with a count of 0, which must not stay so; NULL without memory. */
static struct holding *add_holding(struct source *source, struct service_places *of)
{
    struct holding *h;

    if (source->holding_count == source->holding_room) {
        size_t room = source->holding_room == 0 ? 4 : source->holding_room * 2;
        struct holding *holdings = realloc(source->holdings, room * sizeof(*holdings));

        if (holdings == NULL)
            return NULL;
        source->holdings = holdings;
        source->holding_room = room;
    }
    h = &source->holdings[source->holding_count++];
    *h = (struct holding){.of = service_places_share(of), .count = 0};
    return h;
}

static enum err take_place(struct source *source, const struct service *service, const char **why)
{
    struct service_places *p = service->places;
    uint32_t used = atomic_load_explicit(&p->active, memory_order_relaxed);
    struct holding *h = find_holding(source, p);
    uint32_t count = h == NULL ? 0 : h->count;

    if (used >= p->limit) {
        *why = service->is_hosts ? "max_connections of [dest.allowed_targets] are there"
                                 : "the service is at max_connections_per_service";
        return ERR_LIMIT;
    }
    if (count >= p->share && used + p->kept >= p->limit) {
        *why = service->is_hosts
                   ? "what is left of max_connections of [dest.allowed_targets] is kept for other "
                     "sources"
                   : "what is left of max_connections_per_service is kept for other sources";
        return ERR_LIMIT;
    }
    if (h == NULL)
        h = add_holding(source, p);
    if (h == NULL) {
        *why = err_text(ERR_NOMEM);
        return ERR_NOMEM;
    }
    if (h->count < p->share)
        p->kept--;
    h->count++;
    atomic_store_explicit(&p->active, used + 1, memory_order_relaxed);
    return ERR_OK;
}

enum err admission_enter(struct admission *a, struct admitted *t, const struct service *service,
                         const char **why)
{
    enum err e;

    *why = "allowed_clients of the service does not name the source";
    if (!admission_is_allowed(a, t, service))
        return ERR_NOT_ALLOWED;
    pthread_mutex_lock(&a->lock);
    e = take_place(t->source, service, why);
    pthread_mutex_unlock(&a->lock);
    return e;
}

static void give_place(struct source *source, struct service_places *p)
{
    uint32_t used = atomic_load_explicit(&p->active, memory_order_relaxed);
    struct holding *h = find_holding(source, p);

    assert(used > 0 && h != NULL && h->count > 0);
    atomic_store_explicit(&p->active, used - 1, memory_order_relaxed);
    h->count--;
    if (h->count < p->share)
        p->kept++;
    if (h->count == 0) {
        *h = source->holdings[--source->holding_count];
        service_places_free(p);
    }
}

void admission_leave(struct admission *a, struct admitted *t, struct service_places *places)
{
    pthread_mutex_lock(&a->lock);
    give_place(t->source, places);
    pthread_mutex_unlock(&a->lock);
}

void admission_set_services(struct admission *a, struct services *services)
{
    struct services *old;

    pthread_mutex_lock(&a->lock);
    old = a->services;
    /* What goes on in a service that is gone from the new ones counts for nobody's share. */
    for (size_t i = 0; i < old->count; i++) {
        struct service_places *p = old->items[i].places;

        p->limit = p->share = p->kept = 0;
    }
    a->services = services_share(services);
    divide(a);
    atomic_fetch_add(&a->generation, 1);
    pthread_mutex_unlock(&a->lock);
    services_free(old);
}
