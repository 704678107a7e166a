/*
 *   resolving ──> connected ──> gone       an address literal is connected at once
 *       └── no such name, no way ──> gone
 */
#include "net/udp_target.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/address.h"
#include "net/names.h"
#include "net/socket.h"
#include "net/udp_io.h"
#include "net/watch.h"
#include "net/wire_error.h"

/* Batches received before others have their turn. */
#define BATCHES_A_TURN 4

struct udp_target {
    struct flow_owner flow;
    struct watch watch;
    struct udp_target_owner *owner;
    const struct target_filter *filter;
    struct name *name; /* NULL: an address */
    struct name_user asking;
    const void *asker;
    struct stream_address client;
    uint16_t service;
    uint16_t port; /* of the target */
};

static struct worker *worker_of(const struct udp_target *t)
{
    return t->flow.tunnel->worker;
}

static struct flow_stats *total_of(const struct udp_target *t)
{
    return &worker_stats(worker_of(t))->flows;
}

/* -- the end -- */

static void target_free(struct udp_target *t)
{
    if (t->name != NULL)
        name_leave(t->name, &t->asking);
    if (t->watch.fd >= 0)
        udp_io_flush(worker_udp(worker_of(t)));
    watch_close_fd(&t->watch);
    free(t);
}

/* The flow has ended, for the engine too. */
static void finish(struct udp_target *t, enum err why, const char *detail)
{
    struct udp_target_owner *owner = t->owner;
    struct flow_end end;

    flow_owner_get_end(&t->flow, why, &end);
    end.port = t->service;
    end.client = t->client;
    end.detail = detail;
    target_free(t);
    owner->on_flow_end(owner, &end);
}

static void fail(struct udp_target *t, enum err why, const char *detail)
{
    flow_owner_close(&t->flow, wire_code_of(why));
    finish(t, why, detail);
}

static void on_end(struct flow_owner *o, enum err why)
{
    finish(list_entry(o, struct udp_target, flow), why, "");
}

/* -- to the target -- */

static void pass_on(struct udp_target *t, const uint8_t *data, size_t len)
{
    const struct udp_send send = {
        .fd = t->watch.fd,
        .data = data,
        .len = len,
        .stats = t->flow.stats,
        .total = total_of(t),
    };

    udp_io_send(worker_udp(worker_of(t)), &send);
    flow_owner_delivered(&t->flow, len);
}

static void on_datagram(struct flow_owner *o, const uint8_t *data, size_t len)
{
    struct udp_target *t = list_entry(o, struct udp_target, flow);

    if (t->watch.fd >= 0)
        pass_on(t, data, len);
    else
        flow_owner_keep(o, data, len);
}

static const struct flow_owner_events flow_events = {
    .on_datagram = on_datagram,
    .on_end = on_end,
};

/* -- from the target -- */

static void on_refused(struct udp_target *t)
{
    stats_add(&t->flow.stats->dropped_target_refused, 1);
    stats_add(&total_of(t)->dropped_target_refused, 1);
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct udp_target *t = list_entry(watch, struct udp_target, watch);
    bool was_refused = false;

    if ((events & (WATCH_READ | WATCH_ERROR)) == 0)
        return;
    for (int i = 0; i < BATCHES_A_TURN; i++) {
        const struct udp_packet *packets;
        size_t n;
        enum err e = udp_io_receive(worker_udp(worker_of(t)), watch->fd, &packets, &n);

        if (e != ERR_OK) {
            was_refused = true;
            on_refused(t);
            continue;
        }
        for (size_t k = 0; k < n; k++)
            flow_owner_send(&t->flow, packets[k].data, packets[k].len);
        if (n == UDP_BATCH)
            continue;
        if (was_refused && t->name != NULL) {
            name_doubt(t->name, t->asker);
            fail(t, ERR_REFUSED, "the target's machine says that nobody listens");
        }
        return;
    }
    watch_again(watch, WATCH_READ);
}

/* -- connecting -- */

static enum err connect_to(struct udp_target *t, const struct address *a)
{
    enum err e;
    int fd;

