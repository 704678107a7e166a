/*
 * The client of the admin endpoint, for `utun health` and `utun status`: one GET of HTTP/1.0 on a
 * connection of its own. Blocks; any thread.
 */
#ifndef UTUN_OPS_HTTP_GET_H
#define UTUN_OPS_HTTP_GET_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Larger answers are refused: a dest with ten thousand tunnels stays below. */
#define HTTP_GET_MAX ((size_t)64 * 1024 * 1024)

struct http_url {
    char host[256]; /* a name or an address, without brackets */
    char port[6];
    char path[256]; /* "" when the URL has none, or only "/" */
};

/*
 * "http://host[:port][/path]", with or without the scheme; an IPv6 address stands in brackets.
 * Without a port: 9090. ERR_USAGE with d set for anything else.
 */
enum err http_url_parse(struct http_url *out, const char *text, struct err_detail *d) MUST_USE;

struct http_reply {
    unsigned status;
    char *body; /* from malloc, NUL-terminated */
    size_t body_len;
};

/*
 * The answer to a GET of path, whatever its status is; free its body. timeout_ms is for all of it
 * (a resolver may take longer for a name). On error d says what: ERR_REFUSED, ERR_TIMEOUT,
 * ERR_RESOLVE, ERR_MALFORMED (it does not speak HTTP), ERR_TOO_LARGE, ERR_NOT_ALLOWED (status 421:
 * it does not go by that name) ...
 */
enum err http_get(struct http_reply *out, const struct http_url *url, const char *path,
                  uint32_t timeout_ms, struct err_detail *d) MUST_USE;

#endif
