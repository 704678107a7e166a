/*
 * Another configuration for a dest that runs, in two phases: all that it takes is made, then it is
 * put in place on every thread.
 */
#include "role/dest_parts.h"

#include <stdlib.h>

#include "net/rate_limit.h"
#include "role/audit.h"
#include "role/worker_round.h"

/* All that it takes, made ahead. */
struct change {
    struct worker_round_owner round_owner;
    struct worker_round *round;
    struct dest *dest;
    const struct config *config; /* owned, as all below, until it is put in place */
    struct credentials *credentials;
    struct rate_limit *rate;
    struct services *services;
    size_t *match;                    /* of these and the ones in use */
    struct dest_services_change **of; /* each worker */
    X509_STORE *store;
};

static struct worker *worker_of_round(struct worker_round_owner *owner, unsigned index)
{
    return list_entry(owner, struct change, round_owner)->dest->workers[index].worker;
}

static bool is_other_rate(const struct config_dest *a, const struct config_dest *b)
{
    return a->handshake_rate_limit != b->handshake_rate_limit ||
           a->handshake_rate_window_secs != b->handshake_rate_window_secs;
}

static enum err prepare(struct change *c, const struct identity *identity,
                        struct err_detail *detail)
{
    const struct config_dest *config = &c->config->dest;
    struct dest *d = c->dest;
    enum err e = credentials_new(&c->credentials, c->config, identity, detail);

    if (e == ERR_OK && is_other_rate(config, &d->config->dest))
        e = rate_limit_new(&c->rate, config->handshake_rate_limit,
                           (uint64_t)config->handshake_rate_window_secs * 1000000);
    if (e == ERR_OK)
        e = services_new(&c->services, c->config, d->services);
    if (e != ERR_OK)
        return e;
    c->match = calloc(c->services->count + 1, sizeof(*c->match));
    c->of = calloc(d->worker_count, sizeof(struct dest_services_change *));
    e = c->match == NULL || c->of == NULL ? ERR_NOMEM
                                          : services_match(c->match, c->services, d->services);
    for (unsigned i = 0; e == ERR_OK && i < d->worker_count; i++)
        e = dest_services_change_new(&c->of[i], c->services);
    if (e == ERR_OK)
        e = worker_round_new(&c->round, d->worker_count, &c->round_owner);
    return e;
}

/* Who may stay is decided last, by all that is new. */
static enum err change_worker(struct worker_round_owner *owner, unsigned index)
{
    struct change *c = list_entry(owner, struct change, round_owner);
    struct dest_worker *w = &c->dest->workers[index];
    const struct config_dest *config = &c->config->dest;
    const struct worker_times times = dest_times(config);

    worker_set_times(w->worker, &times);
    dest_tunnels_change(&w->tunnels, c->config, dest_streams_max(config));
    dest_services_change(&w->services, c->of[index], c->match, &w->tunnels);
    dest_tunnels_recheck(&w->tunnels, c->store);
    for (struct list *l = w->tunnels.all.next; l != &w->tunnels.all; l = l->next)
        dest_services_recheck(&w->services, list_entry(l, struct dest_tunnel, link));
    return ERR_OK;
}

/*
 * The gate goes first: whoever comes from then on is measured by the new, and who came before is
 * checked again by his worker.
 */
static enum err commit(struct change *c)
{
    struct dest *d = c->dest;
    const struct dest_gate_change gate = {
        .config = c->config, .credentials = c->credentials, .rate = c->rate};
    const struct config *config = d->config;
    struct services *services = d->services;

    c->store = credentials_store(c->credentials);
    (void)X509_STORE_up_ref(c->store);
    if (!dest_gate_change(d->gate, &gate))
        return ERR_SHUTDOWN;
    c->credentials = NULL;
    c->rate = NULL;
    admission_set_services(d->admission, c->services);
    pthread_mutex_lock(&d->tables);
    /* One that has stopped keeps what it had, and uses it no more. */
    (void)worker_round_run(c->round, change_worker);
    d->config = c->config;
    d->services = c->services;
    pthread_mutex_unlock(&d->tables);
    audit_enable(d->config->logging.audit);
    c->config = config;
    c->services = services;
    return ERR_OK;
}

static void change_fini(struct change *c)
{
    for (unsigned i = 0; c->of != NULL && i < c->dest->worker_count; i++)
        dest_services_change_free(c->of[i]);
    worker_round_free(c->round);
    free(c->of);
    free(c->match);
    services_free(c->services);
    rate_limit_free(c->rate);
    credentials_free(c->credentials);
    X509_STORE_free(c->store);
    config_free(c->config);
}

enum err dest_reload(struct dest *d, const struct config *config, const struct identity *identity,
                     struct err_detail *detail)
{
    struct change c = {.round_owner = {.worker_at = worker_of_round}, .dest = d};
    enum err e;

    err_set(detail, ERR_OK, "%s", "");
    c.config = config_share(config);
    e = prepare(&c, identity, detail);
    if (e == ERR_OK)
        e = commit(&c);
    if (e != ERR_OK && detail->text[0] == 0)
        err_set(detail, e, "%s", err_text(e));
    change_fini(&c);
    return e;
}
