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

enum verdict {
    VERDICT_NONE, /* not asked yet */
    VERDICT_YES,
    VERDICT_NO,
};

/* A source: what it has of each service. */
struct source {
    struct list link;
    uint8_t identity[PEER_IDENTITY_SIZE];
    unsigned tunnels;
    uint32_t places[]; /* in the order of the services */
};

struct admitted {
    struct source *source;
    struct peer_cert *cert;
    uint64_t rules;     /* by which the verdicts are */
    uint8_t verdicts[]; /* enum verdict, in the order of the services */
};

/* How a service's places are divided. */
struct division {
    uint32_t share;
    uint32_t kept;
};

struct admission {
    struct services *services;
    struct client_rules *rules;
    _Atomic uint64_t generation; /* of the rules */
    pthread_mutex_t lock;
    struct list sources;
    size_t source_count;
    struct division divisions[];
};

enum err admission_new(struct admission **out, struct services *services,
                       struct client_rules *rules)
{
    struct admission *a = calloc(1, sizeof(*a) + services->count * sizeof(a->divisions[0]));

    *out = NULL;
    if (a == NULL)
        return ERR_NOMEM;
    a->services = services;
    a->rules = rules;
    list_init(&a->sources);
    pthread_mutex_init(&a->lock, NULL);
    *out = a;
    return ERR_OK;
}

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    assert(list_is_empty(&a->sources));
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* -- sources -- */

static uint32_t lack(const struct division *d, uint32_t places)
{
    return places < d->share ? d->share - places : 0;
}

/* The number of sources has changed. */
static void divide(struct admission *a)
{
    for (size_t i = 0; i < a->services->count; i++) {
        struct division *d = &a->divisions[i];

        d->kept = 0;
        d->share = a->source_count == 0
                       ? 0
                       : (uint32_t)(a->services->items[i].limit / 2 / a->source_count);
        for (struct list *l = a->sources.next; l != &a->sources; l = l->next)
            d->kept += lack(d, list_entry(l, struct source, link)->places[i]);
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
    struct source *source =
        calloc(1, sizeof(*source) + a->services->count * sizeof(source->places[0]));

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
    struct admitted *t = calloc(1, sizeof(*t) + a->services->count);
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
        free(source);
    }
    pthread_mutex_unlock(&a->lock);
    peer_cert_free(t->cert);
    free(t);
}

void admission_renew(struct admitted *t, struct peer_cert *cert)
{
    peer_cert_free(t->cert);
    t->cert = cert;
}

const struct peer_cert *admission_cert(const struct admitted *t)
{
    return t->cert;
}

/* -- places -- */

static size_t index_of(const struct admission *a, const struct service *service)
{
    size_t index = (size_t)(service - a->services->items);

    assert(index < a->services->count);
    return index;
}

bool admission_is_allowed(struct admission *a, struct admitted *t, const struct service *service)
{
    uint64_t generation = atomic_load(&a->generation);
    uint8_t *verdict = &t->verdicts[index_of(a, service)];

    if (t->rules != generation)
        memset(t->verdicts, VERDICT_NONE, a->services->count);
    t->rules = generation;
    if (*verdict == VERDICT_NONE)
        *verdict =
            client_rules_is_allowed(a->rules, service->name, t->cert) ? VERDICT_YES : VERDICT_NO;
    return *verdict == VERDICT_YES;
}

static enum err take_place(struct division *d, uint32_t *places, struct service *service,
                           const char **why)
{
    uint32_t used = atomic_load_explicit(&service->active, memory_order_relaxed);

    if (used >= service->limit) {
        *why = "the service is at max_connections_per_service";
        return ERR_LIMIT;
    }
    if (*places >= d->share && used + d->kept >= service->limit) {
        *why = "what is left of max_connections_per_service is kept for other sources";
        return ERR_LIMIT;
    }
    if (*places < d->share)
        d->kept--;
    ++*places;
    atomic_store_explicit(&service->active, used + 1, memory_order_relaxed);
    return ERR_OK;
}

enum err admission_enter(struct admission *a, struct admitted *t, struct service *service,
                         const char **why)
{
    size_t index = index_of(a, service);
    enum err e;

    *why = "allowed_clients of the service does not name the source";
    if (!admission_is_allowed(a, t, service))
        return ERR_NOT_ALLOWED;
    pthread_mutex_lock(&a->lock);
    e = take_place(&a->divisions[index], &t->source->places[index], service, why);
    pthread_mutex_unlock(&a->lock);
    return e;
}

void admission_leave(struct admission *a, struct admitted *t, struct service *service)
{
    size_t index = index_of(a, service);
    struct division *d = &a->divisions[index];
    uint32_t *places = &t->source->places[index];

    pthread_mutex_lock(&a->lock);
    uint32_t used = atomic_load_explicit(&service->active, memory_order_relaxed);
    assert(used > 0 && *places > 0);
    atomic_store_explicit(&service->active, used - 1, memory_order_relaxed);
    --*places;
    if (*places < d->share)
        d->kept++;
    pthread_mutex_unlock(&a->lock);
}

void admission_forget_verdicts(struct admission *a)
{
    atomic_fetch_add(&a->generation, 1);
}
