#include "net/association.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"
#include "net/socks5.h"
#include "net/udp_io.h"
#include "net/watch.h"

/* Batches received before others have their turn. */
#define BATCHES_A_TURN 4

struct association {
    struct watch watch;
    struct worker *worker;
    struct association_owner *owner;
    struct flow_stats *stats;
    struct stream_address client;
    struct stream_address local;
    struct address peer; /* where datagrams of the client come from; port 0: not known yet */
    struct address address;
    struct list flows;
    size_t n_flows;
};

struct association_flow {
    struct flow_owner flow;
    struct association *association;
    struct list link;
    struct destination to;
    size_t header_len;
    uint8_t header[SOCKS5_UDP_HEADER_MAX]; /* of what comes back */
};

/* -- flows -- */

static void flow_free(struct association_flow *f, enum err why)
{
    struct association *a = f->association;
    struct flow_end end;

    flow_owner_get_end(&f->flow, why, &end);
    end.port = f->to.port;
    end.client = a->client;
    list_remove(&f->link);
    a->n_flows--;
    free(f);
    a->owner->on_flow_end(a->owner, &end);
}

static struct flow_stats *total_of(const struct association *a)
{
    return &worker_stats(a->worker)->flows;
}

static void count_unsent(struct association *a, int error)
{
    if (error == EMSGSIZE) {
        stats_add(&a->stats->dropped_too_large, 1);
        stats_add(&total_of(a)->dropped_too_large, 1);
    } else {
        stats_add(&a->stats->dropped_socket, 1);
        stats_add(&total_of(a)->dropped_socket, 1);
    }
}

