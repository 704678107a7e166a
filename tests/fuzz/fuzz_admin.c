/*
 * Anybody who can reach the admin endpoint: bytes of the input on a connection of the real server,
 * in pieces that it reads one by one, and then the end. What comes back is an answer of HTTP, whole
 * and alone, or nothing; and the next client is served.
 */
#include <assert.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "base/list.h"
#include "ops/admin_server.h"
#include "target.h"

#define PIECES_MAX  64
#define ANSWER_MAX  ((size_t)256 * 1024)
#define PATIENCE_MS (600 * 1000) /* the server is hung, not just out of processor */

static struct admin_server *server;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len;

/* -- what is served -- */

static enum err on_request(struct admin_owner *owner, const char *path, struct admin_reply *reply)
{
    static const char large[100000];

    (void)owner;
    reply->content_type = "text/plain";
    if (strcmp(path, "/broken") == 0)
        return ERR_NOMEM;
    if (strcmp(path, "/ready") == 0)
        reply->status = 503;
    if (strcmp(path, "/metrics") == 0)
        reply->body_len = sizeof(large);
    else if (strcmp(path, "/") != 0 && strcmp(path, "/status") != 0 && strcmp(path, "/ready") != 0)
        return ERR_NOT_FOUND;
    reply->body = calloc(1, reply->body_len + 5);
    assert(reply->body != NULL);
    if (reply->body_len == 0) {
        memcpy(reply->body, "body", 4);
        reply->body_len = 4;
    }
    return ERR_OK;
}

/* A name that no file has: nothing is left behind, and there are as many connections as one likes.
 */
static void start(void)
{
    static struct admin_owner owner = {.on_request = on_request, .is_local = true};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "utun-fuzz-admin-%ld",
                       (long)getpid());

    assert(fd >= 0 && len > 0);
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    assert(bind(fd, (const struct sockaddr *)&address, address_len) == 0);
    assert(listen(fd, 16) == 0);
    assert(admin_server_start(&server, fd, &owner) == ERR_OK);
}

/* -- a client -- */

static int connect_to_it(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0);
    assert(connect(fd, (const struct sockaddr *)&address, address_len) == 0);
    return fd;
}

/* False when the server does not read any more: it has answered, or closed. */
static bool send_piece(int fd, const uint8_t *data, size_t len)
{
    struct pollfd answer = {.fd = fd, .events = POLLIN};

    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0)
            return false;
        data += n;
        len -= (size_t)n;
        for (int unread = 1, waited = 0; unread > 0; waited++) {
            assert(waited < PATIENCE_MS);
            if (poll(&answer, 1, waited < 20 ? 0 : 1) > 0)
                return false;
            assert(ioctl(fd, SIOCOUTQ, &unread) == 0);
        }
    }
    return true;
}

/* All that comes until the server closes, which a client may read slowly. */
static size_t read_all(int fd, char *room, size_t size, size_t piece)
{
    struct pollfd more = {.fd = fd, .events = POLLIN};
    size_t len = 0;

    for (;;) {
        size_t want = piece < size - 1 - len ? piece : size - 1 - len;
        ssize_t n;

        assert(want > 0);
        assert(poll(&more, 1, PATIENCE_MS) == 1);
        n = recv(fd, room + len, want, 0);
        if (n <= 0)
            break; /* a reset, where it had not read everything */
        len += (size_t)n;
    }
    room[len] = 0;
    return len;
}

/* -- what an answer must be -- */

static const char *header(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);

    return at == NULL ? NULL : at + strlen(name);
}

/* The answer's status; the bytes behind its head are *rest. */
static unsigned check_head(char *answer, size_t len, char **rest)
{
    char *end = strstr(answer, "\r\n\r\n");
    unsigned status;

    assert(end != NULL);
    end[2] = 0;
    *rest = end + 4;
    assert(*rest <= answer + len);
    assert(sscanf(answer, "HTTP/1.%*1[01] %3u ", &status) == 1);
    for (char *line = answer; line < end; line = strstr(line, "\r\n") + 2) {
        size_t n = (size_t)(strstr(line, "\r\n") - line);

        for (size_t i = 0; i < n; i++)
            assert(line[i] >= 0x20 && line[i] < 0x7f);
        assert(line == answer || memchr(line, ':', n) != NULL);
    }
    return status;
}

