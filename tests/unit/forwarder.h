/*
 * A source worker and a dest worker in one process, each on its own thread, a real session between
 * them, a listener in front and a target behind: what the tests of net/ push connections through.
 */
#ifndef UTUN_TESTS_FORWARDER_H
#define UTUN_TESTS_FORWARDER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "crypto/key_schedule.h"
#include "net/carrier.h"
#include "net/entry.h"
#include "net/listener.h"
#include "net/pump.h"
#include "net/socket.h"
#include "net/udp_port.h"
#include "net/udp_target.h"
#include "net/worker.h"

#define PATIENCE_S   20
#define ENDS_MAX     4096
#define SERVICE_PORT 4000
#define REFUSED_PORT 4001 /* what a client's stream asks for when refuse is set */

struct forwarder;

struct end_note {
    enum err why;
    enum pump_side by;
    uint64_t bytes_from_local;
    uint64_t bytes_to_local;
    uint16_t port;
    struct stream_address client;
};

struct side {
    struct worker_owner worker_owner;
    struct tunnel_owner tunnel;
    struct pump_owner pumps;
    struct listener_owner listener_owner;
    struct listener *listener;
    struct udp_port_owner udp_owner;
    struct udp_target_owner targets;
    struct udp_port *udp;
    struct flow_stats flow_stats;
    struct entry_set entries; /* where options ask for it */
    struct entry_owner entry_owner;
    struct worker *worker;
    struct forwarder *forwarder;
    enum tunnel_role role;
    int tunnel_fd;
    int listen_fd;
    int udp_fd;
    const uint8_t *leftover; /* behind the handshake */
    size_t leftover_len;

    /* Under the forwarder's lock. */
    struct end_note ends[ENDS_MAX];
    size_t n_ends;
    struct flow_end flow_end; /* the last; without its detail */
    size_t n_flow_ends;
    size_t n_flows;
    bool is_ready;
    bool is_lost;
    bool is_closed;
    enum err lost_why;
    enum err accept_error;
    struct stream_target asked; /* by the latest stream, at the dest */
    size_t n_entry_refusals;
    enum err entry_refusal; /* the latest */
    size_t n_entry_ends;
    enum wire_code go_away;
    char go_away_text[64];
};

struct forwarder_options {
    uint32_t half_close_idle_timeout_ms;
    uint32_t reset_drain_timeout_ms;
    uint32_t max_streams; /* 0: many */
    uint64_t window_max;  /* 0: 4 MiB */
    const char *target_host;
    const struct target_filter *filter; /* of flows, at the dest; NULL: none */
    bool refuse;                        /* the dest knows no service */
    enum wire_code refusal;             /* instead of WIRE_NO_SERVICE */
    bool has_entries;                   /* clients come in by them */
    uint32_t entry_timeout_ms;          /* 0: none */
    enum entry_balancer balancer;       /* whether a header comes first */
    bool is_held;                       /* what asks is not answered */
    enum proxy_protocol_version proxy_protocol;
    uint32_t flow_idle_timeout_ms;
    size_t flows_max; /* that the source admits; 0: many */
    struct heartbeat_options heartbeat;
    uint64_t key_lifetime_us;
};

struct forwarder {
    struct forwarder_options options;
    struct side source;
    struct side dest;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint16_t port;     /* of the source's listener */
    uint16_t udp_port; /* the same for UDP */
    int udp_target;    /* the service's UDP socket */
    uint16_t udp_target_port;
    int target;           /* the service's listener */
    uint16_t target_port; /* its port */
    int fds_before;
};

static inline int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* -- sockets of the tests: blocking, never longer than PATIENCE_S -- */

static inline void be_patient(int fd)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};

    /* A socket with a timeout is interrupted by whatever the kernel does for the thread: retry. */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    socket_prepare(fd, &(struct address){.len = 0});
}

static inline int listen_any(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 1024), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    be_patient(fd);
    return fd;
}

