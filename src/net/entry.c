/*
 * Bytes are peeked at, and taken from the socket only as far as they belong to a parser: what comes
 * behind is the pump's, and nothing is ever held here.
 */
#include "net/entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>

#include "net/association.h"
#include "net/http_connect.h"
#include "net/proxy_protocol.h"
#include "net/socket.h"
#include "net/socks5.h"

/* One look, and how many of them before others have their turn. */
#define LOOK_SIZE  4096
#define LOOK_TURNS 16

enum entry_state {
    ENTRY_HEADER, /* of a balancer */
    ENTRY_FIRST,  /* the first byte tells the protocol */
    ENTRY_SOCKS,
    ENTRY_HTTP,
    ENTRY_WAITING,
    ENTRY_ASSOCIATED,
    ENTRY_LINGERING, /* refused, and told so; the rest of the client's words is dropped */
};

struct entry {
    struct watch watch;
    struct list link; /* in entry_set.waiting */
    struct sweep_item timer;
    struct entry_set *set;
    struct entry_owner *owner;
    const struct login *login; /* of the parser, or NULL */
    enum entry_state state;
    enum entry_speech speech;
    struct proxy_header *header; /* at most one of these, and none once it waits */
    struct socks5 *socks;
    struct http_connect *http;
    size_t (*reply)(enum err why, uint8_t room[static PUMP_REPLY_MAX]); /* or NULL */
    struct entry_request request;
    struct association *association; /* once associated */
    size_t lingered;
};

_Static_assert(PUMP_REPLY_MAX >= HTTP_CONNECT_REPLY_MAX && PUMP_REPLY_MAX >= SOCKS5_REPLY_MAX,
               "replies fit");

static void socks_free(struct entry *e)
{
    if (e->socks == NULL)
        return;
    socks5_fini(e->socks);
    free(e->socks);
    e->socks = NULL;
}

static void http_free(struct entry *e)
{
    if (e->http == NULL)
        return;
    http_connect_fini(e->http);
    free(e->http);
    e->http = NULL;
}

static void begin_to_wait(struct entry *e)
{
    list_append(&e->set->waiting, &e->link);
    stats_add(&worker_stats(e->set->worker)->clients_waiting, 1);
}

static void stop_waiting(struct entry *e)
{
    if (e->state == ENTRY_ASSOCIATED || list_is_empty(&e->link))
        return;
    list_remove(&e->link);
    stats_add(&worker_stats(e->set->worker)->clients_waiting, (uint64_t)-1);
}

/* The connection is closed or somebody else's. */
static void entry_free(struct entry *e)
{
    stop_waiting(e);
    list_remove(&e->link);
    sweep_remove(&e->timer);
    association_close(e->association);
    socks_free(e);
    http_free(e);
    if (e->login != NULL && e->login->release != NULL)
        e->login->release(e->login);
    free(e->header);
    free(e);
}

enum local_end {
    LOCAL_CLOSE,
    LOCAL_RESET,
};

static void end(struct entry *e, enum local_end local)
{
    struct entry_owner *owner = e->owner;

    if (local == LOCAL_RESET)
        socket_set_abortive(e->watch.fd);
    watch_close_fd(&e->watch);
    entry_free(e);
    owner->on_end(owner);
}

static void reject(struct entry *e, enum err why, const char *detail)
{
    e->owner->on_refused(e->owner, &e->request, why, detail);
    end(e, LOCAL_RESET);
}

/* -- replies -- */

static size_t reply_socks(enum err why, uint8_t room[static PUMP_REPLY_MAX])
{
    return socks5_encode_reply(why, NULL, room);
}

static size_t reply_http(enum err why, uint8_t room[static PUMP_REPLY_MAX])
{
    return http_connect_encode_reply(why, (char *)room);
}

