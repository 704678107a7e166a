#include "role/dest_services.h"

#include <stdlib.h>
#include <string.h>

#include "net/flow_owner.h"
#include "net/udp_target.h"
#include "net/wire_error.h"
#include "role/account.h"

/* What a service counts, on this worker. It outlives a change of the target. */
struct tally {
    struct pump_stats pumps;
    struct flow_stats flows;
    unsigned owners;
};

/* One row of the table, and what goes on in it. */
struct dest_service {
    struct pump_owner pumps;
    struct udp_target_owner flows;
    struct tally *tally;
    const struct service *service; /* of the table, which is owned once more */
    struct services *table;
    struct dest_services *set;
    unsigned users;   /* streams and flows */
    struct list link; /* in set->retired */
};

struct dest_services_change {
    struct services *table;
    struct dest_service **items; /* in its order; NULL where one is taken over */
};

/* -- accounts -- */

static const char *name_of(enum config_protocol protocol)
{
    return protocol == CONFIG_TCP ? "tcp" : "udp";
}

static struct account account_of(const struct dest_service *s, struct dest_tunnel *t,
                                 enum config_protocol protocol)
{
    return (struct account){.who = &t->who,
                            .pace = &t->refusals,
                            .now_us = worker_now(t->owner.worker),
                            .stats = worker_stats(t->owner.worker),
                            .protocol = name_of(protocol),
                            .service = s->service->name,
                            .target_host = s->service->target_host,
                            .target_port = s->service->target_port};
}

static void leave(struct dest_service *s, struct dest_tunnel *t)
{
    admission_leave(s->set->admission, t->source, s->service->places);
    if (--s->users == 0 && list_is_linked(&s->link))
        worker_defer(s->set->worker, &s->set->reap);
}

static void on_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct dest_service *s = list_entry(owner, struct dest_service, pumps);
    struct dest_tunnel *t = list_entry(end->tunnel, struct dest_tunnel, owner);
    const struct account account = account_of(s, t, CONFIG_TCP);

    (void)account_stream(&account, end);
    leave(s, t);
}

static void on_flow_end(struct udp_target_owner *owner, const struct flow_end *end)
{
    struct dest_service *s = list_entry(owner, struct dest_service, flows);
    struct dest_tunnel *t = list_entry(end->tunnel, struct dest_tunnel, owner);
    const struct account account = account_of(s, t, CONFIG_UDP);

    (void)account_flow(&account, end);
    leave(s, t);
}

/* There is no pump, or flow, though there was a place. */
static void not_begun(struct dest_service *s, struct dest_tunnel *t,
                      const struct stream_target *target, enum config_protocol protocol,
                      enum err why, const char *detail)
{
    const struct account account = account_of(s, t, protocol);

    account_refused(&account, target, why, detail);
    leave(s, t);
}

/* -- streams and flows -- */

static const char *missing(const struct stream_target *target, enum config_protocol protocol)
{
    bool is_tcp = protocol == CONFIG_TCP;

    if (target->name[0] == '\0')
        return is_tcp ? "no exposed_services row has this port for TCP"
                      : "no exposed_services row has this port for UDP";
    return is_tcp ? "no exposed_services row has this name and this port for TCP"
                  : "no exposed_services row has this name and this port for UDP";
}

/* The service that is asked for, with this stream or flow counted in; or why not. */
static enum err admit(struct dest_services *s, struct dest_tunnel *t,
                      const struct stream_target *target, enum config_protocol protocol,
                      struct dest_service **out)
{
    const struct service *service = services_find(s->table, target->port, target->name, protocol);
    struct account account = {.who = &t->who,
                              .pace = &t->refusals,
                              .now_us = worker_now(t->owner.worker),
                              .stats = worker_stats(t->owner.worker),
                              .protocol = name_of(protocol),
                              .service = target->name,
                              .target_host = ""};
    const char *why;
    enum err e;

    *out = NULL;
    if (service == NULL) {
        account_refused(&account, target, ERR_NO_SERVICE, missing(target, protocol));
        return ERR_NO_SERVICE;
    }
    e = admission_enter(s->admission, t->source, service, &why);
    if (e != ERR_OK) {
        account = account_of(s->items[service->index], t, protocol);
        account_refused(&account, target, e, why);
        return e;
    }
    *out = s->items[service->index];
    (*out)->users++;
    return ERR_OK;
}

