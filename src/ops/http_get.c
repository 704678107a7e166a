#include "ops/http_get.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define DEFAULT_PORT "9090"
#define SCHEME       "http://"
#define READ_STEP    ((size_t)64 * 1024)

/* The longest host, its brackets, the longest port, and what stands between them. */
#define AUTHORITY_MAX 272

#define MISDIRECTED 421

/* -- the URL -- */

static bool take(char *out, size_t size, const char *from, size_t len)
{
    if (len >= size)
        return false;
    memcpy(out, from, len);
    out[len] = 0;
    return true;
}

static bool is_port(const char *text)
{
    unsigned long port = strtoul(text, NULL, 10);

    return text[0] != 0 && strspn(text, "0123456789") == strlen(text) && port > 0 && port <= 65535;
}

static bool parse(struct http_url *out, const char *text)
{
    size_t authority;
    size_t host;

    if (strncmp(text, SCHEME, strlen(SCHEME)) == 0)
        text += strlen(SCHEME);
    authority = strcspn(text, "/");
    if (strcmp(text + authority, "/") != 0 &&
        !take(out->path, sizeof(out->path), text + authority, strlen(text + authority)))
        return false;
    if (text[0] == '[') {
        host = strcspn(text, "]");
        if (host >= authority || !take(out->host, sizeof(out->host), text + 1, host - 1))
            return false;
        host++;
    } else {
        host = strcspn(text, ":/");
        if (!take(out->host, sizeof(out->host), text, host))
            return false;
    }
    if (host == authority)
        return out->host[0] != 0;
    return out->host[0] != 0 && text[host] == ':' &&
           take(out->port, sizeof(out->port), text + host + 1, authority - host - 1) &&
           is_port(out->port);
}

enum err http_url_parse(struct http_url *out, const char *text, struct err_detail *d)
{
    *out = (struct http_url){.port = DEFAULT_PORT};
    if (!parse(out, text) || strpbrk(text, " \r\n") != NULL)
        return err_set(d, ERR_USAGE,
                       "%.200s is not the URL of an admin endpoint; write http://HOST:PORT", text);
    return ERR_OK;
}

/* -- the connection -- */

struct request {
    const struct http_url *url;
    uint64_t deadline_ms;
    struct err_detail *detail;
    int fd;
};

/* "host:port", with brackets around an IPv6 address. */
static void write_authority(char *out, size_t size, const struct http_url *url)
{
    bool is_v6 = strchr(url->host, ':') != NULL;

    snprintf(out, size, "%s%s%s:%s", is_v6 ? "[" : "", url->host, is_v6 ? "]" : "", url->port);
}

static enum err fail(struct request *r, enum err e, const char *why)
{
    char authority[AUTHORITY_MAX];

    write_authority(authority, sizeof(authority), r->url);
    return err_set(r->detail, e, "http://%s: %s", authority, why);
}

static enum err fail_errno(struct request *r)
{
    char text[96];

    return fail(r, err_from_errno(errno), strerror_r(errno, text, sizeof(text)));
}

static enum err wait_for(struct request *r, short events)
{
    struct pollfd p = {.fd = r->fd, .events = events};

    for (;;) {
        uint64_t now = clock_ms();
        int n = poll(&p, 1, now < r->deadline_ms ? (int)(r->deadline_ms - now) : 0);

        if (n > 0)
            return ERR_OK;
        if (n == 0)
            return fail(r, ERR_TIMEOUT, "no answer in time");
        if (errno != EINTR)
            return fail_errno(r);
    }
}

static enum err connect_to(struct request *r, const struct addrinfo *address)
{
    socklen_t len = sizeof(int);
    int error = 0;

    r->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (r->fd < 0)
        return fail_errno(r);
    if (connect(r->fd, address->ai_addr, address->ai_addrlen) == 0)
        return ERR_OK;
    if (errno != EINPROGRESS)
        return fail_errno(r);
    enum err e = wait_for(r, POLLOUT);
    if (e != ERR_OK)
        return e;
    if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return fail_errno(r);
    errno = error;
    return error == 0 ? ERR_OK : fail_errno(r);
}