/* Not by udp_io: the header must stand in front of data that is not ours. */
static void on_datagram(struct flow_owner *o, const uint8_t *data, size_t len)
{
    struct association_flow *f = list_entry(o, struct association_flow, flow);
    struct association *a = f->association;
    struct iovec parts[] = {
        {.iov_base = f->header, .iov_len = f->header_len},
        {.iov_base = (void *)(uintptr_t)data, .iov_len = len},
    };
    struct msghdr message = {.msg_name = &a->peer.sockaddr,
                             .msg_namelen = a->peer.len,
                             .msg_iov = parts,
                             .msg_iovlen = 2};

    /* What the kernel does not take, or is too long with its header, is lost as datagrams are. */
    if (sendmsg(a->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        count_unsent(a, errno);
        return;
    }
    flow_owner_delivered(o, len);
    stats_add(&a->stats->datagrams_to_local, 1);
    stats_add(&a->stats->datagram_bytes_to_local, len);
    stats_add(&total_of(a)->datagrams_to_local, 1);
    stats_add(&total_of(a)->datagram_bytes_to_local, len);
}

static void on_end(struct flow_owner *o, enum err why)
{
    flow_free(list_entry(o, struct association_flow, flow), why);
}

static const struct flow_owner_events flow_events = {
    .on_datagram = on_datagram,
    .on_end = on_end,
};

static void count_dropped(struct association *a, enum err why)
{
    if (why == ERR_CLOSED) {
        stats_add(&a->stats->dropped_no_session, 1);
        stats_add(&total_of(a)->dropped_no_session, 1);
    } else {
        stats_add(&a->stats->dropped_limit, 1);
        stats_add(&total_of(a)->dropped_limit, 1);
    }
}

static struct association_flow *find(const struct association *a, const struct destination *to)
{
    for (struct list *l = a->flows.next; l != &a->flows; l = l->next) {
        struct association_flow *f = list_entry(l, struct association_flow, link);
        if (f->to.port == to->port && strcmp(f->to.host, to->host) == 0)
            return f;
    }
    return NULL;
}

static struct association_flow *flow_new(struct association *a, const struct destination *to)
{
    struct stream_target target = {.client = a->client, .local = a->local};
    struct association_flow *f = NULL;
    struct tunnel_owner *tunnel;
    enum err e = ERR_LIMIT;

    if (a->n_flows < ASSOCIATION_FLOWS_MAX)
        e = a->owner->on_destination(a->owner, to, &tunnel, &target);
    if (e != ERR_OK) {
        count_dropped(a, e);
        return NULL;
    }
    f = calloc(1, sizeof(*f));
    e = ERR_NOMEM;
    if (f != NULL) {
        flow_owner_init(&f->flow, &flow_events, a->stats);
        e = flow_owner_open(&f->flow, tunnel, &target);
    }
    if (e != ERR_OK) {
        const struct flow_end end = {.why = e, .port = to->port, .client = a->client, .detail = ""};
        free(f);
        count_dropped(a, e);
        a->owner->on_flow_end(a->owner, &end);
        return NULL;
    }
    f->association = a;
    f->to = *to;
    f->header_len = socks5_udp_encode(to, f->header);
    list_init(&f->link);
    list_append(&a->flows, &f->link);
    a->n_flows++;
    return f;
}

/* -- the client's socket -- */

static bool is_same_ip(const struct stream_address *a, const struct stream_address *b)
{
    return a->address_len == b->address_len && memcmp(a->address, b->address, a->address_len) == 0;
}

static bool is_from_client(struct association *a, const struct address *from)
{
    struct stream_address sender;

    address_to_stream(from, &sender);
    if (!is_same_ip(&sender, &a->client) || sender.port == 0)
        return false;
    if (address_port(&a->peer) == 0) {
        address_from_stream(&a->peer, &sender);
        a->client.port = sender.port;
    }
    return address_port(&a->peer) == sender.port;
}

static void forward(struct association *a, const struct udp_packet *packet)
{
    struct association_flow *f;
    struct destination to;
    size_t header;

    if (!is_from_client(a, &packet->from) ||
        socks5_udp_decode(packet->data, packet->len, &to, &header) != ERR_OK)
        return;
    f = find(a, &to);
    if (f == NULL)
        f = flow_new(a, &to);
    if (f != NULL)
        flow_owner_send(&f->flow, packet->data + header, packet->len - header);
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct association *a = list_entry(watch, struct association, watch);

    if ((events & (WATCH_READ | WATCH_ERROR)) == 0)
        return;
    for (int i = 0; i < BATCHES_A_TURN; i++) {
        const struct udp_packet *packets;
        size_t n;

        if (udp_io_receive(worker_udp(a->worker), watch->fd, &packets, &n) != ERR_OK)
            continue; /* of a datagram that was sent: nothing to do with what has arrived */
        for (size_t k = 0; k < n; k++)
            forward(a, &packets[k]);
        if (n < UDP_BATCH)
            return;
    }
    watch_again(watch, WATCH_READ);
}

/* -- life -- */

static enum err bind_socket(struct association *a)
{
    struct stream_address local = a->local;
    int fd;
    enum err e;

    local.port = 0;
    address_from_stream(&a->address, &local);
    fd = socket(a->address.sockaddr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE ? ERR_LIMIT : err_from_errno(errno);
    if (bind(fd, (const struct sockaddr *)&a->address.sockaddr, a->address.len) != 0)
        e = err_from_errno(errno);
    else
        e = watch_open_reader(&a->watch, worker_watches(a->worker), fd);
    if (e != ERR_OK) {
        close(fd);
        return e;
    }
    address_of_socket(&a->address, fd);
    return ERR_OK;
}

enum err association_new(struct association **out, const struct association_options *options)
{
    struct association *a = calloc(1, sizeof(*a));

    *out = NULL;
    if (a == NULL)
        return ERR_NOMEM;
    a->worker = options->worker;
    a->owner = options->owner;
    a->stats = options->stats;
    a->client = options->client;
    a->local = options->local;
    address_from_stream(&a->peer, &a->client);
    list_init(&a->flows);
    watch_init(&a->watch, on_ready);
    enum err e = bind_socket(a);
    if (e != ERR_OK) {
        free(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

const struct address *association_address(const struct association *a)
{
    return &a->address;
}

void association_close(struct association *a)
{
    struct list *l;

    if (a == NULL)
        return;
    while ((l = list_first(&a->flows)) != NULL) {
        struct association_flow *f = list_entry(l, struct association_flow, link);
        flow_owner_close(&f->flow, WIRE_NO_ERROR);
        flow_free(f, ERR_OK);
    }
    watch_close_fd(&a->watch);
    free(a);
}
