/*
 * Another configuration for a source that runs, in two phases: all that it takes is made, then it
 * is put in place on every thread.
 */
#include "role/source_parts.h"

#include <stdlib.h>

#include "role/worker_round.h"

/* All that it takes, made ahead. */
struct change {
    struct worker_round_owner round_owner;
    struct worker_round *round;
    struct handshaker_call call;
    struct source *source;
    const struct config *config; /* owned, as all below, until it is put in place */
    struct credentials *credentials;
    struct client_table *table;
    struct change_part *parts; /* one for each worker */
};

struct change_part {
    struct clients_change *clients;
    struct uplink_change uplink;
};

static struct worker *worker_of_round(struct worker_round_owner *owner, unsigned index)
{
    return list_entry(owner, struct change, round_owner)->source->workers[index].worker;
}

/* Whoever is told of a new port may come at once, so there is no other port in its place. */
static enum err bind_new_ports(struct change *c, struct err_detail *d)
{
    struct source *s = c->source;
    const struct listen_port_bind options = {.count = s->worker_count};
    int *fds = calloc(s->worker_count, sizeof(*fds));
    enum err e = fds == NULL ? ERR_NOMEM : ERR_OK;

    for (size_t i = 0; e == ERR_OK && i < c->table->port_count; i++) {
        if (client_table_has(s->table, &c->table->ports[i]))
            continue;
        e = listen_port_bind(&c->table->ports[i], fds, &options, d);
        for (unsigned k = 0; e == ERR_OK && k < s->worker_count; k++)
            clients_change_give(c->parts[k].clients, i, fds[k]);
    }
    free(fds);
    return e;
}

static enum err open_worker(struct worker_round_owner *owner, unsigned index)
{
    struct change *c = list_entry(owner, struct change, round_owner);

    return clients_change_open(&c->source->workers[index].clients, c->parts[index].clients);
}

static enum err close_worker(struct worker_round_owner *owner, unsigned index)
{
    struct change *c = list_entry(owner, struct change, round_owner);

    clients_change_close(&c->source->workers[index].clients, c->parts[index].clients);
    return ERR_OK;
}

static enum err prepare(struct change *c, const struct identity *identity, struct err_detail *d)
{
    struct source *s = c->source;
    enum err e = credentials_new(&c->credentials, c->config, identity, d);

    if (e == ERR_OK && role_kem_mode(c->config) != KEM_MLKEM768 &&
        atomic_load(&s->keypairs) == NULL)
        e = source_start_keypairs(s); /* kept, whatever comes of the rest */
    if (e == ERR_OK)
        e = client_table_new(&c->table, c->config, s->table, d);
    if (e == ERR_OK)
        c->parts = calloc(s->worker_count, sizeof(*c->parts));
    if (e == ERR_OK && c->parts == NULL)
        e = ERR_NOMEM;
    for (unsigned i = 0; e == ERR_OK && i < s->worker_count; i++) {
        e = clients_change_new(&c->parts[i].clients, c->table, s->table);
        if (e == ERR_OK)
            e = uplink_change_init(&c->parts[i].uplink, c->config);
    }
    if (e == ERR_OK)
        e = worker_round_new(&c->round, s->worker_count, &c->round_owner);
    if (e == ERR_OK)
        e = bind_new_ports(c, d);
    return e;
}

static void change_handshaker(struct handshaker_call *call, struct handshaker *h)
{
    struct change *c = list_entry(call, struct change, call);
    const struct handshaker_bounds bounds = {
        .max_size = c->config->crypto.max_handshake_size_bytes,
        .pool = role_kem_mode(c->config) == KEM_MLKEM768 ? NULL : atomic_load(&c->source->keypairs),
    };

    credentials_adopt(c->source->credentials, c->credentials);
    c->credentials = NULL;
    handshaker_set_bounds(h, &bounds);
}

static enum err change_worker(struct worker_round_owner *owner, unsigned index)
{
    struct change *c = list_entry(owner, struct change, round_owner);
    struct source_worker *w = &c->source->workers[index];
    const struct worker_times times = source_times(&c->config->source);

    worker_set_times(w->worker, &times);
    /* While its own sockets are open still. */
    if (index == 0)
        client_table_remove_files(w->clients.table, c->table);
    clients_change(&w->clients, c->parts[index].clients);
    uplink_change(&w->uplink, &c->parts[index].uplink);
    return ERR_OK;
}

static void log_ports(const struct source *s, const struct client_table *old)
{
    for (size_t i = 0; i < s->table->port_count; i++) {
        if (!client_table_has(old, &s->table->ports[i]))
            listen_port_log_up(&s->table->ports[i]);
    }
    for (size_t i = 0; i < old->port_count; i++) {
        if (!client_table_has(s->table, &old->ports[i]))
            listen_port_log_down(&old->ports[i]);
    }
}

static enum err commit(struct change *c)
{
    struct source *s = c->source;
    const struct config *config = s->config;
    struct client_table *table = s->table;
    enum err e = worker_round_run(c->round, open_worker);

    c->call.run = change_handshaker;
    if (e == ERR_OK && !handshaker_run(s->handshaker, &c->call))
        e = ERR_SHUTDOWN;
    if (e != ERR_OK) {
        (void)worker_round_run(c->round, close_worker);
        return e;
    }
    pthread_mutex_lock(&s->tables);
    /* One that has stopped keeps what it had, and uses it no more. */
    (void)worker_round_run(c->round, change_worker);
    s->config = c->config;
    s->table = c->table;
    pthread_mutex_unlock(&s->tables);
    client_table_set_rights(s->table, table);
    log_ports(s, table);
    c->config = config;
    c->table = table;
    return ERR_OK;
}

static void change_fini(struct change *c)
{
    for (unsigned i = 0; c->parts != NULL && i < c->source->worker_count; i++) {
        clients_change_free(c->parts[i].clients);
        uplink_change_fini(&c->parts[i].uplink);
    }
    free(c->parts);
    worker_round_free(c->round);
    client_table_free(c->table);
    credentials_free(c->credentials);
    config_free(c->config);
}

enum err source_reload(struct source *s, const struct config *config,
                       const struct identity *identity, struct err_detail *d)
{
    struct change c = {.round_owner = {.worker_at = worker_of_round}, .source = s};
    enum err e;

    err_set(d, ERR_OK, "%s", "");
    c.config = config_share(config);
    e = prepare(&c, identity, d);
    if (e == ERR_OK)
        e = commit(&c);
    if (e != ERR_OK && c.table != NULL)
        client_table_remove_files(c.table, s->table);
    if (e != ERR_OK && d->text[0] == 0)
        err_set(d, e, "%s", err_text(e));
    change_fini(&c);
    return e;
}