static enum err open_connection(struct request *r)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(r->url->host, r->url->port, &hints, &list);
    enum err e = ERR_RESOLVE;

    if (failed != 0)
        return fail(r, e, gai_strerror(failed));
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        e = connect_to(r, a);
        if (e == ERR_OK)
            break;
        if (r->fd >= 0)
            close(r->fd);
        r->fd = -1;
    }
    freeaddrinfo(list);
    return e;
}

static enum err send_request(struct request *r, const char *path)
{
    char authority[AUTHORITY_MAX];
    char text[1024];
    size_t sent = 0;
    int len;

    write_authority(authority, sizeof(authority), r->url);
    len = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\nHost: %s\r\nAccept: */*\r\n\r\n", path,
                   authority);

    if (len < 0 || (size_t)len >= sizeof(text))
        return fail(r, ERR_TOO_LARGE, "the URL is too long");
    while (sent < (size_t)len) {
        ssize_t n = send(r->fd, text + sent, (size_t)len - sent, MSG_NOSIGNAL);

        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return fail_errno(r);
        enum err e = wait_for(r, POLLOUT);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* All that comes until the end, with a NUL behind it. */
static enum err read_all(struct request *r, char **out, size_t *len)
{
    size_t room = 0;

    for (;;) {
        if (room - *len < 2) {
            char *more = *len > HTTP_GET_MAX ? NULL : realloc(*out, room + READ_STEP);

            if (more == NULL)
                return *len > HTTP_GET_MAX ? fail(r, ERR_TOO_LARGE, "the answer is too large")
                                           : fail(r, ERR_NOMEM, err_text(ERR_NOMEM));
            *out = more;
            room += READ_STEP;
        }
        ssize_t n = recv(r->fd, *out + *len, room - *len - 1, 0);
        if (n == 0) {
            (*out)[*len] = 0;
            return ERR_OK;
        }
        if (n > 0) {
            *len += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return fail_errno(r);
        enum err e = wait_for(r, POLLIN);
        if (e != ERR_OK)
            return e;
    }
}

static enum err take_apart(struct request *r, struct http_reply *out, char *text, size_t len)
{
    static const char *const versions[] = {"HTTP/1.0 ", "HTTP/1.1 "};
    char *body = strstr(text, "\r\n\r\n");

    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (strncmp(text, versions[i], strlen(versions[i])) == 0)
            out->status = (unsigned)strtoul(text + strlen(versions[i]), NULL, 10);
    }
    if (out->status < 100 || out->status > 599 || body == NULL)
        return fail(r, ERR_MALFORMED, "what answers there does not speak HTTP");
    if (out->status == MISDIRECTED)
        return fail(r, ERR_NOT_ALLOWED,
                    "it does not answer to that name; write localhost or its IP address");
    body += 4;
    out->body_len = len - (size_t)(body - text);
    memmove(text, body, out->body_len + 1);
    out->body = text;
    return ERR_OK;
}

enum err http_get(struct http_reply *out, const struct http_url *url, const char *path,
                  uint32_t timeout_ms, struct err_detail *d)
{
    struct request r = {.url = url, .deadline_ms = clock_ms() + timeout_ms, .detail = d, .fd = -1};
    char *text = NULL;
    size_t len = 0;
    enum err e;

    *out = (struct http_reply){.status = 0};
    e = open_connection(&r);
    if (e == ERR_OK)
        e = send_request(&r, path);
    if (e == ERR_OK)
        e = read_all(&r, &text, &len);
    if (e == ERR_OK && text != NULL)
        e = take_apart(&r, out, text, len);
    if (e == ERR_OK)
        text = NULL;
    free(text);
    if (r.fd >= 0)
        close(r.fd);
    return e;
}
