/*
 * The HTTP server of the admin endpoint, on one thread of its own (libmicrohttpd). It answers GET
 * and HEAD, one request a connection, and asks its owner for what to answer.
 *
 * It has no authentication and expects anything: a connection has ADMIN_DEADLINE_MS from its first
 * byte to the answer's last; request headers have ADMIN_HEADERS_MAX bytes; when more than
 * ADMIN_CONNECTIONS_MAX are open the oldest gives way, so that whoever floods it cannot keep a
 * health check out for longer than that takes. Data loops never notice: it only reads what they
 * publish.
 *
 * On loopback a web page can reach it through the browser of whoever sits there; hence is_local
 * (ops/http_host.h).
 */
#ifndef UTUN_OPS_ADMIN_SERVER_H
#define UTUN_OPS_ADMIN_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define ADMIN_CONNECTIONS_MAX 32
#define ADMIN_HEADERS_MAX     ((size_t)16 * 1024)
#define ADMIN_DEADLINE_MS     10000

/* Bytes of answers that wait for their readers; above it the next one is 503, unless it is alone.
 */
#define ADMIN_PENDING_MAX ((size_t)32 * 1024 * 1024)

struct admin_server;

/* An answer. Strings are static; the body is from malloc, and the server's. */
struct admin_reply {
    unsigned status;
    const char *content_type;
    const char *content_security_policy; /* NULL: nothing may be loaded or run */
    char *body;
    size_t body_len;
};

/* Embed it in what stands behind the server, and fill it in. */
struct admin_owner {
    bool is_local; /* the socket is of this machine alone: requests by other names are refused */
    /*
     * The answer to a GET of this path (without its query). On the server's thread; an error is
     * answered with 500. ERR_NOT_FOUND: 404.
     */
    enum err (*on_request)(struct admin_owner *owner, const char *path, struct admin_reply *reply);
};

/* Takes a socket that listens, also on error. ERR_NOMEM, ERR_LIMIT (no thread, no descriptor). */
enum err admin_server_start(struct admin_server **out, int listen_fd,
                            struct admin_owner *owner) MUST_USE;

/* Ends what is under way and waits for the thread. NULL is fine. */
void admin_server_free(struct admin_server *s);

#endif
