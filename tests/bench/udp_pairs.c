/*
 * Requests and answers over UDP: a service that sends back what comes, and clients of it, each with
 * one request on its way.
 *
 *   udp_pairs serve IP PORT
 *   udp_pairs ask IP PORT CLIENTS BYTES SECONDS      prints pairs a second, and how many were lost
 *
 * A request that is not answered in LOST_MS counts as lost, and the next one is sent.
 */
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LARGEST 65507
#define LOST_MS 500
#define BATCH   32

struct client {
    int fd;
    uint64_t number; /* of the request that is on its way; its first bytes */
    uint64_t sent_ms;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct addrinfo *resolve(const char *ip, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found;

    if (getaddrinfo(ip, port, &hints, &found) != 0) {
        fprintf(stderr, "udp_pairs: %s port %s: not an address\n", ip, port);
        exit(1);
    }
    return found;
}

static int open_socket(const struct addrinfo *a)
{
    const int bytes = 1024 * 1024;
    int fd = socket(a->ai_family, SOCK_DGRAM, 0);

    if (fd < 0)
        fail("socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    return fd;
}

static void serve(const struct addrinfo *a)
{
    static uint8_t buffers[BATCH][LARGEST];
    static struct sockaddr_storage names[BATCH];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    int fd = open_socket(a);

    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0)
        fail("bind");
    for (;;) {
        int n;

        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){.iov_base = buffers[i], .iov_len = LARGEST};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &names[i],
                                                  .msg_namelen = sizeof(names[i]),
                                                  .msg_iov = &parts[i],
                                                  .msg_iovlen = 1};
        }
        n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < n; i++)
            parts[i].iov_len = messages[i].msg_len;
        if (n > 0)
            (void)sendmmsg(fd, messages, (unsigned)n, 0);
        else if (errno != EINTR && errno != ECONNREFUSED)
            fail("recvmmsg");
    }
}

static void ask_next(struct client *c, size_t bytes)
{
    static uint8_t request[LARGEST];

    c->number++;
    c->sent_ms = now_ms();
    memcpy(request, &c->number, sizeof(c->number));
    (void)send(c->fd, request, bytes, 0);
}

static bool take_answer(struct client *c, size_t bytes)
{
    static uint8_t answer[LARGEST];
    ssize_t n = recv(c->fd, answer, sizeof(answer), MSG_DONTWAIT);
    uint64_t number;

    if (n < (ssize_t)sizeof(number))
        return false;
    memcpy(&number, answer, sizeof(number));
    if ((size_t)n != bytes) {
        fprintf(stderr, "udp_pairs: an answer of %zd bytes\n", n);
        exit(1);
    }
    return number == c->number;
}

static void ask(const struct addrinfo *a, size_t count, size_t bytes, unsigned seconds)
{
    struct client *clients = calloc(count, sizeof(*clients));
    struct epoll_event events[256];
    int set = epoll_create1(0);
    uint64_t answered = 0;
    uint64_t lost = 0;
    uint64_t begin = now_ms();
    uint64_t looked = begin;
    uint64_t now;

    if (clients == NULL || set < 0)
        fail("epoll_create1");
    for (size_t i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};

        clients[i].fd = open_socket(a);
        if (connect(clients[i].fd, a->ai_addr, a->ai_addrlen) < 0)
            fail("connect");
        if (epoll_ctl(set, EPOLL_CTL_ADD, clients[i].fd, &e) < 0)
            fail("epoll_ctl");
        ask_next(&clients[i], bytes);
    }
    while ((now = now_ms()) - begin < (uint64_t)seconds * 1000) {
        int n = epoll_wait(set, events, 256, LOST_MS / 5);

        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;

            if (take_answer(c, bytes)) {
                answered++;
                ask_next(c, bytes);
            }
        }
        for (size_t i = 0; i < count && now - looked >= LOST_MS / 5; i++) {
            if (now - clients[i].sent_ms >= LOST_MS) {
                lost++;
                ask_next(&clients[i], bytes);
            }
        }
        if (now - looked >= LOST_MS / 5)
            looked = now;
    }
    printf("%.0f pairs/s, %llu lost\n", (double)answered * 1000 / (double)(now - begin),
           (unsigned long long)lost);
    free(clients);
}

int main(int argc, char **argv)
{
    struct addrinfo *a;
    size_t bytes;

    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        serve(resolve(argv[2], argv[3]));
    } else if (argc == 7 && strcmp(argv[1], "ask") == 0) {
        bytes = strtoul(argv[5], NULL, 10);
        if (bytes < sizeof(uint64_t) || bytes > LARGEST) {
            fprintf(stderr, "udp_pairs: BYTES is 8 to %d\n", LARGEST);
            return 2;
        }
        a = resolve(argv[2], argv[3]);
        ask(a, strtoul(argv[4], NULL, 10), bytes, (unsigned)strtoul(argv[6], NULL, 10));
        freeaddrinfo(a);
    } else {
        fprintf(stderr, "usage: udp_pairs serve IP PORT\n"
                        "       udp_pairs ask IP PORT CLIENTS BYTES SECONDS\n");
        return 2;
    }
    return 0;
}
