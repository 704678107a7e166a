#include "net/listener.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/socket.h"

/* Clients accepted before others have their turn. */
#define ACCEPTS_A_TURN 64

/* When descriptors have run out, accepting at once again would only spin. */
#define PAUSE_MS 100

struct listener {
    struct listener_owner *owner;
    struct watch watch;
    uv_timer_t pause;
    bool in_trouble;
    bool is_held;
    bool is_closed;
};

/* -- taking a port -- */

static void set_flag(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

enum sharing {
    FIRST, /* nobody else may have the port */
    NEXT,  /* shares the port of the first */
};

/* What the kernel gives of its own; it says itself what is too much. */
#define UDP_BUFFER_BYTES (4 * 1024 * 1024)

static void prepare_udp(int fd, int family)
{
    set_flag(fd, SOL_SOCKET, SO_RCVBUF, UDP_BUFFER_BYTES);
    set_flag(fd, SOL_SOCKET, SO_SNDBUF, UDP_BUFFER_BYTES);
    set_flag(fd, IPPROTO_IP, IP_PKTINFO, 1);
    if (family == AF_INET6)
        set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

/*
 * A bound and listening socket; -1 and errno. The first is bound without SO_REUSEPORT, which would
 * let it share the port of another process of the same user, and gets it afterwards.
 */
static int open_socket(enum listener_kind kind, const struct address *a, enum sharing sharing)
{
    int family = a->sockaddr.ss_family;
    int type = kind == LISTENER_TCP ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return -1;
    /* For UDP this would let others take the port too. */
    if (kind == LISTENER_TCP)
        set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (sharing == NEXT)
        set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (family == AF_INET6)
        set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (kind == LISTENER_TCP)
        socket_prepare(fd, a);
    else
        prepare_udp(fd, family);
    if (bind(fd, (const struct sockaddr *)&a->sockaddr, a->len) == 0) {
        set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        if (kind == LISTENER_UDP || listen(fd, SOCKET_BACKLOG) == 0)
            return fd;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void close_all(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

/* All sockets on one port, or none and errno. */
static bool open_all(int *fds, uint16_t *port, const struct listener_bind *options,
                     struct address *a)
{
    struct address actual;
    int error;

    fds[0] = open_socket(options->kind, a, FIRST);
    if (fds[0] < 0)
        return false;
    address_of_socket(&actual, fds[0]);
    *port = address_port(&actual);
    for (unsigned i = 1; i < options->count; i++) {
        fds[i] = open_socket(options->kind, &actual, NEXT);
        if (fds[i] < 0) {
            error = errno;
            close_all(fds, options->count);
            errno = error;
            return false;
        }
    }
    return true;
}

static enum err explain(struct err_detail *detail, const struct address *first, unsigned tried,
                        int error)
{
    char text[ADDRESS_TEXT_MAX];

    address_format(first, text);
    if (error == EADDRINUSE && tried > 1)
        return err_set(detail, ERR_ADDR_IN_USE,
                       "listen on %s: the port and %u behind it are in use; stop the program that "
                       "listens there or set another port",
                       text, tried - 1);
    if (error == EADDRINUSE)
        return err_set(detail, ERR_ADDR_IN_USE,
                       "listen on %s: the port is in use; stop the program that listens there or "
                       "set another port",
                       text);
    if (error == EACCES)
        return err_set(detail, ERR_PERMISSION,
                       "listen on %s: permission denied; ports below 1024 need the capability "
                       "CAP_NET_BIND_SERVICE",
                       text);
    if (error == EADDRNOTAVAIL)
        return err_set(detail, ERR_UNREACHABLE,
                       "listen on %s: this machine does not have the address", text);
    return err_set(detail, err_from_errno(error), "listen on %s: %s", text, strerror(error));
}

static bool is_named(const struct listener_bind *options, uint32_t port)
{
    for (size_t i = 0; i < options->named_count; i++) {
        if (options->named[i] == port)
            return true;
    }
    return false;
}

enum err listener_bind(int *fds, uint16_t *port, const struct listener_bind *options,
                       struct err_detail *detail)
{
    struct address first;
    unsigned tried = 0;
    int error = 0;

    assert(options->count >= 1);
    for (unsigned i = 0; i < options->count; i++)
        fds[i] = -1;
    *port = 0;
    if (address_parse(&first, options->ip, options->port) != ERR_OK)
        return err_set(detail, ERR_RESOLVE, "listen on %s: not an IP address", options->ip);
    for (uint32_t next = options->port; next <= UINT16_MAX && tried <= options->fallback; next++) {
        struct address a;

        if (tried > 0 && is_named(options, next))
            continue;
        if (address_parse(&a, options->ip, (uint16_t)next) == ERR_OK &&
            open_all(fds, port, options, &a))
            return ERR_OK;
        error = errno;
        tried++;
        if (error != EADDRINUSE || options->port == 0)
            break;
    }
    *port = 0;
    return explain(detail, &first, tried, error);
}

/* -- accepting -- */

static bool is_of_one_client(int error)
{
    /* The connection was gone before it was accepted: accept(2), "Error handling". */
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
        return true;
    default:
        return false;
    }
}

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *l = list_entry(timer, struct listener, pause);

    watch_again(&l->watch, WATCH_READ);
}

static void on_failure(struct listener *l, int error)
{
    bool is_news = !l->in_trouble;

    l->in_trouble = true;
    uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
    if (is_news)
        l->owner->on_trouble(l->owner, error == EMFILE || error == ENFILE ? ERR_LIMIT
                                                                          : err_from_errno(error));
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct listener *l = list_entry(watch, struct listener, watch);

    (void)events;
    if (l->is_held || uv_is_active((uv_handle_t *)&l->pause))
        return;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage storage;
        socklen_t len = sizeof(storage);
        struct address peer;
        int fd =
            accept4(watch->fd, (struct sockaddr *)&storage, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0 && is_of_one_client(errno))
            continue;
        if (fd < 0) {
            on_failure(l, errno);
            return;
        }
        l->in_trouble = false;
        address_from_sockaddr(&peer, (struct sockaddr *)&storage, len);
        l->owner->on_client(l->owner, fd, &peer);
        if (l->is_closed)
            return;
    }
    watch_again(watch, WATCH_READ);
}

static void on_closed(uv_handle_t *handle)
{
    free(list_entry((uv_timer_t *)handle, struct listener, pause));
}

enum err listener_new(struct listener **out, struct watch_set *set, int fd,
                      struct listener_owner *owner)
{
    struct listener *l = calloc(1, sizeof(*l));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (l != NULL) {
        watch_init(&l->watch, on_ready);
        e = watch_open(&l->watch, set, fd);
    }
    if (e != ERR_OK) {
        free(l);
        close(fd);
        return e;
    }
    l->owner = owner;
    uv_timer_init(watch_set_loop(set), &l->pause);
    *out = l;
    return ERR_OK;
}

void listener_hold(struct listener *l)
{
    l->is_held = true;
}

void listener_go(struct listener *l)
{
    l->is_held = false;
    watch_again(&l->watch, WATCH_READ);
}

void listener_close(struct listener *l)
{
    if (l == NULL)
        return;
    int fd = l->watch.fd;
    l->is_closed = true;
    watch_close(&l->watch); /* not by closing: the socket may have other descriptors */
    close(fd);
    uv_close((uv_handle_t *)&l->pause, on_closed);
}
