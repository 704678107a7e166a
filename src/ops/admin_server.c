/*
 * libmicrohttpd does HTTP; the thread here turns it, because its own would know idle connections
 * but not slow ones: what is not done by its deadline is shut down, which the library sees as the
 * client's end.
 */
#include "ops/admin_server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/thread.h"
#include "ops/http_host.h"

/* The library itself refuses above this: room for the newest while the oldest gives way. */
#define LIBRARY_MAX (ADMIN_CONNECTIONS_MAX + 8)

/* How long a client waits at most when descriptors have come back. */
#define SHORTAGE_MS 100

#define NOTHING_ALLOWED "default-src 'none'; frame-ancestors 'none'"

struct admin_server {
    struct admin_owner *owner;
    struct MHD_Daemon *daemon;
    struct list connections; /* the oldest first */
    size_t count;
    size_t opened;   /* in all */
    size_t pending;  /* bytes of answers that have not been read to their end */
    bool has_closed; /* a connection, since the library ran */
    pthread_t thread;
    int wake; /* eventfd: the end */
};

struct connection {
    struct list link;
    uint64_t deadline_ms;
    size_t pending; /* of the server's */
    int fd;         /* the library's */
    bool is_shut;
};

/* -- connections -- */

static void shut(struct connection *c)
{
    if (!c->is_shut)
        (void)shutdown(c->fd, SHUT_RDWR);
    c->is_shut = true;
}

static void make_room(struct admin_server *s)
{
    size_t open = s->count;

    for (struct list *l = s->connections.next; l != &s->connections; l = l->next) {
        struct connection *c = list_entry(l, struct connection, link);

        if (open <= ADMIN_CONNECTIONS_MAX)
            return;
        shut(c);
        open--;
    }
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct admin_server *s = cls;
    struct connection *c = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (c == NULL)
            return;
        list_remove(&c->link);
        s->count--;
        s->pending -= c->pending;
        s->has_closed = true;
        free(c);
        *socket_context = NULL;
        return;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return;
    c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->deadline_ms = clock_ms() + ADMIN_DEADLINE_MS;
    list_init(&c->link);
    list_append(&s->connections, &c->link);
    s->count++;
    s->opened++;
    *socket_context = c;
    make_room(s);
}

/* Ends those whose time is over; milliseconds until the next one's is, or -1. */
static int sweep(struct admin_server *s)
{
    uint64_t now = clock_ms();

    for (struct list *l = s->connections.next; l != &s->connections; l = l->next) {
        struct connection *c = list_entry(l, struct connection, link);

        if (c->is_shut)
            continue;
        if (c->deadline_ms > now)
            return (int)(c->deadline_ms - now);
        shut(c);
    }
    return -1;
}

/* -- requests -- */

static enum MHD_Result answer_with(struct MHD_Connection *connection, struct admin_reply *reply)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply->body_len, reply->body, MHD_RESPMEM_MUST_FREE);
    const char *policy = reply->content_security_policy;
    enum MHD_Result result;

    if (response == NULL) {
        free(reply->body);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", reply->content_type);
    MHD_add_response_header(response, "Content-Security-Policy",
                            policy != NULL ? policy : NOTHING_ALLOWED);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "Connection", "close");
    if (reply->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    result = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text)
{
    struct admin_reply reply = {.status = status, .content_type = "text/plain; charset=utf-8"};

    reply.body = strdup(text);
    if (reply.body == NULL)
        return MHD_NO;
    reply.body_len = strlen(text);
    return answer_with(connection, &reply);
}

/* False: there is no room for an answer of that size now. */
static bool reserve(struct admin_server *s, struct MHD_Connection *connection, size_t len)
{
    struct connection *c =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;

    if (c == NULL || (s->pending > 0 && s->pending + len > ADMIN_PENDING_MAX))
        return false;
    c->pending = len;
    s->pending += len;
    return true;
}