void dest_services_open(struct dest_services *s, struct dest_tunnel *t, struct stream *stream,
                        const struct stream_target *target)
{
    struct dest_service *item;
    enum err e;

    if (targets_is_host(s->table, target, CONFIG_TCP)) {
        targets_open(&s->hosts, t, stream, target, &s->host_pumps);
        return;
    }
    e = admit(s, t, target, CONFIG_TCP, &item);
    if (e != ERR_OK) {
        tunnel_owner_refuse(&t->owner, stream, wire_code_of(e));
        return;
    }
    const struct target_options options = {
        .host = item->service->target_host,
        .port = item->service->target_port,
        .path = item->service->target_path,
        .timeout_ms = s->table->config->dest.target_connect_timeout_ms,
    };
    e = pump_dial(&t->owner, stream, target, &options, &item->pumps);
    if (e != ERR_OK)
        not_begun(item, t, target, CONFIG_TCP, e, "");
}

void dest_services_flow(struct dest_services *s, struct dest_tunnel *t, struct flow *flow,
                        const struct stream_target *target)
{
    struct dest_service *item;
    struct err_detail detail;
    enum err e;

    if (targets_is_host(s->table, target, CONFIG_UDP)) {
        targets_open_flow(&s->hosts, t, flow, target, &s->host_flows);
        return;
    }
    e = admit(s, t, target, CONFIG_UDP, &item);
    if (e != ERR_OK) {
        tunnel_owner_refuse_flow(&t->owner, flow, wire_code_of(e));
        return;
    }
    const struct udp_target_options options = {
        .owner = &item->flows,
        .host = item->service->target_host,
        .port = item->service->target_port,
        .stats = &item->tally->flows,
    };
    e = udp_target_start(&t->owner, flow, target, &options, &detail);
    if (e != ERR_OK)
        not_begun(item, t, target, CONFIG_UDP, e, detail.text);
}

/* -- what is no longer allowed -- */

static bool speaks(const struct service *service, enum config_protocol protocol)
{
    return ((unsigned)service->protocol & (unsigned)protocol) != 0;
}

void dest_services_recheck(struct dest_services *s, struct dest_tunnel *t)
{
    for (size_t i = 0; i < s->table->count; i++) {
        struct dest_service *item = s->items[i];
        bool is_allowed = admission_is_allowed(s->admission, t->source, item->service);
        enum err why = is_allowed ? ERR_NO_SERVICE : ERR_NOT_ALLOWED;

        if (!is_allowed || !speaks(item->service, CONFIG_TCP))
            pump_abort_of(&t->owner, &item->tally->pumps, why);
        if (!is_allowed || !speaks(item->service, CONFIG_UDP))
            flow_owner_abort_of(&t->owner, &item->tally->flows, why);
    }
    targets_recheck(&s->hosts, t, &s->host_pumps, &s->host_flows);
}

/* -- items -- */

static enum proxy_protocol_version header_of(enum config_proxy_protocol configured)
{
    if (configured == CONFIG_PROXY_NONE)
        return PROXY_PROTOCOL_NONE;
    return configured == CONFIG_PROXY_V1 ? PROXY_PROTOCOL_V1 : PROXY_PROTOCOL_V2;
}

static void tally_free(struct tally *tally)
{
    if (tally != NULL && --tally->owners == 0)
        free(tally);
}

static void set_tally(struct dest_service *item, struct tally *tally)
{
    tally->owners++;
    tally_free(item->tally);
    item->tally = tally;
    item->pumps.stats = &tally->pumps;
}

/* The row that it stands for, of the same places as before. */
static void set_row(struct dest_service *item, struct services *table, size_t index)
{
    struct services *old = item->table;

    item->table = services_share(table);
    item->service = &table->items[index];
    item->pumps.proxy_protocol = header_of(item->service->proxy_protocol);
    services_free(old);
}

static void item_free(struct dest_service *item)
{
    if (item == NULL)
        return;
    list_remove(&item->link);
    tally_free(item->tally);
    services_free(item->table);
    free(item);
}

static struct dest_service *item_new(struct services *table, size_t index)
{
    struct dest_service *item = calloc(1, sizeof(*item));
    struct tally *tally = calloc(1, sizeof(*tally));

    if (item == NULL || tally == NULL) {
        free(item);
        free(tally);
        return NULL;
    }
    list_init(&item->link);
    item->pumps.on_end = on_end;
    item->flows.on_flow_end = on_flow_end;
    set_tally(item, tally);
    set_row(item, table, index);
    return item;
}