/* A UDP socket on a port of loopback that the kernel chooses. */
static inline int udp_any(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static inline int udp_connect_to(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t own;
    int fd = udp_any(&own);

    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static inline int connect_to(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    be_patient(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static inline int accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0);
    be_patient(fd);
    return fd;
}

static inline void tcp_pair(int pair[2])
{
    uint16_t port;
    int listener = listen_any(&port);

    pair[0] = connect_to(port);
    pair[1] = accept_one(listener);
    close(listener);
}

static inline void send_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = TEMP_FAILURE_RETRY(send(fd, at, len, MSG_NOSIGNAL));

        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

/* Exactly len bytes. */
static inline void receive_all(int fd, void *data, size_t len)
{
    uint8_t *at = data;

    while (len > 0) {
        ssize_t n = TEMP_FAILURE_RETRY(recv(fd, at, len, 0));

        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

/* The bytes up to the end of file (0) or the error (its errno), which is returned. */
static inline int receive_to_end(int fd, uint64_t *len)
{
    static __thread uint8_t buffer[65536];

    *len = 0;
    for (;;) {
        ssize_t n = TEMP_FAILURE_RETRY(recv(fd, buffer, sizeof(buffer), 0));

        if (n == 0)
            return 0;
        if (n < 0)
            return errno;
        *len += (uint64_t)n;
    }
}

static inline void expect_end(int fd, int how)
{
    uint64_t len;

    assert_int_equal(receive_to_end(fd, &len), how);
    assert_int_equal(len, 0);
}

static inline void fill_pattern(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (uint8_t)(seed >> 24);
    }
}

/* -- waiting for what the workers report -- */

static inline void forwarder_lock(struct forwarder *f)
{
    pthread_mutex_lock(&f->lock);
}

static inline void forwarder_changed(struct forwarder *f)
{
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

#define forwarder_await(f, condition)                                                              \
    do {                                                                                           \
        struct timespec until_;                                                                    \
        int waited_ = 0;                                                                           \
        clock_gettime(CLOCK_REALTIME, &until_);                                                    \
        until_.tv_sec += PATIENCE_S;                                                               \
        pthread_mutex_lock(&(f)->lock);                                                            \
        while (!(condition) && waited_ == 0)                                                       \
            waited_ = pthread_cond_timedwait(&(f)->changed, &(f)->lock, &until_);                  \
        pthread_mutex_unlock(&(f)->lock);                                                          \
        assert_int_equal(waited_, 0);                                                              \
    } while (0)

static inline void await_counter(const _Atomic uint64_t *counter, uint64_t value)
{
    for (int i = 0; i < PATIENCE_S * 1000 && stats_get(counter) != value; i++)
        poll(NULL, 0, 1);
    assert_int_equal(stats_get(counter), value);
}

/* -- the two sides -- */

static inline void note_end(struct pump_owner *owner, const struct pump_end *end)
{
    struct side *s = list_entry(owner, struct side, pumps);
    struct end_note *note;

    forwarder_lock(s->forwarder);
    note = &s->ends[s->n_ends % ENDS_MAX];
    *note = (struct end_note){.why = end->why,
                              .by = end->by,
                              .bytes_from_local = end->bytes_from_local,
                              .bytes_to_local = end->bytes_to_local,
                              .port = end->port,
                              .client = end->client};
    s->n_ends++;
    forwarder_changed(s->forwarder);
}

static inline void on_open(struct tunnel_owner *o, struct stream *stream,
                           const struct stream_target *target)
{
    struct side *s = list_entry(o, struct side, tunnel);
    struct forwarder *f = s->forwarder;
    struct target_options options = {
        .host = f->options.target_host, .port = f->target_port, .timeout_ms = 5000};

    forwarder_lock(f);
    s->asked = *target;
    forwarder_changed(f);
    if (f->options.refuse)
        tunnel_owner_refuse(o, stream,
                            f->options.refusal != 0 ? f->options.refusal : WIRE_NO_SERVICE);
    else if (pump_dial(o, stream, target, &options, &s->pumps) != ERR_OK)
        abort();
}

static inline void on_request(struct entry_owner *owner, struct entry *entry)
{
    struct side *s = list_entry(owner, struct side, entry_owner);
    const struct entry_request *request = entry_request(entry);
    struct stream_target target = {.port = SERVICE_PORT, .client = request->client};

    target.local = request->local;
    if (request->wish == ENTRY_CONNECT) {
        target.port = request->destination.port;
        strcpy(target.name, request->destination.host);
    }
    if (!s->forwarder->options.is_held)
        entry_forward(entry, &s->tunnel, &target, &s->pumps);
}

static inline void on_entry_refused(struct entry_owner *owner, const struct entry_request *request,
                                    enum err why, const char *detail)
{
    struct side *s = list_entry(owner, struct side, entry_owner);

    (void)request;
    (void)detail;
    forwarder_lock(s->forwarder);
    s->n_entry_refusals++;
    s->entry_refusal = why;
    forwarder_changed(s->forwarder);
}

static inline void on_entry_end(struct entry_owner *owner)
{
    struct side *s = list_entry(owner, struct side, entry_owner);

    forwarder_lock(s->forwarder);
    s->n_entry_ends++;
    forwarder_changed(s->forwarder);
}

static inline void on_client(struct listener_owner *owner, int fd, const struct address *peer)
{
    struct side *s = list_entry(owner, struct side, listener_owner);
    struct stream_target target = {.port = SERVICE_PORT};
    const struct entry_options entering = {.set = &s->entries,
                                           .owner = &s->entry_owner,
                                           .fd = fd,
                                           .peer = *peer,
                                           .speech = ENTRY_PROXY,
                                           .balancer = s->forwarder->options.balancer};
    enum err e;

    if (s->forwarder->options.has_entries) {
        if (entry_start(&entering) != ERR_OK)
            abort();
        return;
    }
    address_to_stream(peer, &target.client);
    e = pump_accept(&s->tunnel, fd, &target, &s->pumps);
    if (e == ERR_OK)
        return;
    forwarder_lock(s->forwarder);
    s->accept_error = e;
    forwarder_changed(s->forwarder);
}

static inline void note_flow_end(struct side *s, const struct flow_end *end)
{
    forwarder_lock(s->forwarder);
    s->flow_end = *end;
    s->flow_end.detail = NULL;
    s->n_flow_ends++;
    s->n_flows--;
    forwarder_changed(s->forwarder);
}

static inline void on_port_flow_end(struct udp_port_owner *owner, const struct flow_end *end)
{
    note_flow_end(list_entry(owner, struct side, udp_owner), end);
}

static inline void on_target_flow_end(struct udp_target_owner *owner, const struct flow_end *end)
{
    note_flow_end(list_entry(owner, struct side, targets), end);
}

static inline void note_flow(struct side *s)
{
    forwarder_lock(s->forwarder);
    s->n_flows++;
    forwarder_changed(s->forwarder);
}

static inline enum err on_udp_client(struct udp_port_owner *owner, const struct address *client,
                                     struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct side *s = list_entry(owner, struct side, udp_owner);
    size_t max = s->forwarder->options.flows_max;

    (void)client;
    if (max > 0 && s->n_flows == max)
        return ERR_LIMIT;
    target->port = SERVICE_PORT;
    *tunnel = &s->tunnel;
    note_flow(s);
    return ERR_OK;
}

static inline void on_flow(struct tunnel_owner *o, struct flow *flow,
                           const struct stream_target *target)
{
    struct side *s = list_entry(o, struct side, tunnel);
    struct forwarder *f = s->forwarder;
    struct err_detail detail;
    struct udp_target_options options = {.owner = &s->targets,
                                         .host = f->options.target_host,
                                         .port = f->udp_target_port,
                                         .filter = f->options.filter,
                                         .stats = &s->flow_stats};

    if (f->options.refuse) {
        tunnel_owner_refuse_flow(o, flow, WIRE_NO_SERVICE);
        return;
    }
    note_flow(s);
    enum err e = udp_target_start(o, flow, target, &options, &detail);

    if (e != ERR_OK) /* at once; an address that is known is not waited for */
        note_flow_end(s, &(struct flow_end){.why = e});
}

static inline void on_trouble(struct listener_owner *owner, enum err why)
{
    (void)owner;
    (void)why;
}

static inline void on_session_ready(struct tunnel_owner *o, struct carrier *carrier)
{
    struct side *s = list_entry(o, struct side, tunnel);

    (void)carrier;
    forwarder_lock(s->forwarder);
    s->is_ready = true;
    forwarder_changed(s->forwarder);
}

static inline void on_session_lost(struct tunnel_owner *o, struct carrier *carrier, enum err why)
{
    struct side *s = list_entry(o, struct side, tunnel);

    (void)carrier;
    forwarder_lock(s->forwarder);
    s->is_lost = true;
    s->lost_why = why;
    forwarder_changed(s->forwarder);
    tunnel_owner_close(o, why);
}

static inline void on_go_away(struct tunnel_owner *o, struct carrier *carrier, enum wire_code code,
                              uint32_t retry_after_ms, const char *text)
{
    struct side *s = list_entry(o, struct side, tunnel);

    (void)carrier;
    (void)retry_after_ms;
    forwarder_lock(s->forwarder);
    s->go_away = code;
    snprintf(s->go_away_text, sizeof(s->go_away_text), "%s", text);
    forwarder_changed(s->forwarder);
}

static inline void on_keys(struct tunnel_owner *o, struct carrier *carrier, enum key_event event)
{
    (void)o;
    (void)carrier;
    (void)event;
}

static inline void on_closed(struct tunnel_owner *o)
{
    struct side *s = list_entry(o, struct side, tunnel);

    forwarder_lock(s->forwarder);
    s->is_closed = true;
    forwarder_changed(s->forwarder);
}

static const struct tunnel_owner_events side_events = {
    .on_open = on_open,
    .on_flow = on_flow,
    .on_session_ready = on_session_ready,
    .on_session_lost = on_session_lost,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
    .on_closed = on_closed,
};

/* Both sides the same: a session whose root nobody else knows is all that this needs. */
static inline struct session_keys *test_keys(void)
{
    static const uint8_t root[KDF_SIZE] = {1};
    static const uint8_t context[KDF_SIZE] = {2};
    struct session_keys *keys;

    if (session_keys_new(&keys, KEM_MLKEM768, root, context) != ERR_OK)
        abort();
    return keys;
}

static inline enum err on_start(struct worker_owner *owner, struct worker *worker)
{
    struct side *s = list_entry(owner, struct side, worker_owner);
    struct forwarder_options *o = &s->forwarder->options;
    struct tunnel_owner_options options = {
        .role = s->role,
        .bounds = {.max_streams = o->max_streams > 0 ? o->max_streams : 10000,
                   .max_flows = 10000,
                   .window_max = o->window_max > 0 ? o->window_max : 4 * 1024 * 1024,
                   .heartbeat = o->heartbeat,
                   .key_lifetime_us = o->key_lifetime_us},
        .events = &side_events,
    };
    struct carrier_options carrier_options = {.keep_alive_ms = 30000};
    struct established established;

    established_init(&established);
    established.fd = s->tunnel_fd;
    established.keys = test_keys();
    if (s->leftover_len > 0) {
        established.leftover = malloc(s->leftover_len);
        if (established.leftover == NULL)
            abort();
        memcpy(established.leftover, s->leftover, s->leftover_len);
        established.leftover_len = s->leftover_len;
    }
    fcntl(s->tunnel_fd, F_SETFL, O_NONBLOCK);
    if (tunnel_owner_start(&s->tunnel, worker, &options) != ERR_OK ||
        carrier_new(&s->tunnel, &established, &carrier_options) != ERR_OK)
        abort();
    entry_set_init(&s->entries, worker, o->entry_timeout_ms, NULL);
    if (s->role == TUNNEL_SOURCE && listener_new(&s->listener, worker_watches(worker), s->listen_fd,
                                                 &s->listener_owner) != ERR_OK)
        abort();
    if (s->role == TUNNEL_SOURCE &&
        udp_port_new(&s->udp, worker, s->udp_fd, &s->flow_stats, &s->udp_owner) != ERR_OK)
        abort();
    return ERR_OK;
}

static inline void on_drain(struct worker_owner *owner, struct worker *worker)
{
    struct side *s = list_entry(owner, struct side, worker_owner);

    (void)worker;
    listener_close(s->listener);
    s->listener = NULL;
    udp_port_close(s->udp);
    s->udp = NULL;
    entry_set_abort(&s->entries, ERR_SHUTDOWN);
}

static inline void on_stop(struct worker_owner *owner, struct worker *worker)
{
    (void)worker;
    entry_set_close(&list_entry(owner, struct side, worker_owner)->entries);
}

static inline void side_start(struct side *s, struct forwarder *f, enum tunnel_role role, int fd)
{
    struct worker_options options = {
        .memory_budget = (size_t)64 * 1024 * 1024,
        .times.half_close_idle_ms = f->options.half_close_idle_timeout_ms,
        .reset_drain_timeout_ms = f->options.reset_drain_timeout_ms,
        .times.flow_idle_ms = f->options.flow_idle_timeout_ms,
        .owner = &s->worker_owner,
    };

    s->forwarder = f;
    s->role = role;
    s->tunnel_fd = fd;
    s->worker_owner =
        (struct worker_owner){.on_start = on_start, .on_drain = on_drain, .on_stop = on_stop};
    s->pumps.on_end = note_end;
    s->udp_owner =
        (struct udp_port_owner){.on_client = on_udp_client, .on_flow_end = on_port_flow_end};
    s->targets.on_flow_end = on_target_flow_end;
    s->pumps.proxy_protocol = f->options.proxy_protocol;
    s->entry_owner = (struct entry_owner){
        .on_request = on_request, .on_refused = on_entry_refused, .on_end = on_entry_end};
    s->listener_owner = (struct listener_owner){.on_client = on_client, .on_trouble = on_trouble};
    assert_int_equal(worker_new(&s->worker, &options), ERR_OK);
    assert_int_equal(worker_start(s->worker), ERR_OK);
}

/* libuv opens descriptors of the process's own with the first loop. */
static inline void open_global_descriptors(void)
{
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static inline struct forwarder *forwarder_start(const struct forwarder_options *options)
{
    struct forwarder *f = calloc(1, sizeof(*f));
    struct listener_bind bind_options = {.ip = "127.0.0.1", .count = 1};
    struct listener_bind udp_options = {.kind = LISTENER_UDP, .ip = "127.0.0.1", .count = 1};
    int pair[2];

    assert_non_null(f);
    open_global_descriptors();
    f->fds_before = open_fds();
    if (options != NULL)
        f->options = *options;
    if (f->options.target_host == NULL)
        f->options.target_host = "127.0.0.1";
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->target = listen_any(&f->target_port);
    assert_int_equal(listener_bind(&f->source.listen_fd, &f->port, &bind_options, NULL), ERR_OK);
    f->udp_target = udp_any(&f->udp_target_port);
    assert_int_equal(listener_bind(&f->source.udp_fd, &f->udp_port, &udp_options, NULL), ERR_OK);
    tcp_pair(pair);
    side_start(&f->dest, f, TUNNEL_DEST, pair[1]);
    side_start(&f->source, f, TUNNEL_SOURCE, pair[0]);
    forwarder_await(f, f->source.is_ready && f->dest.is_ready);
    return f;
}

static inline void side_stop(struct side *s)
{
    struct stats *stats;

    worker_drain(s->worker, 0);
    assert_int_equal(worker_join(s->worker), ERR_OK);
    stats = worker_stats(s->worker);
    assert_int_equal(stats_get(&stats->streams_active), 0);
    assert_int_equal(stats_get(&stats->flows.flows_active), 0);
    assert_int_equal(s->n_flows, 0);
    assert_int_equal(stats_get(&stats->streams_half_closed), 0);
    assert_int_equal(stats_get(&stats->carriers_active), 0);
    assert_int_equal(stats_get(&stats->pool_bytes), 0);
    assert_true(s->is_closed);
    worker_free(s->worker);
}

/* Also checks that nothing is left: no stream, no buffer, no descriptor. */
static inline void forwarder_stop(struct forwarder *f)
{
    side_stop(&f->source);
    side_stop(&f->dest);
    close(f->target);
    if (f->udp_target >= 0)
        close(f->udp_target);
    assert_int_equal(open_fds(), f->fds_before);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f);
}

/* A client and the service's end of its connection. */
static inline void forwarder_connect(struct forwarder *f, int *client, int *server)
{
    *client = connect_to(f->port);
    *server = accept_one(f->target);
}

#endif
