/*
 * Clients stand in a table by a hash of their address and the local one, with a random key, so that
 * nobody can make many of them meet.
 */
#include "net/udp_port.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/list.h"
#include "net/udp_io.h"
#include "net/watch.h"

/* Chains of the table. Its pages come with the clients. */
#define CHAINS ((size_t)16384)

/* Batches received before others have their turn. */
#define BATCHES_A_TURN 4

/* All that tells one client from another: both IP addresses, port and scope. */
#define KEY_WORDS 5

struct client_key {
    uint64_t words[KEY_WORDS];
};

struct udp_client {
    struct flow_owner flow;
    struct udp_port *port;
    struct udp_client *next; /* of the chain */
    struct list link;        /* in udp_port.clients */
    struct client_key key;
    struct address client;
    struct address local; /* where the client sends to; none when the kernel does not say */
    uint16_t service;
};

struct udp_port {
    struct watch watch;
    struct worker *worker;
    struct udp_port_owner *owner;
    struct flow_stats *stats;
    uint64_t secret[2];
    struct udp_client **chains;
    struct list clients;
    bool is_held;
};

/* -- the table -- */

static void put_ip(const struct address *a, uint64_t words[static 2])
{
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;

    if (address_is_none(a))
        return;
    if (a->sockaddr.ss_family == AF_INET) {
        memcpy(&in4, &a->sockaddr, sizeof(in4));
        words[1] = in4.sin_addr.s_addr;
        return;
    }
    memcpy(&in6, &a->sockaddr, sizeof(in6));
    memcpy(words, &in6.sin6_addr, sizeof(in6.sin6_addr));
}

static struct client_key key_of(const struct udp_packet *packet)
{
    struct client_key key = {{0}};
    struct sockaddr_in6 in6;
    uint64_t scope = 0;

    put_ip(&packet->from, key.words);
    put_ip(&packet->to, key.words + 2);
    if (packet->from.sockaddr.ss_family == AF_INET6) {
        memcpy(&in6, &packet->from.sockaddr, sizeof(in6));
        scope = in6.sin6_scope_id;
    }
    key.words[4] = scope << 16 | address_port(&packet->from);
    return key;
}

/* A 64-bit multiplicative hash, keyed before and after each step. */
static struct udp_client **chain_of(const struct udp_port *p, const struct client_key *key)
{
    uint64_t x = p->secret[0];

    for (size_t i = 0; i < KEY_WORDS; i++) {
        x ^= key->words[i];
        x ^= x >> 32;
        x *= UINT64_C(0x9e3779b97f4a7c15);
        x += p->secret[1];
    }
    x ^= x >> 29;
    return &p->chains[x % CHAINS];
}

static struct udp_client *find(const struct udp_port *p, const struct client_key *key)
{
    struct udp_client *c = *chain_of(p, key);

    while (c != NULL && memcmp(&c->key, key, sizeof(*key)) != 0)
        c = c->next;
    return c;
}

static void put(struct udp_port *p, struct udp_client *c)
{
    struct udp_client **chain = chain_of(p, &c->key);

    c->next = *chain;
    *chain = c;
    list_append(&p->clients, &c->link);
}

static void take_out(struct udp_port *p, struct udp_client *c)
{
    struct udp_client **at = chain_of(p, &c->key);

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    list_remove(&c->link);
}

/* -- clients -- */

static void client_free(struct udp_client *c, enum err why)
{
    struct udp_port *p = c->port;
    struct flow_end end;

    flow_owner_get_end(&c->flow, why, &end);
    end.port = c->service;
    address_to_stream(&c->client, &end.client);
    take_out(p, c);
    free(c);
    p->owner->on_flow_end(p->owner, &end);
}

static void on_datagram(struct flow_owner *o, const uint8_t *data, size_t len)
{
    struct udp_client *c = list_entry(o, struct udp_client, flow);
    const struct udp_send send = {
        .fd = c->port->watch.fd,
        .to = &c->client,
        .from = &c->local,
        .data = data,
        .len = len,
        .stats = c->port->stats,
        .total = &worker_stats(c->port->worker)->flows,
    };

    udp_io_send(worker_udp(c->port->worker), &send);
    flow_owner_delivered(o, len);
}

static void on_end(struct flow_owner *o, enum err why)
{
    client_free(list_entry(o, struct udp_client, flow), why);
}

static const struct flow_owner_events flow_events = {
    .on_datagram = on_datagram,
    .on_end = on_end,
};

