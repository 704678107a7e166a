/*
 * The server's side of an HTTP proxy that does one thing: CONNECT (RFC 9110, 9.3.6; syntax of
 * RFC 9112), with Basic authentication (RFC 7617) where a login is asked for. Strict: what two
 * readers could understand in two ways is refused. Sans-I/O.
 *
 *   request line ──> header fields ──> done
 *         └────────────────┴─────────> failed
 */
#ifndef UTUN_NET_HTTP_CONNECT_H
#define UTUN_NET_HTTP_CONNECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/destination.h"
#include "net/login.h"

/* A line without its end; browsers send some hundred bytes. */
#define HTTP_CONNECT_LINE_MAX 2048

/* The request with all its header fields. */
#define HTTP_CONNECT_REQUEST_MAX ((size_t)8 * 1024)

/* The longest response, with its body. */
#define HTTP_CONNECT_REPLY_MAX 768

enum http_connect_state {
    HTTP_CONNECT_LINE,
    HTTP_CONNECT_FIELDS,
    HTTP_CONNECT_DONE,
    HTTP_CONNECT_FAILED,
};

struct http_connect {
    /* The result, once state is HTTP_CONNECT_DONE. */
    struct destination destination;
    enum http_connect_state state;
    uint16_t status;   /* once state is HTTP_CONNECT_FAILED: what the client is told */
    const char *fault; /* and why, for people; static */

    /* For http_connect.c alone. */
    const struct login *login;
    size_t size; /* of the request so far */
    size_t len;  /* of the line so far */
    bool is_after_cr;
    bool has_minor_version; /* HTTP/1.1 and not 1.0 */
    bool has_host;
    bool has_authorization;
    bool is_logged_in;
    uint16_t verdict; /* a status that is told once the request has ended, or 0 */
    const char *verdict_text;
    char line[HTTP_CONNECT_LINE_MAX + 1];
};

/* login may be NULL: then nobody has to log in. */
void http_connect_init(struct http_connect *h, const struct login *login);

/* Wipes the password. */
void http_connect_fini(struct http_connect *h);

/*
 * Takes bytes up to the end of the request and none behind it; *used says how many. ERR_OK also
 * while more is needed: see state. ERR_MALFORMED, ERR_TOO_LARGE, or ERR_NOT_ALLOWED for a login
 * that is missing or wrong: status and fault say why.
 */
enum err http_connect_feed(struct http_connect *h, const uint8_t *data, size_t len,
                           size_t *used) MUST_USE;

/* The response to a request that has failed in itself. Its length. */
size_t http_connect_encode_failure(const struct http_connect *h,
                                   char room[static HTTP_CONNECT_REPLY_MAX]);

/*
 * The response to a good request: ERR_OK is 200, everything else a status that says the reason, and
 * says it again in Proxy-Status (RFC 9209) and in words.
 */
size_t http_connect_encode_reply(enum err why, char room[static HTTP_CONNECT_REPLY_MAX]);

#endif