    if (t->filter != NULL && !t->filter->is_allowed(t->filter, a))
        return ERR_NOT_ALLOWED;
    fd = socket(a->sockaddr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    e = socket_connect(fd, a);
    if (e == ERR_OK)
        e = watch_open_reader(&t->watch, worker_watches(worker_of(t)), fd);
    if (e != ERR_OK)
        close(fd);
    return e;
}

static void send_kept(struct udp_target *t)
{
    const uint8_t *data;
    size_t len;

    while (flow_owner_first_kept(&t->flow, &data, &len)) {
        pass_on(t, data, len);
        udp_io_flush(worker_udp(worker_of(t)));
        flow_owner_forget_kept(&t->flow);
    }
}

/* The first that there is a way to; ERR_NOT_ALLOWED where none is allowed. */
static enum err connect_to_any(struct udp_target *t, const struct address_list *addresses)
{
    enum err e = ERR_RESOLVE;

    for (size_t i = 0; i < addresses->count && e != ERR_OK; i++) {
        struct address a = addresses->items[i];
        enum err why;

        address_set_port(&a, t->port);
        why = connect_to(t, &a);
        if (why != ERR_NOT_ALLOWED || i == 0)
            e = why;
    }
    return e;
}

/* ERR_OK also when the name's addresses are to come. */
static enum err connect_by_name(struct udp_target *t, struct err_detail *detail)
{
    const char *text;
    enum err e;

    switch (name_look(t->name, &t->asking, NAME_TTL_MS, t->asker)) {
    case NAME_COMING:
        return ERR_OK;
    case NAME_FAILED:
        e = name_trouble(t->name, &text);
        return err_set(detail, e, "%s", text);
    case NAME_KNOWN:
        break;
    }
    e = connect_to_any(t, name_addresses(t->name));
    if (e == ERR_OK)
        return e;
    /* A rule that forbids an address says nothing against it. */
    if (e != ERR_NOT_ALLOWED)
        name_doubt(t->name, t->asker);
    return err_set(detail, e, "%s",
                   e == ERR_NOT_ALLOWED ? "no address of the name is allowed"
                                        : "no way to an address of the name");
}

static void on_news(struct name_user *asking)
{
    struct udp_target *t = list_entry(asking, struct udp_target, asking);
    struct err_detail detail;
    enum err e = connect_by_name(t, &detail);

    if (e != ERR_OK)
        fail(t, e, detail.text);
    else if (t->watch.fd >= 0)
        send_kept(t);
}

static enum err begin(struct udp_target *t, const char *host, struct err_detail *detail)
{
    struct address address;
    enum err e;

    if (address_parse(&address, host, t->port) == ERR_OK)
        return connect_to(t, &address);
    e = name_enter(worker_names(worker_of(t)), &t->name, host, &t->asking);
    return e == ERR_OK ? connect_by_name(t, detail) : e;
}

enum err udp_target_start(struct tunnel_owner *o, struct flow *flow,
                          const struct stream_target *target,
                          const struct udp_target_options *options, struct err_detail *detail)
{
    struct udp_target *t = calloc(1, sizeof(*t));
    enum err e;

    err_set(detail, ERR_OK, "%s", "");
    if (t == NULL) {
        tunnel_owner_refuse_flow(o, flow, WIRE_INTERNAL);
        return ERR_NOMEM;
    }
    t->owner = options->owner;
    t->filter = options->filter;
    t->client = target->client;
    t->service = target->port;
    t->port = options->port;
    t->asker = options->asker;
    t->asking.on_news = on_news;
    list_init(&t->asking.link);
    watch_init(&t->watch, on_ready);
    flow_owner_init(&t->flow, &flow_events, options->stats);
    flow_owner_adopt(&t->flow, o, flow);
    e = begin(t, options->host, detail);
    if (e != ERR_OK) {
        flow_owner_close(&t->flow, wire_code_of(e));
        target_free(t);
    }
    return e;
}

static bool is_outside(const struct udp_target *t, const struct target_filter *filter)
{
    struct address peer;

    if (t->watch.fd < 0)
        return false;
    address_of_peer(&peer, t->watch.fd);
    return !address_is_none(&peer) && !filter->is_allowed(filter, &peer);
}

void udp_target_abort_outside(struct tunnel_owner *o, const struct flow_stats *stats,
                              const struct target_filter *filter, enum err why)
{
    struct sweep *all = worker_flows(o->worker);
    struct list *next;

    for (struct list *l = all->items.next; l != &all->items; l = next) {
        struct sweep_item *item = list_entry(l, struct sweep_item, link);
        struct flow_owner *flow = list_entry(item, struct flow_owner, idle);

        next = l->next;
        if (flow->tunnel == o && flow->stats == stats &&
            is_outside(list_entry(flow, struct udp_target, flow), filter))
            fail(list_entry(flow, struct udp_target, flow), why, "");
    }
}