/* What our own answers say, beyond those of the library. */
static void check_ours(const char *head)
{
    assert(header(head, "\r\nContent-Security-Policy: default-src 'none'") != NULL);
    assert(header(head, "\r\nX-Content-Type-Options: nosniff\r\n") != NULL);
    assert(header(head, "\r\nCache-Control: no-store\r\n") != NULL);
}

/*
 * libmicrohttpd 0.9.75 writes the head of its answer twice where it finds the fault only once it
 * has all headers: a wrong Content-Length or Transfer-Encoding, no Host, cookies that it cannot
 * take. The two are alike but for a second that may have passed.
 */
static bool is_head_again(const char *head, const char *rest)
{
    const char *date = header(head, "\r\nDate: ");
    const char *behind = date == NULL ? NULL : strstr(date, "\r\n");
    size_t at = date == NULL ? 0 : (size_t)(date - head);

    return behind != NULL && strlen(rest) >= strlen(head) && strncmp(rest, head, at) == 0 &&
           strncmp(rest + (behind - head), behind, strlen(behind)) == 0;
}

static void check_answer(char *answer, size_t len)
{
    char *rest = answer;
    const char *length;
    const char *head;
    unsigned status;

    do {
        head = rest;
        if (rest == answer + len)
            return; /* nothing, or that it may go on, which it does not */
        status = check_head(rest, len - (size_t)(rest - answer), &rest);
    } while (status == 100);
    assert(status >= 200 && status < 600);
    if (status == 200 || status == 404 || status == 405 || status == 421 || status == 503)
        check_ours(head);
    if ((status == 400 || status == 413 || status == 431) && is_head_again(head, rest)) {
        unsigned again = check_head(rest, len - (size_t)(rest - answer), &rest);

        assert(again == status);
    }
    length = header(head, "\r\nContent-Length: ");
    len -= (size_t)(rest - answer);
    /* Without a body where it was HEAD; and with nothing behind it. */
    assert(length != NULL && (len == 0 || len == strtoul(length, NULL, 10)));
    assert(header(head, "\r\nConnection: close\r\n") != NULL);
}

static void check_next_client(void)
{
    static const char request[] = "GET /status?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[4096];
    int fd = connect_to_it();
    size_t len;

    assert(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == sizeof(request) - 1);
    len = read_all(fd, answer, sizeof(answer), sizeof(answer));
    close(fd);
    assert(len > 8 && strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
    assert(memcmp(answer + len - 8, "\r\n\r\nbody", 8) == 0);
    check_answer(answer, len);
}

/*
 * The first byte: 1 the client leaves without reading, 2 it reads little at once; the rest how many
 * bytes, times 4, make a piece, or 0 for all.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char answer[ANSWER_MAX];
    bool goes_on = true;
    size_t piece;
    int fd;

    if (size == 0)
        return 0;
    if (server == NULL)
        start();
    uint8_t how = data[0];
    data++;
    size--;
    piece = how >> 2 == 0 ? size : (size_t)(how >> 2) * 4;
    fd = connect_to_it();
    for (size_t i = 0; goes_on && size > 0; i++) {
        size_t n = size < piece || i == PIECES_MAX ? size : piece;

        goes_on = send_piece(fd, data, n);
        data += n;
        size -= n;
    }
    if ((how & 1) == 0) {
        assert(shutdown(fd, SHUT_WR) == 0 || !goes_on);
        check_answer(answer,
                     read_all(fd, answer, sizeof(answer), (how & 2) != 0 ? 4096 : ANSWER_MAX));
    }
    close(fd);
    check_next_client();
    return 0;
}
