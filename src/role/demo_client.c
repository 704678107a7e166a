#include "role/demo_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "role/demo_data.h"
#include "role/demo_web.h"

#define BUFFER_SIZE ((size_t)256 * 1024)

/* Nothing here takes that long unless it hangs. */
#define PATIENCE_MS 30000

struct exchange {
    struct demo_transfer *transfer;
    struct err_detail *detail;
    uint8_t *buffer; /* BUFFER_SIZE */
    size_t len;      /* read, not yet used */
    int fd;
};

static enum err wait_for(struct exchange *x, short events)
{
    struct pollfd fds[] = {
        {.fd = x->fd, .events = events},
        {.fd = x->transfer->stop_fd, .events = POLLIN},
    };
    int n;

    do {
        n = poll(fds, 2, PATIENCE_MS);
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        return err_set(x->detail, ERR_TIMEOUT, "nothing moved for %d s", PATIENCE_MS / 1000);
    if (n > 0 && (fds[1].revents & POLLIN) != 0)
        return ERR_SHUTDOWN;
    return ERR_OK;
}

static enum err fail_errno(struct exchange *x, const char *what)
{
    int errnum = errno;

    return err_set(x->detail, err_from_errno(errnum), "%s: %s", what, strerror(errnum));
}

static enum err open_exchange(struct exchange *x, struct demo_transfer *t, struct err_detail *d)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(t->port),
    };

    *x = (struct exchange){.transfer = t, .detail = d, .fd = -1};
    x->buffer = malloc(BUFFER_SIZE);
    if (x->buffer == NULL)
        return err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    x->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (x->fd < 0 || connect(x->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        return fail_errno(x, "connecting to the source");
    return ERR_OK;
}

static void close_exchange(struct exchange *x)
{
    if (x->fd >= 0)
        close(x->fd);
    free(x->buffer);
}

static enum err send_all(struct exchange *x, const uint8_t *data, size_t len)
{
    while (len > 0) {
        enum err e = wait_for(x, POLLOUT);
        if (e != ERR_OK)
            return e;
        ssize_t n = send(x->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(x, "sending");
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return ERR_OK;
}

/* Adds to the buffer; ERR_CLOSED at the end of the stream. */
static enum err receive(struct exchange *x)
{
    for (;;) {
        enum err e = wait_for(x, POLLIN);
        if (e != ERR_OK)
            return e;
        ssize_t n = recv(x->fd, x->buffer + x->len, BUFFER_SIZE - x->len, MSG_DONTWAIT);
        if (n == 0)
            return err_set(x->detail, ERR_CLOSED, "the connection was closed too early");
        if (n > 0) {
            x->len += (size_t)n;
            return ERR_OK;
        }
        if (errno != EAGAIN && errno != EINTR)
            return fail_errno(x, "receiving");
    }
}

/* Reads the head of an answer that must be 200, and leaves what follows it in the buffer. */
static enum err receive_head(struct exchange *x)
{
    static const char ok[] = "HTTP/1.1 200 ";
    static const char blank[] = "\r\n\r\n";
    uint8_t *end;

    while ((end = memmem(x->buffer, x->len, blank, 4)) == NULL) {
        if (x->len == BUFFER_SIZE)
            return err_set(x->detail, ERR_MALFORMED, "the answer's head has no end");
        enum err e = receive(x);
        if (e != ERR_OK)
            return e;
    }
    if (x->len < sizeof(ok) || memcmp(x->buffer, ok, sizeof(ok) - 1) != 0)
        return err_set(x->detail, ERR_MALFORMED, "the server answered \"%.*s\"",
                       (int)strcspn((char *)x->buffer, "\r"), (char *)x->buffer);
    end += 4;
    x->len -= (size_t)(end - x->buffer);
    memmove(x->buffer, end, x->len);
    return ERR_OK;
}

static enum err receive_data(struct exchange *x)
{
    uint64_t received = 0;
    enum err e = ERR_OK;

    while (e == ERR_OK && received + x->len <= x->transfer->bytes) {
        size_t right = demo_data_check(DEMO_SEED_DOWN, received, x->buffer, x->len);
        if (right < x->len)
            return err_set(x->detail, ERR_MALFORMED, "byte %" PRIu64 " is wrong", received + right);
        received += x->len;
        x->len = 0;
        if (received == x->transfer->bytes)
            return ERR_OK;
        e = receive(x);
    }
    if (e == ERR_OK)
        return err_set(x->detail, ERR_MALFORMED, "there are more bytes than were asked for");
    return e;
}

enum err demo_client_download(struct demo_transfer *t, struct err_detail *d)
{
    struct exchange x;
    char request[128];
    uint64_t start = clock_us();
    enum err e = open_exchange(&x, t, d);

    int len = snprintf(request, sizeof(request),
                       "GET /bytes/%" PRIu64 " HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
                       t->bytes);
    if (e == ERR_OK)
        e = send_all(&x, (const uint8_t *)request, (size_t)len);
    if (e == ERR_OK)
        e = receive_head(&x);
    if (e == ERR_OK)
        e = receive_data(&x);
    t->elapsed_us = clock_us() - start;
    close_exchange(&x);
    return e;
}

static enum err send_data(struct exchange *x)
{
    uint64_t sent = 0;

    while (sent < x->transfer->bytes) {
        uint64_t left = x->transfer->bytes - sent;
        size_t n = left < BUFFER_SIZE ? (size_t)left : BUFFER_SIZE;
        demo_data_fill(DEMO_SEED_UP, sent, x->buffer, n);
        enum err e = send_all(x, x->buffer, n);
        if (e != ERR_OK)
            return e;
        sent += n;
    }
    return ERR_OK;
}

enum err demo_client_upload(struct demo_transfer *t, struct err_detail *d)
{
    struct exchange x;
    char request[160];
    uint64_t start = clock_us();
    enum err e = open_exchange(&x, t, d);

    int len = snprintf(request, sizeof(request),
                       "POST /check HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n"
                       "Content-Length: %" PRIu64 "\r\n\r\n",
                       t->bytes);
    if (e == ERR_OK)
        e = send_all(&x, (const uint8_t *)request, (size_t)len);
    if (e == ERR_OK)
        e = send_data(&x);
    if (e == ERR_OK)
        e = receive_head(&x);
    t->elapsed_us = clock_us() - start;
    close_exchange(&x);
    return e;
}