static enum MHD_Result answer_get(struct admin_server *s, struct MHD_Connection *connection,
                                  const char *path)
{
    struct admin_reply reply = {.status = MHD_HTTP_OK};
    enum err e = s->owner->on_request(s->owner, path, &reply);

    if (e == ERR_OK && reserve(s, connection, reply.body_len))
        return answer_with(connection, &reply);
    if (e == ERR_OK) {
        free(reply.body);
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                           "too many answers wait for their readers; try again\n");
    }
    if (e == ERR_NOT_FOUND)
        return answer_text(connection, MHD_HTTP_NOT_FOUND,
                           "not found; there are /, /metrics, /health, /ready and /status\n");
    return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
}

/* Programs may leave the name out; browsers always say it. */
static bool is_meant(struct admin_server *s, struct MHD_Connection *connection)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");

    return !s->owner->is_local || host == NULL || host[0] == 0 || http_host_is_fixed(host);
}

/* A pointer that says: the headers of this request are known. */
static int seen;

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **request_context)
{
    struct admin_server *s = cls;
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;

    (void)version;
    (void)data;
    /* Answered before a body is read: then the library closes without reading it. */
    if (!is_get)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                           "only GET and HEAD are answered here\n");
    if (!is_meant(s, connection))
        return answer_text(connection, MHD_HTTP_MISDIRECTED_REQUEST,
                           "on loopback only Host: localhost, or an IP address, is answered; a "
                           "proxy in between must send one of them\n");
    if (*request_context == NULL) {
        *request_context = &seen;
        return MHD_YES;
    }
    if (*data_len > 0) {
        *data_len = 0; /* the body of a GET says nothing */
        return MHD_YES;
    }
    return answer_get(s, connection, path);
}

/* -- the thread -- */

static int patience(struct admin_server *s)
{
    int wait_ms = sweep(s);
    MHD_UNSIGNED_LONG_LONG library_ms;

    /* At its limit the library does not listen, and only looks when it runs whether it may again.
     */
    if (s->has_closed)
        return 0;
    if (MHD_get_timeout(s->daemon, &library_ms) != MHD_YES)
        return wait_ms;
    if (wait_ms < 0 || library_ms < (MHD_UNSIGNED_LONG_LONG)wait_ms)
        return library_ms > INT32_MAX ? INT32_MAX : (int)library_ms;
    return wait_ms;
}

static void *run(void *argument)
{
    struct admin_server *s = argument;
    struct pollfd fds[] = {
        {.fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
         .events = POLLIN},
        {.fd = s->wake, .events = POLLIN},
    };

    pthread_setname_np(pthread_self(), "admin");
    while (fds[1].revents == 0) {
        size_t opened = s->opened;

        if (poll(fds, 2, patience(s)) < 0 && errno != EINTR)
            break;
        s->has_closed = false;
        MHD_run(s->daemon);
        /*
         * Somebody waits and could not be accepted: there are no descriptors. With connections of
         * its own the library does not listen until one ends; without, it would ask without pause.
         */
        if (fds[0].revents != 0 && s->count == 0 && s->opened == opened && !s->has_closed)
            (void)poll(&fds[1], 1, SHORTAGE_MS);
    }
    return NULL;
}

static struct MHD_Daemon *start_library(struct admin_server *s, int listen_fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET,
                            listen_fd, /* taken only with success */
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)LIBRARY_MAX,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, ADMIN_HEADERS_MAX,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
}

enum err admin_server_start(struct admin_server **out, int listen_fd, struct admin_owner *owner)
{
    struct admin_server *s = calloc(1, sizeof(*s));
    enum err e = ERR_LIMIT;

    *out = NULL;
    if (s == NULL) {
        close(listen_fd);
        return ERR_NOMEM;
    }
    s->owner = owner;
    list_init(&s->connections);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake >= 0)
        s->daemon = start_library(s, listen_fd);
    if (s->daemon == NULL)
        close(listen_fd);
    else
        e = thread_start(&s->thread, run, s);
    if (e != ERR_OK) {
        if (s->daemon != NULL)
            MHD_stop_daemon(s->daemon);
        if (s->wake >= 0)
            close(s->wake);
        free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void admin_server_free(struct admin_server *s)
{
    const uint64_t one = 1;

    if (s == NULL)
        return;
    while (write(s->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
    pthread_join(s->thread, NULL);
    MHD_stop_daemon(s->daemon);
    close(s->wake);
    free(s);
}