static void on_reap(struct worker_task *task)
{
    struct dest_services *s = list_entry(task, struct dest_services, reap);
    struct list *next;

    for (struct list *l = s->retired.next; l != &s->retired; l = next) {
        struct dest_service *item = list_entry(l, struct dest_service, link);

        next = l->next;
        if (item->users == 0)
            item_free(item);
    }
}

static void retire(struct dest_services *s, struct dest_service *item)
{
    list_append(&s->retired, &item->link);
    worker_defer(s->worker, &s->reap);
}

/* -- another table -- */

enum err dest_services_change_new(struct dest_services_change **out, struct services *table)
{
    struct dest_services_change *c = calloc(1, sizeof(*c));
    enum err e = ERR_OK;

    *out = NULL;
    if (c == NULL)
        return ERR_NOMEM;
    c->table = services_share(table);
    c->items = calloc(table->count + 1, sizeof(struct dest_service *));
    for (size_t i = 0; c->items != NULL && e == ERR_OK && i < table->count; i++) {
        c->items[i] = item_new(table, i);
        e = c->items[i] == NULL ? ERR_NOMEM : ERR_OK;
    }
    if (c->items == NULL || e != ERR_OK) {
        dest_services_change_free(c);
        return ERR_NOMEM;
    }
    *out = c;
    return ERR_OK;
}

void dest_services_change_free(struct dest_services_change *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; c->items != NULL && i < c->table->count; i++)
        item_free(c->items[i]);
    free(c->items);
    services_free(c->table);
    free(c);
}

static void end_all(struct dest_service *item, const struct dest_tunnels *tunnels)
{
    for (struct list *l = tunnels->all.next; l != &tunnels->all; l = l->next) {
        struct dest_tunnel *t = list_entry(l, struct dest_tunnel, link);

        pump_abort_of(&t->owner, &item->tally->pumps, ERR_NO_SERVICE);
        flow_owner_abort_of(&t->owner, &item->tally->flows, ERR_NO_SERVICE);
    }
}

/* What stands for the new row: the old item where it may go on, otherwise the fresh one. */
static void follow(struct dest_services *s, struct dest_service **fresh, struct dest_service **old)
{
    struct dest_service *was = *old;

    *old = NULL;
    if (service_is_same_target(was->service, (*fresh)->service)) {
        set_row(was, (*fresh)->table, (*fresh)->service->index);
        item_free(*fresh);
        *fresh = was;
    } else {
        set_tally(*fresh, was->tally);
        retire(s, was);
    }
}

void dest_services_change(struct dest_services *s, struct dest_services_change *change,
                          const size_t *match, const struct dest_tunnels *tunnels)
{
    struct services *table = s->table;
    struct dest_service **items = s->items;

    for (size_t i = 0; i < change->table->count; i++) {
        change->items[i]->set = s;
        if (match[i] != SERVICES_NONE)
            follow(s, &change->items[i], &items[match[i]]);
    }
    for (size_t i = 0; i < table->count; i++) {
        if (items[i] == NULL)
            continue;
        end_all(items[i], tunnels);
        retire(s, items[i]);
        items[i] = NULL;
    }
    s->items = change->items;
    s->table = change->table;
    change->items = items; /* of NULLs */
    change->table = table;
    targets_set(&s->hosts, s->table);
}

/* -- life -- */

enum err dest_services_init(struct dest_services *s, struct services *table)
{
    struct dest_services_change *change;
    enum err e = dest_services_change_new(&change, table);

    list_init(&s->retired);
    worker_task_init(&s->reap, on_reap);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < table->count; i++)
        change->items[i]->set = s;
    s->items = change->items;
    s->table = change->table;
    free(change);
    targets_set(&s->hosts, s->table);
    return ERR_OK;
}

void dest_services_fini(struct dest_services *s)
{
    struct list *link;

    if (s->table == NULL)
        return;
    for (size_t i = 0; i < s->table->count; i++)
        item_free(s->items[i]);
    while ((link = list_first(&s->retired)) != NULL)
        item_free(list_entry(link, struct dest_service, link));
    free(s->items);
    services_free(s->table);
    s->items = NULL;
    s->table = NULL;
}

const struct pump_stats *dest_services_pumps(const struct dest_services *s, size_t index)
{
    return &s->items[index]->tally->pumps;
}

const struct flow_stats *dest_services_flows(const struct dest_services *s, size_t index)
{
    return &s->items[index]->tally->flows;
}