/* Whole, or false: nearly nothing has been sent to the client so far, so there is room. */
static bool say(struct entry *e, const void *data, size_t len)
{
    return len == 0 || send(e->watch.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* Drops what the client still says. True: it has ended the connection, or talks for too long. */
static bool is_drained(struct entry *e)
{
    uint8_t buffer[LOOK_SIZE];

    for (;;) {
        ssize_t n = recv(e->watch.fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0)
            e->lingered += (size_t)n;
        if (n == 0 || e->lingered > ENTRY_LINGER_BYTES)
            return true;
        if (n < 0 && errno != EINTR)
            return errno != EAGAIN;
    }
}

/* All is said. A close right now would be a RST where words of the client are unread. */
static void linger(struct entry *e)
{
    e->state = ENTRY_LINGERING;
    stop_waiting(e);
    (void)shutdown(e->watch.fd, SHUT_WR);
    sweep_touch(&e->set->lingering, &e->timer);
    watch_again(&e->watch, WATCH_READ);
}

/* Refuses it with these words, as far as they can be said. */
static void tell(struct entry *e, const void *data, size_t len, enum err why, const char *detail)
{
    if (!say(e, data, len)) {
        reject(e, why, detail);
        return;
    }
    e->owner->on_refused(e->owner, &e->request, why, detail);
    linger(e);
}

/* -- reading -- */

static void fail(struct entry *e, enum err why)
{
    char room[HTTP_CONNECT_REPLY_MAX];
    const char *detail = "";
    size_t len = 0;

    if (e->state == ENTRY_HEADER)
        detail = "not a header of the PROXY protocol, which a balancer must send";
    else if (e->state == ENTRY_FIRST)
        detail = "neither SOCKS5 nor HTTP";
    if (e->socks != NULL && e->socks->state == SOCKS5_FAILED) {
        detail = e->socks->fault;
    } else if (e->http != NULL && e->http->state == HTTP_CONNECT_FAILED) {
        detail = e->http->fault;
        len = http_connect_encode_failure(e->http, room);
    } else {
        reject(e, why, detail);
        return;
    }
    tell(e, room, len, why, detail);
}

static enum err take_header(struct entry *e)
{
    if (e->header->state != PROXY_HEADER_DONE)
        return ERR_OK;
    if (e->header->client.address_len > 0) {
        e->request.client = e->header->client;
        e->request.local = e->header->local;
    }
    free(e->header);
    e->header = NULL;
    e->state = e->speech == ENTRY_PROXY ? ENTRY_FIRST : ENTRY_WAITING;
    return ERR_OK;
}

/* It counts for this entry to its end, whatever the set has by then. */
static const struct login *take_login(struct entry *e)
{
    e->login = e->set->login;
    if (e->login != NULL && e->login->share != NULL)
        e->login->share(e->login);
    return e->login;
}

static enum err take_first(struct entry *e, uint8_t first)
{
    if (first == SOCKS5_VERSION) {
        e->socks = malloc(sizeof(*e->socks));
        if (e->socks == NULL)
            return ERR_NOMEM;
        socks5_init(e->socks, take_login(e));
        e->reply = reply_socks;
        e->state = ENTRY_SOCKS;
        return ERR_OK;
    }
    if (first < 'A' || first > 'Z')
        return ERR_MALFORMED;
    e->http = malloc(sizeof(*e->http));
    if (e->http == NULL)
        return ERR_NOMEM;
    http_connect_init(e->http, take_login(e));
    e->reply = reply_http;
    e->state = ENTRY_HTTP;
    return ERR_OK;
}

static void take_request(struct entry *e, const struct destination *d, enum entry_wish wish)
{
    e->request.wish = wish;
    e->request.destination = *d;
    e->state = ENTRY_WAITING;
}

static enum err feed_socks(struct entry *e, const uint8_t *data, size_t len, size_t *used)
{
    uint8_t room[SOCKS5_ANSWERS_MAX];
    enum err error = socks5_feed(e->socks, data, len, used);

    if (!say(e, room, socks5_drain(e->socks, room)) && error == ERR_OK)
        error = ERR_RESET;
    if (error == ERR_OK && e->socks->state == SOCKS5_DONE)
        take_request(e, &e->socks->destination,
                     e->socks->command == SOCKS5_CONNECT ? ENTRY_CONNECT : ENTRY_UDP);
    return error;
}

static enum err feed_http(struct entry *e, const uint8_t *data, size_t len, size_t *used)
{
    enum err error = http_connect_feed(e->http, data, len, used);

    if (error == ERR_OK && e->http->state == HTTP_CONNECT_DONE)
        take_request(e, &e->http->destination, ENTRY_CONNECT);
    return error;
}

static enum err feed(struct entry *e, const uint8_t *data, size_t len, size_t *used)
{
    enum err error;

    *used = 0;
    switch (e->state) {
    case ENTRY_HEADER:
        error = proxy_header_feed(e->header, data, len, used);
        return error == ERR_OK ? take_header(e) : error;
    case ENTRY_FIRST:
        return take_first(e, data[0]);
    case ENTRY_SOCKS:
        return feed_socks(e, data, len, used);
    case ENTRY_HTTP:
        return feed_http(e, data, len, used);
    case ENTRY_WAITING:
    case ENTRY_ASSOCIATED:
    case ENTRY_LINGERING:
        break;
    }
    return ERR_OK;
}

/* Everything that had to be read is. The owner may end it from inside. */
static void wait_for_owner(struct entry *e)
{
    assert(e->state == ENTRY_WAITING);
    socks_free(e);
    http_free(e);
    begin_to_wait(e);
    sweep_touch(&e->set->pending, &e->timer);
    e->owner->on_request(e->owner, e);
}

/* May free e. */
static void read_through(struct entry *e, uint8_t buffer[static LOOK_SIZE])
{
    for (int i = 0; i < LOOK_TURNS; i++) {
        ssize_t n = recv(e->watch.fd, buffer, LOOK_SIZE, MSG_PEEK);
        size_t used;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            end(e, LOCAL_CLOSE); /* it has left before it had said all */
            return;
        }
        enum err error = feed(e, buffer, (size_t)n, &used);
        /* They are there: this cannot come short. */
        if (used > 0)
            (void)!recv(e->watch.fd, buffer, used, 0);
        if (error != ERR_OK) {
            fail(e, error);
            return;
        }
        if (e->state == ENTRY_WAITING) {
            wait_for_owner(e);
            return;
        }
    }
    watch_again(&e->watch, WATCH_READ);
}

static void read_on(struct entry *e)
{
    uint8_t buffer[LOOK_SIZE];

    read_through(e, buffer);
    OPENSSL_cleanse(buffer, sizeof(buffer)); /* there may be a password in it */
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct entry *e = list_entry(watch, struct entry, watch);

    if (e->state == ENTRY_LINGERING || e->state == ENTRY_ASSOCIATED) {
        if (is_drained(e))
            end(e, LOCAL_CLOSE);
        return;
    }
    if (e->state != ENTRY_WAITING) {
        read_on(e);
        return;
    }
    /* A FIN may be a client that has said all; a RST is one that has left. */
    if (events & WATCH_ERROR && socket_error(watch->fd) != 0)
        end(e, LOCAL_RESET);
}

/* -- refusing -- */

/* told: as far as the client is concerned. */
static void refuse(struct entry *e, enum err told, enum err why, const char *detail)
{
    uint8_t room[PUMP_REPLY_MAX];

    assert(e->state == ENTRY_WAITING);
    if (e->reply == NULL)
        reject(e, why, detail);
    else
        tell(e, room, e->reply(told, room), why, detail);
}

/* -- timers -- */

static void on_pending_too_long(struct sweep *sweep, struct sweep_item *item)
{
    struct entry *e = list_entry(item, struct entry, timer);

    (void)sweep;
    if (e->state == ENTRY_WAITING)
        refuse(e, ERR_CLOSED, ERR_TIMEOUT,
               "there was no session with the dest in connection_timeout_ms");
    else
        reject(e, ERR_TIMEOUT,
               "the client had not said where it wants to go in connection_timeout_ms");
}

static void on_lingered(struct sweep *sweep, struct sweep_item *item)
{
    (void)sweep;
    end(list_entry(item, struct entry, timer), LOCAL_CLOSE);
}

/* -- the set -- */

void entry_set_init(struct entry_set *set, struct worker *worker, uint32_t timeout_ms,
                    const struct login *login)
{
    set->worker = worker;
    set->login = login;
    sweep_init(&set->pending, worker_loop(worker), timeout_ms, on_pending_too_long);
    sweep_init(&set->lingering, worker_loop(worker), ENTRY_LINGER_MS, on_lingered);
    list_init(&set->waiting);
    list_init(&set->associated);
}

void entry_set_change(struct entry_set *set, uint32_t timeout_ms, const struct login *login)
{
    set->login = login;
    if (set->pending.timeout_ms != timeout_ms)
        sweep_set_timeout(&set->pending, timeout_ms);
}

void entry_set_close(struct entry_set *set)
{
    sweep_close(&set->pending);
    sweep_close(&set->lingering);
}

struct entry *entry_set_first_waiting(struct entry_set *set)
{
    struct list *link = list_first(&set->waiting);

    return link == NULL ? NULL : list_entry(link, struct entry, link);
}

static void abort_all(struct sweep *sweep, enum err why)
{
    struct list *link;

    while ((link = list_first(&sweep->items)) != NULL) {
        struct entry *e = list_entry(link, struct entry, timer.link);
        if (e->state == ENTRY_LINGERING)
            end(e, LOCAL_RESET);
        else
            reject(e, why, "");
    }
}

void entry_set_abort(struct entry_set *set, enum err why)
{
    struct list *link;

    abort_all(&set->pending, why);
    abort_all(&set->lingering, why);
    while ((link = list_first(&set->associated)) != NULL)
        end(list_entry(link, struct entry, link), LOCAL_RESET);
}

/* -- one entry -- */

enum err entry_start(const struct entry_options *options)
{
    struct entry *e = calloc(1, sizeof(*e));
    enum err error = e == NULL ? ERR_NOMEM : ERR_OK;
    struct address local;

    if (error == ERR_OK) {
        watch_init(&e->watch, on_ready);
        list_init(&e->link);
        sweep_item_init(&e->timer);
        error = watch_open(&e->watch, worker_watches(options->set->worker), options->fd);
    }
    if (error == ERR_OK && options->balancer == ENTRY_BALANCED) {
        e->header = malloc(sizeof(*e->header));
        if (e->header == NULL)
            error = ERR_NOMEM;
        else
            proxy_header_init(e->header);
    }
    if (error != ERR_OK) {
        if (e != NULL)
            watch_close(&e->watch);
        socket_reset(options->fd);
        free(e);
        return error;
    }
    e->set = options->set;
    e->owner = options->owner;
    e->speech = options->speech;
    e->request.wish = ENTRY_SERVICE;
    address_identify(&options->peer, options->fd, &e->request.client);
    address_of_socket(&local, options->fd);
    address_to_stream(&local, &e->request.local);
    sweep_touch(&e->set->pending, &e->timer);
    if (options->balancer == ENTRY_BALANCED) {
        e->state = ENTRY_HEADER;
    } else if (options->speech == ENTRY_PROXY) {
        e->state = ENTRY_FIRST;
    } else {
        e->state = ENTRY_WAITING;
        begin_to_wait(e);
    }
    return ERR_OK;
}

const struct entry_request *entry_request(const struct entry *e)
{
    return &e->request;
}

struct entry_owner *entry_owner(const struct entry *e)
{
    return e->owner;
}

void entry_forward(struct entry *e, struct tunnel_owner *tunnel, const struct stream_target *target,
                   struct pump_owner *pumps)
{
    int fd = e->watch.fd;
    enum err error;

    assert(e->state == ENTRY_WAITING);
    watch_close(&e->watch);
    error = pump_ask(tunnel, fd, target, e->reply, pumps);
    if (error == ERR_OK) {
        entry_free(e);
        return;
    }
    if (watch_open(&e->watch, worker_watches(e->set->worker), fd) == ERR_OK) {
        entry_refuse(e, error, "");
        return;
    }
    struct entry_owner *owner = e->owner;
    socket_reset(fd);
    owner->on_refused(owner, &e->request, error, "");
    entry_free(e);
    owner->on_end(owner);
}

void entry_associate(struct entry *e, struct association *association)
{
    uint8_t room[SOCKS5_REPLY_MAX];

    assert(e->state == ENTRY_WAITING && e->request.wish == ENTRY_UDP);
    e->association = association;
    if (!say(e, room, socks5_encode_reply(ERR_OK, association_address(association), room))) {
        end(e, LOCAL_RESET);
        return;
    }
    stop_waiting(e);
    sweep_remove(&e->timer);
    e->state = ENTRY_ASSOCIATED;
    list_append(&e->set->associated, &e->link);
    /* What has been reported of the connection so far was passed over. */
    watch_again(&e->watch, WATCH_READ);
}

void entry_refuse(struct entry *e, enum err why, const char *detail)
{
    refuse(e, why, why, detail);
}