static void count_refused(struct udp_port *p, enum err why)
{
    struct flow_stats *total = &worker_stats(p->worker)->flows;

    if (why == ERR_CLOSED) {
        stats_add(&p->stats->dropped_no_session, 1);
        stats_add(&total->dropped_no_session, 1);
        return;
    }
    stats_add(&p->stats->flows_refused, 1);
    stats_add(&total->flows_refused, 1);
    stats_add(&p->stats->dropped_limit, 1);
    stats_add(&total->dropped_limit, 1);
}

/* The admission is given back where there is no flow to give it back with. */
static void on_not_opened(struct udp_port *p, const struct stream_target *target, enum err why)
{
    const struct flow_end end = {
        .why = why, .port = target->port, .client = target->client, .detail = ""};

    count_refused(p, why);
    p->owner->on_flow_end(p->owner, &end);
}

static struct udp_client *client_new(struct udp_port *p, const struct udp_packet *packet,
                                     const struct client_key *key)
{
    struct stream_target target = {.port = 0};
    struct tunnel_owner *tunnel;
    struct udp_client *c;
    enum err e;

    address_to_stream(&packet->from, &target.client);
    e = p->owner->on_client(p->owner, &packet->from, &tunnel, &target);
    if (e != ERR_OK) {
        count_refused(p, e);
        return NULL;
    }
    c = calloc(1, sizeof(*c));
    e = ERR_NOMEM;
    if (c != NULL) {
        flow_owner_init(&c->flow, &flow_events, p->stats);
        e = flow_owner_open(&c->flow, tunnel, &target);
    }
    if (e != ERR_OK) {
        free(c);
        on_not_opened(p, &target, e);
        return NULL;
    }
    c->port = p;
    c->key = *key;
    c->client = packet->from;
    c->local = packet->to;
    c->service = target.port;
    list_init(&c->link);
    put(p, c);
    return c;
}

static void forward(struct udp_port *p, const struct udp_packet *packet)
{
    const struct client_key key = key_of(packet);
    struct udp_client *c = find(p, &key);

    /* Port 0 is nobody's: an answer could not be sent. */
    if (address_port(&packet->from) == 0)
        return;
    if (c == NULL)
        c = client_new(p, packet, &key);
    if (c != NULL)
        flow_owner_send(&c->flow, packet->data, packet->len);
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct udp_port *p = list_entry(watch, struct udp_port, watch);
    struct udp_io *io = worker_udp(p->worker);

    if (p->is_held || (events & (WATCH_READ | WATCH_ERROR)) == 0)
        return;
    for (int i = 0; i < BATCHES_A_TURN; i++) {
        const struct udp_packet *packets;
        size_t n;
        enum err e = udp_io_receive(io, watch->fd, &packets, &n);

        if (e != ERR_OK)
            continue; /* of a datagram that was sent: nothing to do with what has arrived */
        for (size_t k = 0; k < n; k++)
            forward(p, &packets[k]);
        if (n < UDP_BATCH)
            return;
    }
    watch_again(watch, WATCH_READ);
}

/* -- life -- */

static void port_free(struct udp_port *p)
{
    if (p != NULL)
        free(p->chains);
    free(p);
}

enum err udp_port_new(struct udp_port **out, struct worker *w, int fd, struct flow_stats *stats,
                      struct udp_port_owner *owner)
{
    struct udp_port *p = calloc(1, sizeof(*p));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (p != NULL)
        p->chains = calloc(CHAINS, sizeof(struct udp_client *));
    if (p != NULL && p->chains != NULL) {
        p->worker = w;
        p->owner = owner;
        p->stats = stats;
        list_init(&p->clients);
        watch_init(&p->watch, on_ready);
        e = getrandom(p->secret, sizeof(p->secret), 0) == (ssize_t)sizeof(p->secret) ? ERR_OK
                                                                                     : ERR_RANDOM;
    }
    if (e == ERR_OK)
        e = watch_open_reader(&p->watch, worker_watches(w), fd);
    if (e != ERR_OK) {
        close(fd);
        port_free(p);
        return e;
    }
    *out = p;
    return ERR_OK;
}

void udp_port_hold(struct udp_port *p)
{
    p->is_held = true;
}

void udp_port_go(struct udp_port *p)
{
    p->is_held = false;
    watch_again(&p->watch, WATCH_READ);
}

void udp_port_close(struct udp_port *p)
{
    struct list *l;

    if (p == NULL)
        return;
    while ((l = list_first(&p->clients)) != NULL) {
        struct udp_client *c = list_entry(l, struct udp_client, link);

        flow_owner_close(&c->flow, WIRE_SHUTDOWN);
        client_free(c, ERR_SHUTDOWN);
    }
    udp_io_flush(worker_udp(p->worker));
    watch_close_fd(&p->watch);
    port_free(p);
}
